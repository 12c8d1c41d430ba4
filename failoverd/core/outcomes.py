"""What came back of a resource: an observation, the end of a step, or nothing by its deadline."""

from __future__ import annotations

from dataclasses import replace

from failoverd.core import planner
from failoverd.core.events import Matter, Reboot, ResourceObserved, StepEnded
from failoverd.core.model import (
    Escalation,
    InstanceState,
    Level,
    Observation,
    Outcome,
    ResourceState,
    Target,
)
from failoverd.core.turn import Turn


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
    turn.drift = True
    if event.seen.alarm and event.seen.alarm != resource.seen.alarm:
        turn.alarm(instance, Matter.ATTENTION, f"{event.resource}: {event.seen.alarm}")
    before = resource
    resource = _seen(turn, replace(resource, look=None), event.seen, instance.direction)
    if instance.direction is Target.ACTIVE:
        if before.rests_at(Level.ACTIVE) and resource.seen.level in (Level.STANDBY, Level.FAILED):
            resource = _ended_by_itself(turn, resource)
        elif resource.refused and resource.seen.obstacle != before.seen.obstacle:
            resource = replace(resource, given_up=False, refused=False, failure="")
    return _with(instance, event.resource, resource)


def ended(turn: Turn, instance: InstanceState, event: StepEnded) -> InstanceState:
    """A step came back: done, failed, to be tried again, or given up."""
    resource = instance.resources[event.resource]
    step = resource.step
    if step is None or step.id != event.step:
        raise IllegalEvent(f"{event} ends a step that does not run")
    turn.cause = f"{event.resource}: its {step.verb.value} step came back"
    if event.seen.alarm:
        turn.alarm(instance, Matter.ATTENTION, f"{event.resource}: {event.seen.alarm}")
    resource = replace(resource, step=None, given_up=False, refused=False)
    resource = _seen(turn, resource, event.seen, instance.direction)
    direction = Target.ACTIVE if step.verb is planner.VERB[Target.ACTIVE] else Target.STANDBY
    if direction is instance.direction and event.seen.level is not planner.GOAL[direction]:
        resource = _failed(turn, resource, event)
        if resource.given_up:
            _escalate(turn, instance, resource)
    return _with(instance, event.resource, resource)


def overdue(turn: Turn, instance: InstanceState, resource: ResourceState) -> ResourceState:
    """Where a step or a look has passed its deadline without a word, that is what came of it."""
    if resource.step is not None and not resource.overdue and turn.now >= resource.step.deadline:
        step = replace(resource.step, overdue=True)
        resource = replace(resource, step=step, given_up=True, failure=f"its {step.verb.value} step never came back")
        _escalate(turn, instance, resource)
        return resource
    if resource.look is not None and turn.now >= resource.look.deadline:
        turn.cause = f"looking at {resource.spec.name} took too long"
        seen = Observation(level=Level.UNKNOWN, detail="looking at it took too long")
        return _seen(turn, replace(resource, look=None), seen, instance.direction)
    return resource


def _seen(turn: Turn, resource: ResourceState, seen: Observation, direction: Target | None) -> ResourceState:
    since = resource.since if seen.level is resource.seen.level else turn.now
    resource = replace(resource, seen=seen, since=since, confirmed=True)
    if direction is not None and seen.level is planner.GOAL[direction]:
        return replace(resource, attempts=0, not_before=0.0, failure="", given_up=False, refused=False)
    return resource


def _ended_by_itself(turn: Turn, resource: ResourceState) -> ResourceState:
    restart = resource.spec.restart
    if restart is None:
        return resource
    ended = (*(at for at in resource.ended if turn.now - at < restart.within), turn.now)
    if len(ended) <= restart.max:
        return replace(resource, ended=ended)
    failure = f"ended by itself {len(ended)} times within {restart.within:g} s, and is not started again"
    return replace(resource, ended=ended, given_up=True, failure=failure)


def _escalate(turn: Turn, instance: InstanceState, resource: ResourceState) -> None:
    """It has given up: where it was to be stopped, and may still be active, its escalation is due."""
    if instance.direction is Target.STANDBY and resource.spec.escalation is Escalation.REBOOT:
        reason = f"{resource.spec.name} cannot be stopped: {resource.failure}"
        turn.effects.append(Reboot(instance=instance.spec.name, reason=reason))


def _failed(turn: Turn, resource: ResourceState, event: StepEnded) -> ResourceState:
    if event.outcome is Outcome.REFUSED:
        return replace(resource, failure=event.reason, given_up=True, refused=True)
    attempts = resource.attempts + 1
    seen = f"observed {event.seen.level.value}" + (f" ({event.seen.detail})" if event.seen.detail else "")
    reason = f"{event.reason}; {seen}" if event.reason else seen
    resource = replace(resource, attempts=attempts, failure=reason)
    if event.outcome is Outcome.HUNG or attempts > resource.spec.retries:
        return replace(resource, given_up=True)
    return replace(resource, not_before=turn.now + planner.backoff(resource.spec, attempts))


def _with(instance: InstanceState, name: str, resource: ResourceState) -> InstanceState:
    return replace(instance, resources={**instance.resources, name: resource})
