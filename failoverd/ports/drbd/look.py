"""Reads the state of DRBD resources: from the JSON of DRBD 9, and from a dump of the events of 8.4.

It must not change anything, nor make the kernel load DRBD's module.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from failoverd.ports import command
from failoverd.ports.coalesce import Shared
from failoverd.ports.drbd import events, status
from failoverd.ports.drbd.status import Garbled, Minor, Resource
from failoverd.ports.errors import DriverError

#: The kernel's page about DRBD. Reading it does not block.
PROC = Path("/proc/drbd")

#: Exists while DRBD's module is loaded.
MODULE = Path("/sys/module/drbd")

#: DRBD's major number of block devices, the same in every kernel.
MAJOR = 147

#: For one call of drbdsetup, which takes 50 ms on a slow machine.
DRBDSETUP_TIMEOUT_S = 5.0

#: Prints one line for each object, then ``exists -``; of one resource, or of all. It does not read drbdadm's files.
_DUMP = ("drbdsetup", "events2", "--now")

#: The resource that each minor belonged to when it was last read.
_owners: dict[int, str] = {}

#: The first generation that has JSON, names of peers, and quorum.
_GENERATION_9 = 9


_Parsed = TypeVar("_Parsed")


class NotUp(DriverError):
    """The resource is not up on this node, so nothing can use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Options of a resource in the kernel.

    `quorum`: a node with quorum knows that no disconnected node can write. `two_primaries`: allow-two-primaries.
    `fencing`: a Primary that has lost a peer calls the handler fence-peer, and relies on its answer.
    """

    quorum: bool
    two_primaries: bool
    fencing: bool


def page() -> str:
    """The text of ``/proc/drbd``; empty if the module is not loaded."""
    try:
        return PROC.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def minors() -> Mapping[int, Minor]:
    """The minors of DRBD 8.4, as they are now."""
    return status.minors(page())


def generation() -> int | None:
    """The first number of the loaded module's version; None: the module is not loaded."""
    match = re.match(r"version: (\d+)\.", page())
    if match is not None:
        return int(match[1])
    return _GENERATION_9 if MODULE.exists() else None


async def read(name: str) -> Resource:
    """The current state of the resource. Raises NotUp, and another DriverError if the state cannot be read."""
    found = generation()
    if found is None:
        raise NotUp(f"{name} is not up here (DRBD's kernel module is not loaded); drbdadm up {name}")
    if found < _GENERATION_9:
        done = await command.run((*_DUMP, name), timeout=DRBDSETUP_TIMEOUT_S)
        resource = _parse(done, lambda text: events.parse(text, name, minors))
    else:
        done = await command.run(("drbdsetup", "status", "--json", name), timeout=DRBDSETUP_TIMEOUT_S)
        # If the module was unloaded meanwhile, drbdsetup has tried to load it, in vain.
        gone = done.returncode != 0 and re.search("No such resource|Failed to modprobe", done.stderr)
        resource = None if gone else _parse(done, lambda text: status.parse(text, name))
    if resource is None:
        raise NotUp(f"{name} is not up here; drbdadm up {name}")
    _owners.update(dict.fromkeys(resource.minors, name))
    return resource


async def read_minor(minor: int) -> Resource:
    """The current state of the resource that has this minor. Raises as `read`.

    The name is taken from the last reading. Only if it is unknown or outdated, all resources are read, which takes long
    on a large site.
    """
    if generation() is None:
        raise NotUp("it is not up here (DRBD's kernel module is not loaded)")
    resource = await _read_owner(minor)
    if resource is None:
        _owners.pop(minor, None)
        _owners.update(await _everything.read(DRBDSETUP_TIMEOUT_S))
        resource = await _read_owner(minor)
    if resource is None:
        raise NotUp("it is not up here")
    return resource


async def rules(name: str) -> Rules | None:
    """The options in the kernel, which may differ from the files; None if they cannot be read."""
    try:
        done = await command.run(("drbdsetup", "show", name), timeout=DRBDSETUP_TIMEOUT_S)
    except DriverError:
        return None
    return parse_rules(done.stdout) if done.returncode == 0 else None


def parse_rules(output: str) -> Rules:
    """The options in the output of ``drbdsetup show``, which omits defaults."""
    quorum = re.search(r"^\s*quorum\s+(\S+);", output, re.MULTILINE)
    two = re.search(r"^\s*allow-two-primaries(\s+yes)?\s*;", output, re.MULTILINE)
    fencing = re.search(r"^\s*fencing\s+(\S+);", output, re.MULTILINE)
    nodes = 1 + len(re.findall(r"^\s*connection\s*\{", output, re.MULTILINE))
    return Rules(
        quorum=quorum is not None and _excludes(quorum[1], nodes),
        two_primaries=two is not None,
        fencing=fencing is not None and fencing[1] != "dont-care",
    )


def _excludes(quorum: str, nodes: int) -> bool:
    """Whether only one part of the nodes can have this quorum at a time.

    A number must be more than half of the nodes: with half, two parts could have quorum. Diskless nodes count here,
    though they do not vote, which errs on the safe side.
    """
    if quorum in ("majority", "all"):
        return True
    return quorum.isdecimal() and int(quorum) > max(1, nodes / 2)


def error_line(done: command.Completed) -> str:
    """The errors of a tool in one line, without DRBD's boilerplate; its exit status if there are none."""
    lines = (line.strip() for line in (done.stderr or done.stdout).splitlines())
    boilerplate = re.compile(r"^$|^additional info from kernel:$|^Command '.*' terminated with exit code \d+$")
    return ": ".join(line for line in lines if not boilerplate.match(line)) or f"exit status {done.returncode}"


async def _read_owner(minor: int) -> Resource | None:
    """The resource that had this minor last; None if there is none, or if it has the minor no more."""
    name = _owners.get(minor)
    try:
        resource = await read(name) if name is not None else None
    except NotUp:
        return None
    return resource if resource is not None and minor in resource.minors else None


async def _find_owners() -> dict[int, str]:
    """The name of the resource of each minor."""
    done = await command.run(_DUMP, timeout=DRBDSETUP_TIMEOUT_S)
    return _parse(done, lambda text: events.whole(text).owners)


_everything = Shared(shlex.join(_DUMP), _find_owners)


def _parse(done: command.Completed, parse: Callable[[str], _Parsed]) -> _Parsed:
    if done.returncode != 0:
        raise DriverError(f"cannot read DRBD's state: {error_line(done)}")
    try:
        return parse(done.stdout)
    except Garbled as error:
        raise DriverError(str(error)) from error
