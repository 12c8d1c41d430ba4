"""A witness that answers an HTTP request with a status 2xx or 3xx. A frozen program does not."""

from __future__ import annotations

import asyncio
import time

from failoverd.ports.witness import host, http_wire
from failoverd.ports.witness.answer import Answer
from failoverd.ports.witness.host import Host
from failoverd.ports.witness.http_wire import BadReply
from failoverd.ports.witness.url import Url

_READ_BYTES = 4096
_GOOD = range(200, 400)


class Http:
    """The witness of ``http://HOST[:PORT]/PATH``."""

    def __init__(self, url: Url) -> None:
        (endpoint,) = url.endpoints
        self._host = Host(endpoint.host)
        self._port = endpoint.port
        self._request = http_wire.request("GET", url.path, endpoint.authority)

    async def ask(self, timeout: float) -> Answer:
        """Get the page, as far as its status; nobody reads its body."""
        begin = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                status = await self._status(timeout)
        except OSError as error:
            return Answer(granted=None, said=host.problem(error, timeout))
        except BadReply as error:
            return Answer(granted=None, said=str(error))
        said = f"HTTP status {status}"
        if status not in _GOOD:
            return Answer(granted=None, said=said)
        return Answer(granted=True, said=f"{said} in {host.milliseconds(begin)}")

    async def _status(self, timeout: float) -> int:
        loop = asyncio.get_running_loop()
        connection = await host.connect(self._host, self._port, timeout)
        try:
            await loop.sock_sendall(connection, self._request)
            data, ended = b"", False
            while (head := http_wire.head(data, ended=ended)) is None:
                more = await loop.sock_recv(connection, _READ_BYTES)
                data, ended = data + more, not more
                await asyncio.sleep(0)  # while data waits, sock_recv never does
            return head.status
        finally:
            host.goodbye(connection)
