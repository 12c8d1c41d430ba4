"""Read keepalived's ``vrrp_notify_fifo``, a line for each event.

keepalived drops lines silently when the pipe is full, so nothing here may wait. keepalived opens the FIFO when it
starts and at each reload. Between them it writes into the same pipe, even if the file was removed or replaced. So
failoverd reads an old pipe until keepalived has written into the new one.
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

from failoverd.daemon.intake.errors import IntakeError, Rejections
from failoverd.daemon.intake.wire import Framer
from failoverd.trouble import TroubleKind, troubles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: The wanted size of the pipe: some 40,000 lines. The kernel may refuse it to an unprivileged daemon.
PIPE_CAPACITY_BYTES = 1 << 20

#: Bytes that one reading takes at most, so that a writer that never pauses does not block the loop.
MAX_READ_BYTES = 1 << 16

#: Pipes that are read at once; one more closes the oldest.
MAX_PIPES = 4


class Reading(NamedTuple):
    """The result of one reading. `empty`: nothing is left. `full`: keepalived may have dropped lines."""

    lines: list[bytes]
    empty: bool
    full: bool


class Fifo:
    """The reading end. `readable` is called when there is data; `opened` when a FIFO was opened at the path."""

    def __init__(
        self, path: Path, rejections: Rejections, *, readable: Callable[[], None], opened: Callable[[], None]
    ) -> None:
        self.path = path
        self._rejections = rejections
        self._readable = readable
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._pipes: list[_Pipe] = []

    def open(self, held: int | None = None) -> None:
        """Open the FIFO, and create it if it is absent. IntakeError: the path cannot be opened, or is no FIFO.

        `held`: the descriptor of a FIFO that systemd kept open, into which keepalived may write; None without systemd.
        """
        if held is not None:
            self._add(_Pipe(held))
        self._renew()
        self._opened()

    def read(self) -> Reading:
        """Read the lines that have arrived, the oldest first."""
        lines: list[bytes] = []
        empty, full = self._read(lines)
        if empty and self._at_path() is False and self.restore():
            empty, more = self._read(lines)
            full = full or more
        return Reading(lines, empty, full)

    def restore(self) -> bool:
        """Open the FIFO at the path if it was removed or replaced. False: another kind of file is there."""
        try:
            if self._renew():
                self._opened()
        except IntakeError as error:
            troubles.begin(TroubleKind.FIFO_PATH, f"{error}, so events of keepalived may be lost", path=self.path)
            return False
        troubles.end(TroubleKind.FIFO_PATH)
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
                self._rejections.reject("line too long in keepalived's FIFO", lines=overlong)
            lines += found
            if found:
                self._received_from(pipe)
            if not empty:
                return False, full
        return True, full

    def _received_from(self, pipe: _Pipe) -> None:
        if pipe is not self._pipes[-1]:
            moved = f"keepalived writes into a FIFO that is no longer at {self.path}"
            troubles.begin(TroubleKind.FIFO_MOVED, f"{moved}; failoverd can read that one until it exits")
            return
        troubles.end(TroubleKind.FIFO_MOVED)
        for older in self._pipes[:-1]:
            self._drop(older)

    def _at_path(self) -> bool | None:
        """Whether the file at the path is the pipe that is read; None: no file. keepalived may create its own."""
        try:
            there = os.lstat(self.path)
        except OSError:
            return None
        return bool(self._pipes) and os.path.samestat(there, os.fstat(self._pipes[-1].fd))

    def _renew(self) -> bool:
        if self._at_path():
            return False
        self._add(_Pipe(_open(self.path)))
        return True

    def _add(self, pipe: _Pipe) -> None:
        self._pipes.append(pipe)
        self._loop.add_reader(pipe.fd, self._readable)
        for older in self._pipes[:-MAX_PIPES]:
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
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY_BYTES)
        self._capacity = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        self._framer = Framer()

    def full(self) -> bool:
        """Whether so much is in the pipe that keepalived may have dropped lines."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))
        # Each of the pipe's pages may lack less than a line.
        return bool(waiting >= self._capacity - self._capacity // 16)

    def read(self) -> tuple[list[bytes], bool, int]:
        """The lines of one reading, whether the pipe was empty at its end, and the number of overlong lines."""
        lines: list[bytes] = []
        overlong = self._framer.overlong
        taken = 0
        empty = False
        while taken < MAX_READ_BYTES:
            try:
                data = os.read(self.fd, MAX_READ_BYTES - taken)
            except BlockingIOError:
                empty = True
                break
            taken += len(data)
            lines += self._framer.feed(data)
        return lines, empty, self._framer.overlong - overlong


def _open(path: Path) -> int:
    # Open for writing as well, so that this reader sees no end of file when the last writer closes.
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        is_fifo = stat.S_ISFIFO(os.lstat(path).st_mode)
        fd = os.open(path, flags) if is_fifo else -1
    except OSError as error:
        raise IntakeError(path, f"cannot open this FIFO: {error.strerror}") from error
    if fd < 0:
        raise IntakeError(path, f"is not a FIFO (rm -r {path})")
    return fd
