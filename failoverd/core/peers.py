"""What is known of the other nodes: their words, who is off, and whether one certainly does not serve an instance.

It reads the state, and decides nothing. Silence proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from failoverd.core.knowledge import Hearing, PeerWord
from failoverd.core.model import InstanceState, State
from failoverd.core.resource import ResourceState
from failoverd.core.words import Clearance, Phase, VrrpState

#: Seconds after the start of the heartbeat here in which a node may say its first word: both may have been switched on
#: then.
FIRST_WORD_S = 60.0


def word(state: State, peer: str, instance: str) -> PeerWord | None:
    """The last word of `peer` about the instance, with the latest time after which it was said or confirmed."""
    known = state.peers.get(peer)
    said = None if known is None else known.words.get(instance)
    return None if known is None or said is None else replace(said, at=max(said.at, known.at))


def heard_at(state: State, peer: str) -> float:
    """The latest time after which `peer` is known to have said anything; -infinity: it was never heard."""
    known = state.peers.get(peer)
    if known is None:
        return -math.inf
    return max((known.at, *(said.at for said in known.words.values())))


def silent(state: State, peer: str, now: float) -> bool:
    """Whether `peer` has not been heard for longer than a few lost datagrams explain. That proves nothing."""
    heartbeat = state.config.heartbeat
    return heartbeat is None or now >= heard_at(state, peer) + heartbeat.silence


def deaf(state: State, peer: str) -> str | None:
    """Why this node would not hear `peer` if it spoke, in words; None: it would."""
    hearing = state.listened.get(peer, Hearing())
    if hearing.since < math.inf:
        return None
    return f"the heartbeat does not run here: {hearing.deaf}" if hearing.deaf else "the heartbeat has not begun here"


def begins(state: State, peer: str) -> bool:
    """Whether the heartbeat has not tried yet to hear `peer`."""
    return state.listened.get(peer, Hearing()) == Hearing()


def listened_at(state: State, peer: str) -> float:
    """When this node has been able to hear `peer` for as long as a few lost datagrams take; infinity: it cannot."""
    heartbeat = state.config.heartbeat
    since = state.listened.get(peer, Hearing()).since
    return math.inf if heartbeat is None else since + heartbeat.silence + heartbeat.interval


def dead_at(state: State, peer: str, since: float) -> float:
    """When a node that says no more from `since` on may be taken for dead, and be fenced.

    That is later than `silent`: one interval more, since a word counts from a time before it was said; and one that
    this daemon never heard may have been switched on at the same time. Infinity: this node would not hear it.
    """
    heartbeat = state.config.heartbeat
    if heartbeat is None:
        return math.inf
    heard = heard_at(state, peer)
    dead = max(max(heard, since) + heartbeat.silence + heartbeat.interval, listened_at(state, peer))
    return dead if heard > -math.inf else max(dead, state.listened.get(peer, Hearing()).since + FIRST_WORD_S)


def unverified_until(state: State, peer: str) -> float:
    """Until when a node that says nothing counts as alive, since heartbeats come from it that cannot be believed.

    -infinity: none came.
    """
    heartbeat = state.config.heartbeat
    return -math.inf if heartbeat is None else state.unverified.get(peer, -math.inf) + heartbeat.silence


def unbelieved_since(state: State, peer: str, since: float) -> bool:
    """Whether it has sent what cannot be believed since then, and not only when it was about to end."""
    heartbeat = state.config.heartbeat
    return heartbeat is not None and state.unverified.get(peer, -math.inf) > since + heartbeat.silence


def fresh(state: State, instance: InstanceState, peer: str, now: float) -> PeerWord | None:
    """Its word about the instance, if it counts at `now`; None: it has said none lately, or none that counts."""
    said = word(state, peer, instance.spec.name)
    return None if said is None or said.at <= instance.clear_since or silent(state, peer, now) else said


def serves(said: PeerWord) -> bool:
    """Whether a node that says this may activate resources, or keeps them active, and is not about to stop."""
    if said.clearance in (Clearance.AWAITED, Clearance.MISSING):
        return False
    return said.clearance is Clearance.GIVEN or said.phase in (Phase.PROMOTING, Phase.ACTIVE)


def masters(words: Mapping[str, PeerWord], known: Mapping[str, float], now: float) -> Mapping[str, float]:
    """The instances of which a node that says `words` is MASTER and serves, as `Peer` has them; `known`: until now."""
    found = (name for name, said in words.items() if said.vrrp is VrrpState.MASTER and serves(said))
    return {name: known.get(name, now) for name in found}


def waits(said: PeerWord) -> bool:
    """Whether a node that says this would activate resources as soon as it knew that this node does not."""
    return said.clearance in (Clearance.AWAITED, Clearance.MISSING)


def known_master(state: State, instance: InstanceState, besides: str, since: float) -> bool:
    """Whether another node than `besides` has said since then that it is MASTER."""
    said = (word(state, peer, instance.spec.name) for peer in instance.spec.others if peer != besides)
    return any(each is not None and each.vrrp is VrrpState.MASTER and each.at >= since for each in said)


def goes_first(state: State, peer: str) -> bool:
    """Whether `peer` goes before this node, where each of them waits for the other."""
    heartbeat = state.config.heartbeat
    return heartbeat is not None and peer < heartbeat.node


def cleared(state: State, instance: InstanceState, peer: str) -> str | None:
    """Why `peer` certainly does not serve the instance, in words; None: that is not known.

    Its word counts from `clear_since` on: what was said before a change of mastership proves nothing after it. It lasts
    until the next one, since a node that goes up must know before that this one does not.
    """
    if peer in state.off:
        return f"{peer} is off"
    said = word(state, peer, instance.spec.name)
    if said is not None and said.at > instance.clear_since and said.rests and not serves(said):
        if not waits(said):
            return f"{peer} says that it is at standby"
        if not goes_first(state, peer):
            return f"{peer} says that it waits for this node"
    if seen_inactive(instance, peer):
        return f"the resources here show that {peer} is at standby"
    return None


def seen_inactive(instance: InstanceState, peer: str) -> bool:
    """Whether the drivers see that no resource is active on `peer`.

    A resource that needs such a one cannot be active there either. All others must be seen.
    """
    there = {name: r for name, r in instance.resources.items() if peer in r.spec.others}
    seen = {name for name, r in there.items() if _is_seen(instance, r, peer)}
    return bool(seen) and all(name in seen or seen.intersection(_below(instance, name)) for name in there)


def _is_seen(instance: InstanceState, resource: ResourceState, peer: str) -> bool:
    """Whether its driver has seen it inactive on `peer`, in a check that began when knowledge counted."""
    on = resource.seen.inactive_on
    return on is not None and peer in on and resource.asked >= instance.clear_since


def _below(instance: InstanceState, name: str) -> Iterator[str]:
    """All that the resource needs, directly or through others."""
    for need in instance.spec.resources[name].needs:
        yield need
        yield from _below(instance, need)


def out(state: State, instance: InstanceState, peer: str) -> bool:
    """Whether `peer` is known not to serve the instance for as long as it is not heard or seen again.

    A node that is off is no such one while this node would not hear that it is on again.
    """
    off = peer in state.off and deaf(state, peer) is None
    return off or promised_at(state, instance, peer) is not None


def promised_at(state: State, instance: InstanceState, peer: str) -> float | None:
    """When an operator's promise there was last said, that `peer` does not serve; None: there is none that counts.

    Its last word is that an operator keeps it in standby, everything is at standby, and keepalived has left the
    election. The promise ends with every sign of another MASTER, and with every change of keepalived's state here,
    which may be one, until it is said again; and where words came later that cannot be believed. A lease is another
    node's permission, which no promise replaces.
    """
    said, quorum = word(state, peer, instance.spec.name), state.config.quorum
    if said is None or (quorum is not None and quorum.leases):
        return None
    if said.at <= max(instance.vrrp_since, instance.contested_at) or unbelieved_since(state, peer, said.at):
        return None
    return said.at if said.standby and said.rests and said.vrrp is VrrpState.FAULT else None


def relying(state: State, instance: InstanceState, now: float) -> tuple[str, ...]:
    """The nodes that may go on without a witness because an operator keeps this one in standby: they are not heard."""
    quorum = state.config.quorum
    if instance.standby is None or quorum is None or quorum.leases or not instance.spec.quorum:
        return ()
    return tuple(peer for peer in instance.spec.others if peer not in state.off and silent(state, peer, now))


def unopposed(state: State, instance: InstanceState) -> bool:
    """Whether every other node is out, so that this one needs no witness."""
    others = instance.spec.others
    return bool(others) and all(out(state, instance, peer) for peer in others)
