"""inotify(7), as far as failoverd needs it: Python's standard library has no interface to it."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

# <sys/inotify.h>
WRITTEN = 0x8  # IN_CLOSE_WRITE
OPEN = 0x20
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
OVERFLOW = 0x4000
MOVED = 0x800  # IN_MOVE_SELF: the watched directory itself was renamed
GONE = 0x8000  # IN_IGNORED: the watched directory itself was removed, or the watch ended
_ONLYDIR = 0x0100_0000

_EVENT = struct.Struct("iIII")


class Seen(NamedTuple):
    """One event: its watch (-1: the queue overflowed), the bits of inotify(7), and the name within the directory."""

    watch: int
    mask: int
    name: str


class Inotify:
    """Watches directories and files; `fd` is readable when there are events. OSError: the kernel has no resources."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    def watch(self, directory: Path, mask: int) -> int:
        """Watch `directory` for `mask`. Returns the watch of its events."""
        return self._add(directory, mask | _ONLYDIR)

    def watch_file(self, file: Path, mask: int) -> int:
        """Watch `file` itself for `mask`. Returns the watch of its events."""
        return self._add(file, mask)

    def forget(self, watch: int) -> None:
        """End this watch; its last event is GONE."""
        self._libc.inotify_rm_watch(self.fd, watch)  # no error where the watch has ended already

    def read(self) -> list[Seen]:
        """The events since the last read; empty where there are none."""
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
