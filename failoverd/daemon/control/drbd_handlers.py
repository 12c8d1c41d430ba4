"""DRBD's handlers fence-peer and unfence-peer: hooks/fence-peer asks here, again and again, until there is an answer.

The answer is what DRBD gets as exit status. It says "powered off" only of a node that is known to be off, by the proof
of a fence agent or because an operator has confirmed it; and "outdated" only while the peer itself says that the
resource is at standby there, and is not activated there before it has been replicated again. Everything else is no
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.core import clearance, peers, votes
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import InstanceState, State
from failoverd.core.requests import PeerUnfenced
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level
from failoverd.daemon.access import Peer
from failoverd.daemon.config import nodes
from failoverd.daemon.control.server import Handler, Refused
from failoverd.daemon.fencing import FOR_DRBD, Fencing
from failoverd.daemon.loop import CoreLoop

#: The exit statuses of a fence-peer handler (drbd.conf(5)): the peer is outdated; it was powered off; neither is known.
OUTDATED, POWERED_OFF, UNKNOWN = 4, 7, 1

#: Seconds that a call waits for anything but a fencing, which has its own end, and the `delay` before it.
PATIENCE_S = 90.0

#: Seconds after its last question in which a call is remembered; it asks twice a second.
_FORGET_S = 300.0


@dataclass(slots=True, kw_only=True)
class _Call:
    """A call of the handler. `since`, `asked`: when it asked first, and last; `fencing`: it has seen one run."""

    since: float
    asked: float
    fencing: bool = False


class DrbdHandlers:
    """Answers to DRBD. `fencing` performs what is asked of it; `now` returns the core's time."""

    def __init__(self, core: CoreLoop, fencing: Fencing, now: Callable[[], float]) -> None:
        self._core = core
        self._now = now
        self._fencing = fencing
        self._calls: dict[str, _Call] = {}
        self.handlers: Mapping[str, Handler] = {"fence-peer": self._fence_peer, "unfence-peer": self._unfence_peer}

    async def _fence_peer(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        """`code`: the exit status; null: not known yet. `said`: the reason."""
        spec, other = self._asked(params, peer)
        call, state, now = self._call(str(params.get("id"))), self._core.state, self._now()
        if (known := known_about(state, spec, other, call.since)) is not None:
            return {"code": known[0], "said": known[1]}
        if self._fencing.runs(other):
            call.fencing = True
            return {"code": None, "said": f"{other} is being fenced"}
        if call.fencing and (failure := self._fencing.failures.get(other)) is not None:
            return {"code": UNKNOWN, "said": f"{other} could not be fenced: {failure}"}
        if (why := not_now(state, spec, other, call.since, now)) is not None:
            until = call.since + PATIENCE_S + _delay(state, other)
            return {"code": None if now < until else UNKNOWN, "said": why}
        call.fencing = True
        self._fencing.begin(other, FOR_DRBD, lambda: self._barred(spec, other, call.since))
        return {"code": None, "said": f"{other} is being fenced"}

    def _call(self, name: str) -> _Call:
        now = self._now()
        self._calls = {key: each for key, each in self._calls.items() if now - each.asked < _FORGET_S}
        call = self._calls.setdefault(name, _Call(since=now, asked=now))
        call.asked = now
        return call

    def _barred(self, spec: ResourceSpec, other: str, since: float) -> str | None:
        """Why it must not go on. Then each call that waits for it may have another one begun."""
        state = self._core.state
        if spec.instance not in state.instances:
            return f"{spec.instance} is not configured any more"
        return not_now(state, spec, other, since, self._now())

    async def _unfence_peer(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        """The peer has resynchronized, so it is on."""
        _, other = self._asked(params, peer)
        if other not in self._core.state.off:
            return {"code": 0, "said": f"{other} was not known to be off"}
        self._core.dispatch(PeerUnfenced(peer=other, by="DRBD"))
        return {"code": 0, "said": f"{other} does not count as off any more"}

    def _asked(self, params: Mapping[str, Any], peer: Peer) -> tuple[ResourceSpec, str]:
        """The resource, and the name of the other node in [heartbeat]. Raises Refused if there is no such."""
        if peer.uid != 0:
            raise Refused("DRBD's handlers are for root only")
        name, host = str(params.get("resource")), str(params.get("peer"))
        spec = next((each for each in self._resources() if each.options.resource == name), None)
        if spec is None:
            raise Refused(f"no resource of failoverd.toml is DRBD's {name}")
        other = next((each for each in spec.others if nodes.carries((each,), host) or nodes.short(each) == host), None)
        if other is None:
            raise Refused(f"{host} is no node of [heartbeat] that has {spec.instance}.{spec.name}")
        return spec, other

    def _resources(self) -> Iterator[ResourceSpec]:
        for instance in self._core.state.instances.values():
            yield from (each for each in instance.spec.resources.values() if each.driver == "drbd")


def known_about(state: State, spec: ResourceSpec, peer: str, since: float) -> tuple[int, str] | None:
    """What is known of the resource on `peer`, as exit status and reason; None: nothing.

    A word counts that was said after `since`, when DRBD asked: what was said before it lost the peer proves nothing.
    """
    if (off := state.off.get(peer)) is not None:
        return POWERED_OFF, f"{peer} is off: {off.said}"
    word = peers.word(state, peer, spec.instance)
    if word is None or word.at <= since or not _at_standby(state, word, spec, peer):
        return None
    if spec.name not in word.outdated:
        return None
    return OUTDATED, f"{peer} says that {spec.instance}.{spec.name} is at standby there, and outdated"


def _at_standby(state: State, word: PeerWord, spec: ResourceSpec, peer: str) -> bool:
    """Whether `peer`, which says this, has the resource at standby, and does not activate it before this node has."""
    rests = word.level(spec.name) is Level.STANDBY
    return rests and not peers.serves(word) and not (peers.waits(word) and peers.goes_first(state, peer))


def not_now(state: State, spec: ResourceSpec, peer: str, since: float, now: float) -> str | None:
    """Why `peer` is not fenced for DRBD at this moment; None: it is.

    This node may be the one that is cut off, so the witnesses must have answered since DRBD asked; and a peer that is
    alive stops by itself, or says that the resource is at standby.
    """
    instance, delay = state.instances[spec.instance], _delay(state, peer)
    if (why := clearance.may_fence(state, instance, peer, now)) is not None:
        return f"{peer} is not fenced: {why}"
    dead = max(peers.dead_at(state, peer, since), peers.unverified_until(state, peer))
    if now < dead:
        word = peers.word(state, peer, spec.instance)
        if word is not None and word.at > since and _at_standby(state, word, spec, peer):
            return f"{peer} is at standby, and does not say yet that it would refuse its data"
        return f"{peer} may still say what it does"
    if now < dead + delay:
        return f"{peer} is silent, and fenced after a delay of {delay:g} s"
    return None if _witnessed(state, instance, since) else f"{peer} is not fenced before the witnesses have answered"


def _delay(state: State, peer: str) -> float:
    fence = state.config.fences.get(peer)
    return 0.0 if fence is None else fence.delay


def _witnessed(state: State, instance: InstanceState, since: float) -> bool:
    """Whether enough witnesses have answered a question of after `since`, as far as there are any."""
    quorum = state.config.quorum
    if quorum is None:
        return True
    return min(votes.answered_at(state.votes, quorum), votes.held_at(instance, quorum)) > since
