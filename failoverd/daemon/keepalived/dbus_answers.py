"""Derives the reported state of one instance from the answers of keepalived's D-Bus. It does no I/O.

- D-Bus has the instance: it is in the state that D-Bus shows.
- D-Bus had it, and has it no more: it was renamed if its virtual router has another name now, else deleted.
- D-Bus never had it: it may be a sync group, which D-Bus does not show. A group is in the state of its members, if they
  are configured, or if all of keepalived's instances are in one state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from failoverd.core.words import VrrpState
from failoverd.daemon.keepalived.vrrp_dbus import Instance, Service

#: Names that one message lists, at most.
_MAX_LISTED_NAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedState:
    """The state of one instance as D-Bus reports it. `state`: None if D-Bus does not report it.

    `detail`: one line with the answer. `doubt`: one line if an operator must correct a configuration, else empty.
    `path`: the object that is or was the instance, which identifies it after a change of name; None: never seen.
    `pid`: the owner of the name that has the instance; None: no owner has it, or more than one.
    """

    state: VrrpState | None = None
    detail: str
    doubt: str = ""
    path: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownInstance:
    """An instance as it is known before D-Bus is asked.

    `group`: keepalived reported it as a sync group; None: it has reported nothing of it. `last`: its last reported
    state. `path`: its object on D-Bus; None: never seen. `members`: as configured, of a sync group. `speakers`: the
    processes of each keepalived that may report it.
    """

    name: str
    group: bool | None = None
    last: VrrpState | None = None
    path: str | None = None
    members: tuple[str, ...] = ()
    speakers: Sequence[Collection[int]] = ()


def reported_state(known: KnownInstance, services: Sequence[Service]) -> ReportedState:
    """The state of the instance that follows from the answers of all keepaliveds on the bus."""
    own = [s for s in services if any(s.pid in pids for pids in known.speakers)] or services
    having = [(s, i) for s in own for i in s.instances if i.name == known.name and not known.members]
    if having:
        return _found(known, having)
    inconclusive = _inconclusive(known, own)
    if inconclusive:
        return ReportedState(detail=inconclusive, path=known.path)
    if known.group or known.members:
        return _group(known, own)
    if known.path is not None:
        return _lost(known, known.path, own)
    doubt = f"keepalived has no instance {known.name}: {_names(own)}"
    if known.group is None:
        doubt += "; if it is a sync group, D-Bus does not show it"
    return ReportedState(detail=doubt, doubt=doubt)


def _inconclusive(known: KnownInstance, services: Sequence[Service]) -> str:
    """The reason why the absence of an instance proves nothing; empty if every keepalived that may have it answered."""
    if not services:
        if not known.speakers:
            return "no keepalived is on D-Bus, and none runs: systemctl start keepalived"
        return "no keepalived is on D-Bus; check enable_dbus in keepalived.conf"
    troubles = [service.trouble for service in services if service.trouble]
    asked = {service.pid for service in services}
    troubles += [f"keepalived (pid {min(pids)}) is not on D-Bus" for pids in known.speakers if not asked & set(pids)]
    return "; ".join(troubles or () if known.speakers else ["cannot see keepalived's processes"])


def _found(known: KnownInstance, having: Sequence[tuple[Service, Instance]]) -> ReportedState:
    if len({instance.state for _, instance in having}) > 1:
        each = ", ".join(f"{service.name} reports {_state(instance)}" for service, instance in having)
        doubt = f"more than one keepalived has an instance {known.name}: {each}"
        return ReportedState(detail=doubt, doubt=doubt, path=known.path)
    service, instance = having[0]
    detail = f"{service.name} reports {_state(instance)}"
    pid = service.pid if len(having) == 1 else None
    return ReportedState(state=instance.state, detail=detail, path=instance.path, pid=pid)


def _lost(known: KnownInstance, path: str, services: Iterable[Service]) -> ReportedState:
    """The state of an instance that D-Bus had, and has no more."""
    renamed = next((i for service in services for i in service.instances if i.path == path), None)
    if renamed is not None:
        doubt = (
            f"keepalived has renamed instance {known.name} to {renamed.name}: "
            "use the same name in failoverd.toml and keepalived.conf"
        )
        return ReportedState(state=renamed.state, detail=doubt, doubt=doubt, path=path)
    doubt = f"keepalived has no instance {known.name} any more: {_names(services)}"
    return ReportedState(state=VrrpState.DELETED, detail=doubt, doubt=doubt, path=path)


def _group(known: KnownInstance, services: Iterable[Service]) -> ReportedState:
    instances = [i for service in services for i in service.instances if not known.members or i.name in known.members]
    missing = set(known.members) - {instance.name for instance in instances}
    if missing:
        doubt = f"keepalived has no instance {' nor '.join(sorted(missing))}, which is in `members` of {known.name}"
        return ReportedState(detail=doubt, doubt=f"{doubt}: {_names(services)}")
    detail = f"keepalived's instances: {_list(f'{i.name} {_state(i)}' for i in instances)}"
    state = _common_state({instance.state for instance in instances}, known.last)
    if state is None and not known.members:
        detail += f"; configure `members` of {known.name}"
    return ReportedState(state=state, detail=detail)


def _common_state(states: Collection[VrrpState | None], last: VrrpState | None) -> VrrpState | None:
    """The state of a group whose members are unknown instances with these states; None if it does not follow."""
    if len(states) == 1:
        return next(iter(states))
    if not states or None in states or VrrpState.MASTER in states:
        return None
    return last if last in states else VrrpState.FAULT


def _state(instance: Instance) -> str:
    return instance.state.value if instance.state is not None else "no state"


def _names(services: Iterable[Service]) -> str:
    return "; ".join(f"{s.name} has " + _list(instance.name for instance in s.instances) for s in services)


def _list(texts: Iterable[str]) -> str:
    ordered = sorted(texts)
    more = f" and {len(ordered) - _MAX_LISTED_NAMES} more" if len(ordered) > _MAX_LISTED_NAMES else ""
    return (", ".join(ordered[:_MAX_LISTED_NAMES]) or "none") + more
