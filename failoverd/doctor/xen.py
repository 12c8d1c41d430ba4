"""Xen's guests: xl accepts their files, only failoverd starts them, and failoverd has their disks ready before."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from failoverd.core.spec import ResourceSpec
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.drivers.xen import backing
from failoverd.drivers.xen.config import Config, File
from failoverd.osutil import threads
from failoverd.ports.drbd import configured, wire
from failoverd.ports.errors import DriverError, Refused
from failoverd.ports.xl.listing import XL_TIMEOUT_S

#: xendomains starts every guest that has a file here.
AUTO = Path("/etc/xen/auto")


async def look(site: Site) -> list[Finding]:
    """All findings about guests. Raises DriverError if xl or drbdadm does not answer."""
    specs = list(site.resources("xen"))
    if not specs:
        return []
    replicas = list(site.resources("drbd"))
    names = await _names() if replicas else {}
    found = await threads.run(_copies, specs[0]) if replicas else []
    for spec in specs:
        found += await threads.run(lambda spec=spec: list(_automatic(spec)))
        try:
            it = await File(spec.options.config).read(XL_TIMEOUT_S)
        except Refused as error:
            found.append(_rejected(spec, error.reason))
            continue
        if it.obstacle:
            found.append(_rejected(spec, it.obstacle))
        disks = {names[minor] for minor in await threads.run(minors, it) if minor in names}
        found += _needs(site, spec, disks, {each.options.resource: each for each in replicas})
    return found


async def _names() -> dict[int, str]:
    """The resource of each of DRBD's minors; none if drbdadm rejects its files, which drbd.py reports."""
    try:
        known = await configured.read()
    except configured.Rejected:
        return {}
    return {minor: each.name for each in known.values() for minors in each.minors.values() for minor in minors}


def _copies(spec: ResourceSpec) -> list[Finding]:
    """Whether DRBD will copy the data that it sends, from the next boot on."""
    files = Path(wire.MODPROBE_FILE).parent.glob("*.conf")
    lines = [line.split() for file in files for line in file.read_text(errors="replace").splitlines()]
    if wire.MODPROBE_OPTION.split() in lines:
        return []
    return [
        Finding(
            code="xen-sendpage",
            about=spec.instance,
            wrong="DRBD sends the memory of guests without copying it",
            why="After an interruption of replication a guest may never end, and then no handover ends either.",
            where=wire.MODPROBE_FILE,
            fix=wire.MODPROBE_OPTION,
        )
    ]


def _rejected(spec: ResourceSpec, reason: str) -> Finding:
    text = reason.rpartition("; ")[2]
    remedy = text.startswith(("write ", "put ", "give "))  # as the driver's reasons end; xl's do not
    return Finding(
        code="xen-file",
        about=f"{spec.instance}.{spec.name}",
        wrong=f"failoverd would not start {spec.options.config}: {reason}",
        why="When this node becomes MASTER, the guest stays down.",
        where=spec.options.config if remedy else "",
        fix=text if remedy else shlex.join(("xl", "-N", "create", spec.options.config)),
    )


def _automatic(spec: ResourceSpec) -> Iterator[Finding]:
    """The file, under any name, among those that xendomains starts."""
    own = Path(spec.options.config)
    for entry in sorted(AUTO.iterdir()) if AUTO.is_dir() else ():
        if entry.name == own.name or entry.resolve() == own.resolve():
            yield Finding(
                code="xen-auto",
                about=f"{spec.instance}.{spec.name}",
                wrong=f"{entry} has the guest start at boot",
                why="xendomains starts it on every node at once, before failoverd knows who is MASTER.",
                fix=f"rm {shlex.quote(str(entry))}",
            )


def minors(it: Config) -> frozenset[int]:
    """The minors of the DRBD devices below the disks of a guest; without those that cannot be found out."""
    found: frozenset[int] = frozenset()
    for disk in it.disks:
        with suppress(DriverError):
            found |= backing.minors(disk.path)
    return found


def _needs(site: Site, spec: ResourceSpec, disks: set[str], replicas: Mapping[str, ResourceSpec]) -> Iterator[Finding]:
    """Each DRBD resource that is a disk of the guest is a resource of failoverd that the guest needs."""
    names = {name: replicas[name].name for name in disks if name in replicas}
    lacking = [name for name in names.values() if name not in spec.needs]
    if lacking:
        yield Finding(
            code="xen-needs",
            about=f"{spec.instance}.{spec.name}",
            wrong=f"a disk of the guest is on {', '.join(sorted(lacking))}, which is not in its `needs`",
            why="failoverd would start the guest before its disk is Primary, and demote the disk under it.",
            where=site.file_of(spec.instance),
            fix=f"needs = {json.dumps(sorted({*spec.needs, *lacking}))}",
        )
    for name in sorted(disks - names.keys()):
        yield Finding(
            code="xen-disk",
            about=f"{spec.instance}.{spec.name}",
            wrong=f"a disk of the guest is on DRBD resource {name}, which failoverd.toml does not have",
            why="Nothing promotes it, so failoverd refuses to start the guest.",
            where=site.file_of(spec.instance),
            fix=f'[instance.{spec.instance}.resource.{name}-disk]\ndriver = "drbd"\nresource = "{name}"',
        )
