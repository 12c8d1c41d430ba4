"""A planned move of mastership: which nodes keep another one from taking over without a fencing, a wait or a refusal.

It reads the state, and decides nothing. A failover asks none of this: nobody serves then, and fencing is its remedy.
"""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.command_text import failoverctl
from failoverd.core import clearance, peers
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Phase, Standing, VrrpState


def against(state: State, instance: InstanceState, now: float) -> dict[str, str]:
    """The nodes that this one could not clear if it took over now, each with the reason, which follows its name.

    An active node that is heard is none of them: it will stop, and say so.
    """
    found = ((peer, _doubt(state, instance, peer, now)) for peer in clearance.asked(state, instance))
    return {peer: text for peer, text in found if text}


def _doubt(state: State, instance: InstanceState, peer: str, now: float) -> str:
    """Why `peer` would not be cleared; empty if it would."""
    if peer in state.off or peers.seen_inactive(replace(instance, clear_since=-math.inf), peer):
        return ""
    if peers.silent(state, peer, now):
        return _unheard(state, instance, peer, now)
    said, name = peers.word(state, peer, instance.spec.name), instance.spec.name
    if said is None:
        return f"speaks, but not of {name}: look there: {failoverctl('status', name)}"
    stops = peers.serves(said) or said.phase is Phase.DEMOTING
    if (said.rests and not peers.serves(said)) or (stops and not (said.maintenance or said.strays)):
        return ""
    return clearance.contradiction(said)


def _unheard(state: State, instance: InstanceState, peer: str, now: float) -> str:
    assert state.config.heartbeat is not None
    if (deaf := peers.deaf(state, peer)) is not None:
        return f"may be alive, and nothing would be activated: {deaf}; see: failoverctl status"
    if now < peers.unverified_until(state, peer):
        return "sends heartbeats of another key or format, so nothing would be activated; see: failoverctl status"
    wait = clearance.takeover_after(state)
    nothing = f"nothing would be activated{f' for {wait:g} s' if wait else ''}"
    then = "it would be fenced" if peer in state.config.fences else nothing
    said = peers.word(state, peer, instance.spec.name)
    if said is not None and said.maintenance:
        then = "nothing would be activated, as it was in maintenance then"
    certainly = f"if it is certainly off, on {state.config.heartbeat.node}: {failoverctl('confirm-off', peer)}"
    return f"is not heard, so {then}: start its failoverd, or {certainly}"


def nobody(state: State, instance: InstanceState, now: float) -> list[str]:
    """Why no other node would be activated at once if this one left the instance, as the others say; empty: one would.

    keepalived may elect each node that competes.
    """
    if not clearance.asked(state, instance):
        return []
    absent = {peer: _absent(state, instance, peer, now) for peer in instance.spec.others}
    if all(absent.values()):
        return [f"no other node can take over: {'; '.join(f'{peer} {why}' for peer, why in absent.items())}"]
    words = {peer: peers.word(state, peer, instance.spec.name) for peer, why in absent.items() if not why}
    return [
        f"{peer} might be elected, and could not take over: {other} {why}"
        for peer, said in words.items()
        if said is not None
        for other, why in said.against_move.items()
    ]


def preempting(state: State, instance: InstanceState, now: float) -> list[str]:
    """Why nobody would be active at once if keepalived moved mastership here from the active node; empty: no reason."""
    heard = (peer for peer in instance.spec.others if not peers.silent(state, peer, now))
    said = (peers.word(state, peer, instance.spec.name) for peer in heard)
    if not instance.spec.preempt or not any(word is not None and peers.serves(word) for word in said):
        return []
    failed = [f"this node is failed: {instance.reason}"] if instance.phase is Phase.FAILED else []
    return failed + [f"{peer} {why}" for peer, why in against(state, instance, now).items()]


def _absent(state: State, instance: InstanceState, peer: str, now: float) -> str:
    """Why keepalived cannot elect `peer`, or it would not follow; empty: it may be elected."""
    if peer in state.off:
        return "is off"
    if peers.silent(state, peer, now):
        return "is not heard"
    said = peers.word(state, peer, instance.spec.name)
    if said is None:
        return f"says nothing of {instance.spec.name}"
    if said.standby:
        return "is kept in standby by an operator"
    if said.maintenance:
        return "is in maintenance"
    return _unable(said, instance.spec.name)


def _unable(said: PeerWord, name: str) -> str:
    """Why a node that says this cannot be elected, or would activate nothing; empty: it may take over.

    ctl/candidates.py judges the same for a handover, by the node's own answer. Here a node that still demotes is none
    of them, as it activates when it has ended that.
    """
    see = f"see there: {failoverctl('status', name)}"
    why = f": {said.refusal}" if said.refusal else ""
    if not said.competes:
        return f"does not compete for mastership{why}"
    if said.vrrp is None:
        return f"has not received a state of keepalived; if its failoverd was started just now, try again; or {see}"
    if said.vrrp not in (VrrpState.BACKUP, VrrpState.MASTER):
        return f"cannot be elected, as its keepalived reports {said.vrrp.value}; {see}"
    if said.standing is Standing.MISSING:
        return f"misses its witnesses{why}; {see}"
    if said.phase in (Phase.REFUSED, Phase.FAILED):
        return f"is {said.phase.value}{why}; {see}"
    return f"would refuse{why}; {see}" if why else ""
