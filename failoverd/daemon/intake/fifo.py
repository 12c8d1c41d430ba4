"""keepalived's ``vrrp_notify_fifo``: made beforehand, emptied at once, framed by the newline.

keepalived drops its lines silently when the pipe is full, so nothing here may wait for anything. It opens the FIFO when
it starts and when it reloads, and writes into that one until then, also when the file was removed or replaced. So the
old pipe is read for as long as the new one has said nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
import struct
import termios
from typing import TYPE_CHECKING, NamedTuple

from failoverd.daemon.intake.errors import Complaints, IntakeError
from failoverd.daemon.intake.wire import Framer
from failoverd.trouble import troubles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: What the pipe should hold, in bytes: some 40,000 lines. An unprivileged daemon may be refused it.
CAPACITY = 1 << 20

#: Bytes that one look takes, so that a writer that never rests does not keep the loop from everything else.
LOOK = 1 << 16

#: Pipes that are read at once; the oldest goes.
PIPES = 4

_ABOUT = "keepalived's FIFO"


class Look(NamedTuple):
    """What one look found: `lines`, whether nothing is left, and whether keepalived may have had to drop lines."""

    lines: list[bytes]
    empty: bool
    full: bool


class Fifo:
    """The reading end. `readable` is called by the loop when there is something, `opened` when it was made anew."""

    def __init__(
        self, path: Path, complaints: Complaints, *, readable: Callable[[], None], opened: Callable[[], None]
    ) -> None:
        self.path = path
        self._complaints = complaints
        self._readable = readable
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._pipes: list[_Pipe] = []

    def open(self, held: int | None = None) -> None:
        """Open the FIFO, made if it is absent. IntakeError when something else is at its place.

        `held`: the descriptor of one that systemd kept open; keepalived may write into that.
        """
        if held is not None:
            self._add(_Pipe(held))
        self._renew()
        self._opened()

    def look(self) -> Look:
        """What is there, the oldest first."""
        lines: list[bytes] = []
        empty, full = self._read(lines)
        if empty and self._replaced() and self.restore():
            empty, more = self._read(lines)
            full = full or more
        return Look(lines, empty, full)

    def restore(self) -> bool:
        """See that there is one at the path, and that it is read. False when something else is there."""
        try:
            if self._renew():
                self._opened()
        except IntakeError as error:
            self._complaints.trouble("keepalived's FIFO was replaced", error=str(error))
            return False
        return True

    def close(self) -> None:
        """Close it; the FIFO stays, so that keepalived keeps its inode."""
        for pipe in list(self._pipes):
            self._drop(pipe)

    def _read(self, lines: list[bytes]) -> tuple[bool, bool]:
        full = False
        for pipe in list(self._pipes):
            full = pipe.full() or full
            found, empty, overlong = pipe.read()
            if overlong:
                self._complaints.reject("line too long in keepalived's FIFO", lines=overlong)
            lines += found
            if found:
                self._spoke(pipe)
            if not empty:
                return False, full
        return True, full

    def _spoke(self, pipe: _Pipe) -> None:
        if pipe is not self._pipes[-1]:
            text = f"keepalived writes into a FIFO that is not at {self.path} any more, and is heard until failoverd"
            troubles.begin(_ABOUT, f"{text} ends: systemctl reload keepalived")
            return
        troubles.end(_ABOUT)
        for older in self._pipes[:-1]:
            self._drop(older)

    def _replaced(self) -> bool:
        """Whether another file is now at the path. keepalived makes its own FIFO anew at each reload."""
        try:
            there = os.lstat(self.path)
        except OSError:
            return False
        return not os.path.samestat(there, os.fstat(self._pipes[-1].fd))

    def _renew(self) -> bool:
        made = _Pipe(_open(self.path))
        if self._pipes and os.path.samestat(os.fstat(made.fd), os.fstat(self._pipes[-1].fd)):
            os.close(made.fd)
            return False
        self._add(made)
        return True

    def _add(self, pipe: _Pipe) -> None:
        self._pipes.append(pipe)
        self._loop.add_reader(pipe.fd, self._readable)
        for older in self._pipes[:-PIPES]:
            self._drop(older)

    def _drop(self, pipe: _Pipe) -> None:
        self._pipes.remove(pipe)
        self._loop.remove_reader(pipe.fd)
        os.close(pipe.fd)


class _Pipe:
    """One pipe that is or was keepalived's FIFO."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)  # systemd's is so already
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, CAPACITY)
        self._capacity = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        self._framer = Framer()

    def full(self) -> bool:
        """Whether so much is in the pipe that keepalived may have dropped lines."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))
        # Each of the pipe's pages may have been left short by less than a line.
        return bool(waiting >= self._capacity - self._capacity // 16)

    def read(self) -> tuple[list[bytes], bool, int]:
        """The lines of one look, whether the pipe was empty at its end, and how many lines were too long."""
        lines: list[bytes] = []
        overlong = self._framer.overlong
        taken = 0
        empty = False
        while taken < LOOK:
            try:
                data = os.read(self.fd, LOOK - taken)
            except BlockingIOError:
                empty = True
                break
            taken += len(data)
            lines += self._framer.feed(data)
        return lines, empty, self._framer.overlong - overlong


def _open(path: Path) -> int:
    # Open for writing as well, so that the last writer's end is never this reader's.
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        is_fifo = stat.S_ISFIFO(os.lstat(path).st_mode)
        fd = os.open(path, flags) if is_fifo else -1
    except OSError as error:
        raise IntakeError(path, f"cannot be opened: {error.strerror}") from error
    if fd < 0:
        raise IntakeError(path, "is not a FIFO; remove it and start failoverd again")
    return fd
