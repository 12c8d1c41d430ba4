"""What is in the way of a promotion, on recordings of both generations."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from failoverd.core.words import Level
from failoverd.drivers.drbd import policy, staleness, wording
from failoverd.drivers.drbd.staleness import Loss, Record
from failoverd.ports.drbd import events
from failoverd.ports.drbd.status import Resource
from tests.unit.drivers.drbd.drbds import behind
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, live, up

LIMITS = policy.Limits(connect_grace=15, reconnect_grace=3, stale_after=20, remedy="accept it")
NOW = 1000.0

NO_DISK = "this node has no disk, as configured: it votes, and cannot be Primary; remove it from `nodes`"

#: Every recorded view in which something is in the way of the resource: STATE NODE RESOURCE, why, and with ``~`` what
#: may pass, with ``?`` what DRBD may be asked about, with ``=`` what is usual.
OBSTACLES = [
    (NINE / "primary-on-left", "right", "vpn", "left is connected and Primary", "~?="),
    (NINE / "primary-on-left", "left", "vpn", "", ""),
    (NINE / "all-fine", "left", "vpn", "", ""),
    (NINE / "left-killed", "right", "vpn", "", ""),
    (NINE / "left-killed-before-timeout", "right", "vpn", "left is connected and Primary", "~?="),
    (NINE / "left-isolated", "left", "vpn", "it is Primary here, but without quorum", "~"),
    (NINE / "isolated-secondary-right", "right", "vpn", "no quorum: too few of the other nodes are connected", "~"),
    (NINE / "all-inconsistent", "left", "vpn", behind("Inconsistent"), ""),
    (NINE / "left-back-resync", "left", "vpn", "the data here is Inconsistent, not UpToDate", "~"),
    (EIGHT / "left-back-resync", "left", "vpn", "the data here is Inconsistent, not UpToDate", "~"),
    (NINE / "attach-stuck-negotiating", "left", "vpn", "the data here is Negotiating, not UpToDate", "~"),
    (NINE / "disk-failed-on-primary-left", "left", "vpn", "it is Primary here, but the data here is Diskless", "~"),
    (NINE / "web9-left-isolated-suspended", "left", "web9", "it is Primary here, but without quorum", "~"),
    (NINE / "web9-primary-on-left", "center", "web9", NO_DISK, "="),
    (NINE / "right-disconnected-left-primary", "right", "web", behind("Outdated", "web"), ""),
    (EIGHT / "all-fine", "right", "vpn", "", ""),
    (EIGHT / "primary-on-left", "right", "vpn", "peer is connected and Primary", "~?="),
    (EIGHT / "left-killed", "right", "web", "", ""),
    (EIGHT / "primary-on-synctarget", "left", "vpn", "it is Primary here, but the data here is Inconsistent", "~"),
]  # fmt: skip


def found(view: Resource, record: Record | None = None, now: float = NOW) -> policy.Obstacle | None:
    return policy.obstacle(view, record or Record(), now, LIMITS)


@pytest.mark.parametrize(("state", "node", "name", "reason", "marks"), OBSTACLES)
def test_obstacles(state: Path, node: str, name: str, reason: str, marks: str) -> None:
    obstacle = found(up(state, node, name))
    if not reason:
        assert obstacle is None
        return
    until = NOW + LIMITS.reconnect_grace if reason.endswith("but without quorum") else None
    expected = policy.Obstacle(reason=reason, passes="~" in marks, until=until, ask="?" in marks, usual="=" in marks)
    assert obstacle == expected


def test_a_primary_that_was_cut_off_gives_way_before_its_time_is_up() -> None:
    view = up(NINE / "left-isolated", "left", "vpn")

    def passes(after: float) -> bool:
        obstacle = policy.obstacle(view, Record(), NOW + after, LIMITS, asked=NOW)
        return obstacle is not None and obstacle.passes

    assert (passes(2.9), passes(3.0)) == (True, False)


def disk(view: Resource, *states: str) -> Resource:
    first = view.volumes[0]
    return replace(view, volumes=tuple(replace(first, number=n, disk=state) for n, state in enumerate(states)))


@pytest.mark.parametrize(
    ("states", "passes", "ask"),
    [
        (("Consistent",), True, True),
        (("Attaching",), True, False),
        (("Negotiating",), True, False),
        (("Consistent", "UpToDate"), True, True),
        (("Consistent", "Attaching"), True, False),
        (("Consistent", "Outdated"), False, False),
        (("UpToDate", "Diskless"), False, False),
        ((), False, False),
    ],
)
def test_disks_that_are_not_up_to_date(states: tuple[str, ...], passes: bool, ask: bool) -> None:
    obstacle = found(disk(up(NINE / "left-killed", "right"), *states))
    assert obstacle is not None
    assert "not UpToDate" in obstacle.reason
    assert (obstacle.passes, obstacle.ask, obstacle.usual) == (passes, ask, False)


def test_a_node_that_is_back_waits_for_its_data_from_the_first_line_of_the_resync_to_the_last() -> None:
    """Cut off while it was Primary, demoted, back in the network: it outranks the others, and is to serve again."""
    fold, waited = events.Fold(), set[str]()
    for line in live(NINE / "live-events2/left-demotes-while-isolated.left.txt"):
        fold.take(line)
        view = fold.resource("vpn")
        if view is None or not fold.complete or view.role == "Primary":
            continue
        obstacle = found(view)
        assert obstacle is not None
        assert obstacle.passes, line
        waited.add(obstacle.reason)
    assert waited == {
        "no quorum: too few of the other nodes are connected",
        "the data here is Outdated, not UpToDate",
        "the data here is Inconsistent, not UpToDate",
        "right is connected and Primary",
    }


def test_a_resync_of_one_volume_mends_no_other() -> None:
    view = up(NINE / "left-back-resync", "left")
    (volume,) = view.volumes
    obstacle = found(replace(view, volumes=(volume, replace(volume, number=1, minor=7, disk="Outdated"))))
    assert obstacle is not None
    assert not obstacle.passes


def test_a_peer_that_is_tried_for_the_first_time_is_awaited_from_then_on() -> None:
    """Long after `up`, by hand: until then nobody knew whether it was ever to be met."""
    alone = up(EIGHT / "left-killed", "right", "web")
    record = Record()
    for now, connection in ((NOW, "StandAlone"), (NOW + 60, "Unconnected"), (NOW + 61, "Connecting")):
        view = replace(alone, peers=(replace(alone.peers[0], connection=connection),))
        record = staleness.seen(record, view, now, vouched=now, wall=now)
    obstacle = found(alone, record, NOW + 62)
    assert obstacle is not None
    assert (obstacle.passes, obstacle.until) == (True, NOW + 75)


def test_old_data() -> None:
    alone = up(EIGHT / "left-killed", "right", "web")
    record = Record(loss=Loss(peer=0, name="left", since=NOW - 20, noticed=NOW - 20, wall=time.time()))
    assert found(alone, record) is None
    obstacle = found(alone, record, NOW + 0.1)
    assert obstacle is not None
    assert obstacle.reason.startswith(
        "the data here is stale: the connection to the Primary (left) has been down since "
    )
    assert obstacle.reason.endswith("accept it")
    assert (obstacle.passes, obstacle.ask, obstacle.usual) == (False, False, False)
    # What counts is when it was asked for, however long DRBD then takes.
    assert policy.obstacle(alone, record, NOW + 30, LIMITS, asked=NOW) is None
    assert policy.obstacle(alone, record, NOW, LIMITS, asked=NOW + 30) is not None


def test_a_primary_that_was_lost_a_moment_ago_may_be_back() -> None:
    """From when it was noticed, however long before it may have happened; where it can write no more, not at all."""
    alone = up(EIGHT / "left-killed", "right", "web")
    loss = Loss(peer=0, name="left", since=NOW - 10, noticed=NOW - 1, wall=time.time())
    obstacle = found(alone, Record(loss=loss))
    assert obstacle is not None
    assert obstacle.reason.startswith("the Primary (left) was lost at ")
    assert (obstacle.passes, obstacle.ask, obstacle.until) == (True, False, NOW + 2)
    assert found(alone, Record(loss=loss), NOW + 2) is None
    assert found(alone, Record(loss=replace(loss, quorate=True, voted=True))) is None
    assert found(alone, Record(loss=replace(loss, quorate=True, voted=False))) is not None


def test_a_lost_primary_that_has_demoted_itself_and_written_nothing_alone_is_not_awaited() -> None:
    """What it said before it was lost proves nothing, and what it says replaces no other check."""
    alone = up(EIGHT / "left-killed", "right", "web")
    loss = Loss(peer=0, name="left", since=NOW - 10, noticed=NOW - 1, wall=time.time())
    said = partial(policy.obstacle, alone, Record(loss=loss), NOW, LIMITS)
    assert said(vouched=NOW - 0.5) is None
    for before in (NOW - 1, NOW - 5, -math.inf):
        assert said(vouched=before) == found(alone, Record(loss=loss))
    old = replace(loss, since=NOW - 30)
    assert policy.obstacle(alone, Record(loss=old), NOW, LIMITS, vouched=NOW) == found(alone, Record(loss=old))
    behind = up(EIGHT / "left-back-resync", "left", "vpn")
    assert policy.obstacle(behind, Record(loss=loss), NOW, LIMITS, vouched=NOW) is not None


@pytest.mark.parametrize(
    ("state", "node", "name", "nothing_alone"),
    [
        (NINE / "all-fine", "left", "vpn", True),
        (NINE / "left-isolated-demoted", "left", "vpn", True),
        (NINE / "left-isolated-demoted", "left", "web", True),
        (NINE / "left-isolated", "left", "web", False),  # Primary
        (NINE / "left-rejoined-demoted-standalone", "left", "web", False),  # it has written while it was cut off
        (NINE / "left-rejoined-demoted-standalone", "left", "vpn", False),
        (NINE / "web-split-brain", "left", "web", False),
        (NINE / "left-back-resync", "left", "vpn", False),
        (NINE / "device-open-read", "left", "vpn", False),  # it has no peer
        (EIGHT / "left-isolated", "right", "web", True),
        (EIGHT / "left-isolated", "left", "web", False),
        (EIGHT / "first-node-up", "left", "vpn", False),
        (EIGHT / "all-fine", "left", "vpn", False),  # not known while the peer is connected
    ],
)
def test_what_was_written_here_alone_is_counted_by_drbd(state: Path, node: str, name: str, nothing_alone: bool) -> None:
    assert policy.nothing_alone(up(state, node, name)) is nothing_alone


def test_a_peer_is_known_by_its_name_with_or_without_a_domain() -> None:
    assert policy.named("left", ("left.example.com", "right")) == ("left.example.com",)
    assert policy.named("left.example.com", ("left", "right")) == ("left",)
    assert policy.named("third", ("left",)) == (), "the one other node does not vouch for a third"


def test_the_time_of_another_day_has_its_date() -> None:
    assert staleness.at(time.time() - 3600) == time.strftime("%H:%M:%S", time.localtime(time.time() - 3600))
    assert staleness.at(86400 * 400).startswith("1971-02-0")


def test_what_is_nearer_at_hand_is_told_first() -> None:
    """A disk that is not UpToDate explains more than the age of what is on it."""
    record = Record(up=NOW - 1, loss=Loss(peer=0, name="left", since=1, noticed=1, wall=1))
    alone = up(NINE / "isolated-secondary-right", "right")

    def word(view: Resource, known: Record) -> str:
        obstacle = found(view, known)
        assert obstacle is not None
        return obstacle.reason

    assert word(alone, record) == "it has just come up and has not connected to left and center yet"
    record = replace(record, up=1)
    assert word(disk(alone, "Outdated"), record) == behind("Outdated")
    assert "is stale" in word(alone, record)
    assert "no quorum" in word(alone, Record())
    # DRBD is not asked about data that it may call good although it is not.
    assert "is stale" in word(disk(alone, "Consistent"), record)
    assert "no quorum" in word(disk(alone, "Consistent"), Record())


def test_who_has_not_been_met_yet() -> None:
    """Both peers are asked for by name; one that was met is not waited for."""
    alone = up(NINE / "isolated-secondary-right", "right")
    assert {peer.name: peer.id for peer in alone.peers} == {"left": 0, "center": 2}

    def unmet(view: Resource, *met: int) -> str:
        obstacle = found(view, Record(up=NOW - 1, met=frozenset(met)))
        assert obstacle is not None
        young = "just come up" in obstacle.reason
        assert obstacle.passes
        return obstacle.reason.partition("connected to ")[2] if young else ""

    assert unmet(alone) == "left and center yet"
    assert unmet(alone, 0) == "center yet"
    assert unmet(alone, 0, 2) == ""
    begun = replace(alone, peers=(replace(alone.peers[0], connection="Connected"), alone.peers[1]))
    assert unmet(begun, alone.peers[1].id) == f"{alone.peers[0].name} yet"
    not_begun = replace(alone, peers=tuple(replace(peer, connection="StandAlone") for peer in alone.peers))
    assert unmet(not_begun) == "left and center yet"
    assert unmet(not_begun, 2) == "left yet"
    assert unmet(replace(alone, peers=())) == "any other node yet"


@pytest.mark.parametrize(("generation", "peers"), [(EIGHT, {0}), (NINE, {1, 2})])
def test_old_data_is_not_promoted_between_up_and_the_first_meeting(generation: Path, peers: set[int]) -> None:
    """Line by line of a recorded `drbdadm up`, as if DRBD had called its data UpToDate, and without a quorum."""
    fold, record, met = events.Fold(), Record(), set[int]()
    seen: list[str] = []
    for line in live(generation / "live-events2/bring-up.left.txt"):
        fold.take(line.replace("disk:Inconsistent", "disk:UpToDate").replace("quorum:no", "quorum:yes"))
        view = fold.resource("vpn")
        if view is None:
            continue
        record = staleness.seen(record, view, NOW, vouched=NOW, wall=NOW)
        met |= {peer.id for peer in view.peers if peer.replicating}
        if met == peers:
            break
        obstacle = found(view, record)
        assert obstacle is not None, line
        seen.append(obstacle.reason)
    assert view is not None
    assert found(view, record) is None
    assert any("just come up" in reason for reason in seen)


def test_a_disk_that_takes_long_to_be_attached_gives_nobody_less_time_to_be_met() -> None:
    alone = up(EIGHT / "left-killed", "right", "web")
    record = Record()
    for now, state in ((NOW, "Diskless"), (NOW + 1, "Attaching"), (NOW + 60, "UpToDate")):
        record = staleness.seen(record, disk(alone, state), now, vouched=now, wall=now)
    obstacle = found(alone, record, NOW + 74)
    assert obstacle is not None
    assert (obstacle.passes, obstacle.until) == (True, NOW + 75)
    assert found(alone, record, NOW + 75) is None


def test_only_who_is_connected_occupies_it() -> None:
    alone = up(EIGHT / "left-killed", "right", "web")
    gone = replace(alone, peers=(replace(alone.peers[0], role="Primary"),))
    assert found(gone) is None
    assert found(replace(alone, peers=(replace(gone.peers[0], connection="Connected"),))) is not None


def test_a_primary_is_asked_for_nothing_more_than_to_be_sound() -> None:
    record = Record(up=NOW - 1, loss=Loss(peer=0, name="left", since=1, noticed=1, wall=1))
    assert found(up(NINE / "left-isolated", "right"), record) is None


@pytest.mark.parametrize(
    ("suspended", "level"),
    [
        ({"user"}, Level.ACTIVE),
        ({"fencing"}, Level.ACTIVE),
        ({"user", "fencing"}, Level.ACTIVE),
        ({"quorum"}, Level.FAILED),
        ({"no-data"}, Level.FAILED),
        ({"user", "no-data"}, Level.FAILED),
        ({"unknown reason"}, Level.FAILED),
    ],
)
def test_suspended(suspended: set[str], level: Level) -> None:
    view = replace(up(NINE / "primary-on-left", "left"), suspended=frozenset(suspended))
    assert policy.level(view) is level
    assert f"suspended ({', '.join(sorted(suspended - {'user', 'fencing'} or suspended))}" in wording.detail(
        view, Record()
    )
    standby = replace(up(NINE / "all-fine", "left"), suspended=frozenset(suspended))
    assert policy.level(standby) is Level.STANDBY
    assert "I/O suspended" in wording.detail(standby, Record())


def test_a_role_that_is_not_known_is_no_level() -> None:
    view = replace(up(NINE / "all-fine", "left"), role="Unknown")
    assert policy.level(view) is Level.UNKNOWN


def test_a_primary_without_a_volume_is_not_active() -> None:
    view = replace(up(NINE / "primary-on-left", "left"), volumes=())
    assert policy.level(view) is Level.FAILED
    assert wording.detail(view, Record()).startswith("Primary, without a volume")


@pytest.mark.parametrize(
    ("state", "node", "name", "others", "expected"),
    [
        (NINE / "all-fine", "left", "vpn", ("right", "center"), {"right", "center"}),
        (NINE / "primary-on-left", "right", "vpn", ("left", "center"), {"center"}),
        (NINE / "left-killed", "right", "vpn", ("left", "center"), {"center"}),
        (NINE / "all-fine", "left", "vpn", ("right.example.com",), {"right.example.com"}),
        (NINE / "all-fine", "left", "vpn", ("paris", "berlin"), None),  # DRBD knows them by other names
        (NINE / "all-fine", "left", "vpn", (), None),
        (EIGHT / "all-fine", "right", "vpn", ("left",), {"left"}),
        (EIGHT / "primary-on-left", "right", "vpn", ("left",), set()),
        (EIGHT / "left-killed", "right", "web", ("left",), set()),
        (EIGHT / "all-fine", "right", "vpn", ("left", "center"), None),  # which of them is the peer?
    ],
)
def test_where_it_is_seen_inactive(
    state: Path, node: str, name: str, others: tuple[str, ...], expected: set[str] | None
) -> None:
    assert policy.inactive_on(up(state, node, name), others) == expected
