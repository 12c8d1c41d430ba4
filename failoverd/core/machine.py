"""The one transition table, and `advance()`, which applies it.

The rules, in plain sentences:

1. keepalived's newest word sets the target: MASTER asks for ACTIVE, every other word for STANDBY.
2. The target is a hint: guards may turn the direction of the plan to STANDBY, and give their reason.
3. A VIP that disagrees with the target has `vip_timeout` to agree; meanwhile no step starts, and none is undone.
   A VIP that cannot be seen is no VIP for what is not active yet; what is active stays so, with an alarm.
4. The planner names the steps that can run now; each outcome comes back as an event, and the plan is made again.
5. What was observed is believed, never an exit code. A step that ended where it should is done, however it ended.
6. A step that did not is tried again `retries` times, with backoff; then the resource has given up. One that was
   refused is tried again when what is in its way has changed. What has given up is tried again at a slow and slower
   pace, and when something about it changes; it may give mastership away. Where keepalived does not let go, or when a
   time has passed and the node is a sound standby, mastership is taken back; each time it takes longer.
7. A step in flight is always awaited; what a later event wants is done after it, never on top of it.
8. Whenever something looks wrong, keepalived's truth is asked for; an answer older than its last word is void.
9. A start has no rules of its own: keepalived's property, or its last word, is obeyed as if it had come just now.
   Where nothing was ever said, the node is watched and nothing is done; after a boot, the VIP's absence is trustworthy
   enough to be a standby.
10. The word of a keepalived that died as MASTER is void: it is a standby until the next one speaks.

A crash, a restart, an event in the middle of a transition and drift weeks later have no code of their own: they
all change the target or an observation, and rule 4 does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from failoverd.core import guards, outcomes, planner, rivals, strays
from failoverd.core.events import (
    Acknowledged,
    Effect,
    Event,
    InstanceEvent,
    KeepalivedSeen,
    Reasserted,
    Reloaded,
    Reset,
    ResourceObserved,
    RivalsNoted,
    StepEnded,
    Stirred,
    Stopping,
    Tick,
    TruthTold,
    VipsSeen,
    VrrpChanged,
)
from failoverd.core.model import InstanceState, State
from failoverd.core.reload import reload
from failoverd.core.settle import settle, take_back, unconfirmed
from failoverd.core.spec import Vip
from failoverd.core.turn import Turn
from failoverd.core.words import Keepalived, Level, OnFailure, Target, VrrpState

#: Seconds for which a look that may have been taken too early is renewed.
_RENEWED = 5.0

#: Why a node is a standby without a word.
_BOOTED = "the machine has booted, the VIP is not here, and keepalived has not spoken yet"
_VOID = "keepalived has not spoken since it was started, or since the boot"


# ---------------------------------------------------------------- the rules, one per kind of event


def _follow(turn: Turn, instance: InstanceState, event: VrrpChanged) -> InstanceState:
    after = f" after {instance.robbed}" if instance.robbed and event.state is not VrrpState.MASTER else ""
    known, cause = instance.rivals, _said(event.state) + after
    instance = rivals.gave_way(turn, instance, event)
    if len(instance.rivals) > len(known):
        cause += f"; this node {rivals.what(instance.rivals[-1])}"
    return _obey(turn, replace(instance, robbed=""), event.state, cause)


def _said(word: VrrpState) -> str:
    return f"keepalived said {word.value}"


def _obey(turn: Turn, instance: InstanceState, word: VrrpState, cause: str) -> InstanceState:
    changed = instance.target is not word.target
    since = instance.vrrp_since if word is instance.vrrp else turn.now
    instance = replace(instance, vrrp=word, vrrp_since=since, target=word.target, words=turn.number())
    turn.cause = cause
    if not changed:
        return unconfirmed(replace(instance, cause=cause))
    instance = replace(instance, vip_deadline=turn.now + instance.spec.vip_timeout)
    return unconfirmed(turn.begin(instance, word.target, cause))


def _verify(turn: Turn, instance: InstanceState, event: Reasserted) -> InstanceState:
    turn.cause = "keepalived said more than could be followed: verifying everything"
    if event.rival:
        turn.cause = "keepalived heard another MASTER of lower priority: verifying everything"
        instance = rivals.heard(turn, instance)
    turn.ask(instance)
    resources = {name: replace(r, confirmed=False) for name, r in instance.resources.items()}
    return replace(instance, resources=resources)


def _inquire(turn: Turn, instance: InstanceState, _: Reasserted) -> InstanceState:
    turn.ask(instance)
    return instance


def _adopt(turn: Turn, instance: InstanceState, event: TruthTold) -> InstanceState:
    """In UNKNOWN: obey keepalived's own property, or else its last word, as if it had come just now.

    Where it disagrees with the VIPs, the hold and the guards decide, as always. A boot in which nobody spoke yet,
    without the VIP, is a standby: for what something else started at boot, or what was left when the power went; a
    daemon that is merely started again has no business to stop anything on so little.
    """
    instance = replace(instance, doubt=event.doubt)
    if event.words != instance.words:
        return instance
    if event.dbus is not None:
        return _obey(turn, instance, event.dbus, f"keepalived's D-Bus says {event.dbus.value}")
    if event.stored is not None:
        return _obey(turn, instance, event.stored, f"keepalived's last word was {event.stored.value}")
    if event.void:
        return _stand_by(turn, instance, _VOID)
    if event.booted and guards.vip_absent(instance):
        return _stand_by(turn, instance, _BOOTED)
    silent = f"keepalived has said nothing in this boot: waiting for an event. Its D-Bus: {event.said}"
    return replace(instance, reason=silent)


def _stand_by(turn: Turn, instance: InstanceState, cause: str) -> InstanceState:
    """No word binds: it is a standby until keepalived speaks."""
    instance = replace(
        instance,
        vrrp=None,
        target=Target.STANDBY,
        words=turn.number(),
        vip_deadline=turn.now + instance.spec.vip_timeout,
    )
    turn.cause = cause
    return unconfirmed(turn.begin(instance, Target.STANDBY, cause))


def _correct(turn: Turn, instance: InstanceState, event: TruthTold) -> InstanceState:
    """Elsewhere: only keepalived itself can contradict its own last word."""
    instance = replace(instance, doubt=event.doubt)
    if event.words != instance.words or event.dbus in (None, instance.vrrp):
        return instance
    assert event.dbus is not None
    return _obey(turn, instance, event.dbus, f"keepalived's D-Bus says {event.dbus.value}; its event was missed")


def _see_vips(turn: Turn, instance: InstanceState, event: VipsSeen) -> InstanceState:
    moved = {vip: present for vip, present in _seen_of(instance, event) if instance.vips[vip] is not present}
    if not moved:
        return instance
    agreed = guards.vip_problem(instance) is None
    instance = replace(instance, vips={**instance.vips, **moved})
    problem = guards.vip_problem(instance)
    turn.cause = _of_the_vips(moved)
    robbed = _of_the_robbed(moved, event.removers)
    if instance.vrrp is VrrpState.MASTER:
        instance = replace(instance, robbed=robbed)
    elif robbed and instance.vrrp is not None and instance.cause.partition(";")[0] == _said(instance.vrrp):
        # keepalived was quicker to tell what came of it.
        word = instance.vrrp
        instance = turn.begin(rivals.withdrawn(instance), word.target, f"{_said(word)} after {robbed}")
    if agreed and problem is not None:
        instance = replace(instance, vip_deadline=turn.now + instance.spec.vip_timeout)
    return instance


def _seen_of(instance: InstanceState, event: VipsSeen) -> Iterator[tuple[Vip, bool | None]]:
    """What the event tells of the instance's own VIPs."""
    fewer, more = sorted((instance.vips, event.present), key=len)
    return ((vip, event.present[vip]) for vip in fewer if vip in more)


def _of_the_vips(moved: Mapping[Vip, bool | None]) -> str:
    """What became of them, in a person's words: the first is named."""
    vip, present = next(iter(moved.items()))
    others = f", and {len(moved) - 1} more" if len(moved) > 1 else ""
    where = {True: "came to", False: "left", None: "cannot be seen any more on"}[present]
    return f"{vip.address}{others} {where} {vip.interface}"


def _of_the_robbed(moved: Mapping[Vip, bool | None], removers: Mapping[Vip, str]) -> str:
    robbed = (vip for vip in moved if vip in removers)
    return next((f"{vip.address} was removed from {vip.interface} by {removers[vip]}" for vip in robbed), "")


def _see_vips_and_ask(turn: Turn, instance: InstanceState, event: VipsSeen) -> InstanceState:
    turn.ask(instance)
    return _see_vips(turn, instance, event)


def _see_keepalived(turn: Turn, instance: InstanceState, event: KeepalivedSeen) -> InstanceState:
    """A MASTER that died binds nobody, and the keepalived that comes after it has to speak first."""
    turn.cause = f"keepalived is {event.condition.value}"
    back = instance.keepalived is Keepalived.GONE and event.condition is not Keepalived.GONE
    instance = replace(instance, keepalived=event.condition)
    if event.condition is Keepalived.GONE and instance.target is not Target.STANDBY:
        return _stand_by(turn, instance, turn.cause)
    if back and instance.void:
        turn.ask(instance)
        return replace(instance, cause=_VOID)
    return instance


def _reset(turn: Turn, instance: InstanceState, event: Reset) -> InstanceState:
    turn.cause = event.cause
    turn.ask(instance)
    instance = replace(take_back(instance), releases=0)
    resources = {name: turn.look(r) for name, r in unconfirmed(instance).resources.items()}
    return replace(instance, resources=resources, alarm="")


def _note_rivals(_: Turn, instance: InstanceState, __: RivalsNoted) -> InstanceState:
    return replace(instance, rivals=())


def _stir(turn: Turn, instance: InstanceState, event: Stirred) -> InstanceState:
    """A look that is on its way may have been taken before; a step ends with one of its own.

    What changes again and again faster than it can be looked at would never be seen: in the end a look counts.
    """
    resource = instance.resources[event.resource]
    look = resource.look
    if look is None:
        resource = turn.look(resource)
    elif look.renewed is None or turn.now - look.renewed < _RENEWED:
        since = turn.now if look.renewed is None else look.renewed
        resource = replace(resource, look=replace(turn.observe(resource.spec), renewed=since))
    else:
        resource = replace(resource, look=replace(look, again=True))
    return replace(instance, resources={**instance.resources, event.resource: resource})


def _wake(turn: Turn, instance: InstanceState, _: Tick) -> InstanceState:
    resources = {
        name: outcomes.renewed(turn, outcomes.overdue(turn, instance, r)) for name, r in instance.resources.items()
    }
    instance = replace(instance, resources=resources)
    if turn.now < instance.next_check:
        return instance
    turn.ask(instance)
    turn.cause = "looked again"
    return replace(
        instance,
        next_check=turn.now + turn.state.config.check_interval,
        resources={name: turn.look(r) for name, r in instance.resources.items()},
    )


def _may_take_back(turn: Turn, instance: InstanceState) -> bool:
    """All is active here, because keepalived did not let go; or the time has passed, and it is a sound standby.

    What the others go on without has no say.
    """
    if turn.state.stopping or not instance.released:
        return False
    if instance.transition is not None or guards.deaf(instance) is not None:
        return False
    vital = [r for r in instance.resources.values() if r.spec.on_failure is not OnFailure.CONTINUE]
    if instance.target is Target.ACTIVE:
        return instance.direction is Target.ACTIVE and all(r.rests_at(Level.ACTIVE) for r in vital)
    sound = all(r.rests_at(Level.STANDBY) and not r.seen.obstacle for r in vital)
    return sound and turn.now >= planner.take_back_at(instance)


Rule = Callable[[Turn, InstanceState, Any], InstanceState]

_ANYWHERE: Mapping[type[InstanceEvent], Rule] = {
    VrrpChanged: _follow,
    Reasserted: _verify,
    TruthTold: _correct,
    VipsSeen: _see_vips,
    KeepalivedSeen: _see_keepalived,
    ResourceObserved: outcomes.observed,
    StepEnded: outcomes.ended,
    Reset: _reset,
    RivalsNoted: _note_rivals,
    Stirred: _stir,
    Tick: _wake,
}

#: The one table: what every kind of event does for every target; None: nothing says what the node should be.
TABLE: Mapping[Target | None, Mapping[type[InstanceEvent], Rule]] = {
    None: {**_ANYWHERE, Reasserted: _inquire, TruthTold: _adopt, VipsSeen: _see_vips_and_ask},
    Target.STANDBY: {**_ANYWHERE, Reasserted: _inquire},
    Target.ACTIVE: _ANYWHERE,
}


def advance(state: State, event: Event, now: float) -> tuple[State, tuple[Effect, ...]]:
    """The state after `event`, and what is to be done. Raises outcomes.IllegalEvent for what only a bug can send.

    Deadlines that have passed by `now` are worked off first, whatever the event: none is lost to one that came first.
    Only those instances are settled to which something happened, or for which there may be room now: settling the
    others would change nothing.
    """
    turn = Turn(state, now)
    _apply(turn, Tick())
    match event:
        case Reloaded():
            reload(turn, event.config)
        case Acknowledged():
            strays.forget(turn, event.instance)
        case Stopping():
            turn.state = replace(turn.state, stopping=True)
            turn.touch()
        case Tick():
            pass
        case StepEnded():
            for names in (*state.lent.get(event.step, ()), (event.instance, event.resource)):
                _apply(turn, replace(event, instance=names[0], resource=names[1]))
        case _:
            _apply(turn, event)
    for name in turn.urgent():
        instance = settle(turn, turn.take(name))
        if _may_take_back(turn, instance):
            instance = settle(turn, take_back(instance))
        turn.put(name, instance)
    return turn.ended(), tuple(turn.effects)


def _apply(turn: Turn, event: InstanceEvent) -> None:
    for name in tuple(_concerned(turn, event)):
        instance = turn.take(name)
        turn.put(name, TABLE[instance.target][type(event)](turn, instance, event))
    match event:
        case StepEnded():
            orphans = {key: s for key, s in turn.state.orphans.items() if s.id != event.step}
            lent = {step: keys for step, keys in turn.state.lent.items() if step != event.step}
            turn.state = replace(turn.state, orphans=orphans, lent=lent)
            strays.step_ended(turn, event.instance, event.resource)
        case ResourceObserved():
            strays.observed(turn, event)
        case Tick():
            strays.wake(turn)


def _concerned(turn: Turn, event: InstanceEvent) -> Iterator[str]:
    """The instances that the event is for. What is no longer configured concerns nobody."""
    state = turn.state
    match event:
        case ResourceObserved() | StepEnded() | Stirred():
            if event.instance in state.instances and event.resource in state.instances[event.instance].resources:
                yield event.instance
        case VrrpChanged() | Reasserted() | TruthTold() | Reset() | RivalsNoted():
            if event.instance in state.instances:
                yield event.instance
        case VipsSeen():
            yield from (name for name, instance in state.instances.items() if any(_seen_of(instance, event)))
        case KeepalivedSeen():
            yield from (name for name in state.instances if name in event.instances)
        case Tick() if state.agenda.next <= turn.now:
            yield from (name for name, at in state.agenda.due.items() if at <= turn.now)


def next_deadline(state: State) -> float | None:
    """When `advance` wants a Tick, if nothing else happens before; None when it needs none."""
    return state.agenda.next if state.agenda.next < math.inf else None
