"""The one transition table, and `advance()`, which applies it.

The rules, in plain sentences:

1. keepalived's newest state sets the target: ACTIVE for MASTER, STANDBY for every other state.
2. Guards may turn the direction to STANDBY although the target is ACTIVE, and give the reason.
3. VIPs that disagree with the target have `vip_timeout` to agree; meanwhile no step starts, and none is undone. While a
   VIP cannot be observed, nothing more is activated; active resources stay active, with an alarm.
4. The planner names the steps that can run now. Each outcome comes back as an event, and the planner runs again.
5. Observations decide, exit codes do not. A step whose resource reached the goal is done, whatever its tool returned.
6. A step that failed is retried `retries` times, with backoff; then the resource has given up. A refused step is
   retried when its obstacle changes. A resource that has given up is retried at a slower and slower pace, and when its
   observation changes; it may release mastership. Mastership is taken back where keepalived stays MASTER all the same,
   or after a time, when the node is a healthy standby; each release in a row takes longer.
7. A step in flight is always awaited: the steps that a later event requires start after it.
8. Whenever the facts disagree, the core queries keepalived's current state; an answer that is older than keepalived's
   last report is discarded.
9. A start has no rules of its own: keepalived's D-Bus property, or its last state, counts as if it were reported now.
   Where there is neither, failoverd watches the node and changes nothing; only after a boot, a node without its VIPs
   is a standby.
10. With [quorum], no activation starts before enough witnesses have answered. A node that misses them for too long is
   alone: it deactivates, and leaves mastership to the others until they answer again.
11. With [fence] or `takeover_after`, no activation starts while another node may serve the instance: the core waits for
   its word, waits it out, or fences it.
12. When keepalived exits as MASTER, its last state is discarded: the node is a standby until keepalived reports again.

A crash, a restart, an event in the middle of a transition and drift weeks later have no code of their own: they
all change the target or an observation, and rule 4 does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol, TypeVar, assert_never

from failoverd.core import fencing, handover, hearing, maintenance, outcomes, quorum, rivals, rules, strays
from failoverd.core.context import AdvanceContext
from failoverd.core.effects import Effect
from failoverd.core.events import (
    Event,
    HearingChanged,
    KeepalivedSeen,
    LeaseAnswered,
    LowerPriorityAdvert,
    PeerFenced,
    PeerReported,
    PeerUnverified,
    Reloaded,
    ResourceChanged,
    ResourceObserved,
    Stalled,
    StepEnded,
    Stopping,
    Tick,
    ToolEnded,
    VipElsewhere,
    VipsSeen,
    VrrpChanged,
    VrrpStateReported,
    WishesFound,
    WitnessAnswered,
)
from failoverd.core.model import InstanceState, State
from failoverd.core.reconcile import reconcile, take_back
from failoverd.core.reload import reload
from failoverd.core.requests import (
    Acknowledged,
    AsideEnded,
    AsideWanted,
    CheckAsked,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
    MaintenanceBegun,
    MaintenanceEnded,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    RivalsNoted,
    StandbyWanted,
    Together,
)
from failoverd.core.words import Target


def _forget_step(context: AdvanceContext, event: StepEnded) -> None:
    state = context.state
    orphans = {key: step for key, step in state.orphans.items() if step.id != event.step}
    lent = {step: keys for step, keys in state.lent.items() if step != event.step}
    context.state = replace(state, orphans=orphans, lent=lent)
    strays.step_ended(context, event.instance, event.resource)


def _stop(context: AdvanceContext) -> None:
    context.state = replace(context.state, stopping=True)
    context.touch()


# ---------------------------------------------------------------- the instances that an event concerns


class _OfInstance(Protocol):
    @property
    def instance(self) -> str: ...


class _OfResource(_OfInstance, Protocol):
    @property
    def resource(self) -> str: ...


def _named(context: AdvanceContext, event: _OfInstance) -> Iterable[str]:
    return (event.instance,) if event.instance in context.state.instances else ()


def _with_the_resource(context: AdvanceContext, event: _OfResource) -> Iterable[str]:
    instance = context.state.instances.get(event.instance)
    return (event.instance,) if instance is not None and event.resource in instance.resources else ()


def _with_a_vip(context: AdvanceContext, event: VipsSeen) -> Iterable[str]:
    return (name for name, instance in context.state.instances.items() if any(rules.seen_of(instance, event)))


def _of_the_keepalived(context: AdvanceContext, event: KeepalivedSeen) -> Iterable[str]:
    return (name for name in context.state.instances if name in event.instances)


def _with_another_master(context: AdvanceContext, event: PeerReported) -> Iterable[str]:
    return rivals.saying(context, event.peer)


def _due(context: AdvanceContext, _: Tick) -> Iterable[str]:
    agenda = context.state.agenda
    return (name for name, at in agenda.due.items() if at <= context.now) if agenda.next <= context.now else ()


# ---------------------------------------------------------------- the table


def _apply(context: AdvanceContext, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915 - a case per event
    """The transition table: for every kind of event, the instances that it concerns and the rule for each of them.

    One rule holds for every target, unless another is named for STANDBY, or for an unknown target (None). No event
    concerns an instance or a resource that is not configured.

    The rules decide the target, the transition that begins with it, the known facts (VIPs, keepalived, observations,
    rivals), which observations count, how often a resource has failed and when it is retried, and the queries and
    checks. They decide neither the direction nor anything that follows from it: whether a guard turns the direction to
    STANDBY, which steps start, the phase and its reason, the alarms about them, the end of a transition, and whether
    mastership is released. After every event `reconcile.py` derives these from the state, for each instance that the
    event concerned; `rules.may_take_back` then decides whether mastership is taken back.
    """
    match event:
        case VrrpChanged():
            hearing.changes(context, event.instance, event.state)
            _each(context, event, _named, rules.follow)
        case LowerPriorityAdvert():
            if event.rival:
                hearing.another_master(context, event.instance)
            _each(context, event, _named, rules.verify, standby=rules.query_vrrp_state, unknown=rules.query_vrrp_state)
        case VipElsewhere():
            hearing.another_master(context, event.instance)
            _each(context, event, _named, rules.see_vip_elsewhere)
        case VrrpStateReported():
            hearing.corrected(context, event)
            _each(context, event, _named, rules.correct, unknown=rules.adopt)
        case VipsSeen():
            _each(context, event, _with_a_vip, rules.see_vips, unknown=rules.see_vips_and_ask)
        case KeepalivedSeen():
            _each(context, event, _of_the_keepalived, rules.see_keepalived)
        case ResourceObserved():
            _each(context, event, _with_the_resource, outcomes.observed)
            hearing.seen(context, event.seen)
            strays.observed(context, event)
        case StepEnded():
            for instance, resource in (*context.state.lent.get(event.step, ()), (event.instance, event.resource)):
                ended = replace(event, instance=instance, resource=resource)
                _each(context, ended, _with_the_resource, outcomes.ended)
                _forget_step(context, ended)
            hearing.seen(context, event.seen)
        case ResourceChanged():
            _each(context, event, _with_the_resource, rules.check_again)
        case ToolEnded():
            _each(context, event, _with_the_resource, rules.tool_ended)
        case Reset():
            _each(context, event, _named, rules.reset)
        case StandbyWanted():
            _each(context, event, _named, rules.stand_by_for_an_operator)
        case OnlineWanted():
            rules.forget_wish(context, event)
            _each(context, event, _named, rules.end_standby)
        case Together(events=events):
            for each in events:
                _apply(context, each)
        case WishesFound():
            rules.take_in(context, event)
        case MaintenanceBegun():
            maintenance.begin(context, event)
        case MaintenanceEnded(cause=cause):
            maintenance.end(context, cause)
        case HandoverWanted():
            _each(context, event, _named, handover.begin)
        case HandoverAttended():
            _each(context, event, _named, handover.attend)
        case HandoverCancelled():
            _each(context, event, _named, handover.cancel)
        case HandoverConfirmed():
            _each(context, event, _named, handover.confirm)
        case AsideWanted():
            _each(context, event, _named, handover.stand_aside)
        case AsideEnded():
            _each(context, event, _named, handover.compete)
        case CheckAsked():
            _each(context, event, _named, rules.check_all)
        case RivalsNoted():
            _each(context, event, _named, rules.note_rivals)
        case WitnessAnswered():
            quorum.answered(context, event)
        case LeaseAnswered():
            _each(context, event, _named, quorum.lease_answered)
        case PeerReported():
            hearing.reported(context, event)
            _each(context, event, _with_another_master, rules.hear_another_master)
        case PeerUnverified():
            hearing.unverified(context, event)
        case HearingChanged():
            hearing.changed(context, event)
        case PeerFenced():
            fencing.answered(context, event)
        case PeerConfirmedOff():
            hearing.confirmed_off(context, event)
        case PeerUnfenced():
            hearing.unfenced(context, event)
        case Tick():
            maintenance.wake(context)
            quorum.wake(context)
            fencing.wake(context)
            _each(context, event, _due, rules.wake)
            strays.wake(context)
        case Stalled():
            quorum.stalled(context, event)
        case Acknowledged():
            strays.forget(context, event.instance)
        case Stopping():
            _stop(context)
        case Reloaded():
            reload(context, event.config)
        case _:
            assert_never(event)


_E = TypeVar("_E", bound=Event)
_Rule = Callable[[AdvanceContext, InstanceState, _E], InstanceState]


def _each(
    context: AdvanceContext,
    event: _E,
    concerned: Callable[[AdvanceContext, _E], Iterable[str]],
    rule: _Rule[_E],
    *,
    standby: _Rule[_E] | None = None,
    unknown: _Rule[_E] | None = None,
) -> None:
    rules = {Target.ACTIVE: rule, Target.STANDBY: standby or rule, None: unknown or rule}
    for name in tuple(concerned(context, event)):
        instance = context.take(name)
        context.put(name, rules[instance.target](context, instance, event))


def advance(state: State, event: Event, now: float) -> tuple[State, tuple[Effect, ...]]:
    """The state after `event`, and the effects. Raises outcomes.IllegalEvent for an event that only a bug can send.

    Before any event, deadlines that have passed by `now` are handled: no deadline is lost to an event that came first.
    Only instances that the event concerned, or for which the node may have room now, are reconciled: reconciling the
    others would change nothing.
    """
    context = AdvanceContext(state, now)
    _apply(context, Tick())
    if not isinstance(event, Tick):
        _apply(context, event)
    for name in context.urgent():
        instance = reconcile(context, context.take(name))
        if rules.may_take_back(context, instance):
            instance = reconcile(context, take_back(instance))
        context.put(name, instance)
    quorum.ask(context)
    fencing.ask(context)
    return context.ended(), tuple(context.effects)


def next_deadline(state: State) -> float | None:
    """When `advance` needs a Tick, if no event comes before; None when it needs none."""
    return state.agenda.next if state.agenda.next < math.inf else None
