"""What must be remembered of a resource to know how old its data is: which peers were lost, given up, not met yet.

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
import json
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
    """DRBD has given these peers (their numbers) up: what they wrote is not here until they are met again.

    `refused`: an activation was, because of just these. `accepted`: an operator has the data of this node served all
    the same, as long as those that are StandAlone are these; None when not. That is over when it is Primary: whoever
    is Primary after it may write what is not here.
    """

    peers: frozenset[int]
    refused: bool = False
    accepted: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one resource.

    `at`: when it was last seen. `up`: since when it is up with its disks, and tries the peers that it tries, or was
    first seen so; None when it has no disk. `tried`, `met`: the numbers of the peers that DRBD has tried to connect
    to, and compared data with, since it is up. `primary`: number and name of the peer that is connected and Primary.
    `loss`: it was, and has not been back. `split`: peers that were given up, and have not been back.
    """

    at: float = 0.0
    up: float | None = None
    tried: frozenset[int] = frozenset()
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
    if view is None:
        return Memory(at=now, primary=primary, loss=loss)
    tried = frozenset(peers) - {peer.id for peer in view.alone}
    # Who is tried for the first time is awaited from now on.
    begun = memory.up is None or not tried <= memory.tried
    return Memory(
        at=now,
        up=None if not view.attached else now if begun else memory.up,
        tried=memory.tried | tried,
        met=memory.met | {peer.id for peer in view.peers if peer.replicating},
        primary=primary,
        loss=loss,
        split=_divided(memory, view),
    )


def _divided(memory: Memory, view: Resource) -> Split | None:
    """Who was given up, and is there and not met again. Before the first try every peer is StandAlone."""
    before = memory.split or Split(peers=frozenset())
    alone = frozenset(peer.id for peer in view.alone)
    away = {peer.id for peer in view.peers if not peer.replicating}
    peers = (before.peers | (alone & memory.tried)) & away
    if not peers:
        return None
    same = peers == before.peers and not view.primary
    accepted = before.accepted if same and before.accepted == alone else None
    return Split(peers=peers, refused=same and before.refused, accepted=accepted)


def apart(memory: Memory, view: Resource, *, voted: bool) -> tuple[Peer, ...]:
    """The peers that DRBD has given up, and that may have data which is not here; none where that is accepted.

    `voted`: nobody can write without a quorum that others cannot have as well.
    """
    split = memory.split or Split(peers=frozenset())
    found = tuple(peer for peer in view.peers if peer in view.alone or peer.id in split.peers)
    accepted = split.accepted is not None and split.peers >= {peer.id for peer in found}
    return () if accepted or voted else found


def refused(memory: Memory, view: Resource, began: float, stale_after: float, *, voted: bool) -> Memory:
    """The memory at an activation that began then: what it is refused for is what can be accepted, and nothing else."""
    loss = stale(memory, began, stale_after)
    if loss is not None:  # from here on this is how old it was, however often it is asked for
        memory = dataclasses.replace(memory, loss=dataclasses.replace(loss, age=age(loss, began)))
    peers = frozenset(peer.id for peer in apart(memory, view, voted=voted))
    return dataclasses.replace(memory, split=Split(peers=peers, refused=True)) if peers and not view.primary else memory


def accepted(memory: Memory, view: Resource, *, voted: bool) -> tuple[Memory, str]:
    """The memory when an operator overrules all that is refused, and what that is, in words; empty: nothing is."""
    words = []
    loss, split = memory.loss, memory.split
    if loss is not None and loss.age is not None:
        words.append(f"{loss.age:.0f} s old (not replicated from the Primary ({loss.name}) since {at(loss.wall)})")
        loss = None
    others = apart(memory, view, voted=voted)
    if others and split is not None and split.refused and split.peers >= {peer.id for peer in others}:
        names = " and ".join(peer.name for peer in others)
        words.append(f"without what was written on {names} since they last met, for one promotion")
        split = dataclasses.replace(split, accepted=frozenset(peer.id for peer in view.alone))
    return dataclasses.replace(memory, loss=loss, split=split), ", and ".join(words)


def promoted(memory: Memory) -> Memory:
    """The memory when this node has become Primary: the newest data is here, and what was accepted is used up."""
    split = memory.split and Split(peers=memory.split.peers)
    return dataclasses.replace(memory, loss=None, primary=None, split=split)


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
            tried=frozenset(kept.get("tried", kept["met"])),
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
    content = json.loads(json.dumps(dataclasses.asdict(memory), default=sorted))
    return records.write(f"drbd-{name}", content, keep_old=True)


def _split(kept: Any) -> Split | None:
    """As it was kept; an earlier version of failoverd kept none."""
    if kept is None:
        return None
    accepted = kept["accepted"]
    return Split(
        peers=frozenset(kept["peers"]),
        refused=bool(kept["refused"]),
        accepted=None if accepted is None else frozenset(accepted),
    )


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
