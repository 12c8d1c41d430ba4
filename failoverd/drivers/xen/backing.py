"""Which DRBD devices a path leads to: by whatever name, and through whatever the kernel has put between.

What this must not do: run in the event loop. A path may lead to a disk, or a server, that hangs.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from failoverd.drivers import DriverError
from failoverd.drivers.drbdstate import look

#: Where the kernel says what a block device is made of.
SYS = Path("/sys")

_DEVICE = re.compile(r"/dev/drbd(\d+)")

#: Where DRBD's devices and udev's links to them are: ``/dev/drbd0``, ``/dev/drbd/by-res/vpn/0``, ``/dev/drbd_vpn``.
_NAMES = re.compile(r"/dev/drbd\b|/dev/drbd[_\d]")


def named(path: str) -> frozenset[int]:
    """The minor, where the path has the name of a DRBD device or is a link to one; empty where it has another."""
    found = _DEVICE.fullmatch(path) or _DEVICE.fullmatch(os.path.realpath(path))
    return frozenset() if found is None else frozenset({int(found[1])})


def minors(path: str) -> frozenset[int]:
    """The minors of the DRBD devices beneath it; empty when there are none. DriverError when that cannot be told."""
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
    """The block device that it is, or whose file system it is on; None when there is none. OSError: it is not there.

    Some file systems have no device of their own (btrfs, those of a network): what they stand on is not seen here.
    """
    it = Path(path).stat()
    if stat.S_ISBLK(it.st_mode):
        return it.st_rdev
    return it.st_dev if stat.S_ISREG(it.st_mode) and os.major(it.st_dev) else None


def _beneath(number: int) -> frozenset[int]:
    """As `minors`, of a block device: itself, what it is a part of, what it is stacked on, what it loops over."""
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
        raise DriverError(f"what it stands on cannot be told ({device}: {error})") from error
    found = frozenset[int]().union(*map(_beneath, numbers))
    return found if looped is None else found | minors(looped)


def _children(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.exists() else []


def _number(text: str) -> int:
    major, minor = map(int, text.split(":"))
    return os.makedev(major, minor)
