"""A summary of all instances, so that an event reconciles only the instances that it concerns."""

from __future__ import annotations

import math

from failoverd.core import clearance, guards, planner, votes
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Standing, Target


def due(instance: InstanceState, state: State, now: float) -> float:
    """When the instance needs a Tick, if no other event concerns it before; infinity when it needs none.

    Deadlines up to `now` do not count: they have been handled.
    """
    times = [instance.next_check, instance.probe_at]
    if guards.vip_problem(instance) is not None:
        times.append(instance.vip_deadline)
    if instance.released:
        at = instance.released_at
        times += [at + guards.TRACK_FILE_READ_S, at + guards.MASTERSHIP_RELEASE_S, planner.take_back_at(instance)]
    if instance.hindrance:
        times.append(instance.hindrance_at + planner.UNFIT_AFTER_S)
    times += guards.handover_deadlines(instance)
    if instance.standby is not None:
        times.append(instance.standby.at + guards.TRACK_FILE_READ_S)
    quorum = state.config.quorum
    if quorum is not None and (instance.standing in (Standing.AWAITED, Standing.MISSING) or instance.leases):
        times += [votes.lost_at(instance, state), votes.first_answers_until(instance, quorum)]
        times.append(votes.held_until(instance, quorum))
    times.append(clearance.due(state, instance, now))
    for resource in instance.resources.values():
        times += [resource.not_before, resource.next_look]
        if resource.step is not None:
            times.append(resource.step.deadline)
        if resource.look is not None:
            times.append(resource.look.deadline)
    return min((time for time in times if time > now), default=math.inf)


def running(instance: InstanceState) -> int:
    """The number of its steps that take room on the node: those in flight and not overdue."""
    return sum(r.step is not None and not r.overdue for r in instance.resources.values())


def urgency(instance: InstanceState) -> tuple[bool, float, str]:
    """The sort key for room on the node: instances that must become standby first, then the oldest transition."""
    number = math.inf if instance.transition is None else instance.transition
    return instance.target is Target.ACTIVE, number, instance.spec.name
