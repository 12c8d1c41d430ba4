"""What the answers of keepalived's D-Bus mean for one instance. No I/O here.

An instance that D-Bus has is in the state that it shows. One that it has no more was renamed, when its virtual router
is there under another name, or deleted. One that it never had may be a sync group, of which D-Bus knows nothing: that
is in the state of its members, where those are known, or where all that keepalived has are in one state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from failoverd.core.words import VrrpState
from failoverd.daemon.vrrpbus import Instance, Service

#: As many names are listed of what there is.
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearsay:
    """What D-Bus says of one instance. `state`: None where it does not tell.

    `said`: what was asked and what was answered. `doubt`: what somebody has to mend in a configuration; empty when
    nothing. `path`: the object that is or was the instance, to know it again under another name; None: never seen.
    `pid`: who has it; None where nobody has, or more than one.
    """

    state: VrrpState | None = None
    said: str
    doubt: str = ""
    path: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of an instance beforehand. `group`: keepalived called it so; None when it has not spoken.

    `last`: its last word. `path`: the object that it was. `members`: as configured, where it is a sync group.
    `speakers`: the processes of each keepalived that may speak for it.
    """

    name: str
    group: bool | None = None
    last: VrrpState | None = None
    path: str | None = None
    members: tuple[str, ...] = ()
    speakers: Sequence[Collection[int]] = ()


def judge(about: About, services: Sequence[Service]) -> Hearsay:
    """What the answers of all keepaliveds on the bus mean for the instance."""
    own = [s for s in services if any(s.pid in pids for pids in about.speakers)] or services
    having = [(s, i) for s in own for i in s.instances if i.name == about.name and not about.members]
    if having:
        return _found(about, having)
    silence = _silence(about, own)
    if silence:
        return Hearsay(said=silence, path=about.path)
    if about.group or about.members:
        return _group(about, own)
    if about.path is not None:
        return _lost(about, about.path, own)
    doubt = f"keepalived has no instance {about.name}: {_listed(own)}"
    if about.group is None:
        doubt += "; if it is a sync group, D-Bus does not know it"
    return Hearsay(said=doubt, doubt=doubt)


def _silence(about: About, services: Sequence[Service]) -> str:
    """Why nothing follows from what was not answered; empty when all who may have the instance have answered."""
    if not services:
        return "no keepalived is on D-Bus (is enable_dbus in keepalived.conf?)"
    troubles = [service.trouble for service in services if service.trouble]
    asked = {service.pid for service in services}
    troubles += [f"keepalived (pid {min(pids)}) is not on D-Bus" for pids in about.speakers if not asked & set(pids)]
    return "; ".join(troubles or () if about.speakers else ["keepalived's processes are not seen"])


def _found(about: About, having: Sequence[tuple[Service, Instance]]) -> Hearsay:
    if len({instance.state for _, instance in having}) > 1:
        each = ", ".join(f"{service.name} says {_word(instance)}" for service, instance in having)
        doubt = f"more than one keepalived has an instance {about.name}: {each}"
        return Hearsay(said=doubt, doubt=doubt, path=about.path)
    service, instance = having[0]
    said = f"{service.name} says {_word(instance)}"
    pid = service.pid if len(having) == 1 else None
    return Hearsay(state=instance.state, said=said, path=instance.path, pid=pid)


def _lost(about: About, path: str, services: Iterable[Service]) -> Hearsay:
    """D-Bus had it, and has it no more."""
    renamed = next((i for service in services for i in service.instances if i.path == path), None)
    doubt = f"keepalived has no instance {about.name} any more: "
    if renamed is not None:
        doubt += f"it calls it {renamed.name}. Call it so here too, or there as before"
        return Hearsay(state=renamed.state, said=doubt, doubt=doubt, path=path)
    doubt += _listed(services)
    return Hearsay(state=VrrpState.DELETED, said=doubt, doubt=doubt, path=path)


def _group(about: About, services: Iterable[Service]) -> Hearsay:
    instances = [i for service in services for i in service.instances if not about.members or i.name in about.members]
    missing = set(about.members) - {instance.name for instance in instances}
    if missing:
        doubt = f"keepalived has no {' nor '.join(sorted(missing))}, which is a member of {about.name} here"
        return Hearsay(said=doubt, doubt=f"{doubt}: {_listed(services)}")
    said = f"of keepalived's instances, {_some(f'{i.name} is {_word(i)}' for i in instances)}"
    state = _of_all({instance.state for instance in instances}, about.last)
    if state is None and not about.members:
        said += f"; `members` would say which of them are {about.name}'s"
    return Hearsay(state=state, said=said)


def _of_all(states: Collection[VrrpState | None], last: VrrpState | None) -> VrrpState | None:
    """The state of a group of which nothing is known but that it is made of some of these."""
    if len(states) == 1:
        return next(iter(states))
    if not states or None in states or VrrpState.MASTER in states:
        return None
    return last if last in states else VrrpState.FAULT


def _word(instance: Instance) -> str:
    return instance.state.value if instance.state is not None else "undecided"


def _listed(services: Iterable[Service]) -> str:
    return "; ".join(f"{s.name} has " + _some(instance.name for instance in s.instances) for s in services)


def _some(texts: Iterable[str]) -> str:
    all_of_them = sorted(texts)
    more = f" and {len(all_of_them) - _LISTED} more" if len(all_of_them) > _LISTED else ""
    return (", ".join(all_of_them[:_LISTED]) or "none") + more
