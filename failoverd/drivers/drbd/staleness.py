"""How stale this node's data of a resource may be: the lost Primary, the StandAlone peers, the peers not yet met.

DRBD 8.4 still reports a disk as UpToDate after an hour without a connection to the Primary. So failoverd records the
time of the loss, in a file that survives a restart of the daemon, and not a reboot. Times are seconds of
CLOCK_BOOTTIME, which also counts while the machine sleeps. If failoverd did not observe the loss when it happened, the
loss counts from the last time at which the Primary is known to have been connected: the data then counts as older than
it is.

This node cannot detect the following. Unless a quorum forbids it, a promotion then serves stale data without an
operator's consent:
- a Primary has written, and this node has not met it since this node booted: a promotion waits for `connect_grace`,
  and no longer;
- a peer that was Secondary when it was lost has become Primary since;
- the Primary has written alone for less than `stale_after`, and then died, unless it used DRBD's fencing and has said
  by the heartbeat that it goes on (case 16). Nothing outdates the disk here, so a reboot of this node ends that;
- the Primary has written after it dropped the connection to this node and before this node noticed that: up to ten
  seconds, with DRBD's defaults;
- the resource was taken down and brought up again while the daemon did not run.

A resource has a `Record`. `seen` updates it from a view, the observed state of the resource:

Case 1: The view is older than the record. The record stays as it is.

The recorded Primary, by the first case that applies:

Case 2: This node is Primary, or diskless by configuration. There is no loss, and no other Primary is recorded.
Case 3: A connected peer is Primary. This peer becomes the recorded Primary.
Case 4: The recorded Primary is not connected, or the resource is down on this node. The Primary is lost. Of several
        losses in a row, the first gives the time, and the last gives the peer that has the newest data.
Case 5: The recorded Primary is connected in another role. It has demoted itself, and this node has all its writes.
Case 6: None of these cases applies, or DRBD does not know the role yet. The recorded Primary stays.

The loss, if there is one after these cases, and the resource is up:

Case 7: All disks of this node are UpToDate, and the lost peer or a Primary replicates with this node. The loss is over.
Case 8: Otherwise the loss stays. It counts as quorate only if this node has had quorum ever since the loss.

The peers. Since the resource is up, DRBD has tried to connect to a *tried* peer, and a *met* peer has replicated with
this node. A *split* peer was StandAlone after it was tried, and has not replicated with this node since:

Case 9: The resource is down. Split peers stay split, but no peer counts as tried or met. This node votes in no quorum,
        so a loss no longer counts as quorate. An earlier refusal or acceptance of split peers is void.
Case 10: A disk is missing. The time since which the resource is up (`up`) has not begun.
Case 11: All disks are attached and were not before, or DRBD tries a peer for the first time. This time begins now.
Case 12: Otherwise this time continues.
Case 13: A tried peer is StandAlone. It is split until this node replicates with it.
Case 14: The split peers have changed, or this node is Primary. An earlier refusal or acceptance is void.
Case 15: The StandAlone peers are not the ones that an operator accepted. The acceptance is void.

What no view shows, but a word of the heartbeat:

Case 16: DRBD has `fencing`, and the lost Primary has said after the loss that it may be active. This data is stale at
         once, until the loss is over or an operator accepts it: the handler fence-peer there answers on that condition.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.ports.drbd.status import PRIMARY, UNKNOWN, Peer, Resource
from failoverd.records import number, records, text

_HEARD = "drbd.heard"
_DAY = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The connection to a Primary was lost at `since`. `wall`: the same in seconds since 1970, for messages.

    `peer`, `name`: the number and name of the Primary. `noticed`: when this node last noticed that it was lost, which
    may be later than `since`. `ours`: seconds after the loss in which this node tried to become Primary itself; no
    other node wrote in that time. `age`: the age (s) of the data when it was refused; None: it was not refused.
    `quorate`: this node has had quorum ever since, so the lost Primary had none. `voted`: the resource can be written
    only with quorum; None: DRBD was not asked yet. `alone`: it has said since that it goes on, with the consent of its
    handler fence-peer, which counts on this node not to be promoted.
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
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The split peers (their numbers), StandAlone now or before: this node lacks their writes until it meets them.

    `refused`: an activation was refused because of exactly these peers. `accepted`: an operator has accepted the data
    of this node without their writes, as long as exactly the peers in `accepted` are StandAlone; None: not accepted.
    The acceptance ends when this node is Primary: a later Primary may write data that this node lacks.
    """

    peers: frozenset[int]
    refused: bool = False
    accepted: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one resource.

    `at`: the time of its last view. `up`: since when the resource is up with its disks, and DRBD tries the peers in
    `tried`, or when it was first seen so; None: a disk is missing. `tried`, `met`: the numbers of the peers to which
    DRBD has tried to connect, and with which it has compared data, since the resource is up. `primary`: the number and
    name of the peer that is connected and Primary; None: no such peer. `loss`: a Primary was lost and is not back;
    None: no loss. `split`: the peers that are split; None: no such peer.
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
    """`wall` (seconds since 1970) as local ``HH:MM:SS``, with its date if it is a day or more away."""
    day = "" if abs(time.time() - wall) < _DAY else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M:%S", time.localtime(wall))


def seen(record: Record, view: Resource | None, now: float, *, vouched: float, wall: float) -> Record:
    """The record after a view at `now`; a view of None: the resource is down. The module's docstring has the cases.

    `vouched`: until when the record is known to have been correct. `wall`: `now` in seconds since 1970.
    """
    if now < record.at:
        return record  # case 1
    known = dataclasses.replace(record, at=now)
    if view is None:
        return _down(_without_primary(known, None, now, vouched, wall))
    known = _loss_after(_primary_after(known, view, now, vouched, wall), view)
    return _peers_after(known, view, now)


def _primary_after(record: Record, view: Resource, now: float, vouched: float, wall: float) -> Record:
    """Cases 2 to 6."""
    if view.primary or view.client:
        return dataclasses.replace(record, loss=None, primary=None)  # case 2
    if view.primaries:
        return dataclasses.replace(record, primary=(view.primaries[0].id, view.primaries[0].name))  # case 3
    return _without_primary(record, view, now, vouched, wall)


def _without_primary(record: Record, view: Resource | None, now: float, vouched: float, wall: float) -> Record:
    """Cases 4 to 6: no connected peer is Primary."""
    if record.primary is None:
        return record  # case 6
    roles = {peer.id: peer.role for peer in view.peers if peer.connected} if view is not None else {}
    if record.primary[0] not in roles:
        return dataclasses.replace(record, loss=_loss_of(record, view, now, vouched, wall), primary=None)  # case 4
    if roles[record.primary[0]] != UNKNOWN:
        return dataclasses.replace(record, primary=None)  # case 5
    return record  # case 6


def _loss_of(record: Record, view: Resource | None, now: float, vouched: float, wall: float) -> Loss:
    """Case 4: the loss of the recorded Primary."""
    assert record.primary is not None
    peer, name = record.primary
    if record.loss is not None:
        return dataclasses.replace(record.loss, peer=peer, name=name, noticed=now)
    quorate = view is not None and view.nine  # and case 8
    return Loss(peer=peer, name=name, since=vouched, noticed=now, wall=wall - (now - vouched), quorate=quorate)


def _loss_after(record: Record, view: Resource) -> Record:
    """Cases 7 and 8."""
    loss = record.loss
    if loss is None:
        return record
    sources = (peer for peer in view.peers if peer.id == loss.peer or peer.role == PRIMARY)
    if view.up_to_date and any(peer.replicating for peer in sources):
        return dataclasses.replace(record, loss=None)  # case 7
    return dataclasses.replace(record, loss=dataclasses.replace(loss, quorate=loss.quorate and view.quorate))  # case 8


def _down(record: Record) -> Record:
    """Case 9."""
    loss = record.loss and dataclasses.replace(record.loss, quorate=False)
    split = _unaccepted(record.split)
    return dataclasses.replace(record, up=None, tried=frozenset(), met=frozenset(), loss=loss, split=split)


def _peers_after(record: Record, view: Resource, now: float) -> Record:
    """Cases 10 to 15."""
    tried = frozenset(peer.id for peer in view.peers) - {peer.id for peer in view.alone}
    met = frozenset(peer.id for peer in view.peers if peer.replicating)
    return dataclasses.replace(
        record,
        up=_up_since(record, view, tried, now),
        tried=record.tried | tried,
        met=record.met | met,
        split=_split_after(record, view, met),
    )


def _up_since(record: Record, view: Resource, tried: frozenset[int], now: float) -> float | None:
    """Cases 10 to 12."""
    if not view.attached:
        return None  # case 10
    if record.up is None or not tried <= record.tried:
        return now  # case 11
    return record.up  # case 12


def _split_after(record: Record, view: Resource, met: frozenset[int]) -> Split | None:
    """Cases 13 to 15. Before DRBD first tries a peer, that peer is StandAlone, or missing from the view."""
    before = record.split or Split(peers=frozenset())
    alone = frozenset(peer.id for peer in view.alone)
    peers = (before.peers | (alone & record.tried)) - met  # case 13
    if not peers:
        return None
    if peers != before.peers or view.primary:
        return Split(peers=peers)  # case 14
    return before if before.accepted == alone else dataclasses.replace(before, accepted=None)  # case 15


def apart(record: Record, view: Resource, *, voted: bool) -> tuple[Peer, ...]:
    """The StandAlone and split peers, which may have data that this node lacks; empty if accepted, or if `voted`.

    `voted`: no node can write without quorum, and disconnected nodes cannot have quorum at the same time.
    """
    split = record.split or Split(peers=frozenset())
    found = tuple(peer for peer in view.peers if peer in view.alone or peer.id in split.peers)
    accepted = split.accepted is not None and split.peers >= {peer.id for peer in found}
    return () if accepted or voted else found


def refused(record: Record, view: Resource, began: float, stale_after: float, *, voted: bool) -> Record:
    """The record at an activation that began at `began`, with the reasons to refuse it: only these can be accepted."""
    loss = stale(record, began, stale_after)
    if loss is not None:  # later activations do not change this age
        record = dataclasses.replace(record, loss=dataclasses.replace(loss, age=age(loss, began)))
    peers = frozenset(peer.id for peer in apart(record, view, voted=voted))
    return dataclasses.replace(record, split=Split(peers=peers, refused=True)) if peers and not view.primary else record


def accepted(record: Record, view: Resource, *, voted: bool) -> tuple[Record, str]:
    """The record after an operator accepts all that was refused, and a text that names it; empty: nothing was."""
    words = []
    loss, split = record.loss, record.split
    if loss is not None and loss.age is not None:
        words.append(f"{loss.age:.0f} s old (not replicated from the Primary ({loss.name}) since {at(loss.wall)})")
        loss = None
    others = apart(record, view, voted=voted)
    if others and split is not None and split.refused and split.peers >= {peer.id for peer in others}:
        names = " and ".join(peer.name for peer in others)
        words.append(f"without what was written on {names} since they last met, for one promotion")
        split = dataclasses.replace(split, accepted=frozenset(peer.id for peer in view.alone))
    return dataclasses.replace(record, loss=loss, split=split), ", and ".join(words)


def promoted(record: Record) -> Record:
    """The record after this node has become Primary: it has the newest data, and an acceptance is used up."""
    return dataclasses.replace(record, loss=None, primary=None, split=_unaccepted(record.split))


def _unaccepted(split: Split | None) -> Split | None:
    return split and Split(peers=split.peers)


def age(loss: Loss, now: float) -> float:
    """The age (s) of this node's data if this node becomes MASTER at `now`; once refused, the age at the refusal."""
    return loss.age if loss.age is not None else max(0.0, now - loss.since - loss.ours)


def feared(record: Record) -> Loss | None:
    """The loss of a Primary that may have continued to write; None also if it could not, because it had no quorum."""
    loss = record.loss
    return loss if loss is not None and (loss.alone or not (loss.quorate and loss.voted)) else None


def stale(record: Record, now: float, stale_after: float) -> Loss | None:
    """The loss that makes this node's data stale, so that it must not be served; None: the data is not stale."""
    loss = feared(record)
    if loss is None:
        return None
    return loss if loss.alone or loss.age is not None or age(loss, now) > stale_after else None


def load(name: str) -> Record:
    """The record of the resource; an empty one if there is no file of this boot."""
    return records.read(f"drbd-{name}", _understand) or Record()


def _understand(kept: Mapping[str, Any]) -> Record:
    return Record(
        at=number(kept["at"]),
        up=None if kept["up"] is None else number(kept["up"]),
        tried=frozenset(map(_peer, kept.get("tried", kept["met"]))),
        met=frozenset(map(_peer, kept["met"])),
        primary=None if kept["primary"] is None else (_peer(kept["primary"][0]), text(kept["primary"][1])),
        loss=None if kept["loss"] is None else _loss(kept["loss"]),
        split=_split(kept.get("split")),
    )


def _peer(told: Any) -> int:
    return int(number(told))


def _loss(told: Mapping[str, Any]) -> Loss:
    age = told["age"]
    return Loss(
        peer=_peer(told["peer"]),
        name=text(told["name"]),
        since=number(told["since"]),
        noticed=number(told["noticed"]),
        wall=number(told["wall"]),
        ours=number(told["ours"]),
        age=None if age is None else number(age),
        quorate=bool(told["quorate"]),
        voted=None if told["voted"] is None else bool(told["voted"]),
        alone=bool(told.get("alone", False)),
    )


def save(name: str, record: Record) -> bool:
    """Write the record; False if that failed. The old record then stays, because it may name a Primary."""
    content = json.loads(json.dumps(dataclasses.asdict(record), default=sorted))
    return records.write(f"drbd-{name}", content, keep_old=True)


def _split(kept: Any) -> Split | None:
    """The recorded split peers; None also from an earlier version of failoverd, which recorded none."""
    if kept is None:
        return None
    accepted = kept["accepted"]
    return Split(
        peers=frozenset(map(_peer, kept["peers"])),
        refused=bool(kept["refused"]),
        accepted=None if accepted is None else frozenset(map(_peer, accepted)),
    )


def names() -> frozenset[str]:
    """The resources that have a record."""
    return frozenset(name.removeprefix("drbd-") for name in records.names("drbd-*"))


def heard(record: Record) -> float:
    """Until when the record is known to have been correct: the time of its last view, or of `hear` if later."""
    followed = records.read(_HEARD, lambda kept: number(kept["at"]))
    return max(record.at, followed or 0.0)


def hear(now: float) -> None:
    """Record that all records are correct at `now`, because DRBD would have reported any change since."""
    records.write(_HEARD, {"at": now}, keep_old=True)
