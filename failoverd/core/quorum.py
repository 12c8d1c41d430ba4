"""The witnesses of [quorum]: whether this node may be active as far as they tell, and when they are asked.

An instance needs them from the moment at which keepalived reports MASTER. Then the configured number of them must
answer, and every lease must be held, before a step starts. While the instance is active they are asked at a slow beat;
each answer counts from the time of its question, for `isolation_timeout`. After that the node is *alone*: it
deactivates, and does not compete for mastership until they answer again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from failoverd.core import guards, peers, votes
from failoverd.core.context import AdvanceContext
from failoverd.core.effects import AskWitnesses
from failoverd.core.events import LeaseAnswered, Stalled, WitnessAnswered
from failoverd.core.knowledge import Vote
from failoverd.core.model import InstanceState
from failoverd.core.spec import Config, InstanceSpec, Quorum
from failoverd.core.words import Standing, Target

#: Seconds before a change of mastership in which an answer counts as one after it: many instances change at once. A cut
#: makes a node MASTER after three advertisements at least, and what was answered before the cut must not count.
FRESH_S = 0.02

#: Seconds for which a refused MASTER that reaches the witnesses again waits: its keepalived hears the adverts of an
#: active node within two of them, at keepalived's default interval.
HEALED_S = 2.0


def judged(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Set the standing of the instance, and whether the node is alone."""
    state, quorum = context.state, context.state.config.quorum
    if quorum is not None and instance.alone_at is not None and state.maintenance is None and not state.stopping:
        instance = _returned(context, instance, quorum, instance.alone_at)
    if quorum is None or not votes.needed(instance, quorum, barred=_barred(context, instance, quorum)):
        if instance.standing is Standing.IDLE and instance.alone_at is None:
            return instance
        return replace(instance, standing=Standing.IDLE, lacks="", alone_at=None, leases={})
    unopposed = instance.alone_at is None and peers.unopposed(state, instance)
    if state.stopping or unopposed:  # no answer reaches a daemon that ends
        return instance if state.stopping else _present(instance)
    if instance.standing is Standing.IDLE:
        instance = _from_now(context, instance)
    elif instance.target is Target.ACTIVE and instance.quorum_since < instance.vrrp_since:
        instance = anew(context, instance)  # a lease was renewed for what had not stopped yet
    answered, held = votes.answered_at(state.votes, quorum), votes.held_at(instance, quorum)
    fresh = answered >= max(instance.quorum_since - FRESH_S, state.stalled_at) and held >= instance.quorum_since
    until = min(answered + quorum.isolation_timeout, votes.held_until(instance, quorum))
    if fresh and instance.alone_at is None and context.now < until:
        if instance.standing is Standing.MISSING and not quorum.leases:
            return _once_more(context, instance, quorum)
        return _present(instance)
    lost = context.now >= votes.lost_at(instance, state)
    waits = (
        not lost and instance.alone_at is None and (not votes.rests(instance) or _pending(context, instance, quorum))
    )
    alone_at = instance.alone_at
    if lost and alone_at is None and instance.target is Target.ACTIVE and state.maintenance is None:
        alone_at = context.now
    refused = instance.target is Target.ACTIVE or alone_at is not None
    standing = Standing.MISSING if refused and not waits else Standing.AWAITED
    return replace(instance, standing=standing, lacks=_lacks(context, instance, quorum), alone_at=alone_at)


def _present(instance: InstanceState) -> InstanceState:
    return replace(instance, standing=Standing.PRESENT, lacks="", lost_by=math.inf)


def _barred(context: AdvanceContext, instance: InstanceState, quorum: Quorum) -> bool:
    """Whether it is not to be active for another reason: then another node may have the lease."""
    gone = False in instance.vips.values() and context.now >= instance.vip_deadline
    return bool(quorum.leases) and (gone or guards.barred(instance, context.now) is not None)


def _from_now(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Only answers from here on count; ask at once."""
    quorum = context.state.config.quorum
    assert quorum is not None
    if quorum.leases or context.state.asked_at < context.now - FRESH_S:
        context.state = replace(context.state, next_ask=context.now)
    return _awaited(context, replace(instance, leases={}))


def _awaited(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    return replace(instance, standing=Standing.AWAITED, quorum_since=context.now, lease_asked=-math.inf)


def _once_more(context: AdvanceContext, instance: InstanceState, quorum: Quorum) -> InstanceState:
    """A refused MASTER reaches the witnesses again: a cut has healed, and keepalived may be about to give way."""
    since = context.now + HEALED_S
    context.state = replace(context.state, next_ask=min(context.state.next_ask, since))
    waiting = replace(instance, standing=Standing.AWAITED, quorum_since=since)
    return replace(waiting, lacks=_lacks(context, waiting, quorum))


def reloaded(context: AdvanceContext, instance: InstanceState, config: Config) -> InstanceState:
    """Before a reload: ask anew where it brings other witnesses, or a stop that outlasts the lease that was taken.

    An instance about which they are asked no more has what was left, if another reload brings them back. Where it could
    be active without them meanwhile, the first answers are awaited then.
    """
    before, now = context.state.config.quorum, config.quorum
    spec = config.instances.get(instance.spec.name)
    if spec is None or now is None or not spec.quorum:
        until = votes.left(context.state, instance)
        until = math.inf if until is None else until
        return replace(instance, lost_by=until if spec is None else max(until, context.now))
    if before is None or instance.standing is Standing.IDLE:
        return instance
    longer = votes.stop_time(spec) + now.reset_time - votes.stop_time(instance.spec) - before.reset_time
    if now == before and (longer <= 0 or not now.leases):
        return instance
    leases = {name: replace(vote, held_at=-math.inf) for name, vote in instance.leases.items()}  # not for long enough
    return _hurried(context, replace(instance, leases=leases), now, max(longer, 0.0) if now.leases else 0.0)


def _hurried(context: AdvanceContext, instance: InstanceState, quorum: Quorum, seconds: float) -> InstanceState:
    """Ask anew at once. What was left until this node is alone is left, without `seconds`.

    If that is nothing, the first answers are awaited: they may allow as much as before.
    """
    lost = votes.lost_at(instance, context.state)
    asked = anew(context, instance)
    least = min(lost, votes.first_answers_until(asked, quorum))
    return replace(asked, lost_by=min(asked.lost_by, max(lost - seconds, least)))


def anew(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Ask at once: an instance that needs the witnesses has as long to reach them as after a start."""
    if instance.standing is Standing.IDLE:
        return instance
    context.state = replace(context.state, next_ask=context.now)
    return instance if context.state.stopping else _awaited(context, instance)


def _returned(context: AdvanceContext, instance: InstanceState, quorum: Quorum, alone_at: float) -> InstanceState:
    """End the isolation when enough witnesses have answered since it began; then all are asked anew.

    With a lease, everything must be at standby first, or the lease be held again: another node may have it by then.
    """
    if votes.stops(instance, quorum) and votes.held_at(instance, quorum) <= alone_at:
        return instance
    back = replace(instance, alone_at=None, lost_by=math.inf, standing=Standing.IDLE, lacks="")
    if peers.unopposed(context.state, instance):
        return back
    reached = min((votes.lease(instance, name).yes_at for name in quorum.leases), default=math.inf)
    if min(votes.answered_at(context.state.votes, quorum), reached) <= alone_at:
        return instance
    waits = not quorum.leases and back.target is Target.ACTIVE and votes.rests(back)
    return _once_more(context, back, quorum) if waits else back


def _pending(context: AdvanceContext, instance: InstanceState, quorum: Quorum) -> bool:
    """Whether the first answers of all since the change of mastership may still come."""
    since = instance.quorum_since
    asked = [context.state.votes.get(name, Vote()).asked + FRESH_S for name in quorum.witnesses]
    asked += [votes.lease(instance, name).asked for name in quorum.leases]
    return context.now < votes.first_answers_until(instance, quorum) and any(at < since for at in asked)


def _lacks(context: AdvanceContext, instance: InstanceState, quorum: Quorum) -> str:
    """What is missing, in a person's words."""
    answers = context.state.votes
    found = []
    answering = [name for name in quorum.witnesses if answers.get(name, Vote()).granted]
    if len(answering) < quorum.need:
        silent = (name for name in quorum.witnesses if name not in answering)
        words = "; ".join(f"{name}: {answers.get(name, Vote()).said}" for name in silent)
        found.append(f"{len(answering)} of {len(quorum.witnesses)} witnesses answer, and {quorum.need} must ({words})")
    leases = ((name, votes.lease(instance, name)) for name in quorum.leases)
    found += [f"{name}: {lease.said}" for name, lease in leases if not lease.granted]
    return "; ".join(found) or "their answers are too old"


# ---------------------------------------------------------------- events


def answered(context: AdvanceContext, event: WitnessAnswered) -> None:
    """A witness that answers everybody has answered, or has not."""
    state, quorum = context.state, context.state.config.quorum
    if quorum is None or event.witness not in quorum.witnesses:
        return
    before = state.votes.get(event.witness, Vote())
    vote = before.after(event)
    if event.asked < before.asked:  # a later question was answered sooner
        vote = replace(before, yes_at=max(before.yes_at, vote.yes_at))
    answers = {**state.votes, event.witness: vote}
    until = votes.answered_at(answers, quorum) + quorum.isolation_timeout
    context.state = replace(state, votes=answers, quorum_until=until if until > context.now else math.inf)
    _sooner(context, quorum, granted=event.granted)
    _touch(context, _lacking(context))  # what an instance has had counts until its time has passed


def lease_answered(context: AdvanceContext, instance: InstanceState, event: LeaseAnswered) -> InstanceState:
    """A witness that grants leases has answered about one instance, or has not."""
    quorum = context.state.config.quorum
    if quorum is None or event.witness not in quorum.leases or instance.standing is Standing.IDLE:
        return instance
    before = votes.lease(instance, event.witness)
    if event.asked < before.asked:
        return instance
    context.cause = f"{event.witness}: {event.said}"
    _sooner(context, quorum, granted=event.granted)
    vote = before.after(event)
    if event.held and event.granted:
        vote = replace(vote, held_at=event.asked, held_until=event.asked + quorum.isolation_timeout)
    elif event.granted is False:
        vote = replace(vote, held_at=-math.inf)
    return replace(instance, leases={**instance.leases, event.witness: vote})


def _sooner(context: AdvanceContext, quorum: Quorum, *, granted: bool | None) -> None:
    if not granted:
        at = context.state.asked_at + votes.soon(quorum)
        context.state = replace(context.state, next_ask=min(context.state.next_ask, max(at, context.now)))


def stalled(context: AdvanceContext, event: Stalled) -> None:
    """Other nodes went on while the process did not, and some count on a time: ask at once, with so much less of it.

    What may have passed lasts until the first answers may come.
    """
    quorum = context.state.config.quorum
    if quorum is None or not (quorum.leases or quorum.takeover_after):
        return
    context.state = replace(context.state, stalled_at=context.now)
    for name in tuple(context.voters):
        instance = context.take(name)
        if instance.alone_at is None:
            context.cause = f"failoverd did not run for {event.seconds:.0f} s: asking the witnesses again"
            context.put(name, _hurried(context, instance, quorum, event.seconds))


def wake(context: AdvanceContext) -> None:
    """A deadline has passed: the answers may be too old."""
    if context.now >= context.state.quorum_until:
        context.state = replace(context.state, quorum_until=math.inf)
        _touch(context, context.voters)


def _touch(context: AdvanceContext, names: Iterable[str]) -> None:
    for name in tuple(names):
        instance = context.take(name)
        context.cause = context.cause or "the witnesses have answered"
        context.put(name, instance)


def _lacking(context: AdvanceContext) -> list[str]:
    return [name for name in context.voters if context.take(name).standing is not Standing.PRESENT]


# ---------------------------------------------------------------- questions


def ask(context: AdvanceContext) -> None:
    """At the end of an event: ask the witnesses if that is due."""
    state, quorum = context.state, context.state.config.quorum
    if quorum is None or not votes.asks(state) or context.now < state.next_ask:
        return
    if not context.voters and not votes.left_behind(state):
        return
    asked = AskWitnesses(asked=context.now, timeout=quorum.timeout)
    context.effects.append(_with_leases(context, quorum, asked) if quorum.leases else asked)
    lacking = _lacking(context)
    calm = all(state.votes.get(name, Vote()).granted for name in quorum.witnesses) and not lacking
    pause = votes.calm(quorum) if calm else votes.soon(quorum)
    later = (since for name in lacking if (since := context.take(name).quorum_since) > context.now)  # asked once more
    context.state = replace(state, asked_at=context.now, next_ask=min(context.now + pause, *later, math.inf))


def _with_leases(context: AdvanceContext, quorum: Quorum, asked: AskWitnesses) -> AskWitnesses:
    """The leases to take or renew, those only to renew, and the instances for which nothing is taken.

    Many instances may become MASTER one after the other, so none is asked about again at once. While a node is alone it
    takes no lease; but it renews the one under which resources still stop. So does a standby on which something may be
    active. Where this daemon has not held the lease it takes none: its resource may be broken, and not active. The
    lease of an instance that was removed is renewed for its strays.
    """
    hold: dict[str, float] = {}
    renew: dict[str, float] = {}
    look: list[str] = []
    for name in sorted(context.voters):
        instance = context.take(name)
        if instance.lease_asked >= context.now - votes.soon(quorum) / 2:
            continue
        stops, wanted = votes.stops(instance, quorum), instance.target is Target.ACTIVE and instance.alone_at is None
        if wanted or (stops and votes.has_held(instance, quorum)):
            hold[name] = votes.lease_time(instance.spec, quorum)
        elif stops:
            renew[name] = votes.lease_time(instance.spec, quorum)
        else:
            look.append(name)
        context.put(name, replace(instance, lease_asked=context.now))
    for name, specs in votes.left_behind(context.state).items():
        names = frozenset(spec.name for spec in specs)
        stray = {spec.name: replace(spec, needs=spec.needs & names) for spec in specs}  # what is gone needs no time
        left = InstanceSpec(name=name, resources=stray)
        renew[name] = votes.lease_time(left, quorum)
    return replace(asked, hold=hold, renew=renew, look=tuple(look))
