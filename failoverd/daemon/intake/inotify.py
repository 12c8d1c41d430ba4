"""The kernel's inotify(7), as much of it as the intake needs. The standard library has none."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

# <sys/inotify.h>
OPEN = 0x20
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
OVERFLOW = 0x4000
MOVED = 0x800  # IN_MOVE_SELF: the watched directory itself is elsewhere
GONE = 0x8000  # IN_IGNORED: the watched directory itself is no more
_ONLYDIR = 0x0100_0000

_EVENT = struct.Struct("iIII")


class Seen(NamedTuple):
    """One event: the watch that saw it (-1 for an overflow), what happened, and the name within the directory."""

    watch: int
    mask: int
    name: str


class Inotify:
    """Watches directories; `fd` is readable when something happened. OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    def watch(self, directory: Path, mask: int) -> int:
        """Watch `directory` for `mask`; the number that its events will carry."""
        return self._add(directory, mask | _ONLYDIR)

    def watch_file(self, file: Path, mask: int) -> int:
        """Watch `file` itself for `mask`; the number that its events will carry."""
        return self._add(file, mask)

    def read(self) -> list[Seen]:
        """What happened since the last look; empty when nothing did."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        seen = []
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            seen.append(Seen(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
            at += length
        return seen

    def _add(self, path: Path, mask: int) -> int:
        watch = int(self._libc.inotify_add_watch(self.fd, os.fsencode(path), mask))
        if watch < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
        return watch

    def close(self) -> None:
        """Stop watching."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
