"""The plan of a promotion or demotion as plain data for JSON: commands, deadlines, and expected times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from failoverd.core import clearance, planner
from failoverd.core.model import InstanceState, State
from failoverd.core.planner import Planned
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Target, Verb

#: Of the successful steps of one resource: their number as ``samples``, and their ``median`` and ``p95`` in seconds.
Durations = Mapping[str, Mapping[str, Any]]


def plan(
    state: State,
    instance: InstanceState,
    direction: Target,
    commands: Callable[[ResourceSpec, Verb], tuple[str, ...]],
    durations: Durations,
) -> dict[str, Any]:
    """Every step in order, with its commands, its worst case and its expected time in seconds, and the whole.

    `before`: what an activation waits for before its first step, at most; the expected times are without it.
    """
    steps, longest = planner.schedule(instance.spec, direction)
    first = clearance.before(state, instance) if direction is Target.ACTIVE else ()
    specs, goal = instance.spec.resources, planner.GOAL[direction]
    return {
        "instance": instance.spec.name,
        "target": direction.value,
        "steps": [
            {
                "wave": step.wave,
                "resource": step.resource,
                "driver": specs[step.resource].driver,
                "verb": step.verb.value,
                "needs": sorted(step.after),
                "commands": list(commands(specs[step.resource], step.verb)),
                "worst_case": step.worst_case,
                "expected": dict(durations[step.resource]) if step.resource in durations else None,
                "already": instance.resources[step.resource].seen.level is goal,
            }
            for step in steps
        ],
        "before": [{"what": each.what, "names": list(each.names), "worst_case": each.worst_case} for each in first],
        "worst_case": longest + sum(each.worst_case for each in first),
        "worst_chain": _chain(steps, {step.resource: step.worst_case for step in steps})[1],
        "expected": _expected(steps, durations),
    }


def _expected(steps: Sequence[Planned], durations: Durations) -> dict[str, Any] | None:
    """The expected time of the whole; None: a step has no sample, or there is no step."""
    if not steps or any(step.resource not in durations for step in steps):
        return None
    found = {step.resource: durations[step.resource] for step in steps}
    late, chain = _chain(steps, {name: each["p95"] for name, each in found.items()})
    return {
        "median": _chain(steps, {name: each["median"] for name, each in found.items()})[0],
        "p95": late,
        "samples": min(each["samples"] for each in found.values()),
        "chain": chain,
    }


def _chain(steps: Sequence[Planned], seconds: Mapping[str, float]) -> tuple[float, list[str]]:
    """The longest chain of steps, each after the one before it: its time, and the resources in order."""
    ends: dict[str, tuple[float, list[str]]] = {}
    for step in steps:  # a step comes after those that it waits for
        at, before = max((ends[name] for name in step.after), default=(0.0, []))
        ends[step.resource] = (at + seconds[step.resource], [*before, step.resource])
    return max(ends.values(), default=(0.0, []))
