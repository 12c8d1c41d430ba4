"""Two MASTERs at once: the signs of it, and the record until an operator acknowledges it.

1. The node that stays MASTER receives the adverts of the other node, which have a lower priority. For a moment, so does
   a node that has just taken mastership from the active node (preempt): that is normal.
2. The node that gives way is reported BACKUP right after MASTER. So is a node from which a new node of higher priority
   takes mastership by preemption. Only with nopreempt on every node does it prove that the other node had been MASTER
   all the while. It proves nothing in an election, where both nodes may be MASTER for a moment, nor after another
   program has removed the VIP, which makes a MASTER a BACKUP for a moment.
3. Another station of the link answers for a VIP of this MASTER. That shows also a MASTER whose adverts do not arrive.
   Silence proves nothing.
4. Another node says by the heartbeat that it is MASTER and serves, some seconds after this node became MASTER and first
   heard that. That shows also a MASTER to which the link of the VIP is cut. A node that has just given way, or has just
   taken over, says it too; so it must say it again after these seconds. The last word of a dead node is older.

With `on_double_master` = "yield" one of the two releases mastership, once in each mastership, where the two cannot both
do that: the one that misses its witnesses, which must not serve in any case; and where no witness decides, the one
whose name in the heartbeat is later, while it hears that the other one is MASTER. How long each has been MASTER decides
nothing: the two could judge that differently, as they have no common clock.
"""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.command_text import failoverctl
from failoverd.core import peers, votes
from failoverd.core.context import AdvanceContext
from failoverd.core.events import VipElsewhere, VrrpChanged
from failoverd.core.model import InstanceState, Rival
from failoverd.core.words import OnDoubleMaster, Standing, Target, TransitionResult, VrrpState

#: Seconds after a node became MASTER in which it, or another MASTER, may give way: an election, not a double master.
CROSSING_S = 3.0
#: The same for what another node says: the failoverd that gives way may learn of it later than the other one says it.
SAID_AFTER_S = 5.0
#: Seconds from one sign to the next by what another node says: it says it in every datagram.
SAID_EVERY_S = 5.0
#: Seconds without a sign of the other MASTER after which the next sign begins a new record. Where a station was found,
#: two periodic checks, if they are longer.
SIGN_GAP_S = 60.0
#: The newest records that are kept.
REMEMBERED_RIVALS = 8


def heard(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Keepalived, as MASTER, received an advert of lower priority."""
    if not counts(context, instance):
        return instance
    rival = Rival(since=context.now, until=context.now, gave_way=False)
    return _beside(context, instance, rival, "keepalived received an advert of another MASTER")


def answered(context: AdvanceContext, instance: InstanceState, event: VipElsewhere) -> InstanceState:
    """Another station has a VIP of this MASTER, which `counts`."""
    station, address = event.station, event.vip.address.partition("/")[0]
    rival = Rival(since=context.now, until=context.now, gave_way=False, station=station, address=address)
    return _beside(context, instance, rival, what(rival))


def said(context: AdvanceContext, instance: InstanceState, peer: str) -> InstanceState:
    """Another node says that it is MASTER, of one of the instances that `saying` names."""
    rival = Rival(since=context.now, until=context.now, gave_way=False, peer=peer)
    return _beside(context, instance, rival, what(rival))


def saying(context: AdvanceContext, peer: str) -> list[str]:
    """The instances that are MASTER here, and of which `peer` says the same, where that is a sign that is due."""
    state = context.state
    masters = state.peers[peer].masters.items() if peer in state.peers else ()
    both = ((state.instances[name], since) for name, since in masters if name in state.instances)
    return [instance.spec.name for instance, since in both if _says(context, instance, peer, since)]


def _says(context: AdvanceContext, instance: InstanceState, peer: str, since: float) -> bool:
    if instance.vrrp is not VrrpState.MASTER or peer not in instance.spec.others:
        return False
    last = instance.rivals[-1] if instance.rivals else None
    if last is not None and last.peer and context.now < last.until + SAID_EVERY_S:
        return False
    word, heartbeat = peers.word(context.state, peer, instance.spec.name), context.state.config.heartbeat
    if word is None or heartbeat is None or context.now >= word.at + heartbeat.silence:
        return False
    return word.at > instance.clear_since and word.at >= max(instance.vrrp_since, since) + SAID_AFTER_S


def counts(context: AdvanceContext, instance: InstanceState) -> bool:
    """Whether a sign of another MASTER counts: this node is MASTER, and it is no election any more."""
    return instance.vrrp is VrrpState.MASTER and context.now >= instance.vrrp_since + CROSSING_S


def _beside(context: AdvanceContext, instance: InstanceState, rival: Rival, sign: str) -> InstanceState:
    """Record a sign of another MASTER, while this node stays MASTER.

    The first station of a record stays in it, and so does the first node that has said that it is MASTER.
    """
    last = instance.rivals[-1] if instance.rivals else None
    over = (
        last is not None and last.yielded and last.until < instance.vrrp_since
    )  # it is MASTER again, and yields again
    if last is not None and not (last.gave_way or over) and context.now < last.until + _gap(context, last):
        found = last if last.station else rival
        peer = last.peer or rival.peer
        last = replace(last, until=context.now, station=found.station, address=found.address, peer=peer)
        return replace(instance, rivals=(*instance.rivals[:-1], last))
    instance = _remember(instance, rival)
    if instance.transition is None:
        note = context.begin(instance, Target.ACTIVE, sign)
        context.end(note, TransitionResult.ACTIVE, told(instance))
    return instance


def decided(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """After a sign of another MASTER: note which of the two yields. `yields` says whether it is this one."""
    last = instance.rivals[-1] if instance.rivals else None
    if last is None or last.gave_way or last.yielded or instance.spec.on_double_master is OnDoubleMaster.REPORT:
        return instance
    here, text = _decision(context, instance)
    suspended = context.state.stopping or context.state.maintenance is not None
    yielded = here and not suspended and instance.competes and instance.handover is None
    return replace(instance, rivals=(*instance.rivals[:-1], replace(last, decided=text, yielded=yielded)))


def yields(before: InstanceState, now: InstanceState) -> str:
    """Why this node yields from here on; empty: it does not, or has done so before."""
    last = now.rivals[-1] if now.rivals else None
    if last is None or not last.yielded or (before.rivals and before.rivals[-1].yielded):
        return ""
    return f"{what(last)}, and {last.decided}"


def _decision(context: AdvanceContext, instance: InstanceState) -> tuple[bool, str]:
    """Whether this node is the one that yields, and the reason, or why that is not known."""
    state, quorum = context.state, context.state.config.quorum
    if quorum is not None and instance.spec.quorum:
        if instance.standing is Standing.MISSING or context.now >= votes.missed_at(instance, state, quorum):
            return True, "this node misses its witnesses, so it yields"
        if instance.standing is Standing.PRESENT:
            return False, "this node has its witnesses, so it does not yield"
        return False, "the witnesses of this node have not answered yet"
    masters = []
    for peer in instance.spec.others:
        said = peers.fresh(state, instance, peer, context.now)
        if said is not None and said.vrrp is VrrpState.MASTER and said.competes:
            masters.append(peer)
    first = [peer for peer in masters if peers.goes_first(state, peer)]
    if first:
        return True, f"{first[0]} says that it is MASTER, and goes first, so this node yields"
    if masters:
        return False, f"{masters[0]} says that it is MASTER, and this node goes first, so it does not yield"
    return False, "no node says that it is MASTER, so neither can know which one is to yield"


def _gap(context: AdvanceContext, last: Rival) -> float:
    return max(SIGN_GAP_S, 2 * context.state.config.check_interval) if last.station else SIGN_GAP_S


def probe(context: AdvanceContext, instance: InstanceState) -> None:
    """Ask the other stations for the VIPs, if their answer would count."""
    if counts(context, instance) and not context.state.stopping:
        context.probe(instance)


def expected(context: AdvanceContext, instance: InstanceState, state: VrrpState) -> InstanceState:
    """Keepalived's state becomes `state`: a new MASTER asks the other stations once, after the election."""
    if state is not VrrpState.MASTER:
        return replace(instance, probe_at=math.inf)
    return instance if instance.vrrp is state else replace(instance, probe_at=context.now + CROSSING_S)


def wake(context: AdvanceContext, instance: InstanceState, *, due: bool) -> InstanceState:
    """A deadline has passed. `due`: the periodic check is due."""
    first = context.now >= instance.probe_at
    if first or due:
        probe(context, instance)
    return replace(instance, probe_at=math.inf) if first else instance


def gave_way(context: AdvanceContext, instance: InstanceState, event: VrrpChanged) -> InstanceState:
    """Keepalived reported `event`; `instance` still has its state before that."""
    served = instance.vrrp is VrrpState.MASTER and context.now >= instance.vrrp_since + CROSSING_S
    if instance.spec.preempt or instance.robbed or not (served and event.state is VrrpState.BACKUP and event.straight):
        return instance
    return _remember(instance, Rival(since=instance.vrrp_since, until=context.now, gave_way=True))


def withdrawn(instance: InstanceState) -> InstanceState:
    """Remove the record of keepalived's last report: its true reason became known a moment later."""
    last = instance.rivals[-1] if instance.rivals else None
    if last is None or not last.gave_way or last.until != instance.vrrp_since:
        return instance
    return replace(instance, rivals=instance.rivals[:-1])


def told(instance: InstanceState) -> str:
    """The line that an operator must act on; empty without a rival."""
    if not instance.rivals:
        return ""
    acknowledge = failoverctl("acknowledge", instance.spec.name)
    last = instance.rivals[-1]
    found = f"{what(last)}; {last.decided}" if last.decided else what(last)
    return f"{found}: compare failoverctl history on both, then {acknowledge}"


def what(rival: Rival) -> str:
    """The record of a rival, in a few words."""
    if rival.gave_way:
        return f"this node was MASTER for {rival.until - rival.since:.0f} s while another node was MASTER too"
    found = [f"another station ({rival.station}) has {rival.address} too"] if rival.station else []
    found += [f"{rival.peer} said by the heartbeat that it was MASTER too"] if rival.peer else []
    return ", and ".join(found) or "another node was MASTER at the same time"


def _remember(instance: InstanceState, rival: Rival) -> InstanceState:
    return replace(instance, rivals=(*instance.rivals, rival)[-REMEMBERED_RIVALS:])
