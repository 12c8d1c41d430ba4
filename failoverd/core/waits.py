"""For what each resource of a transition waits before its step can start. It reads the state, and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from failoverd.core import planner
from failoverd.core.model import InstanceState
from failoverd.core.reconcile import course_of
from failoverd.core.resource import ResourceState
from failoverd.core.words import Standing, Target, WaitFor


class Wait(NamedTuple):
    """`names`: the resources that must move first; empty for every other kind."""

    kind: WaitFor
    names: tuple[str, ...] = ()


def waits(instance: InstanceState, now: float) -> dict[str, Wait]:
    """The wait of each resource that waits; empty if no transition is under way."""
    direction = instance.direction
    if instance.transition is None:
        return {}
    course = course_of(instance, now)
    if course.hold or course.idle:
        still = (name for name, r in instance.resources.items() if r.step is None and not r.given_up)
        others = WaitFor.QUORUM if instance.standing is Standing.AWAITED else WaitFor.PEERS
        return dict.fromkeys(still, Wait(WaitFor.VIP if course.hold else others))
    if direction is None or planner.stopped(instance.resources, direction):
        return {}
    order = planner.before({name: r.spec for name, r in instance.resources.items()}, direction)
    found = {}
    for name, resource in instance.resources.items():
        if _open(resource, direction) and (wait := _wait(instance, resource, order, direction, now)) is not None:
            found[name] = wait
    return found


def _open(resource: ResourceState, direction: Target) -> bool:
    """Whether its step is still to come."""
    held = resource.held and direction is Target.STANDBY
    return resource.step is None and not (held or resource.given_up or resource.rests_at(planner.GOAL[direction]))


def _wait(
    instance: InstanceState,
    resource: ResourceState,
    order: Mapping[str, frozenset[str]],
    direction: Target,
    now: float,
) -> Wait | None:
    goal = planner.GOAL[direction]
    if planner.awaited(resource, direction):
        return Wait(WaitFor.CHECK)
    first = tuple(sorted(n for n in order[resource.spec.name] if not instance.resources[n].rests_at(goal)))
    if first:
        return Wait(WaitFor.RESOURCE, first)
    if resource.not_before > now:
        return Wait(WaitFor.RETRY)
    return Wait(WaitFor.ROOM) if instance.crowded else None
