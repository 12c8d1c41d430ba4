"""How DRBD is looked at, and which generation it is: DRBD 9 is asked for JSON, 8.4 for one dump of its events.

What this must not do: change anything, or make the kernel load DRBD's module.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from failoverd.drivers import DriverError, command
from failoverd.drivers.drbdstate import events, status
from failoverd.drivers.drbdstate.status import Garbled, Minor, Resource
from failoverd.drivers.shared import Shared

#: The kernel's own page. Reading it never waits.
PROC = Path("/proc/drbd")

#: There whenever the module is.
MODULE = Path("/sys/module/drbd")

#: DRBD's number among block devices, which is its own in every kernel.
MAJOR = 147

#: Seconds that one look may take; drbdsetup answers in 50 ms on a slow machine.
PATIENCE = 5.0

#: One line for each thing there is, then ``exists -``; of one resource, or of all. drbdadm's files play no part.
_DUMP = ("drbdsetup", "events2", "--now")

#: The resource that each minor belonged to when it was last seen.
_owners: dict[int, str] = {}

#: The first generation that tells JSON, takes resources' names, and has quorum.
NINE = 9


_Told = TypeVar("_Told")


class NotUp(DriverError):
    """The resource is not up on this node: nothing can use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What matters of how a resource is configured in the kernel. `quorum`: who has it knows that no other writes."""

    quorum: bool
    two_primaries: bool


def page() -> str:
    """What the kernel says in ``/proc/drbd``; empty when there is no module."""
    try:
        return PROC.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def minors() -> Mapping[int, Minor]:
    """What 8.4 tells of each of its minors now."""
    return status.minors(page())


def generation() -> int | None:
    """The first number of the running module's version; None when there is no module."""
    match = re.match(r"version: (\d+)\.", page())
    if match is not None:
        return int(match[1])
    return NINE if MODULE.exists() else None


async def read(name: str) -> Resource:
    """The resource as it is. NotUp when it is not there; another DriverError when that could not be seen."""
    found = generation()
    if found is None:
        raise NotUp(f"{name} is not up here (DRBD's kernel module is not loaded); drbdadm up {name}")
    if found < NINE:
        done = await command.run((*_DUMP, name), timeout=PATIENCE)
        resource = _understood(done, lambda text: events.parse(text, name, minors))
    else:
        done = await command.run(("drbdsetup", "status", "--json", name), timeout=PATIENCE)
        # The module may have gone since; then drbdsetup looked for it in vain.
        gone = done.returncode != 0 and re.search("No such resource|Failed to modprobe", done.stderr)
        resource = None if gone else _understood(done, lambda text: status.parse(text, name))
    if resource is None:
        raise NotUp(f"{name} is not up here; drbdadm up {name}")
    _owners.update(dict.fromkeys(resource.minors, name))
    return resource


async def read_minor(minor: int) -> Resource:
    """The resource that has this minor, as it is. NotUp and another DriverError as in `read`.

    It is looked for by the name that it had when it was last seen. Only where that is not known, or not so any more,
    everything that is up is gone through: on a large site that is long.
    """
    if generation() is None:
        raise NotUp("it is not up here (DRBD's kernel module is not loaded)")
    resource = await _read_owner(minor)
    if resource is None:
        _owners.pop(minor, None)
        _owners.update(await _everything.read(PATIENCE))
        resource = await _read_owner(minor)
    if resource is None:
        raise NotUp("it is not up here")
    return resource


async def rules(name: str) -> Rules | None:
    """Ask the kernel, which may know better than the files; None when that cannot be seen."""
    try:
        done = await command.run(("drbdsetup", "show", name), timeout=PATIENCE)
    except DriverError:
        return None
    return understood(done.stdout) if done.returncode == 0 else None


def understood(shown: str) -> Rules:
    """From ``drbdsetup show``, which leaves out what is as by default."""
    quorum = re.search(r"^\s*quorum\s+(\S+);", shown, re.MULTILINE)
    two = re.search(r"^\s*allow-two-primaries(\s+yes)?\s*;", shown, re.MULTILINE)
    nodes = 1 + len(re.findall(r"^\s*connection\s*\{", shown, re.MULTILINE))
    return Rules(quorum=quorum is not None and _excludes(quorum[1], nodes), two_primaries=two is not None)


def _excludes(quorum: str, nodes: int) -> bool:
    """Whether a part of the nodes that has this quorum leaves too few for another that has it.

    A number does when it is more than half of them; with 1, or half, each part would have it. Nodes without a disk
    count here, though they do not vote: that asks for more, not for less.
    """
    if quorum in ("majority", "all"):
        return True
    return quorum.isdecimal() and int(quorum) > max(1, nodes / 2)


def said(done: command.Completed) -> str:
    """What a tool complained of, in one line, without what says nothing to a person."""
    lines = (line.strip() for line in (done.stderr or done.stdout).splitlines())
    unsaid = re.compile(r"^$|^additional info from kernel:$|^Command '.*' terminated with exit code \d+$")
    return ": ".join(line for line in lines if not unsaid.match(line)) or f"exit status {done.returncode}"


async def _read_owner(minor: int) -> Resource | None:
    """The resource that is known to have this minor; None when none is, or it has it no more."""
    name = _owners.get(minor)
    try:
        resource = await read(name) if name is not None else None
    except NotUp:
        return None
    return resource if resource is not None and minor in resource.minors else None


async def _find_owners() -> dict[int, str]:
    """The name of the resource that each minor is of."""
    done = await command.run(_DUMP, timeout=PATIENCE)
    return _understood(done, lambda text: events.whole(text).owners)


_everything = Shared(shlex.join(_DUMP), _find_owners)


def _understood(done: command.Completed, parse: Callable[[str], _Told]) -> _Told:
    if done.returncode != 0:
        raise DriverError(f"DRBD does not tell its state: {said(done)}")
    try:
        return parse(done.stdout)
    except Garbled as error:
        raise DriverError(str(error)) from error
