"""Which steps may run now, in both directions.

* Towards ACTIVE a resource is activated when all that it needs rests at ACTIVE.
* Towards STANDBY a resource is deactivated when all that needs it rests at STANDBY.
* An UNKNOWN level is neither: it is activated towards ACTIVE, and deactivated towards STANDBY. While a look at it is
  on its way, that is waited for: a daemon that has just started knows nothing yet, and must not act on that.
* A resource that gave up stays as it is. Unless its `on_failure` is CONTINUE, nothing else is activated either;
  deactivation never stops for another's failure, only for the order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from failoverd.core.model import InstanceState, ResourceState
from failoverd.core.spec import InstanceSpec, ResourceSpec
from failoverd.core.words import Level, OnFailure, Target, Verb

#: Longest pause between two attempts, in seconds.
LONGEST_BACKOFF = 30.0

#: Seconds until what has given up is tried again: each pause is twice the one before, up to the longest.
FIRST_PAUSE = 10.0
LONGEST_PAUSE = 300.0

#: Longest time (s) that mastership stays given away where it is to be taken back, however often it was in a row; and
#: how soon (s) after the one before it is given away again in a row.
LONGEST_RELEASE = 3600.0
IN_A_ROW = 2 * LONGEST_RELEASE

GOAL = {Target.ACTIVE: Level.ACTIVE, Target.STANDBY: Level.STANDBY}
VERB = {Target.ACTIVE: Verb.ACTIVATE, Target.STANDBY: Verb.DEACTIVATE}


def before(resources: Mapping[str, ResourceSpec], direction: Target) -> dict[str, frozenset[str]]:
    """For each resource, those that must rest at the goal before it may move."""
    if direction is Target.ACTIVE:
        return {name: spec.needs for name, spec in resources.items()}
    needed_by: dict[str, set[str]] = {name: set() for name in resources}
    for name, spec in resources.items():
        for need in spec.needs:
            needed_by[need].add(name)
    return {name: frozenset(others) for name, others in needed_by.items()}


def backoff(spec: ResourceSpec, attempts: int) -> float:
    """Seconds to wait after the `attempts`-th failure."""
    return min(spec.backoff * 2.0 ** (attempts - 1), LONGEST_BACKOFF)


def pause(times: int) -> float:
    """Seconds until what has given up `times` times in a row is tried again."""
    return min(FIRST_PAUSE * 2.0 ** min(times - 1, 10), LONGEST_PAUSE)


def take_back_at(instance: InstanceState) -> float:
    """When mastership that was given away may be taken back, at the earliest; infinity: when an operator does.

    A node that fails again and again leaves it to the others for longer each time.
    """
    after = instance.spec.take_back_after
    if after is None:
        return math.inf
    return instance.released_at + max(after, min(after * 2.0 ** min(instance.releases - 1, 10), LONGEST_RELEASE))


def stopped(resources: Mapping[str, ResourceState], direction: Target) -> bool:
    """A failure that says stop keeps everything else from being activated."""
    return direction is Target.ACTIVE and any(
        r.given_up and r.spec.on_failure is not OnFailure.CONTINUE for r in resources.values()
    )


def refused(resources: Mapping[str, ResourceState]) -> bool:
    """All that keeps the others from being activated was refused, and has not failed."""
    given_up = [r for r in resources.values() if r.given_up and r.spec.on_failure is not OnFailure.CONTINUE]
    return bool(given_up) and all(r.refused for r in given_up)


def awaited(resource: ResourceState, direction: Target) -> bool:
    """A look decides what becomes of it: whether it really is at the goal, or what it is at all."""
    level = resource.seen.level
    if resource.confirmed or resource.step is not None or resource.given_up:
        return False
    return level is GOAL[direction] or (level is Level.UNKNOWN and resource.look is not None)


def candidates(resources: Mapping[str, ResourceState], direction: Target) -> list[str]:
    """The resources that are next in order: they may move now, or as soon as their backoff is over."""
    if stopped(resources, direction):
        return []
    goal = GOAL[direction]
    resting = {name for name, r in resources.items() if r.rests_at(goal)}
    if direction is Target.ACTIVE:
        waiting = {name for name, r in resources.items() if not r.spec.needs <= resting}
    else:
        waiting = {need for name, r in resources.items() if name not in resting for need in r.spec.needs}
    return [
        name
        for name, r in resources.items()
        if name not in resting
        and name not in waiting
        and not (r.held and direction is Target.STANDBY)
        and r.step is None
        and not r.given_up
        and not awaited(r, direction)
    ]


def ready(resources: Mapping[str, ResourceState], direction: Target, now: float) -> list[str]:
    """The resources on which a step may start at `now`."""
    return [name for name in candidates(resources, direction) if resources[name].not_before <= now]


def moving(resources: Mapping[str, ResourceState], direction: Target) -> bool:
    """A step runs, or will be tried."""
    if any(r.step is not None and not r.overdue for r in resources.values()):
        return True
    return bool(candidates(resources, direction))


def confirming(resources: Mapping[str, ResourceState], direction: Target) -> bool:
    """A look will say whether a step is needed, or can be done."""
    if direction is Target.STANDBY and any(r.doubted and not r.rests_at(Level.STANDBY) for r in resources.values()):
        return True
    return not stopped(resources, direction) and any(awaited(r, direction) for r in resources.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One line of a plan. `wave`: 1 for what starts at once; `worst_case`: seconds, all retries included."""

    wave: int
    resource: str
    verb: Verb
    after: frozenset[str]
    worst_case: float


def worst_case(spec: ResourceSpec, verb: Verb) -> float:
    """Seconds until the step has succeeded or given up, at the latest."""
    pauses = sum(backoff(spec, attempt) for attempt in range(1, spec.retries + 1))
    return spec.deadline(verb) * (spec.retries + 1) + pauses


def schedule(spec: InstanceSpec, direction: Target) -> tuple[list[Planned], float]:
    """The whole plan in order, and the worst case of its longest path in seconds."""
    verb = VERB[direction]
    order = before(spec.resources, direction)
    wave: dict[str, int] = {}
    ends: dict[str, float] = {}

    def visit(names: Iterable[str]) -> None:
        for name in names:
            if name not in wave:
                visit(sorted(order[name]))
                wave[name] = 1 + max((wave[other] for other in order[name]), default=0)
                start = max((ends[other] for other in order[name]), default=0.0)
                ends[name] = start + worst_case(spec.resources[name], verb)

    visit(spec.resources)
    lines = [
        Planned(
            wave=wave[name],
            resource=name,
            verb=verb,
            after=order[name],
            worst_case=worst_case(spec.resources[name], verb),
        )
        for name in sorted(spec.resources, key=lambda n: wave[n])
    ]
    return lines, max(ends.values(), default=0.0)
