"""Whether a domain's disks are safe to start it on: those on DRBD are Primary and UpToDate here, and with quorum.

What this must not do: change a role. That is the DRBD resource's business, which the domain needs. It reads the few
words that it must know by itself, so that a guest's driver knows no other driver.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from failoverd.drivers import DriverError, command
from failoverd.drivers.shared import Shared
from failoverd.drivers.xen.config import PATIENCE, Disk

_DEVICE = re.compile(r"/dev/drbd(\d+)")

#: Where DRBD's devices and udev's links to them are: ``/dev/drbd0``, ``/dev/drbd/by-res/vpn/0``, ``/dev/drbd_vpn``.
_NAMES = re.compile(r"/dev/drbd\b|/dev/drbd[_\d]")

#: One line for each thing there is, then ``exists -``. DRBD 8.4 and 9 both have it, and drbdadm's files play no part.
_EVENTS = ("drbdsetup", "events2", "--now")
_dump = Shared(shlex.join(_EVENTS), lambda: command.run(_EVENTS, timeout=PATIENCE))


async def check(disks: Iterable[Disk]) -> None:
    """Return when nothing speaks against the disks; DriverError says what does, or that it cannot be seen."""
    minors = {minor: disk.path for disk in disks if (minor := minor_of(disk.path)) is not None}
    if not minors:
        return
    done = await _dump.read(PATIENCE)
    if done.returncode != 0:
        said = command.last_line(done.stderr) or f"exit status {done.returncode}"
        raise DriverError(f"{shlex.join(_EVENTS)}: {said}")
    for minor, path in minors.items():
        if wrong := judge(done.stdout, minor):
            raise DriverError(f"disk {path}: {wrong}")


def minor_of(path: str) -> int | None:
    """The number of the DRBD device that `path` leads to; None when it is none. DriverError: it leads nowhere."""
    found = _DEVICE.fullmatch(path) or _DEVICE.fullmatch(str(Path(path).resolve()))
    if found is None and _NAMES.match(path):
        raise DriverError(f"disk {path}: it leads to no DRBD device; its resource is not up here, or has another name")
    return int(found[1]) if found else None


def judge(dump: str, minor: int) -> str:
    """Why nothing may be started on the device, by what ``events2 --now`` said; empty when it may."""
    lines = dump.splitlines()
    if lines[-1:] != ["exists -"]:
        return "DRBD's state cannot be told: drbdsetup broke off"
    words = [it for it in map(str.split, lines) if len(it) > 1]
    said = [(it[1], dict(word.split(":", 1) for word in it[2:] if ":" in word)) for it in words]
    device = next((it for kind, it in said if kind == "device" and it.get("minor") == str(minor)), None)
    if device is None:
        return "it is not up here"
    name = device.get("name", "")
    resource = next((it for kind, it in said if kind == "resource" and it.get("name") == name), {})
    if resource.get("role") != "Primary":
        return f"DRBD resource {name} is {resource.get('role', 'in an unknown role')} here"
    if device.get("disk") != "UpToDate":
        return f"DRBD resource {name} is {device.get('disk', 'in an unknown state')} here"
    if device.get("quorum", "yes") != "yes":  # 8.4 has none
        return f"DRBD resource {name} has no quorum"
    return "" if resource.get("suspended") == "no" else f"DRBD resource {name} is suspended"
