"""The core's state as `failoverctl` gets it: plain data for JSON, with times as timestamps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from failoverd import __version__
from failoverd.core import guards, peers, strays, votes
from failoverd.core.knowledge import Fencing, Vote
from failoverd.core.model import Handover, InstanceState, Maintenance, Standby, State, Stray
from failoverd.core.resource import ResourceState
from failoverd.core.words import Keepalived, Phase, Target
from failoverd.trouble import Trouble

#: The most instances that the one-line status names.
MAX_NAMED = 8


def timestamp(at: float) -> str:
    """The ISO 8601 time in UTC of `at`, in seconds since the epoch."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds")


def status(
    state: State,
    *,
    node: str,
    events: Mapping[str, int],
    troubles: Iterable[Trouble],
    wall: Callable[[float], float],
    only: str | None = None,
    names: Iterable[str] | None = None,
) -> dict[str, Any]:
    """The data that ``failoverctl status --json`` prints. `wall` turns the core's seconds into seconds since the epoch.

    `events`: the number of events by verdict. `only`: the one instance to show; None: all. `names`: the instances to
    include; None: all of these.
    """
    shown = state.instances if only is None else (only,) if only in state.instances else ()
    strays = (stray for stray in state.strays.values() if stray.said and only in (None, stray.spec.instance))
    return {
        "version": __version__,
        "node": node,
        "keepalived": _keepalived(state),
        "maintenance": maintenance(state.maintenance, wall),
        "quorum": _quorum(state, wall),
        "off": {name: {"since": timestamp(wall(off.at)), "said": off.said} for name, off in state.off.items()},
        "fencings": {name: _fencing(each, wall) for name, each in state.fencings.items()},
        "events": dict(events),
        "troubles": [{"about": t.about, "text": t.text, "since": timestamp(t.since)} for t in troubles],
        "strays": [_stray(stray, state, wall) for stray in strays],
        "unconfigured_standby": {
            name: _standby(wish, wall) for name, wish in state.standby.items() if only in (None, name)
        },
        "instances": {name: _instance(state, name, wall) for name in (shown if names is None else names)},
    }


def _quorum(state: State, wall: Callable[[float], float]) -> dict[str, Any] | None:
    """The witnesses that answer every node, as far as they were asked; None: none is configured."""
    quorum = state.config.quorum
    if quorum is None:
        return None
    return {
        "need": quorum.need,
        "isolation_timeout": quorum.isolation_timeout,
        "asking": bool(state.agenda.voters or votes.left_behind(state)),
        "witnesses": {name: _vote(state.votes.get(name, Vote()), wall) for name in quorum.witnesses},
    }


def _fencing(fencing: Fencing, wall: Callable[[float], float]) -> dict[str, Any]:
    """A fencing that runs or has failed. `next`: when it is tried again, if it is needed then."""
    pauses = not fencing.running and math.isfinite(fencing.not_before)
    return {
        "running": fencing.running,
        "asked": timestamp(wall(fencing.asked)),
        "instance": fencing.instance,
        "failed": fencing.failed,
        "said": fencing.said or None,
        "ended": timestamp(wall(fencing.ended)) if math.isfinite(fencing.ended) else None,
        "next": timestamp(wall(fencing.not_before)) if pauses else None,
    }


def _vote(vote: Vote, wall: Callable[[float], float]) -> dict[str, Any]:
    return {
        "granted": vote.granted,
        "said": vote.said,
        "asked": None if math.isinf(vote.asked) else timestamp(wall(vote.asked)),
    }


def _keepalived(state: State) -> str:
    """The worst condition of the processes that report the instances."""
    seen = {instance.keepalived for instance in state.instances.values()}
    return next((each.value for each in reversed(Keepalived) if each in seen), "not seen")


def _stray(stray: Stray, state: State, wall: Callable[[float], float]) -> dict[str, Any]:
    return {
        "instance": stray.spec.instance,
        "resource": stray.spec.name,
        "driver": stray.spec.driver,
        "level": stray.seen.level.value,
        "detail": stray.seen.detail,
        "since": timestamp(wall(stray.since)),
        "text": strays.text(stray, state),
    }


def line(state: State) -> str:
    """The one line of ``systemctl status``: each instance and its phase; of many instances, their number by phase."""
    if state.maintenance is not None:
        return f"maintenance; {line(replace(state, maintenance=None))}"
    if len(state.instances) <= MAX_NAMED:
        return ", ".join(f"{name}: {instance.phase.value}" for name, instance in state.instances.items())
    phases = ", ".join(f"{number} {phase.value}" for phase, number in state.agenda.phases.items() if number)
    return f"{len(state.instances)} instances: {phases}"


def _promises(state: State, instance: InstanceState, wall: Callable[[float], float]) -> dict[str, str]:
    """When the nodes were last heard because of whose promise the instance needs no witness."""
    if state.config.quorum is None or instance.target is not Target.ACTIVE or not peers.unopposed(state, instance):
        return {}
    said = {peer: peers.promised_at(state, instance, peer) for peer in instance.spec.others if peer not in state.off}
    return {peer: timestamp(wall(at)) for peer, at in said.items() if at is not None}


def _instance(state: State, name: str, wall: Callable[[float], float]) -> dict[str, Any]:
    instance = state.instances[name]
    elsewhere = instance.spec.elsewhere if instance.phase is Phase.ACTIVE else {}
    return {
        "vrrp_state": instance.vrrp.value if instance.vrrp is not None else None,
        "keepalived": instance.keepalived.value if instance.keepalived is not None else None,
        "target": instance.target.value if instance.target is not None else None,
        "phase": instance.phase.value,
        "since": timestamp(wall(instance.since)),
        "reason": instance.reason,
        "alarm": instance.alarm or None,
        "obstacle": guards.cannot_take_over(instance),
        "degraded": [*instance.degraded, *elsewhere],
        "elsewhere": {name: list(nodes) for name, nodes in elsewhere.items()},
        "released": instance.released or None,
        "unfit": instance.unfit,
        "standby": _standby(instance.standby, wall),
        "held_back": instance.held_back or None,
        "handover": _handover(instance.handover),
        "standing": instance.standing.value,
        "alone_since": None if instance.alone_at is None else timestamp(wall(instance.alone_at)),
        "stop_by": None if math.isinf(instance.stop_by) else timestamp(wall(instance.stop_by)),
        "clearance": instance.clearance.value,
        "uncleared": instance.uncleared or None,
        "promises": _promises(state, instance, wall),
        "leases": {name: _vote(vote, wall) for name, vote in instance.leases.items()},
        "aside": instance.aside.id if instance.aside is not None else None,
        "rivals": [
            {
                "from": timestamp(wall(rival.since)),
                "to": timestamp(wall(rival.until)),
                "gave_way": rival.gave_way,
                "station": rival.station or None,
                "address": rival.address or None,
                "peer": rival.peer or None,
            }
            for rival in instance.rivals
        ],
        "vips": [
            {
                "address": vip.address,
                "interface": vip.interface,
                "present": present,
                "detail": instance.instead.get(vip) or None,
            }
            for vip, present in instance.vips.items()
        ],
        "resources": {
            name: {
                "driver": resource.spec.driver,
                "level": resource.seen.level.value,
                "detail": _detail(resource),
                "alarm": resource.seen.alarm,
                "stalled": resource.seen.stalled,
                "obstacle": resource.seen.obstacle or None,
                "since": timestamp(wall(resource.since)),
                "observed": timestamp(wall(resource.observed)) if resource.observed is not None else None,
                "step": resource.step.verb.value if resource.step is not None else None,
                "checking": resource.look is not None,
                "needs": sorted(resource.spec.needs),
            }
            for name, resource in instance.resources.items()
        },
    }


def maintenance(found: Maintenance | None, wall: Callable[[float], float]) -> dict[str, Any] | None:
    """The maintenance of this node: `until` is None where an operator ends it. None: there is none."""
    if found is None:
        return None
    until = None if math.isinf(found.until) else timestamp(wall(found.until))
    return {"by": found.by, "since": timestamp(wall(found.since)), "until": until}


def _handover(handover: Handover | None) -> dict[str, Any] | None:
    if handover is None:
        return None
    return {"by": handover.by, "id": handover.id, "given": handover.given_at is not None}


def _standby(standby: Standby | None, wall: Callable[[float], float]) -> dict[str, Any] | None:
    return None if standby is None else {"by": standby.by, "since": timestamp(wall(standby.at))}


def _detail(resource: ResourceState) -> str:
    """The resource's failure or observation, and a step of an earlier failoverd or configuration that still runs."""
    step, text = resource.step, resource.failure or resource.seen.detail
    if step is None or not step.foreign:
        return text
    whose = "an earlier failoverd" if step.pids else "the previous configuration"
    processes = f" (process {', '.join(map(str, step.pids))})" if step.pids else ""
    runs = f"{step.verb.value} of {whose} still runs{processes}"
    return f"{resource.failure}; {runs}" if resource.failure else f"{runs}; waiting for its end"
