"""Whether a domain's disks are safe to start it on: those on DRBD are Primary and UpToDate here, and with quorum.

What this must not do: change a role. That is the DRBD resource's business, which the domain needs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path

from failoverd.drivers import DriverError
from failoverd.drivers.drbdstate import look
from failoverd.drivers.drbdstate.status import PRIMARY, UP_TO_DATE, Resource
from failoverd.drivers.xen.config import Disk

_DEVICE = re.compile(r"/dev/drbd(\d+)")

#: Where DRBD's devices and udev's links to them are: ``/dev/drbd0``, ``/dev/drbd/by-res/vpn/0``, ``/dev/drbd_vpn``.
_NAMES = re.compile(r"/dev/drbd\b|/dev/drbd[_\d]")


async def check(disks: Iterable[Disk]) -> None:
    """Return when nothing speaks against the disks; DriverError says what does, or that it cannot be seen."""
    for wrong in await asyncio.gather(*map(_check, disks)):
        if wrong:
            raise DriverError(wrong)


async def _check(disk: Disk) -> str:
    try:
        minor = minor_of(disk.path)
        wrong = "" if minor is None else judge(await look.read_minor(minor), minor)
    except DriverError as error:
        wrong = error.reason
    return wrong and f"disk {disk.path}: {wrong}"


def minor_of(path: str) -> int | None:
    """The number of the DRBD device that `path` leads to; None when it is none. DriverError: it leads nowhere."""
    found = _DEVICE.fullmatch(path) or _DEVICE.fullmatch(str(Path(path).resolve()))
    if found is None and _NAMES.match(path):
        raise DriverError("it leads to no DRBD device; its resource is not up here, or has another name")
    return int(found[1]) if found else None


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
