"""A resource's state in words, for who reads ``failoverctl status``. Pure."""

from __future__ import annotations

from failoverd.drivers.drbd import memory as memories
from failoverd.drivers.drbd.judge import Limits, grace, impairment
from failoverd.drivers.drbd.memory import Loss, Memory
from failoverd.drivers.drbdstate.status import PRIMARY, Peer, PeerVolume, Resource


def detail(view: Resource, memory: Memory) -> str:
    """The state in a line for a person."""
    impaired = view.role == PRIMARY and impairment(view)
    parts = [f"{view.role}, {impaired or ('no disk here, as configured' if view.client else view.disks)}"]
    if not view.quorate and not impaired:
        parts.append("no quorum")
    if view.suspended and not (impaired and "suspended" in impaired):
        parts.append(f"I/O suspended ({', '.join(sorted(view.suspended))})")
    parts += map(_peer, view.peers)
    if memory.loss is not None and not view.primary:
        parts.append(_loss(memory.loss, view))
    return "; ".join(parts)


def alarm(view: Resource, memory: Memory, now: float, limits: Limits, *, voted: bool) -> str | None:
    """StandAlone: DRBD has found two histories of the data, or somebody has disconnected it; it will not try again.

    `voted` as in `judge.obstacle`: then whoever has quorum is sound.
    """
    young = now < grace(memory, limits)
    names = " and ".join(peer.name for peer in view.alone if peer.id in memory.met or not young)
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


def _loss(loss: Loss, view: Resource) -> str:
    since = memories.at(loss.wall)
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
