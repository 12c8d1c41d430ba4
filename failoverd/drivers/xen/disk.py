"""The check of a domain's disks before it starts: those on DRBD must be Primary and UpToDate here, with quorum.

It must not change a role: the DRBD resource that the guest needs does that. It must not pass a disk if it cannot find
out whether the disk is on DRBD.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from failoverd.drivers.xen import backing
from failoverd.drivers.xen.config import Disk
from failoverd.osutil import threads
from failoverd.ports.drbd import look
from failoverd.ports.drbd.status import PRIMARY, UP_TO_DATE, Resource
from failoverd.ports.errors import DriverError

#: Xen's own block script, whose target is a device or an image, and the scripts whose target is on another machine.
_PLAIN = "block"
_REMOTE = frozenset({"block-iscsi", "block-nbd"})

#: The targets that QEMU reaches over the network.
_PROTOCOL = re.compile(r"(?:https?|iscsi|nbd|rbd):")


async def obstacle(disks: Iterable[Disk]) -> str:
    """The reason why failoverd starts no domain on such disks, whatever their state; empty if there is none."""
    if look.generation() is None:
        return ""  # there is no DRBD in this kernel
    for disk in disks:
        if await threads.run(_unclear, disk):
            return (
                f"disk {disk.path}: failoverd cannot find out whether it is on DRBD; give the whole path of the "
                "device, such as target=/dev/drbd0, also if a block script attaches it"
            )
    return ""


async def check(disks: Iterable[Disk]) -> None:
    """Raise DriverError if a disk is not safe to start a domain on now, or if that cannot be observed."""
    for wrong in await asyncio.gather(*map(_check, disks)):
        if wrong:
            raise DriverError(wrong)


async def resources(disks: Iterable[Disk]) -> frozenset[str]:
    """The names of the DRBD resources below the disks. It omits those that it cannot find out."""
    found = set()
    for disk in disks:
        with suppress(DriverError, OSError):
            for minor in await threads.run(_minors, disk):
                found.add((await look.read_minor(minor)).name)
    return frozenset(found)


def _unclear(disk: Disk) -> bool:
    """Whether the disk may be on a DRBD device that its path does not reveal."""
    script = PurePath(disk.script or _PLAIN).name
    if not disk.path or disk.elsewhere or script in _REMOTE or _PROTOCOL.match(disk.path):
        return False
    return not disk.path.startswith("/") or (script != _PLAIN and Path(disk.path).is_file())


async def _check(disk: Disk) -> str:
    try:
        for minor in await threads.run(_minors, disk):
            if wrong := problem(await look.read_minor(minor), minor):
                return f"disk {disk.path}: {wrong}"
    except DriverError as error:
        return f"disk {disk.path}: {error.reason}"
    return ""


def _minors(disk: Disk) -> frozenset[int]:
    if not disk.path.startswith("/"):
        return frozenset()  # no medium, or a case for `obstacle`
    return backing.named(disk.path) if disk.elsewhere else backing.minors(disk.path)


def problem(view: Resource, minor: int) -> str:
    """The reason why no domain may start on the device `minor` of the resource; empty if one may."""
    device = next(volume for volume in view.volumes if volume.minor == minor)
    name = f"DRBD resource {view.name}"
    role = device.role or view.role
    if role != PRIMARY:
        return f"{name} is {role} here"
    if device.disk != UP_TO_DATE:
        return f"{name} is {device.disk} here"
    if device.quorum is False:
        return f"{name} has no quorum"
    if view.suspended:
        return f"{name} is suspended"
    others = " and ".join(peer.name for peer in view.primaries)
    return f"{name} is Primary on {others} too, and the guest may run there (allow-two-primaries)" if others else ""
