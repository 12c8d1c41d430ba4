"""What a resource's state means: its level, and what is in the way of a promotion. Pure.

A Primary is ACTIVE only with the newest data on its own disk and, on DRBD 9, with quorum: one that has lost either
cannot be relied upon, whatever ``drbdadm primary`` exits with.
"""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.words import Level
from failoverd.drivers.drbd import memory as memories
from failoverd.drivers.drbd.memory import Memory
from failoverd.drivers.drbdstate.status import PRIMARY, SECONDARY, UNKNOWN, UP_TO_DATE, Resource, Volume

#: Reasons of standing I/O that an operator or a fencing handler has given and will take back.
_TEMPORARY = frozenset({"user", "fencing"})

#: Disk states that last a moment. Consistent: DRBD asks the other nodes whether they have newer data.
_PASSING = frozenset({"Attaching", "Negotiating", "Consistent"})

#: Disk states that pass with a resync from a peer, and what that is called, from a connection that is just begun on.
_BEHIND = frozenset({"Outdated", "Inconsistent"})
_TARGET = frozenset({"Off", "StartingSyncT", "WFBitMapT", "WFSyncUUID", "SyncTarget", "PausedSyncT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why a promotion must not be done now, in words that stay the same for as long as it is so.

    `passes`: it may pass within seconds; `until`: at the latest then (seconds of CLOCK_BOOTTIME), None when that is not
    known. `ask`: it may have passed already; DRBD finds that out when it is told to become Primary, and refuses when it
    has not. `usual`: every sound standby has it.
    """

    reason: str
    passes: bool = False
    until: float | None = None
    ask: bool = False
    usual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From the configuration. `remedy`: what an operator runs to have data served that may not be the newest."""

    connect_grace: float
    reconnect_grace: float
    stale_after: float
    remedy: str


def level(view: Resource) -> Level:
    """Where the resource stands. Whatever its disk is like, a Secondary is written by nobody here."""
    if view.role == PRIMARY and not any(volume.role == UNKNOWN for volume in view.volumes):
        return Level.FAILED if impairment(view) else Level.ACTIVE
    return Level.STANDBY if view.role == SECONDARY else Level.UNKNOWN


def impairment(view: Resource) -> str:
    """What a Primary lacks; empty when it lacks nothing."""
    if not view.volumes:
        return "without a volume"
    if not view.primary:
        others = (f"volume {volume.number} is {volume.role}" for volume in view.volumes if volume.role != PRIMARY)
        return f"but not all of it: {', '.join(others)}"
    if not view.up_to_date:
        return f"but the data here is {view.disks}"
    if not view.quorate:
        return "but without quorum"
    stands = sorted(view.suspended - _TEMPORARY)
    return f"but its I/O is suspended ({', '.join(stands)})" if stands else ""


def grace(memory: Memory, limits: Limits) -> float:
    """Until when (seconds of CLOCK_BOOTTIME) peers that were not met since it is up are waited for."""
    return 0.0 if memory.up is None else memory.up + limits.connect_grace


def obstacle(
    view: Resource, memory: Memory, now: float, limits: Limits, *, asked: float | None = None, voted: bool = False
) -> Obstacle | None:
    """What is in the way of a promotion that was asked for at `asked` (None: now).

    `voted`: nobody can write without a quorum that others cannot have as well; False also when that is not known.
    None when nothing is, or when it is Primary and lacks nothing. One that is Primary by half is none yet.
    """
    if view.primary:
        lack = impairment(view)
        return Obstacle(reason=f"it is Primary here, {lack}", passes=True) if lack else None
    disk = _not_up_to_date(view)
    return (
        _diskless(view)
        or _young(view, memory, now, limits)
        or (disk if disk is not None and not disk.ask else None)
        or _old(memory, now if asked is None else asked, limits)
        or _split(view, memory, limits, voted=voted)
        or _no_quorum(view)
        or _lost(memory, now, limits)
        or disk
        or _occupied(view)
    )


def _diskless(view: Resource) -> Obstacle | None:
    if not view.client:
        return None
    reason = "this node has no disk, as configured: it votes, and cannot serve; leave it out of `nodes`"
    return Obstacle(reason=reason, usual=True)


def _young(view: Resource, memory: Memory, now: float, limits: Limits) -> Obstacle | None:
    """It has just come up: one of the peers may have newer data, and it takes a moment to meet it.

    Whatever is said of the connection: between attach and connect DRBD 9 calls it StandAlone, and 8.4 has none yet.
    """
    if now >= (until := grace(memory, limits)):
        return None
    unmet = [peer.name for peer in view.peers if not (peer.replicating or peer.id in memory.met)]
    if view.peers and not unmet:
        return None
    reason = f"it has just come up and not been connected to {' and '.join(unmet) or 'any other node'} yet"
    return Obstacle(reason=reason, passes=True, until=until)


def _not_up_to_date(view: Resource) -> Obstacle | None:
    if view.up_to_date:
        return None
    wrong = [volume for volume in view.volumes if volume.disk != UP_TO_DATE]
    passes = bool(wrong) and all(volume.disk in _PASSING or _synchronises(view, volume) for volume in wrong)
    ask = {volume.disk for volume in wrong} == {"Consistent"}
    return Obstacle(reason=f"the data here is {view.disks}, not UpToDate", passes=passes, ask=ask)


def _synchronises(view: Resource, volume: Volume) -> bool:
    """What is missing comes from a peer just now, or is about to: a node that was cut off is back."""
    theirs = (it for peer in view.peers if peer.connected for it in peer.volumes if it.number == volume.number)
    return volume.disk in _BEHIND and any(it.replication in _TARGET for it in theirs)


def _no_quorum(view: Resource) -> Obstacle | None:
    """It is back as soon as the network is; but never by itself where DRBD begins no connection any more."""
    if view.quorate:
        return None
    reason = "no quorum: too few of the other nodes can be reached"
    away = [peer for peer in view.peers if not peer.connected]
    if away and all(peer in view.alone for peer in away):
        names = " and ".join(peer.name for peer in away)
        return Obstacle(reason=f"{reason}, and DRBD tries {names} no more (StandAlone); drbdadm adjust {view.name}")
    return Obstacle(reason=reason, passes=True)


def _lost(memory: Memory, now: float, limits: Limits) -> Obstacle | None:
    """DRBD gives a Primary up that was silent for a moment, as a busy one is: it lives, writes, and will be back."""
    loss = memories.feared(memory)
    if loss is None or now >= (until := loss.noticed + limits.reconnect_grace):
        return None
    reason = f"the Primary ({loss.name}) was lost at {memories.at(loss.wall)}, and may live and be back in a moment"
    return Obstacle(reason=reason, passes=True, until=until)


def _old(memory: Memory, now: float, limits: Limits) -> Obstacle | None:
    loss = memories.stale(memory, now, limits.stale_after)
    if loss is None:
        return None
    known = f"is {loss.age:.0f} s old" if loss.age is not None else "is old"
    since = f"replication to the Primary ({loss.name}) was down since {memories.at(loss.wall)}"
    reason = f"the data here {known}: {since}, before mastership came here; bring it back, or {limits.remedy}"
    return Obstacle(reason=reason)


def _split(view: Resource, memory: Memory, limits: Limits, *, voted: bool) -> Obstacle | None:
    apart = memories.apart(memory, view, voted=voted)
    if not apart:
        return None
    names = " and ".join(peer.name for peer in apart)
    given_up = f"DRBD has given up the connection to {names} (StandAlone: split brain, or disconnected by hand)"
    if tried := all(peer not in view.alone for peer in apart):
        given_up = f"DRBD had given up the connection to {names}, and has not been connected since"
    reason = f"{given_up}, and what was written there is not here; bring it back, or {limits.remedy}"
    return Obstacle(reason=reason, passes=tried)


def _occupied(view: Resource) -> Obstacle | None:
    if not view.primaries:
        return None
    names = " and ".join(peer.name for peer in view.primaries)
    return Obstacle(reason=f"{names} is connected and Primary", passes=True, ask=True, usual=True)
