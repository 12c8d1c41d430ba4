"""A pipe for the output of a process, read by the event loop. Part of the port to processes, command.py."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

_READ_BYTES = 64 * 1024

#: The end of a too long output that is kept: the last lines mostly name the error.
_TAIL_BYTES = 4 * 1024


class Pipe:
    """One output of a process: up to `max_bytes` of it are kept, or `on_output` receives all of it as it arrives.

    Of a longer output, the beginning and the end are kept. `received`: the number of bytes that came, unless
    `on_output` took them.
    `outlives`: the process must continue if failoverd is killed, so its end is open for reading too: no SIGPIPE.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_bytes: int,
        on_output: Callable[[bytes], None] | None = None,
        *,
        outlives: bool = False,
    ) -> None:
        self._loop = loop
        self._max_bytes = max_bytes
        self._on_output = on_output or self._keep
        self.ours, self.theirs = os.pipe2(os.O_CLOEXEC)
        if outlives:
            self._keep_alive()
        os.set_blocking(self.ours, False)
        self._kept = bytearray()
        self._last = bytearray()
        self.received = 0
        self.closed = asyncio.Event()

    @property
    def omitted(self) -> int:
        """The number of bytes between the beginning and the end that were kept."""
        return self.received - len(self._kept) - len(self._last)

    @property
    def text(self) -> str:
        """The output, with a note in the place of omitted bytes."""
        gap = f"\n[{self.omitted} bytes omitted]\n" if self.omitted else ""
        return self._kept.decode(errors="replace") + gap + self._last.decode(errors="replace")

    def watch(self) -> None:
        self._loop.add_reader(self.ours, self.read)

    def read(self) -> bool:
        """Read once; True if there may be more to read now."""
        try:
            data = os.read(self.ours, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._on_output(data)
        else:
            self.close()
        return bool(data)

    def drain(self) -> int | None:
        """Read the rest of a full pipe at most, because a process that holds the other end may continue to write.

        Returns the reading end for another reader if the other end is still open, else None.
        """
        if not self.closed.is_set():
            for _ in range(fcntl.fcntl(self.ours, fcntl.F_GETPIPE_SZ) // _READ_BYTES + 2):
                if self.closed.is_set() or not self.read():
                    break
        if self.closed.is_set():
            return None
        self._loop.remove_reader(self.ours)
        self.closed.set()
        return self.ours

    def close(self) -> None:
        if not self.closed.is_set():
            self._loop.remove_reader(self.ours)
            os.close(self.ours)
            self.closed.set()

    def _keep_alive(self) -> None:
        """Open the process's end for reading too. After an OSError neither end is open."""
        try:
            both = os.open(f"/proc/self/fd/{self.theirs}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(self.ours)
            raise
        finally:
            os.close(self.theirs)
        self.theirs = both

    def _keep(self, data: bytes) -> None:
        self.received += len(data)
        room = self._max_bytes - len(self._kept)
        self._kept += data[:room]
        self._last += data[room:]
        del self._last[:-_TAIL_BYTES]
