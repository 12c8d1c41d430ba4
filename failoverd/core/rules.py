"""The rules of the transition table: the state of one instance after one event.

A rule changes facts (the target, VIPs, keepalived, observations, retries), and asks for queries and checks. It must not
decide what follows from them: `reconcile.py` does, after every event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from failoverd.core import fencing, guards, hearing, outcomes, planner, rivals
from failoverd.core.context import AdvanceContext
from failoverd.core.events import (
    KeepalivedSeen,
    LowerPriorityAdvert,
    PeerReported,
    ResourceChanged,
    Tick,
    ToolEnded,
    VipElsewhere,
    VipsSeen,
    VrrpChanged,
    VrrpStateReported,
    WishesFound,
)
from failoverd.core.model import InstanceState, Standby
from failoverd.core.reconcile import release, take_back, unconfirmed
from failoverd.core.requests import CheckAsked, OnlineWanted, Reset, RivalsNoted, StandbyWanted
from failoverd.core.resource import ResourceState
from failoverd.core.spec import Vip
from failoverd.core.words import Drift, Keepalived, Level, StateSource, Target, VrrpState

#: Seconds for which each change renews a check that may have observed too early.
_CHECK_RENEWAL_S = 5.0

#: Why a node is a standby although keepalived has reported no state.
_BOOTED = "the machine has booted, the VIP is not here, and keepalived has reported nothing yet"
_VOID = "keepalived has reported nothing since it was started, or since the boot"


def follow(context: AdvanceContext, instance: InstanceState, event: VrrpChanged) -> InstanceState:
    """A new state of keepalived sets the target, and begins a transition where the target changes."""
    after = f" after {instance.robbed}" if instance.robbed and event.state is not VrrpState.MASTER else ""
    known, cause = instance.rivals, _reported(event.state) + after
    instance = rivals.gave_way(context, instance, event)
    if len(instance.rivals) > len(known):
        cause += f"; {rivals.what(instance.rivals[-1])}"
    return _obey(context, replace(instance, robbed=""), event.state, StateSource.EVENT, cause)


def _reported(state: VrrpState) -> str:
    return f"keepalived reported {state.value}"


def _obey(
    context: AdvanceContext, instance: InstanceState, state: VrrpState, source: StateSource, cause: str
) -> InstanceState:
    changed = instance.target is not state.target
    since = instance.vrrp_since if state is instance.vrrp else context.now
    instance = replace(
        rivals.expected(context, instance, state),
        vrrp=state,
        vrrp_since=since,
        vrrp_source=source,
        master_until=_master_until(instance, context.now),
        target=state.target,
        words=context.number(),
    )
    context.cause = cause
    if not changed:
        return unconfirmed(replace(instance, cause=cause))
    instance = replace(instance, vip_deadline=context.now + instance.spec.vip_timeout)
    return unconfirmed(context.begin(instance, state.target, cause))


def _master_until(instance: InstanceState, now: float) -> float:
    return now if instance.vrrp is VrrpState.MASTER else instance.master_until


def verify(context: AdvanceContext, instance: InstanceState, event: LowerPriorityAdvert) -> InstanceState:
    """Another MASTER is there, or reports were lost: nothing that was observed before counts."""
    context.cause = "keepalived reported more than failoverd could follow: checking everything"
    if event.rival:
        context.cause = "keepalived received an advert of another MASTER with a lower priority: checking everything"
        instance = _decided(context, rivals.heard(context, instance))
        rivals.probe(context, instance)
    return _verify_all(context, instance)


def see_vip_elsewhere(context: AdvanceContext, instance: InstanceState, event: VipElsewhere) -> InstanceState:
    """Another station has a VIP of this MASTER: nothing that was observed before counts."""
    if not rivals.counts(context, instance):
        return instance
    instance = _decided(context, rivals.answered(context, instance, event))
    context.cause = f"{rivals.what(instance.rivals[-1])}: checking everything"
    return _verify_all(context, instance)


def hear_another_master(context: AdvanceContext, instance: InstanceState, event: PeerReported) -> InstanceState:
    """Another node says that it is MASTER too: at the first sign, nothing that was observed before counts.

    Later signs come for as long as both are MASTER. The periodic check is enough then.
    """
    before = instance.rivals[-1] if instance.rivals else None
    instance = _decided(context, rivals.said(context, instance, event.peer))
    last = instance.rivals[-1]
    context.cause = f"{rivals.what(last)}: checking everything"
    if before is not None and (before.since, before.peer) == (last.since, last.peer):
        return instance
    rivals.probe(context, instance)
    return _verify_all(context, instance)


def _decided(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Release mastership where this node is the one of two MASTERs that yields."""
    now = rivals.decided(context, instance)
    why = rivals.yields(instance, now)
    return release(context, now, why) if why else now


def _verify_all(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    context.ask(instance)
    return replace(instance, resources={name: _doubted(context, r) for name, r in instance.resources.items()})


def _doubted(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    """Check it before the plan builds on it. If `drift` is REPORT, its confirmed level still shows a drift."""
    if resource.spec.drift is Drift.REPORT:
        return context.look(resource)
    return replace(resource, confirmed=False)


def query_vrrp_state(context: AdvanceContext, instance: InstanceState, _: LowerPriorityAdvert) -> InstanceState:
    """Query keepalived's current state, and change nothing until the answer comes."""
    context.ask(instance)
    return instance


def adopt(context: AdvanceContext, instance: InstanceState, event: VrrpStateReported) -> InstanceState:
    """In UNKNOWN: keepalived's D-Bus property, or else its last state, counts as if it were reported now.

    Where it disagrees with the VIPs, the hold and the guards decide, as always. After a boot, before keepalived has
    reported a state, a node without its VIPs is a standby: another program may have started resources at boot, or a
    power failure may have left them. A daemon that was only restarted does not stop resources on so little evidence.
    """
    instance = replace(instance, doubt=event.doubt)
    if event.words != instance.words:
        return instance
    if event.dbus is not None:
        return _obey(context, instance, event.dbus, StateSource.DBUS, f"keepalived's D-Bus reports {event.dbus.value}")
    if event.stored is not None:
        cause = f"keepalived's last state was {event.stored.value}"
        return _obey(context, instance, event.stored, StateSource.LAST_STATE, cause)
    if event.void:
        return _stand_by(context, instance, _VOID)
    if event.booted and guards.vip_absent(instance):
        return _stand_by(context, instance, _BOOTED)
    silent = guards.vip_left(instance) or "keepalived has reported nothing since the boot: waiting for an event"
    return replace(instance, reason=f"{silent}. Its D-Bus: {event.said}")


def _stand_by(context: AdvanceContext, instance: InstanceState, cause: str) -> InstanceState:
    """No keepalived state counts: the node is a standby until keepalived reports one."""
    instance = replace(
        instance,
        vrrp=None,
        master_until=_master_until(instance, context.now),
        target=Target.STANDBY,
        words=context.number(),
        vip_deadline=context.now + instance.spec.vip_timeout,
    )
    context.cause = cause
    return unconfirmed(context.begin(instance, Target.STANDBY, cause))


def correct(context: AdvanceContext, instance: InstanceState, event: VrrpStateReported) -> InstanceState:
    """With a known target, only keepalived's D-Bus can overrule its last state."""
    instance = replace(instance, doubt=event.doubt)
    if event.words != instance.words or event.dbus in (None, instance.vrrp):
        return instance
    assert event.dbus is not None
    cause = f"keepalived's D-Bus reports {event.dbus.value}; its event was missed"
    return _obey(context, instance, event.dbus, StateSource.DBUS, cause)


def see_vips(context: AdvanceContext, instance: InstanceState, event: VipsSeen) -> InstanceState:
    """Record which VIPs are here; one that came, left or was removed is the cause of what follows."""
    told = dict(seen_of(instance, event))
    instance = replace(instance, instead=_instead(instance, event, told))
    moved = {vip: present for vip, present in told.items() if instance.vips[vip] is not present}
    if not moved:
        return instance
    agreed = guards.vip_problem(instance) is None
    instance = replace(instance, vips={**instance.vips, **moved})
    problem = guards.vip_problem(instance)
    context.cause = _of_the_vips(moved)
    robbed = _of_the_robbed(moved, event.removers)
    if instance.vrrp is VrrpState.MASTER:
        instance = replace(instance, robbed=robbed)
    elif robbed and instance.vrrp is not None and instance.cause.partition(";")[0] == _reported(instance.vrrp):
        # keepalived reported the effect before netlink reported the removal.
        state = instance.vrrp
        instance = context.begin(rivals.withdrawn(instance), state.target, f"{_reported(state)} after {robbed}")
    if agreed and problem is not None:
        instance = replace(instance, vip_deadline=context.now + instance.spec.vip_timeout)
    return instance


def seen_of(instance: InstanceState, event: VipsSeen) -> Iterator[tuple[Vip, bool | None]]:
    """The VIPs of the instance that the event reports, each with its presence."""
    fewer, more = sorted((instance.vips, event.present), key=len)
    return ((vip, event.present[vip]) for vip in fewer if vip in more)


def _instead(instance: InstanceState, event: VipsSeen, told: Mapping[Vip, bool | None]) -> Mapping[Vip, str]:
    if not event.instead and not instance.instead:
        return instance.instead
    kept = {vip: text for vip, text in instance.instead.items() if vip not in told}
    return kept | {vip: event.instead[vip] for vip in told if vip in event.instead}


def _of_the_vips(moved: Mapping[Vip, bool | None]) -> str:
    """The change of the VIPs, in a person's words; names the first."""
    vip, present = next(iter(moved.items()))
    others = f", and {len(moved) - 1} more" if len(moved) > 1 else ""
    where = {True: "came to", False: "left", None: "can no longer be seen on"}[present]
    return f"{vip.address}{others} {where} {vip.interface}"


def _of_the_robbed(moved: Mapping[Vip, bool | None], removers: Mapping[Vip, str]) -> str:
    robbed = (vip for vip in moved if vip in removers)
    return next((f"{vip.address} was removed from {vip.interface} by {removers[vip]}" for vip in robbed), "")


def see_vips_and_ask(context: AdvanceContext, instance: InstanceState, event: VipsSeen) -> InstanceState:
    """As `see_vips`, while no target is known: query keepalived's state as well."""
    context.ask(instance)
    return see_vips(context, instance, event)


def see_keepalived(context: AdvanceContext, instance: InstanceState, event: KeepalivedSeen) -> InstanceState:
    """When keepalived is gone, a MASTER state is discarded; the node is a standby until keepalived reports again."""
    context.cause = f"keepalived is {event.condition.value}"
    back = instance.keepalived is Keepalived.GONE and event.condition is not Keepalived.GONE
    instance = replace(instance, keepalived=event.condition)
    if event.condition is Keepalived.GONE and instance.target is not Target.STANDBY:
        return _stand_by(context, instance, context.cause)
    if back and instance.void:
        context.ask(instance)
        return replace(instance, cause=_VOID)
    return instance


def reset(context: AdvanceContext, instance: InstanceState, event: Reset) -> InstanceState:
    """An operator wants everything checked again: take back mastership, and retry what has given up."""
    context.cause = event.cause
    context.ask(instance)
    fencing.end_pause(context, instance)
    instance = replace(take_back(instance), releases=0, hindrance="", hindrance_at=context.now, able=True)
    resources = {name: context.look(r) for name, r in unconfirmed(instance).resources.items()}
    return replace(instance, resources=resources, alarm="")


def stand_by_for_an_operator(context: AdvanceContext, instance: InstanceState, event: StandbyWanted) -> InstanceState:
    """An operator wants another node to be MASTER: keepalived decides, and the resources follow it as always."""
    context.cause = f"{event.by} wants this node in standby"
    if instance.standby is not None:
        return instance
    return replace(instance, standby=Standby(by=event.by, at=context.now))


def end_standby(context: AdvanceContext, instance: InstanceState, event: OnlineWanted) -> InstanceState:
    """An operator lets this node be MASTER again. Mastership that failoverd has released stays released."""
    context.cause = event.cause
    handed = instance.handover is not None and instance.handover.given_at is not None
    return replace(instance, standby=None, handover=None if handed else instance.handover)


def forget_wish(context: AdvanceContext, event: OnlineWanted) -> None:
    """The same of an instance that is not configured now, and may be again."""
    if event.instance in context.state.standby:
        left = {name: wish for name, wish in context.state.standby.items() if name != event.instance}
        context.state = replace(context.state, standby=left)


def take_in(context: AdvanceContext, event: WishesFound) -> None:
    """Earlier wishes were read after the start: they are kept, except where an operator has a newer one."""
    before = context.state
    elsewhere = {name: wish for name, wish in event.standby.items() if name not in before.instances}
    maintenance = before.maintenance or event.maintenance
    context.state = replace(before, standby={**elsewhere, **before.standby}, maintenance=maintenance)
    if maintenance is not before.maintenance:
        context.touch()
    for name, wish in event.standby.items():
        if name in before.instances and before.instances[name].standby is None:
            instance = context.take(name)
            context.cause = f"{wish.by} wants this node in standby"
            context.put(name, replace(instance, standby=wish))


def note_rivals(_: AdvanceContext, instance: InstanceState, __: RivalsNoted) -> InstanceState:
    """An operator knows of the other MASTERs: their record ends."""
    return replace(instance, rivals=())


def check_again(context: AdvanceContext, instance: InstanceState, event: ResourceChanged) -> InstanceState:
    """Check a resource that has changed: a check in flight may have observed too early. A step ends with its own check.

    A resource may change faster than it can be checked. So after _CHECK_RENEWAL_S the check in flight counts, and one
    more follows it.
    """
    resource = _renewed_check(context, instance.resources[event.resource])
    return replace(instance, resources={**instance.resources, event.resource: resource})


def _renewed_check(context: AdvanceContext, resource: ResourceState) -> ResourceState:
    look = resource.look
    if look is None:
        return context.look(resource)
    if look.renewed is None or context.now - look.renewed < _CHECK_RENEWAL_S:
        since = context.now if look.renewed is None else look.renewed
        return replace(resource, look=replace(context.observe(resource.spec), renewed=since))
    return replace(resource, look=replace(look, again=True))


def check_all(context: AdvanceContext, instance: InstanceState, event: CheckAsked) -> InstanceState:
    """An operator wants to know the current state: query keepalived, and check every resource."""
    context.cause = event.cause
    context.ask(instance)
    return replace(instance, resources={name: _renewed_check(context, r) for name, r in instance.resources.items()})


def tool_ended(context: AdvanceContext, instance: InstanceState, event: ToolEnded) -> InstanceState:
    """A tool that hung has ended: its resource can be checked and retried."""
    resource = outcomes.freed(context, instance.resources[event.resource])
    return replace(instance, resources={**instance.resources, event.resource: resource})


def wake(context: AdvanceContext, instance: InstanceState, _: Tick) -> InstanceState:
    """A deadline has passed: give up steps that are overdue, retry, and check what is due."""
    resources = {
        name: outcomes.renewed(context, outcomes.overdue(context, instance, r))
        for name, r in instance.resources.items()
    }
    due = context.now >= instance.next_check
    instance = rivals.wake(context, instance, due=due)
    if due:
        context.ask(instance)
        instance = hearing.aged(context, instance)
        context.cause = context.cause or "periodic check"
        instance = replace(instance, next_check=context.now + context.state.config.check_interval)
    return replace(instance, resources={name: _checked(context, r, due=due) for name, r in resources.items()})


def _checked(context: AdvanceContext, resource: ResourceState, *, due: bool) -> ResourceState:
    """Start its check if one is due. `due`: resources without an interval of their own are due."""
    interval = resource.spec.check_interval
    if interval is None:
        return context.look(resource) if due else resource
    if context.now < resource.next_look:
        return resource
    return context.look(replace(resource, next_look=context.now + interval))


def may_take_back(context: AdvanceContext, instance: InstanceState) -> bool:
    """Whether keepalived stays MASTER and all is active here, or the time has passed and this is a healthy standby.

    A resource does not count if its failure stops no other resource and its refusal does not release mastership. After
    several releases in a row, an active node waits for the time as well.
    """
    if context.state.stopping or context.state.maintenance is not None or not instance.released:
        return False
    if instance.transition is not None or guards.deaf(instance) is not None:
        return False
    vital = planner.vital(instance).values()
    if instance.target is Target.ACTIVE:
        active = instance.direction is Target.ACTIVE and all(r.rests_at(Level.ACTIVE) for r in vital)
        return active and (instance.releases == 1 or context.now >= planner.take_back_at(instance))
    sound = all(r.rests_at(Level.STANDBY) and not r.seen.obstacle for r in vital)
    return sound and context.now >= planner.take_back_at(instance)
