"""Whether a domain's disks are safe to start it on: those on DRBD are Primary and UpToDate here, and with quorum.

What this must not do: change a role, which is the DRBD resource's business, which the domain needs; or take a disk for
none of DRBD's of which that cannot be told.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from failoverd import threads
from failoverd.drivers import DriverError
from failoverd.drivers.drbdstate import look
from failoverd.drivers.drbdstate.status import PRIMARY, UP_TO_DATE, Resource
from failoverd.drivers.xen import backing
from failoverd.drivers.xen.config import Disk

#: Xen's own block script: its target is a device or an image, and no more. And those that go to another machine.
_PLAIN = "block"
_REMOTE = frozenset({"block-iscsi", "block-nbd"})

#: What QEMU goes to another machine for.
_PROTOCOL = re.compile(r"(?:https?|iscsi|nbd|rbd):")


async def objection(disks: Iterable[Disk]) -> str:
    """Why no domain is started on such disks, whatever they are like now, with the remedy; empty when one may be."""
    if look.generation() is None:
        return ""  # there is no DRBD in this kernel
    for disk in disks:
        if await threads.run(_unclear, disk):
            return (
                f"disk {disk.path}: it cannot be told whether it is on DRBD; name the device by its whole path "
                "(target=/dev/drbd0, say), and have a block script find it by that"
            )
    return ""


async def check(disks: Iterable[Disk]) -> None:
    """Return when nothing speaks against the disks; DriverError says what does, or that it cannot be seen."""
    for wrong in await asyncio.gather(*map(_check, disks)):
        if wrong:
            raise DriverError(wrong)


async def resources(disks: Iterable[Disk]) -> frozenset[str]:
    """The names of the DRBD resources that the disks are on, as far as they can be told."""
    found = set()
    for disk in disks:
        with suppress(DriverError, OSError):
            for minor in await threads.run(_minors, disk):
                found.add((await look.read_minor(minor)).name)
    return frozenset(found)


def _unclear(disk: Disk) -> bool:
    """It may lead to a DRBD device, and by its path nobody can tell."""
    script = PurePath(disk.script or _PLAIN).name
    if not disk.path or disk.elsewhere or script in _REMOTE or _PROTOCOL.match(disk.path):
        return False
    return not disk.path.startswith("/") or (script != _PLAIN and Path(disk.path).is_file())


async def _check(disk: Disk) -> str:
    try:
        for minor in await threads.run(_minors, disk):
            if wrong := judge(await look.read_minor(minor), minor):
                return f"disk {disk.path}: {wrong}"
    except DriverError as error:
        return f"disk {disk.path}: {error.reason}"
    return ""


def _minors(disk: Disk) -> frozenset[int]:
    if not disk.path.startswith("/"):
        return frozenset()  # none, or `objection` has judged it
    return backing.named(disk.path) if disk.elsewhere else backing.minors(disk.path)


def judge(view: Resource, minor: int) -> str:
    """Why nothing may be started on the device, which is one of the resource's; empty when it may."""
    device = next(volume for volume in view.volumes if volume.minor == minor)
    name = f"DRBD resource {view.name}"
    role = device.role or view.role
    if role != PRIMARY:
        return f"{name} is {role} here"
    if device.disk != UP_TO_DATE:
        return f"{name} is {device.disk} here"
    if device.quorum is False:
        return f"{name} has no quorum"
    return f"{name} is suspended" if view.suspended else ""
