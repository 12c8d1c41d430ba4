"""A handover: an operator has another node take over, and this node stops its resources before mastership moves.

It has two parts. First this node, still MASTER, deactivates its resources; a failure, the operator, or a failoverctl
that no longer attends it ends the handover there, and the resources are activated again. When all are at standby, and
failoverctl has just seen a node that can take over, the track file releases mastership: the point of no return. It ends
when failoverctl has verified that the other node is active, or that none will be; or else after a time, so that this
node competes again, and serves where no other does. Until then it is no wish of an operator: a restart does not keep
it.

Meanwhile the nodes that are not to be elected are *aside*: their track files say so, for a short time, which
failoverctl renews.
"""

from __future__ import annotations

from dataclasses import replace

from failoverd.core import guards, planner
from failoverd.core.context import AdvanceContext
from failoverd.core.model import Aside, Handover, InstanceState, Standby
from failoverd.core.requests import (
    AsideEnded,
    AsideWanted,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
)
from failoverd.core.words import Level, Target, TransitionResult


def begin(context: AdvanceContext, instance: InstanceState, event: HandoverWanted) -> InstanceState:
    """Only a MASTER that competes for mastership can hand it over."""
    if instance.target is not Target.ACTIVE or not instance.competes or instance.handover is not None:
        return instance
    context.cause = f"{event.by} hands mastership over"
    return replace(instance, handover=Handover(by=event.by, id=event.id, attended_until=event.until))


def attend(_: AdvanceContext, instance: InstanceState, event: HandoverAttended) -> InstanceState:
    """Mastership may be released until then."""
    handover = instance.handover
    if handover is None or handover.id != event.id:
        return instance
    return replace(instance, handover=replace(handover, attended_until=event.until))


def cancel(context: AdvanceContext, instance: InstanceState, event: HandoverCancelled) -> InstanceState:
    """End it before mastership was released; after that, only where no other node will be active."""
    handover = instance.handover
    if handover is None or handover.id != event.id:
        return instance
    if handover.given_at is None:
        return _serve(context, instance, event.cause)
    if not event.released:
        return instance
    context.cause = event.cause
    return replace(instance, handover=None)


def confirm(context: AdvanceContext, instance: InstanceState, event: HandoverConfirmed) -> InstanceState:
    """The other node is active. Where nodes preempt, this one is kept in standby, so that it does not take it back.

    That holds also where a restart has ended the handover, as long as keepalived is not MASTER here again.
    """
    handover = instance.handover
    if (handover is not None and (handover.id != event.id or handover.given_at is None)) or (
        handover is None and instance.target is Target.ACTIVE
    ):
        return instance
    context.cause = f"{event.by} has seen the other node active"
    kept = instance.standby or Standby(by=event.by, at=context.now)
    return replace(instance, handover=None, standby=kept if instance.spec.preempt else instance.standby)


def stand_aside(context: AdvanceContext, instance: InstanceState, event: AsideWanted) -> InstanceState:
    """Of two handovers, the first one counts."""
    if instance.aside is not None and instance.aside.id != event.id:
        return instance
    context.cause = f"aside for the handover {event.id}"
    return replace(instance, aside=Aside(id=event.id, until=event.until))


def compete(context: AdvanceContext, instance: InstanceState, event: AsideEnded) -> InstanceState:
    """Another handover does not end it."""
    if instance.aside is None or instance.aside.id != event.id:
        return instance
    context.cause = f"the handover {event.id} has ended"
    return replace(instance, aside=None)


def followed(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """The instance after the next part of its handover, if one has ended."""
    if context.state.stopping:
        return instance
    if instance.aside is not None and context.now >= instance.aside.until:
        context.cause = f"nobody attends the handover {instance.aside.id} any more"
        instance = replace(instance, aside=None)
    handover = instance.handover
    if handover is None:
        return instance
    if handover.given_at is not None:
        return _over(context, instance, handover.given_at)
    if instance.target is not Target.ACTIVE or context.state.maintenance is not None:
        return replace(instance, handover=None)
    if context.now >= handover.attended_until + guards.UNATTENDED_S:
        cause = "failoverctl does not attend the handover any more, or sees no node that can take over"
        return _serve(context, instance, f"{cause}, so this node goes on")
    return _deactivated(context, instance, handover) if instance.direction is Target.STANDBY else instance


def _serve(context: AdvanceContext, instance: InstanceState, cause: str) -> InstanceState:
    """End it, and activate here again what was deactivated."""
    context.cause = cause
    return context.begin(replace(instance, handover=None), Target.ACTIVE, cause)


def _deactivated(context: AdvanceContext, instance: InstanceState, handover: Handover) -> InstanceState:
    """Release mastership when every resource is at standby; go on here when one will not be."""
    if all(r.rests_at(Level.STANDBY) for r in instance.resources.values()):
        if context.now >= handover.attended_until:
            return instance
        return replace(instance, handover=replace(handover, given_at=context.now))
    if planner.moving(instance.resources, Target.STANDBY) or planner.confirming(instance.resources, Target.STANDBY):
        return instance
    failures = "; ".join(f"{name}: {r.failure}" for name, r in instance.resources.items() if r.failure)
    reason = failures or "a resource is not at standby"
    if instance.transition is not None:
        instance = context.end(instance, TransitionResult.FAILED, reason)
    return _serve(context, instance, f"the handover failed, so this node goes on: {reason}")


def _over(context: AdvanceContext, instance: InstanceState, given_at: float) -> InstanceState:
    """Compete again: keepalived stays MASTER, so no other node has taken over; or nobody has verified the other one."""
    stays = instance.target is Target.ACTIVE and context.now >= given_at + guards.MASTERSHIP_RELEASE_S
    if context.state.maintenance is not None or not (stays or context.now >= given_at + guards.handover_time(instance)):
        return instance
    context.cause = "no other node took over" if stays else "the time of the handover has passed"
    return replace(instance, handover=None)
