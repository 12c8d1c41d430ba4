"""No activation while another node may serve: a MASTER waits for the others' words, waits them out, or fences them.

An instance needs its other nodes *cleared* from the moment at which nothing else turns a MASTER to standby. What is
known of them counts from then on. Once they are cleared, that lasts for as long as nothing turns the instance to
standby: a resource that ends by itself and is activated again asks nobody.
"""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.core import clearance, hearing
from failoverd.core.context import AdvanceContext
from failoverd.core.effects import AlarmKind, FencePeer
from failoverd.core.events import PeerFenced
from failoverd.core.knowledge import Fencing
from failoverd.core.model import InstanceState
from failoverd.core.resource import ResourceState
from failoverd.core.words import Clearance, Level, Target

#: Seconds after a fencing that has failed until the next, the first time; each further pause is twice the last.
FIRST_PAUSE_S = 30.0

#: Seconds of such a pause, at most.
LONGEST_PAUSE_S = 300.0


def judged(context: AdvanceContext, instance: InstanceState, *, wanted: bool) -> InstanceState:
    """Set the clearance of the instance. `wanted`: nothing but other nodes keeps the target ACTIVE from being followed.

    It fences nobody; `ask` does, at the end of the event.
    """
    state = context.state
    if not wanted or not clearance.asked(state, instance):
        if instance.clearance is Clearance.IDLE:
            return instance
        return replace(instance, clearance=Clearance.IDLE, uncleared="")
    if instance.clearance is Clearance.GIVEN or state.stopping:
        return instance
    if instance.clearance is Clearance.IDLE:
        if instance.direction is Target.ACTIVE:  # a reload has brought other nodes to an instance that is active
            return replace(instance, clearance=Clearance.GIVEN)
        instance = _from_now(context, instance)
    if _nothing_to_ask(instance) or not (found := clearance.doubts(state, instance, context.now)):
        return replace(instance, clearance=Clearance.GIVEN, uncleared="")
    refused = any(doubt.refused for doubt in found.values())
    text = "; ".join(f"{peer} {doubt.text}" for peer, doubt in found.items())
    return replace(instance, clearance=Clearance.MISSING if refused else Clearance.AWAITED, uncleared=text)


def _from_now(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Only what is known from here on counts; check the resources that see other nodes, and fence again at once."""
    end_pause(context, instance)
    resources = {name: _looked_at(context, r) for name, r in instance.resources.items()}
    return replace(instance, clearance=Clearance.AWAITED, clear_since=context.now, resources=resources)


def _looked_at(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    """Let no check that began before count, also one in flight or of this very moment."""
    resource = replace(resource, asked=-math.inf)
    if resource.look is not None:
        return replace(resource, look=context.observe(resource.spec))
    return resource if resource.seen.inactive_on is None else context.look(resource)


def end_pause(context: AdvanceContext, instance: InstanceState) -> None:
    """Let each node that is to be fenced for the instance be fenced again at once."""
    state, asked = context.state, clearance.asked(context.state, instance)
    fencings = {
        peer: replace(each, not_before=-math.inf) if peer in asked else each for peer, each in state.fencings.items()
    }
    context.state = replace(state, fencings=fencings)


def _nothing_to_ask(instance: InstanceState) -> bool:
    """Whether everything is active already; or something is, beside which this daemon was started."""
    resources = instance.resources.values()
    if clearance.just_found(instance) and any(r.seen.level is Level.ACTIVE for r in resources):
        return True
    return all(r.rests_at(Level.ACTIVE) for r in resources)


# ---------------------------------------------------------------- the fencing itself


def ask(context: AdvanceContext) -> None:
    """At the end of an event: fence the nodes that are to be fenced, each once at a time."""
    state = context.state
    wanted = clearance.wanted(state, context.doubtful, context.now)
    if wanted or state.aimed:
        context.state = replace(state, aimed={peer: state.aimed.get(peer, context.now) for peer in wanted})
    for peer, instance in wanted.items():
        last = state.fencings.get(peer)
        if last is not None and (last.running or context.now < last.not_before):
            continue
        if context.now < context.state.aimed[peer] + state.config.fences[peer].delay:
            continue
        number = context.number()
        context.effects.append(FencePeer(peer=peer, fencing=number))
        limit = state.config.fences[peer].worst_case + clearance.FENCING_GRACE_S
        begun = last or Fencing(id=number, asked=context.now, instance=instance, deadline=math.inf)
        begun = replace(begun, id=number, asked=context.now, instance=instance, deadline=context.now + limit)
        context.state = replace(context.state, fencings={**context.state.fencings, peer: begun})


def answered(context: AdvanceContext, event: PeerFenced) -> None:
    """A fencing has ended. A proof counts, whoever has asked for it."""
    if event.peer not in context.state.config.fences:
        return
    running = context.state.fencings.get(event.peer)
    if event.off:
        if (instance := _fenced_for(context, event.peer, running)) is not None:
            context.alarm(instance, AlarmKind.FENCED, f"{event.peer} was fenced: {event.said}")
        hearing.is_off(context, event.peer, event.said, f"{event.peer} was fenced: {event.said}")
    elif running is not None and running.id == event.fencing and running.running:
        if event.called_off:
            _called_off(context, event.peer, running)
            return
        _failed(context, event.peer, running, event.said)


def _fenced_for(context: AdvanceContext, peer: str, running: Fencing | None) -> InstanceState | None:
    """The instance for which it was fenced; if DRBD wanted it, the first one that is to be active here instead."""
    instances = context.state.instances
    if running is not None:
        return instances.get(running.instance)
    served = (name for name in sorted(instances) if instances[name].target is Target.ACTIVE)
    return next((instances[name] for name in served if peer in instances[name].spec.others), None)


def wake(context: AdvanceContext) -> None:
    """A fencing that has not reported by its deadline has failed."""
    for peer, fencing in context.state.fencings.items():
        if fencing.running and context.now >= fencing.deadline:
            _failed(context, peer, fencing, "it did not end by its deadline")


def _called_off(context: AdvanceContext, peer: str, fencing: Fencing) -> None:
    """As if it had not been asked for: it may begin again at once."""
    state = context.state
    kept = {name: each for name, each in state.fencings.items() if name != peer}
    if fencing.failed:
        kept[peer] = replace(fencing, deadline=math.inf)
    hearing.learn(context, replace(state, fencings=kept), peer, f"the fencing of {peer} was called off")


def _failed(context: AdvanceContext, peer: str, fencing: Fencing, said: str) -> None:
    pause = min(FIRST_PAUSE_S * 2.0 ** min(fencing.failed, 10), LONGEST_PAUSE_S)
    failed = replace(
        fencing,
        deadline=math.inf,
        said=said,
        ended=context.now,
        failed=fencing.failed + 1,
        not_before=context.now + pause,
    )
    now = replace(context.state, fencings={**context.state.fencings, peer: failed})
    hearing.learn(context, now, peer, f"{peer} could not be fenced: {said}")
