"""Who holds a DRBD device open, when the kernel does not say: what an administrator would find with lsof and lsblk.

Only what cannot wait is read: names of links and small files of /proc and /sys, never the files that are open. A domU
whose disk the kernel serves (blkback) has no process here, but a place in sysfs; its name is xl's to tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from failoverd import log, threads
from failoverd.drivers import DriverError, command
from failoverd.drivers.drbdstate import look, wire
from failoverd.drivers.drbdstate.status import Resource

#: Seconds that xl may take to tell the name of a domain; it needs 10 ms.
PATIENCE = 2.0

#: As DRBD 9 names who has opened a device: ``drbd0 opened by mount (pid 848) at 2026-11-21 06:44:19.534``.
_NAMED = re.compile(r"\bopened by (.+ \(pid \d+\))")

_log = log.get("drbd")

#: The end of a row of ``xl list``: ``--ps-d     14.9``.
_DYING = re.compile(r"\s[r-][b-][p-][s-][-rscwS?]d\s+\d+\.\d\s*$", re.MULTILINE)


def named(said: str) -> list[str]:
    """Who is named in DRBD 9's own words."""
    return _NAMED.findall(said)


async def find(minor: int, root: Path = Path("/")) -> list[str]:
    """Who holds ``/dev/drbdMINOR``, each in a few words; empty when nobody can be seen."""
    ids = await threads.run(_domains, minor, root)
    return [await _domain(number) for number in ids] + await threads.run(_others, minor, root)


async def hasten(resource: Resource, root: Path = Path("/")) -> None:
    """Where a domain that is dying holds it open: end what keeps that from dying, as far as can be told."""
    with suppress(DriverError, OSError):
        for volume in resource.volumes:
            if await _dying(volume.minor, root):
                for it in await wire.dead(resource.name):
                    await wire.end(it)
                    _log.warning("what kept a domain from dying is ended", resource=resource.name, reason=str(it))
                return


async def _dying(minor: int, root: Path) -> bool:
    for number in await threads.run(_domains, minor, root):
        if _DYING.search((await command.run(("xl", "list", number), timeout=PATIENCE)).stdout):
            return True
    return False


async def _domain(number: str) -> str:
    try:
        done = await command.run(("xl", "domname", number), timeout=PATIENCE)
    except DriverError:
        return f"the domain with the id {number}"
    name = done.stdout.strip() if done.returncode == 0 else ""
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
    """The ids of those with it for a disk: xen-blkback's ``vbd-DOMID-DEVICE/physical_device``, in hexadecimal."""
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
    """The letter after the name in parentheses, which may hold parentheses and blanks itself; proc_pid_stat(5)."""
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
