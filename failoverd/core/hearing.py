"""The words of other nodes and the proofs that one is off, as they come in, and whom they concern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from failoverd.core import peers, quorum
from failoverd.core.context import AdvanceContext
from failoverd.core.events import HearingChanged, PeerReported, PeerUnverified, VrrpStateReported
from failoverd.core.knowledge import Hearing, Off, Peer, PeerWord
from failoverd.core.model import InstanceState, State
from failoverd.core.requests import PeerConfirmedOff, PeerUnfenced
from failoverd.core.resource import Observation
from failoverd.core.spec import Config
from failoverd.core.words import Clearance, Standing, Target, VrrpState

#: Seconds after its end for which DRBD may still show a node connected: more than any sensible ping-int and
#: ping-timeout.
_SEEN_AGAIN_S = 60.0

#: Seconds without mastership after which another node may have been MASTER: a flapping link, or a keepalived that is
#: restarted, takes less.
_AWAY_S = 10.0

#: Seconds for which an operator's promise on another node counts, without being heard again.
PROMISE_S = 86400.0


def reported(context: AdvanceContext, event: PeerReported) -> None:
    """Keep the words of another node. An older word never replaces a newer one. One that is heard is not off."""
    if not _configured(context, event.peer):
        return
    before = context.state.peers.get(event.peer, Peer())
    if event.at < before.at:
        return
    words = dict(before.words)
    for instance, said in event.words.items():
        if said is None:
            words.pop(instance, None)
        elif instance not in words or words[instance].at <= event.at:
            words[instance] = said
    state = context.state
    peer = Peer(at=event.at if event.whole else before.at, words=words, masters=_masters(context, event, words))
    now = replace(state, peers={**state.peers, event.peer: peer})
    if event.peer in state.off and event.at > state.off[event.peer].at:
        now = replace(now, off=_without(state.off, event.peer))
    learn(context, now, event.peer, f"{event.peer} reported its state")


def _masters(context: AdvanceContext, event: PeerReported, words: Mapping[str, PeerWord]) -> Mapping[str, float]:
    """The instances of which the node says that it is MASTER, and since when this node has heard that."""
    before, heartbeat = context.state.peers.get(event.peer, Peer()), context.state.config.heartbeat
    assert heartbeat is not None
    silent = context.now >= before.at + heartbeat.silence
    if not (event.words or silent):
        return before.masters
    return peers.masters(words, {} if silent else before.masters, context.now)


def unverified(context: AdvanceContext, event: PeerUnverified) -> None:
    """Something sends from the address of another node, and its words cannot be believed. So that one may be on."""
    state = context.state
    if not _configured(context, event.peer):
        return
    now = replace(state, unverified={**state.unverified, event.peer: context.now})
    if event.peer in state.off and peers.unbelieved_since(now, event.peer, state.off[event.peer].at):
        now = replace(now, off=_without(state.off, event.peer))
    learn(context, now, event.peer, f"{event.peer} sends a heartbeat of another key or format")


def changed(context: AdvanceContext, event: HearingChanged) -> None:
    """The heartbeat begins to hear another node here, or ends to."""
    state = context.state
    if not _configured(context, event.peer):
        return
    hearing = Hearing(since=context.now) if event.deaf is None else Hearing(deaf=event.deaf)
    now = replace(state, listened={**state.listened, event.peer: hearing})
    cause = f"the heartbeat hears {event.peer}" if event.deaf is None else f"the heartbeat does not hear {event.peer}"
    learn(context, now, event.peer, cause)


def reload(context: AdvanceContext, config: Config) -> None:
    """Forget the nodes that are no longer configured, and the pauses after failed fencings."""
    kept, state = () if config.heartbeat is None else config.heartbeat.peers, context.state
    context.state = replace(
        state,
        peers={name: peer for name, peer in state.peers.items() if name in kept},
        listened={name: state.listened.get(name, Hearing()) for name in kept},
        unverified={name: at for name, at in state.unverified.items() if name in kept},
        off={name: off for name, off in state.off.items() if name in kept},
        fencings={name: each for name, each in state.fencings.items() if name in kept and each.running},
    )


def confirmed_off(context: AdvanceContext, event: PeerConfirmedOff) -> None:
    """An operator says that a node is off; one that is heard is not."""
    if _configured(context, event.peer) and peers.silent(context.state, event.peer, context.now):
        said = f"{event.by} has confirmed it"
        is_off(context, event.peer, said, f"{event.by} has confirmed that {event.peer} is off")


def is_off(context: AdvanceContext, peer: str, said: str, cause: str) -> None:
    """A node is known to be off."""
    state = context.state
    fencings = {name: each for name, each in state.fencings.items() if name != peer}
    now = replace(state, off={**state.off, peer: Off(at=context.now, said=said)}, fencings=fencings)
    learn(context, now, peer, cause)


def unfenced(context: AdvanceContext, event: PeerUnfenced) -> None:
    """An operator says that it may be on again: it is not off, and what was promised there does not hold any more."""
    _forget(context, event.peer, f"{event.by} says that {event.peer} may be on again")
    for name in [name for name, each in context.state.instances.items() if event.peer in each.spec.others]:
        contested(context, name)


def seen(context: AdvanceContext, observation: Observation) -> None:
    """A driver has seen other nodes: those are on again, unless it may not have noticed their end yet."""
    for peer in observation.inactive_on or ():
        off = context.state.off.get(peer)
        if off is not None and context.now >= off.at + _SEEN_AGAIN_S:
            _forget(context, peer, f"{peer} was seen again")


def another_master(context: AdvanceContext, name: str) -> None:
    """There is another MASTER of the instance: one of the other nodes is on again, and no promise holds any more."""
    instance = context.state.instances.get(name)
    for peer in () if instance is None else instance.spec.others:
        _forget(context, peer, "there is another MASTER")
    contested(context, name)


def contested(context: AdvanceContext, name: str) -> None:
    """There may be another MASTER: what other nodes have promised until now does not hold any more."""
    if name in context.state.instances:
        cause = "there may be another MASTER, so no promise of another node holds"
        context.put(name, _contested(context, context.take(name), cause))


def aged(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """At a periodic check: no promise counts for ever, since a node that is installed anew has forgotten it."""
    said = (peers.promised_at(context.state, instance, peer) for peer in instance.spec.others)
    if all(at is None or context.now < at + PROMISE_S for at in said):
        return instance
    return _contested(context, instance, f"a promise of another node is older than {PROMISE_S / 3600:.0f} h")


def _contested(context: AdvanceContext, instance: InstanceState, cause: str) -> InstanceState:
    before = peers.unopposed(context.state, instance)
    instance = replace(instance, contested_at=context.now)
    if before and not peers.unopposed(context.state, instance):
        context.cause = context.cause or cause
        instance = quorum.anew(context, instance)
    return instance


def changes(context: AdvanceContext, name: str, state: VrrpState) -> None:
    """Keepalived reports another state than before: a node that was off may have come back unheard.

    From MASTER to BACKUP: there is another MASTER. To MASTER, after another node may have been it for a while: whoever
    may have been it is not off any more, and neither is a node that would not have been heard.
    """
    instance = context.state.instances.get(name)
    if instance is None or instance.vrrp is state:
        return
    if instance.vrrp is VrrpState.MASTER and state is VrrpState.BACKUP:
        another_master(context, name)
    if state is VrrpState.MASTER:
        for peer in instance.spec.others:
            if peer in context.state.off and (why := _may_be_back(context, instance, peer)):
                _forget(context, peer, why)


def corrected(context: AdvanceContext, event: VrrpStateReported) -> None:
    """The same, where keepalived's D-Bus shows a state that was not reported."""
    instance = context.state.instances.get(event.instance)
    if instance is not None and instance.vrrp is not None and event.words == instance.words and event.dbus is not None:
        changes(context, event.instance, event.dbus)


def _may_be_back(context: AdvanceContext, instance: InstanceState, peer: str) -> str:
    """Why a node that was off may be on again, though it was not heard; empty: it is not."""
    off, hearing = context.state.off[peer].at, context.state.listened.get(peer, Hearing())
    if hearing.since > off and context.now < peers.listened_at(context.state, peer):
        return f"{peer} would not have been heard"
    away = context.now > max(instance.master_until, off) + _AWAY_S
    if away and not peers.known_master(context.state, instance, peer, context.now - _AWAY_S):
        return f"{peer} may have been MASTER meanwhile"
    return ""


def learn(context: AdvanceContext, now: State, peer: str, cause: str) -> None:
    """Go to the state `now`, in which other things are known of `peer`, and reconcile the instances that need them.

    An instance that needed no witness before has as long to reach them as after a start.
    """
    names = [name for name, instance in context.state.instances.items() if _concerned(instance, peer)]
    before = {name for name in names if peers.unopposed(context.state, context.take(name))}
    context.state = now
    for name in names:
        instance = context.take(name)
        unopposed = peers.unopposed(context.state, instance)
        context.cause = context.cause or cause
        if name in before and not unopposed:
            context.put(name, quorum.anew(context, instance))
        elif name in context.doubtful or unopposed is not (name in before):
            context.put(name, instance)


def _configured(context: AdvanceContext, peer: str) -> bool:
    heartbeat = context.state.config.heartbeat
    return heartbeat is not None and peer in heartbeat.peers


def _forget(context: AdvanceContext, peer: str, cause: str) -> None:
    """It may be on again."""
    if peer in context.state.off:
        learn(context, replace(context.state, off=_without(context.state.off, peer)), peer, cause)


def _without(off: Mapping[str, Off], peer: str) -> Mapping[str, Off]:
    return {name: each for name, each in off.items() if name != peer}


def _concerned(instance: InstanceState, peer: str) -> bool:
    needs = instance.standing is not Standing.IDLE or instance.clearance in (Clearance.AWAITED, Clearance.MISSING)
    # Mastership is not released while every other node is out.
    return (needs or instance.target is Target.ACTIVE) and peer in instance.spec.others
