"""The facts that explain an instance, for ``failoverctl why``, as plain data for JSON. It must not decide anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from failoverd.core import guards, planner
from failoverd.core.context import REPORT_GRACE_S
from failoverd.core.model import InstanceState
from failoverd.core.reconcile import course_of
from failoverd.core.resource import ResourceState
from failoverd.core.words import StateSource, Target
from failoverd.daemon.intake import ReportedEvent
from failoverd.daemon.status import timestamp

#: The guards of each target, in the order in which the core asks them.
_GUARDS: dict[Target | None, tuple[str, ...]] = {
    None: ("vip_left", "kept_in_standby"),
    Target.ACTIVE: (
        "held_back",
        "deaf",
        "released",
        "handing_over",
        "quorum_missing",
        "peers_uncleared",
        "vip_missing",
        "quorum_awaited",
        "peers_awaited",
        "kept_in_standby",
    ),
    Target.STANDBY: ("held_back", "vip_left", "deaf", "alone", "away", "kept_in_standby", "cannot_take_over"),
}


def why(
    instance: InstanceState, event: ReportedEvent | None, now: float, wall: Callable[[float], float]
) -> dict[str, Any]:
    """The facts beside those of `status`. `event`: the last accepted event of keepalived; None: there was none.

    `now`: the core's time; `wall` turns it into seconds since the epoch.
    """

    def stamp(at: float) -> str | None:
        return None if math.isinf(at) else timestamp(wall(at))

    waits = now < instance.vip_deadline and guards.vip_problem(instance) and not guards.left_behind(instance)
    return {
        "event": _event(instance, event, stamp),
        "direction": instance.direction.value if instance.direction is not None else None,
        "hold": course_of(instance, now).hold,
        "guards": [{"guard": name, "text": text} for name, text in _guards(instance, now)],
        "cause": instance.cause,
        "transition": instance.transition,
        "crowded": instance.crowded,
        "doubt": instance.doubt or None,
        "vip_deadline": stamp(instance.vip_deadline) if waits else None,
        "released_at": stamp(instance.released_at) if instance.released else None,
        "take_back_at": stamp(planner.take_back_at(instance)) if instance.released else None,
        "next_check": stamp(instance.next_check),
        "resources": {name: _resource(instance, name, stamp) for name in instance.resources},
    }


def _event(
    instance: InstanceState, event: ReportedEvent | None, stamp: Callable[[float], str | None]
) -> dict[str, Any] | None:
    """The last state of keepalived, the source from which it is known, and since when."""
    if instance.vrrp is None:
        return None
    if instance.vrrp_source is StateSource.EVENT and event is not None and event.state == instance.vrrp.value:
        return {"state": event.state, "source": event.source, "at": timestamp(event.wall)}
    return {"state": instance.vrrp.value, "source": instance.vrrp_source.value, "at": stamp(instance.vrrp_since)}


def _guards(instance: InstanceState, now: float) -> list[tuple[str, str]]:
    """Each guard that holds, with its reason; only the first where that one is the cause of the others."""
    if (left_behind := guards.left_behind(instance)) is not None:
        return [("left_behind", left_behind)]
    reasons = {
        "deaf": guards.deaf(instance),
        "released": guards.released(instance, now),
        "handing_over": guards.handing_over(instance),
        "quorum_missing": guards.quorum_missing(instance),
        "quorum_awaited": guards.quorum_awaited(instance),
        "peers_uncleared": guards.peers_uncleared(instance),
        "peers_awaited": guards.peers_awaited(instance),
        "alone": guards.alone(instance),
        "vip_missing": guards.vip_missing(instance),
        "vip_left": guards.vip_left(instance),
        "away": guards.away(instance, now),
        "held_back": instance.held_back or None,
        "kept_in_standby": guards.kept_in_standby(instance, now),
        "cannot_take_over": guards.cannot_take_over(instance),
    }
    return [(name, reason) for name in _GUARDS[instance.target] if (reason := reasons[name]) is not None]


def _resource(instance: InstanceState, name: str, stamp: Callable[[float], str | None]) -> dict[str, Any]:
    resource, direction = instance.resources[name], instance.direction
    step = resource.step
    deadline = step.deadline - REPORT_GRACE_S if step is not None else math.inf
    begun = math.inf if step is None or step.foreign else deadline - resource.spec.deadline(step.verb)
    waits: list[str] = []
    stopped: list[str] = []
    if direction is not None and step is None and not resource.given_up:
        goal = planner.GOAL[direction]
        if not resource.rests_at(goal):
            order = planner.before({key: each.spec for key, each in instance.resources.items()}, direction)
            waits = sorted(other for other in order[name] if not instance.resources[other].rests_at(goal))
            if direction is Target.ACTIVE:
                stopped = sorted(each.spec.name for each in planner.stopping(instance.resources))
    return {
        "step_since": stamp(begun),
        "step_deadline": stamp(deadline),
        "overdue": resource.overdue,
        "checking": resource.look is not None,
        "failure": resource.failure or None,
        "failed_at": stamp(resource.failed_at) if resource.failed_at else None,
        "attempts": resource.attempts,
        "tries": resource.spec.retries + 1,
        "given_up": resource.given_up,
        "refused": resource.refused,
        "on_failure": resource.spec.on_failure.value,
        "retry": _retry(resource, direction),
        "retry_at": stamp(resource.not_before) if resource.failure else None,
        "waits_for": waits,
        "stopped_by": stopped,
        "held": resource.held or None,
    }


def _retry(resource: ResourceState, direction: Target | None) -> str | None:
    """What lets a failed step be retried: the "time", a "change" of its obstacle, the end of its "tool", or "reset"."""
    if not resource.failure or direction is None or resource.rests_at(planner.GOAL[direction]):
        return None
    if resource.adrift:
        return "reset"
    if resource.overdue or math.isinf(resource.not_before):
        return "tool"
    if resource.refused and resource.seen.obstacle:
        return "change"
    return "time" if resource.step is None else None
