"""A resource's state in words, for who reads ``failoverctl status``. Pure."""

from __future__ import annotations

from failoverd.drivers.drbd import memory as memories
from failoverd.drivers.drbd.judge import impairment
from failoverd.drivers.drbd.memory import Memory
from failoverd.drivers.drbdstate.status import PRIMARY, STAND_ALONE, Peer, PeerVolume, Resource


def detail(view: Resource, memory: Memory) -> str:
    """The state in a line for a person."""
    impaired = view.role == PRIMARY and impairment(view)
    parts = [f"{view.role}, {impaired or view.disks}"]
    if not view.quorate and not impaired:
        parts.append("no quorum")
    if view.suspended and not (impaired and "suspended" in impaired):
        parts.append(f"I/O suspended ({', '.join(sorted(view.suspended))})")
    parts += map(_peer, view.peers)
    if memory.loss is not None and view.role != PRIMARY:
        parts.append(f"replication from the Primary ({memory.loss.name}) is down since {memories.at(memory.loss.wall)}")
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
