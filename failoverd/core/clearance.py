"""Whether a MASTER may activate, as far as other nodes are concerned: what is missing, until when, and who is fenced.

It reads the state, and decides nothing; fencing.py does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from failoverd.command_text import failoverctl
from failoverd.core import guards, peers, votes
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import InstanceState, State
from failoverd.core.spec import Config, InstanceSpec
from failoverd.core.words import Clearance, StateSource, Target

#: Seconds that a node may need beyond the deadlines of its resources until it has stopped and said so.
STOP_MARGIN_S = 5.0

#: Seconds until a heartbeat that has not begun to hear is taken for one that does not.
BEGIN_S = 10.0

#: Seconds after its deadline in which the end of a fencing may still be reported.
FENCING_GRACE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why another node is not cleared: `text`, which follows its name.

    `until`: when that may change by itself; infinity: not without an event. `refused`: waiting is of no use. `fence`:
    the node is to be fenced.
    """

    text: str
    until: float = math.inf
    refused: bool = False
    fence: bool = False


def asked(state: State, instance: InstanceState) -> tuple[str, ...]:
    """The other nodes that must be cleared before the instance is activated.

    Those that can be fenced or outwaited; and, where one of its nodes can be fenced and no lease is needed, also those
    that cannot: the others must not be active beside one of these just because it has no power switch.
    """
    if not instance.spec.quorum or state.config.heartbeat is None:
        return ()
    spec, fences = instance.spec, state.config.fences
    if takeover_after(state) > 0 or unfenceable(state.config, spec):
        return spec.others
    return tuple(peer for peer in spec.others if peer in fences)


def unfenceable(config: Config, spec: InstanceSpec) -> tuple[str, ...]:
    """The nodes of the instance that nothing but their word or an operator clears, beside one that can be fenced."""
    quorum, heartbeat = config.quorum, config.heartbeat
    if heartbeat is None or not spec.quorum or (quorum is not None and (quorum.takeover_after or quorum.leases)):
        return ()
    nodes = (heartbeat.node, *spec.others) if spec.resources else spec.others
    return tuple(node for node in nodes if node not in config.fences) if config.fences.keys() & set(nodes) else ()


def takeover_after(state: State) -> float:
    """Seconds after which the other nodes have certainly stopped; 0: that is not known."""
    return 0.0 if state.config.quorum is None else state.config.quorum.takeover_after


def doubts(state: State, instance: InstanceState, now: float) -> dict[str, Doubt]:
    """The nodes that are not cleared, each with the reason."""
    found = ((peer, _doubt(state, instance, peer, now)) for peer in asked(state, instance))
    return {peer: doubt for peer, doubt in found if doubt is not None}


def _doubt(state: State, instance: InstanceState, peer: str, now: float) -> Doubt | None:
    if peers.cleared(state, instance, peer) is not None:
        return None
    said, wait = peers.fresh(state, instance, peer, now), takeover_after(state)
    contradicts = said is not None and (peers.serves(said) or not said.rests or peers.goes_first(state, peer))
    outwaited = _outwaited_at(state, instance, peer)
    if now >= outwaited and not contradicts:
        return _left_in_maintenance(state, instance, peer)
    deaf = peers.deaf(state, peer)
    if deaf is None and (peer in state.config.fences or wait <= 0):
        return _to_fence(state, instance, peer, said, now)
    if now < outwaited < math.inf:
        text = f"will have stopped {wait:g} s after keepalived's MASTER (takeover_after)"
        return Doubt(text=text, until=outwaited)
    if deaf is not None and not contradicts:
        return _unheard(state, instance, peer, now)
    assert said is not None
    return Doubt(text=contradiction(said), refused=True, until=_silent_at(state, peer))


def _outwaited_at(state: State, instance: InstanceState, peer: str) -> float:
    """When time alone shows that `peer` has stopped; infinity: never.

    One that has not stopped by then says so, and must have had the time to be heard; a lease proves it without a word.
    """
    if (wait := takeover_after(state)) <= 0:
        return math.inf
    leased = state.config.quorum is not None and bool(state.config.quorum.leases)
    return max(instance.clear_since + wait, -math.inf if leased else peers.listened_at(state, peer))


def _unheard(state: State, instance: InstanceState, peer: str, now: float) -> Doubt:
    """Its silence says nothing, since this node would not hear it."""
    deaf = peers.deaf(state, peer)
    if peers.begins(state, peer) and now < (until := instance.clear_since + BEGIN_S):
        return Doubt(text=f"is not heard yet: {deaf}", until=until)
    text = (
        f"may be alive, and is neither fenced nor outwaited: {deaf}; see: failoverctl status; if {peer} is certainly"
        f" off: {failoverctl('confirm-off', peer)}"
    )
    return Doubt(text=text, refused=True)


def _to_fence(state: State, instance: InstanceState, peer: str, said: PeerWord | None, now: float) -> Doubt:
    """Wait for a node that is alive and stops; fence one that is silent, or does not stop, if it can be fenced."""
    stopped_by = instance.clear_since + votes.stop_time(instance.spec) + STOP_MARGIN_S
    if said is None and (doubt := _unsaid(state, instance, peer, now)) is not None:
        return doubt
    if said is not None and (said.maintenance or said.strays or peers.serves(said) or peers.waits(said)):
        return Doubt(text=contradiction(said), refused=True, until=_silent_at(state, peer))
    if said is not None and now < stopped_by:
        return Doubt(text="still stops", until=min(stopped_by, _silent_at(state, peer)))
    return _last_resort(state, instance, peer, said)


def _last_resort(state: State, instance: InstanceState, peer: str, said: PeerWord | None) -> Doubt:
    """It is silent, or has not stopped in time: it is fenced, if it can be."""
    why = "is silent" if said is None else "has not stopped in time"
    certainly = f"; if it is certainly off: {failoverctl('confirm-off', peer)}" if said is None else ""
    if peer not in state.config.fences:
        until = math.inf if said is None else _silent_at(state, peer)
        return Doubt(text=f"{why}, and there is no [fence.{peer}]{certainly}", until=until, refused=True)
    if (barred := _never_fences(state, instance)) is not None:
        return Doubt(text=f"{why}, and is not fenced {barred}", refused=True)
    last = state.fencings.get(peer)
    if last is not None and last.failed and last.ended >= instance.clear_since:
        return Doubt(text=f"{why}, and could not be fenced: {last.said}{certainly}", refused=True, fence=True)
    delay = state.config.fences[peer].delay
    when = f"after {delay:g} s, and " if delay else ""
    return Doubt(text=f"{why}, so it is fenced {when}before anything is activated here", fence=True)


def _unsaid(state: State, instance: InstanceState, peer: str, now: float) -> Doubt | None:
    """It says nothing of the instance, and is not dead; None: it may be."""
    if now < (until := peers.unverified_until(state, peer)):
        text = "sends heartbeats of another key or format, so it is alive and not fenced; see: failoverctl status"
        return Doubt(text=text, refused=True, until=until)
    if now >= (until := peers.dead_at(state, peer, instance.clear_since)):
        return _left_in_maintenance(state, instance, peer)
    heard = peers.heard_at(state, peer)
    if heard == -math.inf:
        text = f"was never heard since the heartbeat began here, and has {peers.FIRST_WORD_S:g} s from then"
        return Doubt(text=text, until=until)
    stopped_by = instance.clear_since + votes.stop_time(instance.spec) + STOP_MARGIN_S
    until = min(until, stopped_by if now < stopped_by else math.inf)
    if heard <= instance.clear_since or now < stopped_by:
        return Doubt(text="has not said yet that it is at standby", until=until)
    name = instance.spec.name
    text = (
        f"speaks, but not of {name}, and is not fenced: {name} is not configured there, or its failoverd is of another"
        f" version: look there: {failoverctl('status', name)}"
    )
    return Doubt(text=text, refused=True, until=until)


def _left_in_maintenance(state: State, instance: InstanceState, peer: str) -> Doubt | None:
    """Somebody works there, also on its failoverd, and its resources may be active; None: not when it was heard."""
    said = peers.word(state, peer, instance.spec.name)
    if said is None or not said.maintenance:
        return None
    text = (
        "was in maintenance when it was heard last, so it is neither fenced nor outwaited: start its failoverd; if it"
        f" is certainly off: {failoverctl('confirm-off', peer)}"
    )
    return Doubt(text=text, refused=True)


def contradiction(said: PeerWord) -> str:
    """What a node that is not cleared by its word says instead of being at standby."""
    if said.maintenance:
        return "is in maintenance, not at standby, and not fenced; to end that, there: failoverctl maintenance off"
    if said.strays:
        left = ", ".join(sorted(said.strays))
        return f"may run {left}, no longer configured there, and is not fenced; stop it there"
    if peers.serves(said):
        return f"says that it is {said.phase.value}"
    if peers.waits(said):
        return "is MASTER too, and goes first"
    return "says that it is not at standby"


def _silent_at(state: State, peer: str) -> float:
    """When it becomes silent, if it says no more."""
    heartbeat = state.config.heartbeat
    return math.inf if heartbeat is None else peers.heard_at(state, peer) + heartbeat.silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A part of the time before the first step of an activation: what is waited for, and how long, in seconds at most.

    `names`: the witnesses, or the other nodes.
    """

    what: str
    names: tuple[str, ...]
    worst_case: float


def before(state: State, instance: InstanceState) -> tuple[Before, ...]:
    """What comes before the first step of an activation, one after the other, as far as it ends with one."""
    quorum, heartbeat = state.config.quorum, state.config.heartbeat
    found = []
    if quorum is not None and instance.spec.quorum:
        names = (*quorum.witnesses, *quorum.leases)
        found.append(Before(what="witnesses", names=names, worst_case=quorum.timeout + votes.GRACE_S))
    others = asked(state, instance)
    if not others or heartbeat is None:
        return tuple(found)
    fenced = tuple(peer for peer in others if peer in state.config.fences)
    stops = max(votes.stop_time(instance.spec) + STOP_MARGIN_S, heartbeat.silence + heartbeat.interval)
    wait = takeover_after(state)
    waited = max(stops if fenced or not wait else 0.0, wait if fenced != others else 0.0)
    found.append(Before(what="peers", names=others, worst_case=waited))
    if fenced:
        longest = max(state.config.fences[peer].delay + state.config.fences[peer].worst_case for peer in fenced)
        found.append(Before(what="fencing", names=fenced, worst_case=longest))
    return tuple(found)


# ---------------------------------------------------------------- fencing


def may_fence(state: State, instance: InstanceState, peer: str, now: float) -> str | None:
    """Why this node must not fence `peer` for the instance now; None: it may.

    Only a node that keepalived has made MASTER, that has the VIP and the witnesses, may power another one off: one that
    is cut off must not.
    """
    if peer not in state.config.fences:
        return f"there is no [fence.{peer}]"
    if not instance.spec.quorum:
        return f"{instance.spec.name} has quorum = false"
    if instance.target is not Target.ACTIVE:
        return "this node is not MASTER"
    if (barred := _never_fences(state, instance)) is not None:
        return f"nothing is fenced {barred}"
    if unsure(instance):
        return "the resources here were not all checked since failoverd was started"
    return (
        peers.deaf(state, peer)
        or guards.left_behind(instance)
        or guards.deaf(instance)
        or guards.released(instance, now)
        or guards.handing_over(instance)
        or guards.quorum_missing(instance)
        or guards.vip_missing(instance)
        or guards.quorum_awaited(instance)
    )


def unsure(instance: InstanceState) -> bool:
    """Whether this daemon was started beside a MASTER, and does not know yet what is active here."""
    return just_found(instance) and any(r.observed is None for r in instance.resources.values())


def just_found(instance: InstanceState) -> bool:
    """Whether keepalived was MASTER before this daemon was started, and the instance has not settled since."""
    return instance.settled is None and instance.vrrp_source is not StateSource.EVENT


def _never_fences(state: State, instance: InstanceState) -> str | None:
    """When an operator, or the end of the daemon, keeps this node from fencing; None: nothing does."""
    if state.maintenance is not None:
        return "in maintenance"
    if state.stopping:
        return "by a failoverd that ends"
    if instance.standby is not None:
        return "while an operator keeps this node in standby"
    return None if instance.aside is None else "during a handover of another node"


def wanted(state: State, names: Iterable[str], now: float) -> dict[str, str]:
    """The nodes to fence now, each with the first instance that needs it."""
    found: dict[str, str] = {}
    for name in sorted(names):
        instance = state.instances[name]
        for peer, doubt in doubts(state, instance, now).items():
            if doubt.fence and may_fence(state, instance, peer, now) is None:
                found.setdefault(peer, name)
    return found


def called_off(state: State, peer: str, now: float) -> str | None:
    """Why a fencing of `peer` that this node began must not go on; None: an instance still needs it."""
    return None if peer in wanted(state, state.agenda.doubtful, now) else "nothing here needs it any more"


def due(state: State, instance: InstanceState, now: float) -> float:
    """When the instance needs a Tick because of other nodes; infinity: not without an event."""
    if instance.clearance not in (Clearance.AWAITED, Clearance.MISSING):
        return math.inf
    found = doubts(state, instance, now)
    times = [doubt.until for doubt in found.values()]
    times += [_outwaited_at(state, instance, peer) for peer in found]
    return min((at for at in times if at > now), default=math.inf)


def fencing_due(state: State, *, wanted: bool, now: float) -> float:
    """When a fencing needs a Tick. `wanted`: an instance waits for another node."""
    times = [each.deadline for each in state.fencings.values()]
    times += [each.not_before for each in state.fencings.values() if wanted and not each.running]
    times += [since + state.config.fences[peer].delay for peer, since in state.aimed.items()]
    return min((at for at in times if at > now), default=math.inf)
