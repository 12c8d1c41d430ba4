"""Processes by what they are called. Every process of the machine is asked, so it is done as cheaply as can be."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Where processes are seen.
PROC = Path("/proc")

#: The kernel keeps so many bytes of a name, and says them with a newline.
_NAME = 15


def called(name: str) -> list[int]:
    """The pids of all whose name is `name` (of at most 15 bytes), in order; what ends meanwhile is not among them.

    OSError when one that is there cannot be read.
    """
    wanted = f"{name}\n".encode()
    with os.scandir(PROC) as found:
        pids = sorted(int(it.name) for it in found if it.name.isdecimal())
    return [pid for pid in pids if _name(pid) == wanted]


def _name(pid: int) -> bytes:
    """proc(5)'s comm; nothing when the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        file = os.open(f"{PROC}/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, _NAME + 1)
        finally:
            os.close(file)
    return b""
