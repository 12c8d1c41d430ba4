"""The state of the core as `failoverctl` gets it: plain data for JSON, times as a clock on the wall shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from failoverd import __version__
from failoverd.core import planner, strays
from failoverd.core.model import InstanceState, State, Stray
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Keepalived, Target, Verb
from failoverd.trouble import Trouble

#: The most instances that one line names.
NAMED = 8


def timestamp(at: float) -> str:
    """ISO 8601 in UTC, from seconds since the epoch."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds")


def status(
    state: State,
    *,
    node: str,
    events: Mapping[str, int],
    troubles: Iterable[Trouble],
    wall: Callable[[float], float],
) -> dict[str, Any]:
    """What ``failoverctl status --json`` prints. `wall` turns the core's seconds into seconds since the epoch."""
    return {
        "version": __version__,
        "node": node,
        "keepalived": _keepalived(state),
        "events": dict(events),
        "troubles": [{"about": t.about, "text": t.text, "since": timestamp(t.since)} for t in troubles],
        "strays": [_stray(stray, wall) for stray in state.strays.values() if stray.said],
        "instances": {name: _instance(instance, wall) for name, instance in state.instances.items()},
    }


def _keepalived(state: State) -> str:
    """The worst of what is seen of the processes that speak for the instances."""
    seen = {instance.keepalived for instance in state.instances.values()}
    return next((each.value for each in reversed(Keepalived) if each in seen), "not seen")


def _stray(stray: Stray, wall: Callable[[float], float]) -> dict[str, Any]:
    return {
        "instance": stray.spec.instance,
        "resource": stray.spec.name,
        "driver": stray.spec.driver,
        "level": stray.seen.level.value,
        "detail": stray.seen.detail,
        "since": timestamp(wall(stray.since)),
        "text": strays.text(stray),
    }


def line(state: State) -> str:
    """One line for ``systemctl status``: each instance and its phase, or where they are many, how many are in each."""
    if len(state.instances) <= NAMED:
        return ", ".join(f"{name}: {instance.phase.value}" for name, instance in state.instances.items())
    phases = ", ".join(f"{number} {phase.value}" for phase, number in state.agenda.phases.items() if number)
    return f"{len(state.instances)} instances: {phases}"


def _instance(instance: InstanceState, wall: Callable[[float], float]) -> dict[str, Any]:
    return {
        "vrrp_state": instance.vrrp.value if instance.vrrp is not None else None,
        "keepalived": instance.keepalived.value if instance.keepalived is not None else None,
        "target": instance.target.value if instance.target is not None else None,
        "phase": instance.phase.value,
        "since": timestamp(wall(instance.since)),
        "reason": instance.reason,
        "alarm": instance.alarm or None,
        "degraded": list(instance.degraded),
        "released": instance.released or None,
        "rivals": [
            {"from": timestamp(wall(rival.since)), "to": timestamp(wall(rival.until)), "gave_way": rival.gave_way}
            for rival in instance.rivals
        ],
        "vips": [
            {"address": vip.address, "interface": vip.interface, "present": present}
            for vip, present in instance.vips.items()
        ],
        "resources": {
            name: {
                "driver": resource.spec.driver,
                "level": resource.seen.level.value,
                "detail": resource.failure or resource.seen.detail,
                "alarm": resource.seen.alarm,
                "obstacle": resource.seen.obstacle or None,
                "since": timestamp(wall(resource.since)),
                "step": resource.step.verb.value if resource.step is not None else None,
                "needs": sorted(resource.spec.needs),
            }
            for name, resource in instance.resources.items()
        },
    }


def plan(
    instance: InstanceState, direction: Target, commands: Callable[[ResourceSpec, Verb], tuple[str, ...]]
) -> dict[str, Any]:
    """What ``failoverctl plan`` prints: every step in order, its commands, and its worst case in seconds."""
    steps, longest = planner.schedule(instance.spec, direction)
    goal = planner.GOAL[direction]
    return {
        "instance": instance.spec.name,
        "target": direction.value,
        "steps": [
            {
                "wave": step.wave,
                "resource": step.resource,
                "driver": instance.spec.resources[step.resource].driver,
                "verb": step.verb.value,
                "needs": sorted(step.after),
                "commands": list(commands(instance.spec.resources[step.resource], step.verb)),
                "worst_case": step.worst_case,
                "already": instance.resources[step.resource].seen.level is goal,
            }
            for step in steps
        ],
        "worst_case": longest,
    }
