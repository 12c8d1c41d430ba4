"""One end of a pipe that a process writes into, read by the event loop. Part of command.py's door to processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

#: Bytes of an output that are kept; what comes after is read and dropped.
KEPT = 64 * 1024

_CHUNK = 64 * 1024


class Pipe:
    """One output of a process: its beginning is kept and the rest dropped, or `hear` takes all of it as it comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hear: Callable[[bytes], None] | None = None) -> None:
        self._loop = loop
        self._hear = hear or self._keep
        self.ours, self.theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.ours, False)
        self.kept = bytearray()
        self.closed = asyncio.Event()

    def watch(self) -> None:
        self._loop.add_reader(self.ours, self.read)

    def read(self) -> bool:
        """Read once; True when there may be more to read now."""
        try:
            data = os.read(self.ours, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._hear(data)
        else:
            self.close()
        return bool(data)

    def drain(self) -> None:
        """Read what is there, but not for ever: whoever still holds the other end may go on writing."""
        for _ in range(2 * KEPT // _CHUNK + 2):
            if self.closed.is_set() or not self.read():
                break
        self.close()

    def close(self) -> None:
        if not self.closed.is_set():
            self._loop.remove_reader(self.ours)
            os.close(self.ours)
            self.closed.set()

    def _keep(self, data: bytes) -> None:
        self.kept += data[: KEPT - len(self.kept)]
