"""Finds the openers of a DRBD device that the kernel does not name, as an administrator does with lsof and lsblk.

It reads only names of links and small files of /proc and /sys, which cannot block, and never the open files. A domU
whose disk the kernel serves (blkback) has no process here, but an entry in sysfs; xl reports its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from failoverd import log
from failoverd.osutil import threads
from failoverd.ports.drbd import look, wire
from failoverd.ports.drbd.status import Resource
from failoverd.ports.errors import DriverError
from failoverd.ports.xl import single

#: As DRBD 9 names an opener: ``drbd0 opened by mount (pid 848) at 2026-11-21 06:44:19.534``.
_NAMED = re.compile(r"\bopened by (.+ \(pid \d+\))")

_log = log.get("drbd")


def named(said: str) -> list[str]:
    """The openers that an error of DRBD 9 names."""
    return _NAMED.findall(said)


async def find(minor: int, root: Path = Path("/")) -> list[str]:
    """The openers of ``/dev/drbdMINOR``, each in a few words; empty: none can be found."""
    ids = await threads.run(_domains, minor, root)
    return [await _domain(number) for number in ids] + await threads.run(_others, minor, root)


async def hasten(resource: Resource, root: Path = Path("/")) -> None:
    """If a dying domain holds the resource open: end DRBD's dead connections, which may keep the domain from dying.

    It does as much as it can, and ignores errors.
    """
    with suppress(DriverError, OSError):
        for volume in resource.volumes:
            if await _dying(volume.minor, root):
                for it in await wire.dead(resource.name):
                    await wire.end(it)
                    _log.warning("what kept a domain from dying is ended", resource=resource.name, reason=str(it))
                return


async def _dying(minor: int, root: Path) -> bool:
    for number in await threads.run(_domains, minor, root):
        if await single.is_dying(number):
            return True
    return False


async def _domain(number: str) -> str:
    try:
        name = await single.name(number)
    except DriverError:
        return f"the domain with the id {number}"
    return f"the domain {name} (id {number})" if name else f"the domain with the id {number}"


def _others(minor: int, root: Path) -> list[str]:
    return [*_mounts(minor, root), *_stacked(minor, root), *_loops(minor, root), *_processes(minor, root)]


def _mounts(minor: int, root: Path) -> Iterator[str]:
    """As ``/proc/self/mountinfo``: ID, parent, MAJOR:MINOR, root, mount point."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        words = line.split()
        if words[2:3] == [f"{look.MAJOR}:{minor}"]:
            yield f"the mount at {words[4]}"
    for line in _text(root / "proc/swaps").splitlines():
        if line.split()[:1] == [f"/dev/drbd{minor}"]:
            yield "swapping"


def _stacked(minor: int, root: Path) -> Iterator[str]:
    for holder in _within(root / f"sys/block/drbd{minor}/holders"):
        name = _text(root / f"sys/block/{holder.name}/dm/name").strip()
        yield f"the device-mapper device {name}" if name else f"the block device {holder.name}"


def _loops(minor: int, root: Path) -> Iterator[str]:
    for device in _within(root / "sys/block"):
        if _text(device / "loop/backing_file").strip() == f"/dev/drbd{minor}":
            yield f"the loop device {device.name}"


def _domains(minor: int, root: Path) -> list[str]:
    """The ids of domains that have it as a disk: xen-blkback's ``vbd-DOMID-DEVICE/physical_device``, hexadecimal."""
    devices = _within(root / "sys/bus/xen-backend/devices")
    wanted = f"{look.MAJOR:x}:{minor:x}"
    return [d.name.split("-")[1] for d in devices if _text(d / "physical_device").strip() == wanted]


def _processes(minor: int, root: Path) -> Iterator[str]:
    for process in _within(root / "proc"):
        if not process.name.isdigit():
            continue
        for link in _within(process / "fd"):
            with suppress(OSError):
                if str(link.readlink()) == f"/dev/drbd{minor}":
                    stuck = "; it waits in the kernel" if _state(process) == "D" else ""
                    yield f"{_text(process / 'comm').strip() or 'a process'} (pid {process.name}{stuck})"
                    break


def _state(process: Path) -> str:
    """The letter after the name in parentheses; the name may itself have parentheses and blanks. proc_pid_stat(5)."""
    return _text(process / "stat").rpartition(")")[2].strip()[:1]


def _within(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
