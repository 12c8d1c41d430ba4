"""What came back of a resource: an observation, the end of a step, or nothing by its deadline."""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.core import planner
from failoverd.core.events import Matter, ResourceObserved, StepEnded
from failoverd.core.model import InstanceState, Observation, ResourceState
from failoverd.core.turn import Turn
from failoverd.core.words import Level, Outcome, Target

#: How an attempt at a deactivation ends that was made, and failed.
_DENIED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.HUNG})


class IllegalEvent(Exception):
    """An event that only a bug of ours can make. The state is as it was."""


def observed(turn: Turn, instance: InstanceState, event: ResourceObserved) -> InstanceState:
    """A look came back."""
    resource = instance.resources[event.resource]
    if resource.look is None or resource.look.id != event.look:
        return instance  # a step began meanwhile, or the look was overdue
    turn.cause = f"{event.resource} was observed {event.seen.level.value}"
    if event.seen.detail:
        turn.cause += f": {event.seen.detail}"
    goal = None if instance.direction is None else planner.GOAL[instance.direction]
    turn.drift = resource.seen.level is goal and event.seen.level is not goal
    if event.seen.alarm and event.seen.alarm != resource.seen.alarm:
        turn.alarm(instance, Matter.ATTENTION, f"{event.resource}: {event.seen.alarm}")
    before, again = resource, resource.look.again
    resource = _seen(turn, replace(resource, look=None), event.seen, instance.direction)
    if instance.direction is Target.ACTIVE:
        if before.rests_at(Level.ACTIVE) and resource.seen.level in (Level.STANDBY, Level.FAILED):
            resource = _ended_by_itself(turn, resource)
        elif resource.refused and resource.seen.obstacle != before.seen.obstacle:
            resource = replace(resource, given_up=False, refused=False, failure="")
    if (resource.seen.level, resource.seen.obstacle) != (before.seen.level, before.seen.obstacle):
        resource = _sooner(turn, resource)
    return _with(instance, event.resource, turn.look(resource) if again else resource)


def ended(turn: Turn, instance: InstanceState, event: StepEnded) -> InstanceState:
    """A step came back: done, failed, to be tried again, or given up."""
    resource = instance.resources[event.resource]
    step = resource.step
    if step is None or step.id != event.step:
        raise IllegalEvent(f"{event} ends a step that does not run")
    turn.cause = f"{event.resource}: its {step.verb.value} step came back"
    if step.foreign:
        return _with(
            instance,
            event.resource,
            turn.look(replace(resource, step=None, given_up=False, failure="", not_before=0.0)),
        )
    if event.seen.alarm:
        turn.alarm(instance, Matter.ATTENTION, f"{event.resource}: {event.seen.alarm}")
    unable = event.outcome is Outcome.NOT_STARTED and step.maybe_active
    resource = replace(resource, step=None, given_up=False, refused=False, not_before=0.0, unable=unable)
    resource = _seen(turn, resource, event.seen, instance.direction)
    direction = Target.ACTIVE if step.verb is planner.VERB[Target.ACTIVE] else Target.STANDBY
    if direction is instance.direction and event.seen.level is not planner.GOAL[direction]:
        resource = _failed(turn, resource, event)
        if resource.given_up and direction is Target.STANDBY and event.outcome in _DENIED:
            resource = replace(resource, unstoppable=resource.maybe_active)
    return _with(instance, event.resource, resource)


def overdue(turn: Turn, instance: InstanceState, resource: ResourceState) -> ResourceState:
    """Where a step or a look has passed its deadline without a word, that is what came of it."""
    if resource.step is not None and not resource.overdue and turn.now >= resource.step.deadline:
        step = replace(resource.step, overdue=True)
        failure = f"its {step.verb.value} step never came back"
        return replace(resource, step=step, given_up=True, not_before=math.inf, failure=failure)
    if resource.look is not None and turn.now >= resource.look.deadline:
        turn.cause = f"looking at {resource.spec.name} took too long"
        seen = Observation(level=Level.UNKNOWN, detail="looking at it took too long")
        return _seen(turn, replace(resource, look=None), seen, instance.direction)
    return resource


def _seen(turn: Turn, resource: ResourceState, seen: Observation, direction: Target | None) -> ResourceState:
    since = resource.since if seen.level is resource.seen.level else turn.now
    maybe_active = seen.level in (Level.ACTIVE, Level.FAILED) or (resource.maybe_active and seen.level is Level.UNKNOWN)
    resource = replace(
        resource,
        seen=seen,
        since=since,
        confirmed=True,
        maybe_active=maybe_active,
        unstoppable=resource.unstoppable and maybe_active,
    )
    if direction is not None and seen.level is planner.GOAL[direction]:
        return replace(resource, attempts=0, not_before=0.0, failure="", given_up=False, refused=False)
    return resource


def _ended_by_itself(turn: Turn, resource: ResourceState) -> ResourceState:
    """It is started again: at once, and where it ends again and again, with a pause between."""
    restart = resource.spec.restart
    if restart is None:
        ended = (*(at for at in resource.ended if turn.now - at < planner.LONGEST_PAUSE), turn.now)
        pause = planner.backoff(resource.spec, len(ended) - 1) if len(ended) > 1 else 0.0
        return replace(resource, ended=ended, not_before=turn.now + pause)
    ended = (*(at for at in resource.ended if turn.now - at < restart.within), turn.now)
    if len(ended) <= restart.max:
        return replace(resource, ended=ended)
    failure = f"ended by itself {len(ended)} times within {restart.within:g} s, and is not started again for as long"
    not_before = turn.now + restart.within
    return replace(resource, ended=ended, given_up=True, failure=failure, not_before=not_before)


def renewed(turn: Turn, resource: ResourceState) -> ResourceState:
    """What has given up is tried again now and then, for as long as it is wanted."""
    if not resource.given_up or resource.refused or resource.overdue or turn.now < resource.not_before:
        return resource
    turn.cause = f"{resource.spec.name} had given up, and is tried again"
    return replace(resource, given_up=False)


def _sooner(turn: Turn, resource: ResourceState) -> ResourceState:
    """Something about it has changed: what has failed may succeed now, though not at once again and again."""
    if not resource.attempts or math.isinf(resource.not_before):
        return resource
    at = max(turn.now, resource.failed_at + planner.FIRST_PAUSE)
    return renewed(turn, replace(resource, not_before=min(resource.not_before, at)))


def _failed(turn: Turn, resource: ResourceState, event: StepEnded) -> ResourceState:
    if event.outcome is Outcome.REFUSED:
        return replace(resource, failure=event.reason, given_up=True, refused=True)
    attempts = resource.attempts + 1
    seen = f"observed {event.seen.level.value}" + (f" ({event.seen.detail})" if event.seen.detail else "")
    reason = f"{event.reason}; {seen}" if event.reason else seen
    resource = replace(resource, attempts=attempts, failure=reason, failed_at=turn.now)
    if event.outcome is Outcome.HUNG:  # its tool may still be at work
        return replace(resource, given_up=True, not_before=math.inf)
    if attempts > resource.spec.retries:
        not_before = turn.now + planner.pause(attempts - resource.spec.retries)
        return replace(resource, given_up=True, not_before=not_before)
    return replace(resource, not_before=turn.now + planner.backoff(resource.spec, attempts))


def _with(instance: InstanceState, name: str, resource: ResourceState) -> InstanceState:
    return replace(instance, resources={**instance.resources, name: resource})
