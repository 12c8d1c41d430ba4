"""The HTTP server: what it answers, and that no client can hurt it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from failoverd.daemon.metrics.exposition import CONTENT_TYPE
from failoverd.daemon.metrics.scrapes import MAX_CONNECTIONS, REQUEST_MAX_BYTES, ScrapeServer

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost:9705\r\n\r\n"


@dataclass
class Serving:
    """A server whose text is made when `gate` is open."""

    text: bytes = b"failoverd_x 1\n"
    asked: int = 0
    port: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def make(self) -> bytes:
        self.asked += 1
        await self.gate.wait()
        return self.text

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> bytes:
        """The whole reply, until the server ends the connection."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            async with asyncio.timeout(30):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.transport.abort()


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    made = Serving()
    made.gate.set()
    server = ScrapeServer(made.make)
    made.port = await server.open("127.0.0.1", 0)
    yield made
    server.close()


async def impatient(made: Serving) -> ScrapeServer:
    server = ScrapeServer(made.make, timeout=0.05)
    made.port = await server.open("127.0.0.1", 0)
    return server


@pytest.mark.parametrize("request_", [GET, b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"GET /metrics\r\n\r\n"])
async def test_get(serving: Serving, request_: bytes) -> None:
    head, _, body = (await serving.ask(request_)).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert f"Content-Type: {CONTENT_TYPE}".encode() in head
    assert f"Content-Length: {len(serving.text)}".encode() in head
    assert body == serving.text


async def test_head_is_get_without_the_text(serving: Serving) -> None:
    assert await serving.ask(GET.replace(b"GET", b"HEAD")) == (await serving.ask(GET)).removesuffix(serving.text)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /metricsx HTTP/1.1\r\n\r\n",
        b"GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\n\r\n",
        b"get /metrics HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"\xff\x00 \xff\r\n\r\n",
    ],
)
async def test_everything_else_is_not_found(serving: Serving, request_: bytes) -> None:
    assert (await serving.ask(request_)).startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert serving.asked == 0


async def test_a_request_that_is_too_long_ends_the_connection(serving: Serving) -> None:
    assert await serving.ask(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 4 * REQUEST_MAX_BYTES + b"\r\n\r\n") == b""
    assert (await serving.ask(GET)).endswith(serving.text)


async def test_a_client_that_says_nothing_is_disconnected(serving: Serving) -> None:
    server = await impatient(serving)
    for beginning in (b"", b"GET /metrics"):
        assert await serving.ask(beginning) == b""
    server.close()


async def test_a_client_that_does_not_read_is_disconnected(serving: Serving) -> None:
    serving.text = b"x" * 64 * 1024 * 1024
    server = await impatient(serving)
    _, writer = await serving.connect()
    writer.write(GET)
    async with asyncio.timeout(30):
        while server._exchanges or not serving.asked:
            await asyncio.sleep(0.01)
    writer.transport.abort()
    server.close()


async def test_further_connections_are_closed_and_a_free_place_is_taken(serving: Serving) -> None:
    clients = [await serving.connect() for _ in range(MAX_CONNECTIONS)]
    assert await serving.ask(GET) == b""
    clients[0][1].transport.abort()
    async with asyncio.timeout(30):
        while not (await serving.ask(GET)).endswith(serving.text):
            await asyncio.sleep(0.01)
    for _, writer in clients:
        writer.transport.abort()


async def test_the_figures_are_collected_for_one_client_at_a_time(serving: Serving) -> None:
    serving.gate.clear()
    both = [asyncio.create_task(serving.ask(GET)) for _ in range(2)]
    while not serving.asked:
        await asyncio.sleep(0.001)
    assert serving.asked == 1
    serving.gate.set()
    assert all(reply.endswith(serving.text) for reply in await asyncio.gather(*both))
    assert serving.asked == 2


async def test_the_end_ends_the_connections(serving: Serving) -> None:
    server = ScrapeServer(serving.make)
    serving.port = await server.open("127.0.0.1", 0)
    reader, writer = await serving.connect()
    while not server._exchanges:
        await asyncio.sleep(0.001)
    server.close()
    assert await reader.read() == b""
    writer.transport.abort()
