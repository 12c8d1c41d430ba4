"""One end of a pipe that a process writes into, read by the event loop. Part of command.py's door to processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

_CHUNK = 64 * 1024

#: Bytes of the end that are kept of an output that is too long: the last words say most about a failure.
_LAST = 4 * 1024


class Pipe:
    """One output of a process: kept up to `most` bytes, or `hear` takes all of it as it comes.

    Of one that is longer, the beginning and the end are kept. `said`: all bytes that came and were not heard.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, hear: Callable[[bytes], None] | None = None) -> None:
        self._loop = loop
        self._most = most
        self._hear = hear or self._keep
        self.ours, self.theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.ours, False)
        self._kept = bytearray()
        self._last = bytearray()
        self.said = 0
        self.closed = asyncio.Event()

    @property
    def left_out(self) -> int:
        """The bytes between the beginning and the end that were kept."""
        return self.said - len(self._kept) - len(self._last)

    @property
    def text(self) -> str:
        """What was said; where something is left out, it says how much."""
        gap = f"\n[{self.left_out} bytes are left out]\n" if self.left_out else ""
        return self._kept.decode(errors="replace") + gap + self._last.decode(errors="replace")

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
        """Read what can be there, but not for ever: whoever still holds the other end may go on writing."""
        if not self.closed.is_set():
            for _ in range(fcntl.fcntl(self.ours, fcntl.F_GETPIPE_SZ) // _CHUNK + 2):
                if self.closed.is_set() or not self.read():
                    break
        self.close()

    def close(self) -> None:
        if not self.closed.is_set():
            self._loop.remove_reader(self.ours)
            os.close(self.ours)
            self.closed.set()

    def _keep(self, data: bytes) -> None:
        self.said += len(data)
        room = self._most - len(self._kept)
        self._kept += data[:room]
        self._last += data[room:]
        del self._last[:-_LAST]
