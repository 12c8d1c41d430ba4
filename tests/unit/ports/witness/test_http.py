"""A witness that answers by a status of HTTP."""

from __future__ import annotations

import asyncio

import pytest

from failoverd.ports.witness.http import Http
from failoverd.ports.witness.url import parse
from tests.unit.ports.witness.stations import (
    LONG,
    SHORT,
    Talk,
    closing,
    floods,
    free_port,
    frozen_station,
    reset,
    sends,
    silent,
    station,
)


def http(port: int, path: str = "/health", host: str = "127.0.0.1") -> Http:
    return Http(parse(f"http://{host}:{port}{path}"))


@pytest.mark.parametrize(
    ("answered", "granted", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True, "HTTP status 200 in "),
        (b"HTTP/1.0 204 No Content\r\n\r\n", True, "HTTP status 204 in "),
        (b"HTTP/1.1 302 Found\nLocation: /x\n\n", True, "HTTP status 302 in "),
        (b"HTTP/1.1 200\r\n\r\n", True, "HTTP status 200 in "),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", True, "HTTP status 200 in "),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", None, "HTTP status 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", None, "HTTP status 404"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None, "the connection ended without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None, "the connection ended in the middle of an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None, 'the answer is not HTTP/1.1: "SSH-2.0-OpenSSH_9.2"'),
        (b"HTTP/1.1 2000 OK\r\n\r\n", None, 'the answer is not HTTP/1.1: "HTTP/1.1 2000 OK"'),
        (b"HTTP/2 200\r\n\r\n", None, 'the answer is not HTTP/1.1: "HTTP/2 200"'),
        (b"\x16\x03\x01\x02\x00", None, "the answer is not HTTP/1.1: "),
        (b"", None, "the connection ended without an answer"),
    ],
)
async def test_the_status_is_the_answer(answered: bytes, granted: bool | None, said: str) -> None:
    async with station(sends(answered)) as port:
        answer = await http(port).ask(LONG)
    assert answer.granted is granted
    assert answer.said.startswith(said)


async def test_it_asks_as_a_server_expects() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with station(talk, "::1") as port:
        assert (await http(port, "/a?b=c", "[::1]").ask(LONG)).granted is True
    line, *headers = asked[0].decode().split("\r\n")
    assert line == "GET /a?b=c HTTP/1.1"
    assert f"Host: [::1]:{port}" in headers
    assert "Connection: close" in headers


@pytest.mark.parametrize("talk", [silent, floods(b"HTTP/1.1 100 Continue\r\n\r\n", b"")])
async def test_a_connection_without_an_answer_ends_at_the_deadline(talk: Talk) -> None:
    async with station(talk) as port:
        answer = await http(port).ask(SHORT)
    assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")


async def test_a_frozen_program_is_no_answer() -> None:
    with frozen_station() as port:
        answer = await http(port).ask(SHORT)
    assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")


async def test_a_drip_of_bytes_ends_at_the_deadline() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with station(drip) as port:
        answer = await http(port).ask(SHORT)
    assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (reset, "connection reset by peer"),
        (closing, "the connection ended without an answer"),
        (floods(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000), "the answer has more than 16384 bytes of headers"),
        (floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "the answer has more than 16384 bytes of headers"),
        (floods(b"", b"\0" * 1000), "the answer is not HTTP/1.1: "),
    ],
)
async def test_a_bad_answer_is_named(talk: Talk, said: str) -> None:
    async with station(talk) as port:
        answer = await http(port).ask(LONG)
    assert answer.granted is None
    assert answer.said.startswith(said)


async def test_an_endless_body_is_not_read() -> None:
    async with station(floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000)) as port:
        assert (await http(port).ask(LONG)).granted is True


async def test_nothing_listens() -> None:
    assert (await http(free_port()).ask(LONG)).said == "connection refused"
