"""Whether a keepalived watches the directory of the track files, as the kernel has it in /proc/PID/fdinfo.

keepalived puts an inotify watch on the directory of each track file in its configuration (observed with 2.2.7). Without
a watch on this directory, nothing that failoverd writes there has an effect. A watch proves that keepalived has a track
file here, and not which one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

#: An inotify watch: the inode, and the device as the kernel numbers it inside. Both are hexadecimal.
_WATCH = re.compile(r"^inotify wd:\S+ ino:([0-9a-f]+) sdev:([0-9a-f]+) ", re.MULTILINE)

#: Bits of the minor number in the kernel's own device number.
_MINOR_BITS = 20


def watched(directory: Path, pids: Collection[int]) -> bool | None:
    """Whether one of the processes watches `directory`; None: that is not known, or there is no process."""
    if not pids:
        return None
    try:
        found = directory.stat()
        wanted = found.st_ino, os.major(found.st_dev) << _MINOR_BITS | os.minor(found.st_dev)
        return any(wanted in _watches(pid) for pid in pids)
    except OSError:
        return None


def _watches(pid: int) -> list[tuple[int, int]]:
    found = []
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found += _WATCH.findall(file.read_text(encoding="ascii"))
    return [(int(inode, 16), int(device, 16)) for inode, device in found]
