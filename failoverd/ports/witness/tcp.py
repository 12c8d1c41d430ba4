"""A witness that accepts TCP connections. A connection proves that its machine runs, and not the program behind it."""

from __future__ import annotations

import asyncio
import time

from failoverd.ports.witness import host
from failoverd.ports.witness.answer import Answer
from failoverd.ports.witness.host import Host
from failoverd.ports.witness.url import Endpoint


class Tcp:
    """The witness of ``tcp://HOST:PORT``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._host = Host(endpoint.host)
        self._port = endpoint.port

    async def ask(self, timeout: float) -> Answer:
        """Connect, and close the connection at once."""
        begin = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                connection = await host.connect(self._host, self._port, timeout)
        except OSError as error:
            return Answer(granted=None, said=host.problem(error, timeout))
        host.goodbye(connection)
        return Answer(granted=True, said=f"connected in {host.milliseconds(begin)}")
