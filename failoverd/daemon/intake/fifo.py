"""keepalived's ``vrrp_notify_fifo``: made beforehand, emptied at once, framed by the newline.

keepalived drops its lines silently when the pipe is full, so nothing here may wait for anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import termios
from typing import TYPE_CHECKING

from failoverd.daemon.intake.errors import Complaints, IntakeError
from failoverd.daemon.intake.wire import Framer

if TYPE_CHECKING:
    from pathlib import Path

#: What the pipe should hold, in bytes: some 40,000 lines. An unprivileged daemon may be refused it.
CAPACITY = 1 << 20

#: Bytes that one look takes, so that a writer that never rests does not keep the loop from everything else.
LOOK = 1 << 16


class Fifo:
    """The reading end. `fd` may change whenever `renew` says so."""

    def __init__(self, path: Path, complaints: Complaints) -> None:
        self.fd = -1
        self._path = path
        self._complaints = complaints
        self._framer = Framer()
        self._capacity = 0

    def open(self) -> None:
        """Open the FIFO, made if it is absent. IntakeError when something else is at its place."""
        # Open for writing as well, so that the last writer's end is never this reader's.
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            is_fifo = stat.S_ISFIFO(os.lstat(self._path).st_mode)
            fd = os.open(self._path, flags) if is_fifo else -1
        except OSError as error:
            raise IntakeError(self._path, f"cannot be opened: {error.strerror}") from error
        if fd < 0:
            raise IntakeError(self._path, "is not a FIFO; remove it and start failoverd again")
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, CAPACITY)
        self._capacity = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        self._framer = Framer()
        self.fd = fd

    def replaced(self) -> bool:
        """Whether another file, or none, is now at the path. keepalived makes its own FIFO anew at each reload."""
        try:
            there = os.lstat(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        here = os.fstat(self.fd)
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)

    def full(self) -> bool:
        """Whether so much is in the pipe that keepalived may have dropped lines."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))
        # Each of the pipe's pages may have been left short by less than a line.
        return bool(waiting >= self._capacity - self._capacity // 16)

    def read(self) -> tuple[list[bytes], bool]:
        """The lines of one look, and whether the pipe was empty at its end."""
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
        if self._framer.overlong > overlong:
            self._complaints.reject("line too long in keepalived's FIFO", lines=self._framer.overlong - overlong)
        return lines, empty

    def close(self) -> None:
        """Close the reading end; the FIFO stays, so that keepalived keeps its inode."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
