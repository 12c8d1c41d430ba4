"""What `advance` keeps of all instances together, so that an event settles only those that it concerns."""

from __future__ import annotations

import math

from failoverd.core import guards, planner
from failoverd.core.model import InstanceState
from failoverd.core.words import Target


def due(instance: InstanceState, now: float) -> float:
    """When the instance wants a Tick, if nothing else happens to it; infinity when it needs none.

    What was due by `now` has been worked off.
    """
    times = [instance.next_check]
    if guards.vip_problem(instance) is not None:
        times.append(instance.vip_deadline)
    if instance.released:
        at = instance.released_at
        times += [at + guards.HEARD, at + guards.LET_GO, planner.take_back_at(instance)]
    for resource in instance.resources.values():
        times.append(resource.not_before)
        if resource.step is not None:
            times.append(resource.step.deadline)
        if resource.look is not None:
            times.append(resource.look.deadline)
    return min((time for time in times if time > now), default=math.inf)


def running(instance: InstanceState) -> int:
    """How much of the node's room for steps it takes."""
    return sum(r.step is not None and not r.overdue for r in instance.resources.values())


def urgency(instance: InstanceState) -> tuple[bool, float, str]:
    """Who gets room for steps first: who must become standby, then whose transition is the older."""
    number = math.inf if instance.transition is None else instance.transition
    return instance.target is Target.ACTIVE, number, instance.spec.name
