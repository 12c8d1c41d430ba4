"""The answers about a resource: an observation, the end of a step, or none by the deadline."""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.command_text import failoverctl
from failoverd.core import planner
from failoverd.core.context import AdvanceContext
from failoverd.core.effects import AlarmKind
from failoverd.core.events import ResourceObserved, StepEnded
from failoverd.core.model import InstanceState
from failoverd.core.resource import Observation, ResourceState
from failoverd.core.words import Drift, Level, Outcome, Target

#: The outcomes of a deactivation that was attempted and has failed.
_FAILED_STOPS = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.HUNG})


class IllegalEvent(Exception):
    """An event that only a bug of failoverd can cause. The state is unchanged."""


def observed(context: AdvanceContext, instance: InstanceState, event: ResourceObserved) -> InstanceState:
    """A check has ended."""
    resource = instance.resources[event.resource]
    if resource.look is None or resource.look.id != event.look:
        return instance  # a step began meanwhile, or the check was overdue
    context.cause = f"{event.resource} was observed {event.seen.level.value}"
    if event.seen.detail:
        context.cause += f": {event.seen.detail}"
    goal = None if instance.direction is None else planner.GOAL[instance.direction]
    context.drift = resource.seen.level is goal and event.seen.level is not goal
    if event.seen.alarm and event.seen.alarm != resource.seen.alarm:
        context.alarm(instance, AlarmKind.ATTENTION, f"{event.resource}: {event.seen.alarm}")
    before, again, asked = resource, resource.look.again, resource.look.asked
    resource = _seen(context, replace(resource, look=None), event.seen, instance.direction)
    resource = replace(resource, asked=asked)
    if _drifted(before, resource, instance.direction):
        resource = _adrift(resource, instance.direction)
    elif instance.direction is Target.ACTIVE:
        if before.rests_at(Level.ACTIVE) and resource.seen.level in (Level.STANDBY, Level.FAILED):
            resource = _ended_by_itself(context, resource)
        elif resource.refused and resource.seen.obstacle != before.seen.obstacle:
            resource = replace(resource, given_up=False, refused=False, failure="", not_before=0.0)
    if _changed(before, resource):
        resource = _sooner(context, resource)
    return _with(instance, event.resource, context.look(resource) if again else resource)


def ended(context: AdvanceContext, instance: InstanceState, event: StepEnded) -> InstanceState:
    """A step has ended: done, failed, to be retried, or given up."""
    resource = instance.resources[event.resource]
    step = resource.step
    if event.step in {other.id for other in resource.others}:
        others = tuple(other for other in resource.others if other.id != event.step)
        return _with(instance, event.resource, replace(resource, others=others))
    if step is None or step.id != event.step:
        raise IllegalEvent(f"{event} ends a step that does not run")
    context.cause = f"{event.resource}: its {step.verb.value} step has ended"
    if step.foreign:
        resource = replace(resource, step=None, given_up=False, adrift=False, failure="", not_before=0.0)
        return _with(instance, event.resource, context.look(_next(context, instance, resource)))
    if event.seen.alarm:
        context.alarm(instance, AlarmKind.ATTENTION, f"{event.resource}: {event.seen.alarm}")
    unable = step.maybe_active and (event.outcome is Outcome.NOT_STARTED or event.seen.level is Level.UNKNOWN)
    resource = replace(resource, step=None, given_up=False, refused=False, adrift=False, not_before=0.0, unable=unable)
    resource = _seen(context, resource, event.seen, instance.direction)
    direction = Target.ACTIVE if step.verb is planner.VERB[Target.ACTIVE] else Target.STANDBY
    if direction is instance.direction and event.seen.level is not planner.GOAL[direction]:
        resource = _failed(context, instance, resource, event)
        if resource.given_up and direction is Target.STANDBY and event.outcome in _FAILED_STOPS:
            resource = replace(resource, unstoppable=resource.maybe_active)
    return _with(instance, event.resource, _next(context, instance, resource))


def _next(context: AdvanceContext, instance: InstanceState, resource: ResourceState) -> ResourceState:
    """Wait for the next of the other steps that run on it, before an observation counts or a step starts."""
    if not resource.others:
        return resource
    step, *others = resource.others
    return overdue(context, instance, replace(resource, step=step, others=tuple(others), confirmed=False))


def overdue(context: AdvanceContext, instance: InstanceState, resource: ResourceState) -> ResourceState:
    """A step or a check that has not reported by its deadline has failed."""
    if resource.step is not None and not resource.overdue and context.now >= resource.step.deadline:
        step = replace(resource.step, overdue=True)
        failure = f"its {step.verb.value} step did not end by its deadline"
        return replace(resource, step=step, given_up=True, not_before=math.inf, failure=failure)
    if resource.look is not None and context.now >= resource.look.deadline:
        context.cause = f"the check of {resource.spec.name} timed out"
        seen = Observation(level=Level.UNKNOWN, detail="the check timed out")
        before, resource = resource, _seen(context, replace(resource, look=None), seen, instance.direction)
        if _drifted(before, resource, instance.direction):
            return _adrift(resource, instance.direction)
    return resource


def _seen(
    context: AdvanceContext, resource: ResourceState, seen: Observation, direction: Target | None
) -> ResourceState:
    since = resource.since if seen.level is resource.seen.level else context.now
    maybe_active = seen.level in (Level.ACTIVE, Level.FAILED) or (resource.maybe_active and seen.level is Level.UNKNOWN)
    resource = replace(
        resource,
        seen=seen,
        since=since,
        observed=context.now,
        asked=-math.inf,
        confirmed=True,
        maybe_active=maybe_active,
        unstoppable=resource.unstoppable and maybe_active,
    )
    if direction is not None and seen.level is planner.GOAL[direction]:
        return replace(resource, attempts=0, not_before=0.0, failure="", given_up=False, refused=False, adrift=False)
    return resource


def _drifted(before: ResourceState, resource: ResourceState, direction: Target | None) -> bool:
    """Whether it has left the goal, or has not returned to it yet, and `drift` is REPORT.

    A level that was observed before the direction was set does not count as the goal.
    """
    if direction is None or resource.spec.drift is not Drift.REPORT:
        return False
    goal = planner.GOAL[direction]
    return resource.seen.level is not goal and (before.adrift or before.rests_at(goal))


def _adrift(resource: ResourceState, direction: Target | None) -> ResourceState:
    assert direction is not None
    spec, seen = resource.spec, resource.seen
    failure = (
        f'it is {seen.level.value}{f" ({seen.detail})" if seen.detail else ""}, and stays so (drift = "report"); '
        f"to {planner.VERB[direction].value} it: {failoverctl('reset', spec.instance)}"
    )
    return replace(resource, given_up=True, adrift=True, not_before=math.inf, failure=failure)


def _ended_by_itself(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    """Let it be activated again: at once, and after a pause if it ends repeatedly, as `restart` permits."""
    restart = resource.spec.restart
    if restart is None:
        ended = (*(at for at in resource.ended if context.now - at < planner.LONGEST_PAUSE_S), context.now)
        pause = planner.backoff(resource.spec, len(ended) - 1) if len(ended) > 1 else 0.0
        return replace(resource, ended=ended, not_before=context.now + pause)
    ended = (*(at for at in resource.ended if context.now - at < restart.within), context.now)
    if len(ended) <= restart.max:
        return replace(resource, ended=ended)
    failure = f"ended by itself {len(ended)} times within {restart.within:g} s, and is not restarted for as long"
    not_before = context.now + restart.within
    return replace(resource, ended=ended, given_up=True, failure=failure, not_before=not_before)


def renewed(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    """Retry a resource that has given up, when its pause is over and its obstacle has passed."""
    if not resource.given_up or resource.overdue or context.now < resource.not_before:
        return resource
    if resource.refused and resource.seen.obstacle:
        return resource
    context.cause = f"{resource.spec.name} had given up, and is retried"
    return replace(resource, given_up=False)


def freed(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    """Check a resource whose hung tool has exited, and may have succeeded; retry it if it waited for that tool."""
    context.cause = f"the tool that hung on {resource.spec.name} has ended"
    if resource.step is None and not resource.adrift and resource.given_up and math.isinf(resource.not_before):
        resource = replace(resource, given_up=False, not_before=0.0)
    return context.look(resource)


def _changed(before: ResourceState, after: ResourceState) -> bool:
    """Whether a failed step may succeed now. After a refusal without an observed obstacle, every change counts."""
    if before.refused and not after.seen.obstacle:
        return before.seen != after.seen
    return (before.seen.level, before.seen.obstacle) != (after.seen.level, after.seen.obstacle)


def _sooner(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    """Retry a resource that has changed: soon, but FIRST_PAUSE_S after its last failure at the earliest."""
    if not (resource.attempts or resource.refused) or math.isinf(resource.not_before):
        return resource
    at = max(context.now, resource.failed_at + planner.FIRST_PAUSE_S)
    return renewed(context, replace(resource, not_before=min(resource.not_before, at)))


def _failed(
    context: AdvanceContext, instance: InstanceState, resource: ResourceState, event: StepEnded
) -> ResourceState:
    if event.outcome in (Outcome.REFUSED, Outcome.IN_USE):
        return _refused(
            context, instance, replace(resource, failure=event.reason, failed_at=context.now), event.outcome
        )
    attempts = resource.attempts + 1
    seen = f"observed {event.seen.level.value}" + (f" ({event.seen.detail})" if event.seen.detail else "")
    reason = f"{event.reason}; {seen}" if event.reason else seen
    resource = replace(resource, attempts=attempts, failure=reason, failed_at=context.now)
    if event.outcome is Outcome.HUNG:  # its tool may still be at work
        return replace(resource, given_up=True, not_before=math.inf)
    if attempts > resource.spec.retries:
        not_before = context.now + planner.pause(attempts - resource.spec.retries)
        return replace(resource, given_up=True, not_before=not_before)
    return replace(resource, not_before=context.now + planner.backoff(resource.spec, attempts))


def _refused(
    context: AdvanceContext, instance: InstanceState, resource: ResourceState, outcome: Outcome
) -> ResourceState:
    """Retry a resource that another node has, for as long as that node may take to stop everything.

    After that, and for any other refusal, the resource gives up and is retried at a slower and slower pace; but not
    while an obstacle is observed and unchanged.
    """
    wanted = context.now - instance.vrrp_since
    if outcome is Outcome.IN_USE and wanted < planner.stop_time(instance.spec):
        return replace(resource, not_before=context.now + planner.IN_USE_PAUSE_S)
    pause = min(max(planner.FIRST_PAUSE_S, wanted), planner.LONGEST_PAUSE_S)
    return replace(resource, given_up=True, refused=True, not_before=context.now + pause)


def _with(instance: InstanceState, name: str, resource: ResourceState) -> InstanceState:
    return replace(instance, resources={**instance.resources, name: resource})
