"""What a resource's state means: its level, its words, and what is in the way of a promotion. Pure.

A Primary is ACTIVE only with the newest data on its own disk and, on DRBD 9, with quorum: one that has lost either
cannot be relied upon, whatever ``drbdadm primary`` exits with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from failoverd.core.model import Level
from failoverd.drivers.drbd import memory as memories
from failoverd.drivers.drbd.memory import Loss, Memory
from failoverd.drivers.drbdstate.status import (
    PRIMARY,
    SECONDARY,
    STAND_ALONE,
    UNKNOWN,
    UP_TO_DATE,
    Peer,
    PeerVolume,
    Resource,
)

#: Reasons of standing I/O that an operator or a fencing handler has given and will take back.
_TEMPORARY = frozenset({"user", "fencing"})

#: Disk states that last a moment. Consistent: DRBD asks the other nodes whether they have newer data.
_PASSING = frozenset({"Attaching", "Negotiating", "Consistent"})

_DAY = 24 * 3600


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
    """From the configuration. `remedy`: what an operator runs to have old data served."""

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
        return f"but the data here is {disks(view)}"
    if not view.quorate:
        return "but without quorum"
    stands = sorted(view.suspended - _TEMPORARY)
    return f"but its I/O is suspended ({', '.join(stands)})" if stands else ""


def detail(view: Resource, memory: Memory) -> str:
    """The state in a line for a person."""
    impaired = view.role == PRIMARY and impairment(view)
    parts = [f"{view.role}, {impaired or disks(view)}"]
    if not view.quorate and not impaired:
        parts.append("no quorum")
    if view.suspended and not (impaired and "suspended" in impaired):
        parts.append(f"I/O suspended ({', '.join(sorted(view.suspended))})")
    parts += map(_peer, view.peers)
    if memory.loss is not None and view.role != PRIMARY:
        parts.append(f"replication from the Primary ({memory.loss.name}) is down since {at(memory.loss.wall)}")
    return "; ".join(parts)


def alarm(view: Resource) -> str | None:
    """StandAlone: DRBD has found two histories of the data, or somebody has disconnected it; it will not try again."""
    alone = [peer.name for peer in view.peers if peer.connection == STAND_ALONE]
    if not alone:
        return None
    return (
        f"StandAlone towards {', '.join(alone)}: split brain, or disconnected by hand; nothing is replicated until "
        f"somebody decides whose data is kept, and reconnects (drbdadm connect {view.name})"
    )


def obstacle(
    view: Resource, memory: Memory, now: float, limits: Limits, *, asked: float | None = None
) -> Obstacle | None:
    """What is in the way of a promotion that was asked for at `asked` (None: now).

    None when nothing is, or when it is Primary and lacks nothing. One that is Primary by half is none yet.
    """
    if view.primary:
        lack = impairment(view)
        return Obstacle(reason=f"it is Primary here, {lack}", passes=True) if lack else None
    disk = _not_up_to_date(view)
    return (
        _young(view, memory, now, limits)
        or (disk if disk is not None and not disk.ask else None)
        or _old(memory, now if asked is None else asked, limits)
        or (None if view.quorate else Obstacle(reason="no quorum: too few of the other nodes can be reached"))
        or _lost(memory, now, limits)
        or disk
        or _occupied(view)
    )


def disks(view: Resource) -> str:
    """The disk state, or the states by volume where they differ."""
    states = {volume.disk for volume in view.volumes}
    if len(states) <= 1:
        return next(iter(states), "no volume")
    return ", ".join(f"{volume.disk} (volume {volume.number})" for volume in view.volumes)


def at(wall: float) -> str:
    """A time of today as ``HH:MM:SS``, another with its date."""
    day = "" if abs(time.time() - wall) < _DAY else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M:%S", time.localtime(wall))


def _young(view: Resource, memory: Memory, now: float, limits: Limits) -> Obstacle | None:
    """It has just come up: one of the peers may have newer data, and it takes a moment to meet it.

    Whatever is said of the connection: between attach and connect DRBD 9 calls it StandAlone, and 8.4 has none yet.
    """
    if memory.up is None or now >= (until := memory.up + limits.connect_grace):
        return None
    unmet = [peer.name for peer in view.peers if not (peer.replicating or peer.id in memory.met)]
    if view.peers and not unmet:
        return None
    reason = f"it has just come up and not been connected to {' and '.join(unmet) or 'any other node'} yet"
    return Obstacle(reason=reason, passes=True, until=until)


def _not_up_to_date(view: Resource) -> Obstacle | None:
    if view.up_to_date:
        return None
    wrong = {volume.disk for volume in view.volumes if volume.disk != UP_TO_DATE}
    reason = f"the data here is {disks(view)}, not UpToDate"
    return Obstacle(reason=reason, passes=bool(wrong) and wrong <= _PASSING, ask=wrong == {"Consistent"})


def _lost(memory: Memory, now: float, limits: Limits) -> Obstacle | None:
    """DRBD gives a Primary up that was silent for a moment, as a busy one is: it lives, writes, and will be back."""
    loss = memories.feared(memory)
    if loss is None or now >= (until := loss.noticed + limits.reconnect_grace):
        return None
    reason = f"the Primary ({loss.name}) was lost at {at(loss.wall)}, and may live and be back in a moment"
    return Obstacle(reason=reason, passes=True, until=until)


def _old(memory: Memory, now: float, limits: Limits) -> Obstacle | None:
    loss = memories.stale(memory, now, limits.stale_after)
    return None if loss is None else Obstacle(reason=old(loss, limits))


def old(loss: Loss, limits: Limits) -> str:
    """Why old data is not served."""
    known = f"is {loss.age:.0f} s old" if loss.age is not None else "is old"
    return (
        f"the data here {known}: replication to the Primary ({loss.name}) was down since {at(loss.wall)}, before "
        f"mastership came here; bring it back, or {limits.remedy}"
    )


def _occupied(view: Resource) -> Obstacle | None:
    if not view.primaries:
        return None
    names = " and ".join(peer.name for peer in view.primaries)
    return Obstacle(reason=f"{names} is connected and Primary", passes=True, ask=True, usual=True)


def _peer(peer: Peer) -> str:
    if not peer.connected:
        return f"not connected to {peer.name} ({peer.connection})"
    states = sorted({volume.disk for volume in peer.volumes})
    words = [f"{peer.name} is {peer.role}, {'/'.join(states)}" if states else f"{peer.name} is {peer.role}"]
    words += filter(None, (_replication(volume, peer.name) for volume in peer.volumes))
    return ", ".join(words)


def _replication(volume: PeerVolume, peer: str) -> str:
    """How a volume is doing with a peer; empty when both have the same."""
    state = volume.replication
    if state in ("Established", "Off"):
        return ""
    if not state.startswith(("Sync", "PausedSync")):
        return state
    how = "waits to synchronise" if state.startswith("Paused") else "synchronises"
    where = f"from {peer}" if state.endswith(("T", "Target")) else f"to {peer}"
    percent = "" if volume.percent is None else f": {volume.percent:.0f} %"
    return f"{how} {where}{percent}"
