"""Decides the level of a resource, and the obstacle to its promotion, from its state. Pure.

A Primary is ACTIVE only with the newest data on its own disk and, on DRBD 9, with quorum. A Primary that has lost
either is not reliable, whatever the exit code of ``drbdadm primary``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from failoverd.core.words import Level
from failoverd.drivers.drbd import staleness
from failoverd.drivers.drbd.staleness import Record
from failoverd.ports.drbd.status import PRIMARY, SECONDARY, UNKNOWN, UP_TO_DATE, Resource, Volume

#: DRBD has suspended I/O until its handler `fence-peer` knows more of a peer that it has lost.
_FENCING = "fencing"

#: Reasons for suspended I/O that an operator or a fencing handler has set, and will remove.
_TEMPORARY = frozenset({"user", _FENCING})

#: Disk states that pass after a moment. Consistent: DRBD asks the other nodes whether they have newer data.
_PASSING = frozenset({"Attaching", "Negotiating", "Consistent"})

#: Disk states that pass with a resync from a peer, and the replication states from a new connection to that resync.
_BEHIND = frozenset({"Outdated", "Inconsistent"})
_TARGET = frozenset({"Off", "StartingSyncT", "WFBitMapT", "WFSyncUUID", "SyncTarget", "PausedSyncT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """The reason why a promotion must not be done now. Its words stay the same as long as the obstacle exists.

    `passes`: it may pass within seconds; `until`: it passes then at the latest (seconds of CLOCK_BOOTTIME); None: not
    known. `ask`: it may have passed already: an attempt to promote tests that, and DRBD refuses the attempt if it has
    not. `usual`: a healthy standby has it, so it is an obstacle only to a promotion that is asked for.
    """

    reason: str
    passes: bool = False
    until: float | None = None
    ask: bool = False
    usual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits (s) in the configuration. `remedy`: the command that accepts data which may not be the newest."""

    connect_grace: float
    reconnect_grace: float
    stale_after: float
    remedy: str


def level(view: Resource) -> Level:
    """The level. A Secondary is STANDBY in any disk state, because no process on this node can write to it."""
    if view.role == PRIMARY and not any(volume.role == UNKNOWN for volume in view.volumes):
        return Level.FAILED if primary_obstacle(view) else Level.ACTIVE
    return Level.STANDBY if view.role == SECONDARY else Level.UNKNOWN


def inactive_on(view: Resource, others: tuple[str, ...]) -> frozenset[str] | None:
    """Which of the nodes `others` are seen Secondary; None: their names cannot be told from DRBD's.

    DRBD may show a dead node connected for some seconds. That does no harm: a promotion needs the answer of every
    connected node. DRBD 8.4 has one peer, without a name.
    """
    if view.nine:
        peers = {_short(peer.name): peer for peer in view.peers}
    else:
        peers = {_short(others[0]): view.peers[0]} if len(others) == len(view.peers) == 1 else {}
    found = {name: peers[_short(name)] for name in others if _short(name) in peers}
    if not found:
        return None
    return frozenset(name for name, peer in found.items() if peer.connected and peer.role == SECONDARY)


def named(peer: str, others: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the nodes `others` that may be the peer of that name, with or without a domain."""
    return tuple(name for name in others if _short(name) == _short(peer))


def _short(node: str) -> str:
    return node.partition(".")[0]


def primary_obstacle(view: Resource) -> str:
    """The defect of a Primary, in words; empty: it has none."""
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


def frozen(view: Resource) -> bool:
    """Whether a Primary waits with all I/O until something is known of a peer that it has lost."""
    return view.role == PRIMARY and _FENCING in view.suspended


def grace(record: Record, limits: Limits) -> float:
    """Until when (seconds of CLOCK_BOOTTIME) a promotion waits for peers that were not met since it is up."""
    return 0.0 if record.up is None else record.up + limits.connect_grace


def nothing_alone(view: Resource) -> bool:
    """Whether it is Secondary here, and every other node has all that was written here.

    DRBD counts what it writes while a peer is not connected as out of sync with that peer.
    """
    volumes = [volume for peer in view.peers for volume in peer.volumes]
    counted = bool(volumes) and all(peer.volumes for peer in view.peers)
    return view.role == SECONDARY and view.up_to_date and counted and all(it.out_of_sync == 0 for it in volumes)


def outdated(view: Resource, record: Record) -> bool:
    """Whether it is Secondary, and is not promoted with what it has now, since a lost Primary goes on (case 16).

    A quorum here makes nothing outdated: this node may be promoted with it. And DRBD 9 takes a peer that is said to be
    outdated from the voters, so that the lost Primary would write again.
    """
    return view.role == SECONDARY and record.loss is not None and record.loss.alone


def obstacle(
    view: Resource,
    record: Record,
    now: float,
    limits: Limits,
    *,
    asked: float | None = None,
    voted: bool = False,
    vouched: float = -math.inf,
) -> Obstacle | None:
    """The obstacle to a promotion that was asked for at `asked` (seconds of CLOCK_BOOTTIME; None: at `now`).

    None: there is no obstacle, or the resource is Primary and has no defect. A resource of which only some volumes are
    Primary does not count as Primary yet. `voted`: as in `staleness.apart`; False also if that is not known. `vouched`:
    the time (seconds of CLOCK_BOOTTIME) after which the lost Primary has said of itself that it is Secondary, and has
    written nothing that is not here; -infinity: it has not.
    """
    asked = now if asked is None else asked
    if view.primary:
        return _failing_primary(view, now, asked + limits.reconnect_grace)
    disk = _not_up_to_date(view)
    return (
        _diskless(view)
        or _young(view, record, now, limits)
        or (disk if disk is not None and not disk.ask else None)
        or _old(record, asked, limits)
        or _split(view, record, limits, voted=voted)
        or _no_quorum(view)
        or _lost(record, now, limits, vouched)
        or disk
        or _occupied(view)
    )


def _failing_primary(view: Resource, now: float, until: float) -> Obstacle | None:
    """A Primary without quorum cannot write, and another node may be active: it has to regain quorum by `until`."""
    obstacle = primary_obstacle(view)
    if not obstacle:
        return None
    reason = f"it is Primary here, {obstacle}"
    if view.up_to_date and not view.quorate:
        return Obstacle(reason=reason, passes=now < until, until=until)
    return Obstacle(reason=reason, passes=True)


def _diskless(view: Resource) -> Obstacle | None:
    if not view.client:
        return None
    reason = "this node has no disk, as configured: it votes, and cannot be Primary; remove it from `nodes`"
    return Obstacle(reason=reason, usual=True)


def _young(view: Resource, record: Record, now: float, limits: Limits) -> Obstacle | None:
    """The resource has just come up: a peer may have newer data, and it takes a moment to meet that peer.

    The connection state does not count: between attach and connect, DRBD 9 reports StandAlone, and 8.4 no connection.
    """
    if now >= (until := grace(record, limits)):
        return None
    unmet = [peer.name for peer in view.peers if not (peer.replicating or peer.id in record.met)]
    if view.peers and not unmet:
        return None
    reason = f"it has just come up and has not connected to {' and '.join(unmet) or 'any other node'} yet"
    return Obstacle(reason=reason, passes=True, until=until)


def _not_up_to_date(view: Resource) -> Obstacle | None:
    if view.up_to_date:
        return None
    wrong = [volume for volume in view.volumes if volume.disk != UP_TO_DATE]
    passes = bool(wrong) and all(volume.disk in _PASSING or _synchronises(view, volume) for volume in wrong)
    ask = {volume.disk for volume in wrong} == {"Consistent"}
    remedy = "" if passes else f"; bring up a node that has it UpToDate, and run drbdadm adjust {view.name}"
    return Obstacle(reason=f"the data here is {view.disks}, not UpToDate{remedy}", passes=passes, ask=ask)


def _synchronises(view: Resource, volume: Volume) -> bool:
    """A resync from a peer runs, or is about to run: this node was disconnected, and is back."""
    theirs = (it for peer in view.peers if peer.connected for it in peer.volumes if it.number == volume.number)
    return volume.disk in _BEHIND and any(it.replication in _TARGET for it in theirs)


def _no_quorum(view: Resource) -> Obstacle | None:
    """Quorum returns with the network, but not by itself if DRBD has given up the connections (StandAlone)."""
    if view.quorate:
        return None
    reason = "no quorum: too few of the other nodes are connected"
    away = [peer for peer in view.peers if not peer.connected]
    if away and all(peer in view.alone for peer in away):
        names = " and ".join(peer.name for peer in away)
        return Obstacle(
            reason=f"{reason}, and DRBD no longer connects to {names} (StandAlone): drbdadm adjust {view.name}"
        )
    return Obstacle(reason=reason, passes=True)


def _lost(record: Record, now: float, limits: Limits, vouched: float) -> Obstacle | None:
    """DRBD also drops the connection to a Primary that is only busy: this one still writes, and will reconnect.

    What has been said before the loss was noticed proves nothing.
    """
    loss = staleness.feared(record)
    if loss is None or vouched > loss.noticed or now >= (until := loss.noticed + limits.reconnect_grace):
        return None
    reason = f"the Primary ({loss.name}) was lost at {staleness.at(loss.wall)}; it may still run and reconnect"
    return Obstacle(reason=reason, passes=True, until=until)


def spared(record: Record, now: float, limits: Limits, vouched: float) -> str:
    """What a word of the lost Primary has spared a promotion at `now`, in words; empty: nothing."""
    loss = staleness.feared(record)
    if loss is None or _lost(record, now, limits, -math.inf) is None or _lost(record, now, limits, vouched) is not None:
        return ""
    seconds = loss.noticed + limits.reconnect_grace - now
    return (
        f"did not wait {seconds:.0f} s more for the lost Primary ({loss.name}), "
        "which has said by the heartbeat that it is Secondary"
    )


def _old(record: Record, now: float, limits: Limits) -> Obstacle | None:
    loss = staleness.stale(record, now, limits.stale_after)
    if loss is None:
        return None
    known = f"the data here is {loss.age:.0f} s old, stale" if loss.age is not None else "the data here is stale"
    since = f"the connection to the Primary ({loss.name}) has been down since {staleness.at(loss.wall)}"
    if loss.alone:
        since += ", and that has gone on alone"
    reason = f"{known}: {since}; reconnect them, or {limits.remedy}"
    return Obstacle(reason=reason)


def _split(view: Resource, record: Record, limits: Limits, *, voted: bool) -> Obstacle | None:
    apart = staleness.apart(record, view, voted=voted)
    if not apart:
        return None
    names = " and ".join(peer.name for peer in apart)
    given_up = f"DRBD has given up the connection to {names} (StandAlone: split brain, or disconnected by hand)"
    if tried := all(peer not in view.alone for peer in apart):
        given_up = f"DRBD had given up the connection to {names}, and has not been connected since"
    reason = f"{given_up}, and what was written there is not here; reconnect them, or {limits.remedy}"
    return Obstacle(reason=reason, passes=tried)


def _occupied(view: Resource) -> Obstacle | None:
    if not view.primaries:
        return None
    names = " and ".join(peer.name for peer in view.primaries)
    return Obstacle(reason=f"{names} is connected and Primary", passes=True, ask=True, usual=True)
