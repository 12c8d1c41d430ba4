"""An HTTP server for Prometheus on a loopback address: GET and HEAD of /metrics, and nothing else.

A client can do no more harm than end its own connection: the number of connections, the size of a request, the time of
an exchange and the share of the loop's time are limited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from failoverd.daemon.control.fair_share import FairShare
from failoverd.daemon.metrics.exposition import CONTENT_TYPE

#: Connections at once, at most; further ones are closed at once.
MAX_CONNECTIONS = 8

REQUEST_MAX_BYTES = 8 * 1024

#: For one connection, from its beginning to its end. Prometheus itself waits for 10 s, unless it is told otherwise.
EXCHANGE_TIMEOUT_S = 10.0


class ScrapeServer:
    """Answers with what `text` returns. `timeout`: seconds that one connection may take."""

    def __init__(self, text: Callable[[], Awaitable[bytes]], *, timeout: float = EXCHANGE_TIMEOUT_S) -> None:
        self._text = text
        self._timeout = timeout
        self._turns = FairShare()
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen. Returns the port. OSError: that is not possible now."""
        self._server = await asyncio.start_server(
            self._accept, host, port, limit=REQUEST_MAX_BYTES, backlog=MAX_CONNECTIONS
        )
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        for exchange in self._exchanges:
            exchange.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._exchanges) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        exchange = asyncio.create_task(self._exchange(reader, writer))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
                async with asyncio.timeout(self._timeout):
                    writer.write(await self._reply(await reader.readuntil(b"\r\n\r\n")))
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _reply(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD") or path != b"/metrics":
            return _response("404 Not Found", "text/plain; charset=utf-8", b"only GET /metrics is here\n")
        async with self._turns.one():
            text = await self._text()
        whole = _response("200 OK", CONTENT_TYPE, text)
        return whole if method == b"GET" else whole[: -len(text)]


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(head).encode() + body
