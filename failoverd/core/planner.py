"""Which steps may run now, in both directions.

* Towards ACTIVE a resource is activated when all that it needs rests at ACTIVE.
* Towards STANDBY a resource is deactivated when all that needs it rests at STANDBY.
* A resource at UNKNOWN is at neither: it is activated towards ACTIVE, and deactivated towards STANDBY. While its check
  is in flight, its step waits: a daemon that has just started knows nothing yet, and must not act on that.
* A resource that gave up stays as it is. Unless its `on_failure` is CONTINUE, no other resource is activated either. A
  failed deactivation stops only the deactivation of the resources that the failed one needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from failoverd.core.model import InstanceState
from failoverd.core.resource import ResourceState
from failoverd.core.spec import InstanceSpec, ResourceSpec
from failoverd.core.words import Level, OnFailure, OnRefused, Target, Verb

#: Seconds between two attempts, at most.
LONGEST_BACKOFF_S = 30.0

#: Seconds until a resource that has given up is retried, the first time; each further pause is twice the last.
FIRST_PAUSE_S = 10.0

#: Seconds of such a pause, at most.
LONGEST_PAUSE_S = 300.0

#: Seconds until a resource that another node uses is retried; the driver waits as well.
IN_USE_PAUSE_S = 1.0

#: Seconds after which released mastership is taken back, at most, however often it was released in a row.
LONGEST_RELEASE_S = 3600.0

#: Seconds within which a further release counts as one in a row.
RELEASE_IN_A_ROW_S = 2 * LONGEST_RELEASE_S

#: Seconds for which a standby could not be activated before it stops competing for mastership: longer than a takeover
#: takes, as the loss of the active node may look like such an obstacle for a moment.
#: One that never could does not wait.
UNFIT_AFTER_S = 30.0

#: Seconds without an obstacle until such a standby competes again, the first time; each time in a row doubles them.
FIT_AFTER_S = 5.0

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
    return min(spec.backoff * 2.0 ** (attempts - 1), LONGEST_BACKOFF_S)


def pause(times: int) -> float:
    """Seconds until a resource that has given up `times` times in a row is retried."""
    return min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 10), LONGEST_PAUSE_S)


def take_back_at(instance: InstanceState) -> float:
    """The earliest time at which released mastership may be taken back; infinity: not before an operator or an event.

    Each release in a row doubles the time, up to LONGEST_RELEASE_S: a failing node leaves it to the others for longer.
    For an unfit standby the time begins when its obstacle has passed, and is at most LONGEST_PAUSE_S.
    """
    if instance.unfit:
        after = min(FIT_AFTER_S * 2.0 ** min(instance.releases - 1, 10), LONGEST_PAUSE_S)
        return math.inf if instance.hindrance else instance.hindrance_at + after
    after = instance.spec.take_back_after
    if after == 0:
        return math.inf
    return instance.released_at + max(after, min(after * 2.0 ** min(instance.releases - 1, 10), LONGEST_RELEASE_S))


def vital(instance: InstanceState) -> dict[str, ResourceState]:
    """The resources without which mastership is useless: their failure or refusal stops others, or releases it."""
    return {
        name: r
        for name, r in instance.resources.items()
        if r.spec.on_failure is not OnFailure.CONTINUE or r.spec.on_refused is OnRefused.RELEASE
    }


def stopped(resources: Mapping[str, ResourceState], direction: Target) -> bool:
    """Whether a resource that gave up keeps all others from being activated."""
    return direction is Target.ACTIVE and bool(stopping(resources))


def refused(resources: Mapping[str, ResourceState]) -> bool:
    """Whether only refusals, and no failure, keep the others from being activated."""
    found = stopping(resources)
    return bool(found) and all(r.refused for r in found)


def stopping(resources: Mapping[str, ResourceState]) -> list[ResourceState]:
    """The resources that gave up, and keep all others from being activated."""
    failed = (r for r in resources.values() if r.given_up and not r.adrift)
    return [r for r in failed if r.spec.on_failure is not OnFailure.CONTINUE]


def awaited(resource: ResourceState, direction: Target) -> bool:
    """Whether the plan waits for its check, which confirms the goal or replaces an unknown level."""
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
    """Whether a step runs, or will be tried."""
    if any(r.step is not None and not r.overdue for r in resources.values()):
        return True
    return bool(candidates(resources, direction))


def confirming(resources: Mapping[str, ResourceState], direction: Target) -> bool:
    """Whether a check will decide if a step is needed, or possible."""
    if direction is Target.STANDBY and any(r.doubted and not r.rests_at(Level.STANDBY) for r in resources.values()):
        return True
    return not stopped(resources, direction) and any(awaited(r, direction) for r in resources.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One line of a plan. `wave`: 1 for a step that starts at once; `worst_case`: seconds, all retries included."""

    wave: int
    resource: str
    verb: Verb
    after: frozenset[str]
    worst_case: float


def worst_case(spec: ResourceSpec, verb: Verb) -> float:
    """Seconds until the step has succeeded or given up, at the latest."""
    pauses = sum(backoff(spec, attempt) for attempt in range(1, spec.retries + 1))
    return spec.deadline(verb) * (spec.retries + 1) + pauses


def stop_time(spec: InstanceSpec) -> float:
    """Seconds that another node may take to stop the same resources: in order, one attempt for each."""
    order, ends = before(spec.resources, Target.STANDBY), dict[str, float]()

    def end(name: str) -> float:
        if name not in ends:
            start = max(map(end, order[name]), default=0.0)
            ends[name] = start + spec.resources[name].deadline(Verb.DEACTIVATE)
        return ends[name]

    return max(map(end, spec.resources), default=0.0)


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
