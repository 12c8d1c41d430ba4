"""The DRBD devices below a path: through symbolic links, partitions, stacked devices, loops and file systems.

It must not run in the event loop: a path may lead to a disk, or a server, that hangs.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from failoverd.ports.drbd import look
from failoverd.ports.errors import DriverError

#: The mount point of sysfs, in which the kernel describes block devices.
SYS = Path("/sys")

_DEVICE = re.compile(r"/dev/drbd(\d+)")

#: DRBD's devices and udev's links to them: ``/dev/drbd0``, ``/dev/drbd/by-res/vpn/0``, ``/dev/drbd_vpn``.
_NAMES = re.compile(r"/dev/drbd\b|/dev/drbd[_\d]")


def named(path: str) -> frozenset[int]:
    """The minor, if the path is the name of a DRBD device or a link to one; otherwise empty."""
    found = _DEVICE.fullmatch(path) or _DEVICE.fullmatch(os.path.realpath(path))
    return frozenset() if found is None else frozenset({int(found[1])})


def minors(path: str) -> frozenset[int]:
    """The minors of the DRBD devices below the path; empty if there are none. DriverError: they cannot be found out."""
    known = named(path)
    if known:
        return known
    try:
        device = number(path)
    except OSError as error:
        if _NAMES.match(path):
            why = "it leads to no DRBD device; its resource is not up here, or has another name"
            raise DriverError(why) from error
        raise DriverError(f"{error.strerror}") from error
    return frozenset() if device is None else _beneath(device)


def number(path: str) -> int | None:
    """The number of the block device at the path, or of the device whose file system has the file; None: neither.

    File systems without a device number of their own (btrfs, network file systems) count as none, so a DRBD device
    below them is not found. OSError: there is nothing at the path.
    """
    it = Path(path).stat()
    if stat.S_ISBLK(it.st_mode):
        return it.st_rdev
    return it.st_dev if stat.S_ISREG(it.st_mode) and os.major(it.st_dev) else None


def _beneath(number: int) -> frozenset[int]:
    """As `minors`, from the number of a block device: itself, its disk, its lower devices, the file of its loop."""
    if os.major(number) == look.MAJOR:
        return frozenset({os.minor(number)})
    device = SYS / f"dev/block/{os.major(number)}:{os.minor(number)}"
    try:
        place = device.resolve(strict=True)
        beneath = [place.parent] if (place / "partition").exists() else [*_children(place / "slaves")]
        numbers = [_number((child / "dev").read_text(encoding="ascii")) for child in beneath]
        loop = place / "loop/backing_file"
        looped = loop.read_text(encoding="utf-8").rstrip("\n") if loop.exists() else None
    except (OSError, ValueError) as error:
        raise DriverError(f"cannot find the devices below it ({device}: {error})") from error
    found = frozenset[int]().union(*map(_beneath, numbers))
    return found if looped is None else found | minors(looped)


def _children(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.exists() else []


def _number(text: str) -> int:
    major, minor = map(int, text.split(":"))
    return os.makedev(major, minor)
