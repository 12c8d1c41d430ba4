"""What must be remembered of a resource to know how old its data is: when replication to a Primary was lost.

DRBD 8.4 calls a disk UpToDate that has heard nothing of the Primary for an hour. So the time of the loss is kept, in a
file that a restart of the daemon survives and a reboot does not. Times are seconds of CLOCK_BOOTTIME, which goes on
while the machine sleeps. Where nobody looked when it happened, the time is the last one at which all was seen to be
well: the data is then taken for older than it is.

What cannot be known from here, and is served without a question where no quorum forbids it:
- what a Primary wrote that this node has not met since it booted: `connect_grace` is all that it waits;
- that a peer which was Secondary when it was lost has become Primary since;
- what the Primary wrote after it had given up this node and before this node had noticed: up to ten seconds, by
  DRBD's defaults;
- that the resource was taken down and up again while the daemon did not run.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from failoverd import log
from failoverd.drivers.drbdstate.status import PRIMARY, Peer, Resource
from failoverd.records import records

_HEARD = "drbd.heard"
_DAY = 24 * 3600
_log = log.get("drbd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The connection to a Primary was lost. `wall`: when, as seconds since 1970, to be told to a person.

    `ours`: seconds since then in which this node was at work to become Primary itself; nobody else was then.
    `noticed`: when this node last saw it go, which may be later than `since`. `age`: how old the data was when it was
    refused; None when it was not. `quorate`: this node has had quorum ever since, so that the other one had not.
    `voted`: the resource needs quorum to be written; None when not asked yet.
    """

    peer: int
    name: str
    since: float
    noticed: float
    wall: float
    ours: float = 0.0
    age: float | None = None
    quorate: bool = False
    voted: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """An activation was refused because these peers (their numbers) are StandAlone, and have been ever since.

    `accepted`: an operator has the data of this node served all the same. That is over when it is Primary: whoever is
    Primary after it may write what is not here.
    """

    peers: frozenset[int]
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one resource.

    `at`: when it was last seen. `up`: since when it is up with its disks, or was first seen so; None when it is not.
    `met`: the numbers of the peers that data was compared with since it is up. `primary`: number and name of the peer
    that is connected and Primary. `loss`: it was, and has not been back. `split`: what was refused for it, or accepted.
    """

    at: float = 0.0
    up: float | None = None
    met: frozenset[int] = frozenset()
    primary: tuple[int, str] | None = None
    loss: Loss | None = None
    split: Split | None = None


def clock() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def at(wall: float) -> str:
    """A time of today as ``HH:MM:SS``, another with its date."""
    day = "" if abs(time.time() - wall) < _DAY else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M:%S", time.localtime(wall))


def seen(memory: Memory, view: Resource | None, now: float, *, vouched: float, wall: float) -> Memory:
    """The memory after a look at `now`; None: the resource is down. Up to `vouched` the memory before it was true.

    `wall` is `now` as seconds since 1970. A loss is over when there is replication with its peer again, or with another
    one that is Primary, and the data here is UpToDate; and when this node is Primary: then the newest data is here.
    """
    if now < memory.at:
        return memory  # what was seen later is known already
    peers = {peer.id: peer for peer in view.peers} if view is not None else {}
    connected = {peer.id for peer in peers.values() if peer.connected}
    primaries = [(peer.id, peer.name) for peer in view.primaries] if view is not None else []
    loss, primary = memory.loss, memory.primary
    if view is not None and (view.primary or view.client):
        loss = primary = None
    elif primaries:
        primary = primaries[0]
    elif primary is not None and primary[0] not in connected:
        first = Loss(
            peer=primary[0],
            name=primary[1],
            since=vouched,
            noticed=now,
            wall=wall - (now - vouched),
            quorate=view is not None and view.nine and view.quorate,
        )
        loss = first if loss is None else dataclasses.replace(loss, noticed=now)
        primary = None
    elif primary is not None and peers[primary[0]].role != "Unknown":
        primary = None  # it has demoted itself, and all that it wrote is here
    if loss is not None and view is not None:
        good = (p for p in view.peers if p.replicating and (p.id == loss.peer or p.role == PRIMARY))
        back = view.up_to_date and any(good)
        loss = None if back else dataclasses.replace(loss, quorate=loss.quorate and view.quorate)
    split = memory.split
    if split is not None and (view is None or view.primary or not split.peers <= {peer.id for peer in view.alone}):
        split = None
    return Memory(
        at=now,
        up=None if view is None or not view.attached else now if memory.up is None else memory.up,
        met=(memory.met if view is not None else frozenset()) | {p.id for p in peers.values() if p.replicating},
        primary=primary,
        loss=loss,
        split=split,
    )


def apart(memory: Memory, view: Resource, *, voted: bool) -> tuple[Peer, ...]:
    """The peers that may have data which is not here and never comes by itself; none where that is accepted.

    `voted`: nobody can write without a quorum that others cannot have as well.
    """
    alone, split = view.alone, memory.split
    accepted = split is not None and split.accepted and split.peers >= {peer.id for peer in alone}
    return () if accepted or voted else alone


def refused(memory: Memory, view: Resource, began: float, stale_after: float, *, voted: bool) -> Memory:
    """The memory at an activation that began then: what it is refused for is what can be accepted, and nothing else."""
    loss = stale(memory, began, stale_after)
    if loss is not None:  # from here on this is how old it was, however often it is asked for
        memory = dataclasses.replace(memory, loss=dataclasses.replace(loss, age=age(loss, began)))
    peers = frozenset(peer.id for peer in apart(memory, view, voted=voted))
    if peers and not view.primary:
        memory = dataclasses.replace(memory, split=Split(peers=peers))
    return memory


def accepted(memory: Memory, view: Resource) -> tuple[Memory, str]:
    """The memory when an operator overrules all that was refused, and what that is, in words; empty: nothing was."""
    words = []
    loss, split = memory.loss, memory.split
    if loss is not None and loss.age is not None:
        words.append(f"{loss.age:.0f} s old (not replicated from the Primary ({loss.name}) since {at(loss.wall)})")
        loss = None
    if split is not None and not split.accepted:
        names = " and ".join(peer.name for peer in view.alone if peer.id in split.peers)
        words.append(f"without what was written on {names} (StandAlone), for one promotion")
        split = dataclasses.replace(split, accepted=True)
    return dataclasses.replace(memory, loss=loss, split=split), ", and ".join(words)


def age(loss: Loss, now: float) -> float:
    """How old (s) the data here is, if mastership comes here now."""
    return loss.age if loss.age is not None else max(0.0, now - loss.since - loss.ours)


def feared(memory: Memory) -> Loss | None:
    """The loss of a Primary that may have gone on writing; None also when it could not, for want of quorum."""
    loss = memory.loss
    return None if loss is None or (loss.quorate and loss.voted) else loss


def stale(memory: Memory, now: float, stale_after: float) -> Loss | None:
    """The loss that makes the data here too old to be served; None when it is not."""
    loss = feared(memory)
    if loss is None:
        return None
    return loss if loss.age is not None or age(loss, now) > stale_after else None


def load(name: str) -> Memory:
    """What is remembered of the resource; nothing when there is no file of this boot."""
    kept = records.read(f"drbd-{name}")
    if kept is None:
        return Memory()
    try:
        return Memory(
            at=float(kept["at"]),
            up=kept["up"],
            met=frozenset(kept["met"]),
            primary=None if kept["primary"] is None else (kept["primary"][0], kept["primary"][1]),
            loss=None if kept["loss"] is None else Loss(**kept["loss"]),
            split=_split(kept.get("split")),
        )
    except (LookupError, TypeError, ValueError) as error:
        _log.error("what was remembered is garbled, and forgotten", resource=name, reason=repr(error))
        return Memory()


def save(name: str, memory: Memory) -> bool:
    """Whether it is remembered. What was remembered before is better than nothing: it may tell of a Primary."""
    split = memory.split and {"peers": sorted(memory.split.peers), "accepted": memory.split.accepted}
    content = {**dataclasses.asdict(memory), "met": sorted(memory.met), "split": split}
    return records.write(f"drbd-{name}", content, keep_old=True)


def _split(kept: Any) -> Split | None:
    """As it was kept; an earlier version of failoverd kept none."""
    return None if kept is None else Split(peers=frozenset(kept["peers"]), accepted=bool(kept["accepted"]))


def names() -> frozenset[str]:
    """The resources of which something is remembered."""
    return frozenset(record.removeprefix("drbd-") for record in records.names("drbd-*"))


def heard(name: str) -> float:
    """Until when the memory of the resource is known to have been true: seen then, or followed until then."""
    kept = records.read(_HEARD)
    followed = float(kept["at"]) if kept is not None else 0.0
    return max(load(name).at, followed)


def hear(now: float) -> None:
    """All that is remembered is true at `now`, because every change since would have been told."""
    records.write(_HEARD, {"at": now}, keep_old=True)
