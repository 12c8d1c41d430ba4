"""The state of a resource in words, for ``failoverctl status``. Pure."""

from __future__ import annotations

from failoverd.drivers.drbd import staleness
from failoverd.drivers.drbd.policy import Limits, grace, primary_obstacle
from failoverd.drivers.drbd.staleness import Loss, Record
from failoverd.ports.drbd.status import PRIMARY, Peer, PeerVolume, Resource


def detail(view: Resource, record: Record) -> str:
    """The state in one line, for an operator."""
    obstacle = view.role == PRIMARY and primary_obstacle(view)
    parts = [f"{view.role}, {obstacle or ('no disk here, as configured' if view.client else view.disks)}"]
    if not view.quorate and not obstacle:
        parts.append("no quorum")
    if view.suspended and not (obstacle and "suspended" in obstacle):
        parts.append(f"I/O suspended ({', '.join(sorted(view.suspended))})")
    parts += map(_peer, view.peers)
    if record.loss is not None and not view.primary:
        parts.append(_loss(record.loss, view))
    return "; ".join(parts)


def alarm(view: Resource, record: Record, now: float, limits: Limits, *, voted: bool) -> str | None:
    """The alarm for StandAlone peers: after a split brain or a disconnect by hand, DRBD does not reconnect by itself.

    None: no peer is StandAlone, or only peers that were not met yet during `connect_grace`. `voted`: as in
    `policy.obstacle`; then a node with quorum is healthy.
    """
    young = now < grace(record, limits)
    names = " and ".join(peer.name for peer in view.alone if peer.id in record.met or not young)
    if not names:
        return None
    again = f"drbdadm {'adjust' if view.nine else 'connect'} {view.name}"
    demote = f"drbdadm secondary {view.name}"
    given_up = f"DRBD has given up the connection to {names} (StandAlone)"
    if voted and view.quorate:
        sound = "this node has quorum, and its data is not in question"
        return f"{given_up}; {sound}: on {names} run {demote}; {again}, and here {again}"
    if voted:
        behind = "this node has no quorum: it was cut off, and the others' data counts"
        return f"{given_up}, and {behind}; stop what uses it here, run {demote}; {again}, and {again} on {names}"
    discard = f"drbdadm disconnect {view.name}; drbdadm connect --discard-my-data {view.name}"
    return (
        f"{given_up}, and nothing is replicated: if it was disconnected by hand, run {again}; after a split brain "
        f"(journalctl -k -g Split-Brain) decide whose data is kept, and on the other node run {demote}; {discard}, "
        f"then where it is kept {again}"
    )


def frozen(view: Resource) -> str:
    """The alarm for a Primary whose I/O stays frozen: DRBD asks its handler once for each loss of a peer."""
    names = " and ".join(peer.name for peer in view.peers if not peer.connected) or "a peer"
    unknown = (
        f"its handler fence-peer cannot say that {names} is off or at standby (journalctl -t failoverd-fence-peer)"
    )
    return (
        f"DRBD has frozen the I/O since it lost {names}, and {unknown}: bring {names} back, or switch it off and then "
        f"run drbdadm resume-io {view.name}"
    )


def _loss(loss: Loss, view: Resource) -> str:
    since = staleness.at(loss.wall)
    if any(peer.id == loss.peer and peer.connected for peer in view.peers):
        return f"what the Primary ({loss.name}) has written since {since} is not all here yet"
    return f"replication from the Primary ({loss.name}) is down since {since}"


def _peer(peer: Peer) -> str:
    if not peer.connected:
        return f"not connected to {peer.name} ({peer.connection})"
    states = sorted({volume.disk for volume in peer.volumes})
    words = [f"{peer.name} is {peer.role}, {'/'.join(states)}" if states else f"{peer.name} is {peer.role}"]
    words += filter(None, (_replication(volume, peer.name) for volume in peer.volumes))
    return ", ".join(words)


def _replication(volume: PeerVolume, peer: str) -> str:
    """The replication of a volume with a peer; empty: the data of both is the same, or replication is off."""
    state = volume.replication
    if state in ("Established", "Off"):
        return ""
    if not state.startswith(("Sync", "PausedSync")):
        return state
    how = "waits to synchronise" if state.startswith("Paused") else "synchronises"
    where = f"from {peer}" if state.endswith(("T", "Target")) else f"to {peer}"
    percent = "" if volume.percent is None else f": {volume.percent:.0f} %"
    return f"{how} {where}{percent}"
