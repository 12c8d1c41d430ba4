"""How old the data here is: the record of a lost Primary, in virtual time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.drivers.drbd import policy, staleness
from failoverd.drivers.drbd.staleness import Record
from failoverd.ports.drbd import events
from failoverd.ports.drbd.status import Resource
from failoverd.records import records
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, live, up

HERE = up(EIGHT / "primary-on-left", "right")
ALONE = up(EIGHT / "left-killed", "right", "web")
SYNCING = up(EIGHT / "left-back-resync", "left")
NOBODY = up(EIGHT / "all-fine", "right")
SPLIT = up(EIGHT / "outdated", "right")  # Secondary and StandAlone
PRIMARY = up(EIGHT / "right-promoted-after-left-killed", "right")
HERE_9 = up(NINE / "primary-on-left", "right")
QUORATE = up(NINE / "left-killed", "right")
ISOLATED = up(NINE / "isolated-secondary-right", "right")
WEB_9 = up(NINE / "left-killed", "right", "web")

LIMITS = policy.Limits(connect_grace=15, reconnect_grace=0, stale_after=15, remedy="accept it")


def told(*steps: tuple[float, Resource | None], vouched: dict[float, float] | None = None) -> Record:
    """The record after these views, each at its time. `vouched`: where all was known to be well until earlier only."""
    record = Record()
    for now, view in steps:
        until = (vouched or {}).get(now, now)
        record = staleness.seen(record, view, now, vouched=until, wall=1_000_000 + now)
    return record


def is_old(record: Record, now: float) -> bool:
    return staleness.stale(record, now, 15) is not None


def test_a_loss_is_remembered_from_the_moment_it_is_told() -> None:
    record = told((100, HERE), (500, HERE), (900, ALONE))
    assert record.loss is not None
    assert (record.loss.since, record.loss.name, record.loss.wall) == (900, "peer", 1_000_900)
    assert not is_old(record, 915)
    assert is_old(record, 915.1)


def test_a_loss_stays_where_it_was_however_often_it_is_seen() -> None:
    record = told((100, HERE), (200, ALONE), (300, ALONE), (400, ALONE))
    assert record.loss is not None
    assert record.loss.since == 200


def test_what_happened_unseen_happened_at_the_last_moment_that_was_seen() -> None:
    record = told((100, HERE), (400, ALONE), vouched={400: 130})
    assert record.loss is not None
    assert (record.loss.since, record.loss.noticed, record.loss.wall) == (130, 400, 1_000_130)


def test_a_restart_does_not_reset_the_time(directory: Path) -> None:
    staleness.save("vpn", told((100, HERE), (200, ALONE)))
    record = staleness.seen(staleness.load("vpn"), ALONE, 500, vouched=500, wall=0)
    assert record.loss is not None
    assert record.loss.since == 200
    assert staleness.names() == {"vpn"}
    assert (directory / "drbd-vpn").exists()


def test_a_primary_that_demoted_itself_took_nothing_with_it() -> None:
    assert told((100, HERE), (150, NOBODY), (200, ALONE)).loss is None


def test_without_a_primary_there_is_nothing_to_lose() -> None:
    assert told((100, NOBODY), (200, ALONE)).loss is None
    assert told((100, ALONE)).loss is None


def test_the_peer_is_back_and_all_is_well() -> None:
    assert told((100, HERE), (200, ALONE), (300, NOBODY)).loss is None
    assert told((100, HERE), (200, ALONE), (300, HERE)).loss is None


def test_while_it_synchronises_nothing_is_well_yet() -> None:
    assert told((100, HERE), (200, ALONE), (300, SYNCING)).loss is not None
    assert told((100, HERE), (200, ALONE), (300, SYNCING), (400, HERE)).loss is None
    again = told((100, HERE), (200, ALONE), (300, SYNCING), (400, ALONE))
    assert again.loss is not None
    assert (again.loss.since, again.loss.noticed) == (200, 400)


def test_a_connection_that_is_only_begun_is_not_back() -> None:
    begun = replace(ALONE, peers=(replace(ALONE.peers[0], connection="Connected", role="Unknown"),))
    assert told((100, HERE), (200, ALONE), (300, begun)).loss is not None


def test_a_connection_counts_when_the_data_was_compared() -> None:
    """DRBD 8.4 tells that the peer is Primary a line before it tells that the disk here is Outdated."""
    peer = HERE.peers[0]
    line_by_line = replace(HERE, peers=(replace(peer, volumes=(replace(peer.volumes[0], replication="Off"),)),))
    assert told((100, HERE), (200, ALONE), (300, line_by_line)).loss is not None
    assert told((100, HERE), (200, ALONE), (300, replace(HERE, peers=(replace(peer, volumes=()),)))).loss is not None


def test_a_peer_that_is_back_in_a_recorded_stream() -> None:
    """Line by line, the data is good when it was synchronised, and not before."""
    record = told((100, HERE), (200, ALONE))
    fold = events.Fold()
    disks: list[str] = []
    for now, line in enumerate(live(EIGHT / "live-events2/left-back-resync.left.txt"), 300):
        fold.take(line)
        view = fold.resource("vpn")
        if view is None:
            continue
        if view.role == "Primary":
            break
        disks += [volume.disk for volume in view.volumes]
        record = staleness.seen(record, view, now, vouched=now, wall=0)
        assert record.loss is not None
    assert {"UpToDate", "Outdated", "Inconsistent"} <= set(disks)


def test_who_became_primary_has_the_newest_data() -> None:
    record = told((100, HERE), (200, ALONE), (203, PRIMARY), (900, ALONE))
    assert record.loss is None
    assert not is_old(record, 1000)


def test_who_became_primary_lost_nobody_who_was_primary_before() -> None:
    record = told((100, HERE), (200, PRIMARY), (900, ALONE))
    assert (record.loss, record.primary) == (None, None)


def test_a_loss_is_noticed_once_however_often_it_is_seen() -> None:
    record = told((100, HERE), (200, ALONE), (300, ALONE))
    assert record.loss is not None
    assert record.loss.noticed == 200


def test_a_primary_whose_role_is_unknown_for_a_moment_has_not_demoted_itself() -> None:
    unknown = replace(HERE, peers=(replace(HERE.peers[0], role="Unknown"),))
    assert told((100, HERE), (150, unknown)).primary == (0, "peer")
    assert told((100, HERE), (150, unknown), (200, ALONE)).loss is not None


def test_only_a_node_that_is_up_and_has_a_quorum_kept_it() -> None:
    for here, after in ((HERE_9, None), (HERE_9, ISOLATED), (HERE, ALONE)):
        loss = told((100, here), (200, after)).loss
        assert loss is not None
        assert not loss.quorate
    loss = told((100, HERE_9), (200, QUORATE)).loss
    assert loss is not None
    assert loss.quorate


def test_a_resource_that_was_down_is_up_since_it_is_up_again() -> None:
    """Whether or not it has tried a peer by then."""
    assert told((100, HERE), (200, None)).up is None
    assert told((100, HERE), (200, None), (300, SPLIT)).up == 300


def test_a_peer_that_was_tried_stays_tried() -> None:
    assert told((100, NOBODY), (200, SPLIT), (300, ALONE)).up == 100
    record = told((100, NOBODY), (200, replace(NOBODY, peers=())), (300, SPLIT))
    assert record.split is not None
    assert record.split.peers == {0}


def test_who_became_primary_by_half_has_not_the_newest_data() -> None:
    (volume,) = PRIMARY.volumes
    halves = tuple(replace(volume, number=n, minor=n, role=role) for n, role in enumerate(("Primary", "Secondary")))
    record = told((100, HERE), (200, ALONE), (203, replace(PRIMARY, volumes=halves)))
    assert record.loss is not None
    assert told((100, HERE), (200, ALONE), (203, PRIMARY)).loss is None


def test_taken_down_and_up_again_it_is_as_old_as_before() -> None:
    record = told((100, HERE), (200, ALONE), (300, None), (400, ALONE))
    assert record.loss is not None
    assert record.loss.since == 200
    assert (record.up, record.met) == (400, frozenset())  # nobody has been met since
    assert told((100, HERE), (200, None)).loss is not None


def test_who_kept_quorum_lost_nothing_when_a_quorum_is_needed() -> None:
    record = told((100, HERE_9), (200, QUORATE))
    assert record.loss is not None
    assert is_old(record, 300)  # it was not asked yet whether a quorum is needed
    voted = replace(record, loss=replace(record.loss, voted=True))
    assert not is_old(voted, 10_000)
    later = staleness.seen(voted, ISOLATED, 400, vouched=400, wall=0)
    assert is_old(later, 500)
    regained = staleness.seen(later, QUORATE, 600, vouched=600, wall=0)
    assert is_old(regained, 700)


def test_without_quorum_from_the_beginning_it_is_old() -> None:
    record = told((100, HERE_9), (200, ISOLATED))
    assert record.loss is not None
    assert not record.loss.quorate


def test_another_primary_is_as_good_as_the_one_that_was_lost() -> None:
    right = up(NINE / "left-isolated", "center")
    record = told((100, up(NINE / "primary-on-left", "center")), (200, right))
    assert record.loss is None
    assert record.primary == (1, "right")
    lost, alone = up(NINE / "primary-on-left", "center"), up(NINE / "left-isolated-nobody-promoted", "center")
    assert told((100, lost), (200, alone)).loss is not None
    record = told((100, lost), (200, alone), (300, right))
    assert (record.loss, record.primary) == (None, (1, "right"))
    record = told((100, right), (200, up(NINE / "left-back-alone-stale", "left")))
    assert record.loss is not None
    assert record.loss.name == "right"


def test_the_last_of_several_lost_primaries_has_the_newest_data() -> None:
    """right was lost as well, before this node had its data: left lacks it too."""
    left, right = up(NINE / "primary-on-left", "center"), up(NINE / "left-isolated", "center")
    alone = up(NINE / "left-isolated-nobody-promoted", "center")
    behind = replace(right, volumes=(replace(right.volumes[0], disk="Inconsistent"),))
    nobody = replace(alone, peers=tuple(replace(peer, connection="Connecting", role="Unknown") for peer in alone.peers))
    record = told((100, left), (200, alone), (300, behind), (400, nobody))
    assert record.loss is not None
    assert (record.loss.name, record.loss.since, record.loss.noticed) == ("right", 200, 400)
    peers = tuple(replace(peer, role="Secondary") for peer in left.peers if peer.name == "left")
    assert peers[0].replicating
    assert is_old(staleness.seen(record, replace(left, peers=peers), 500, vouched=500, wall=0), 501)
    assert staleness.seen(record, right, 500, vouched=500, wall=0).loss is None


def test_while_it_is_down_it_votes_in_no_quorum() -> None:
    record = told((100, HERE_9), (200, QUORATE))
    assert record.loss is not None
    voted = replace(record, loss=replace(record.loss, voted=True))
    assert not is_old(voted, 10_000)
    down = staleness.seen(voted, None, 300, vouched=300, wall=0)
    assert is_old(staleness.seen(down, QUORATE, 400, vouched=400, wall=0), 500)


def test_an_older_view_that_comes_late_changes_nothing() -> None:
    record = told((100, HERE), (200, ALONE))
    assert staleness.seen(record, HERE, 199, vouched=199, wall=0) == record


def test_time_at_work_here_does_not_count() -> None:
    record = told((100, HERE), (200, ALONE))
    assert record.loss is not None
    record = replace(record, loss=replace(record.loss, ours=25))
    assert not is_old(record, 240)
    assert is_old(record, 240.5)


def test_of_another_boot_nothing_is_known(directory: Path) -> None:
    staleness.save("vpn", told((100, HERE), (200, ALONE)))
    path = directory / "drbd-vpn"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    assert staleness.load("vpn") == Record()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"boot": 1}'])
def test_a_damaged_file_is_no_memory(directory: Path, text: str) -> None:
    staleness.save("vpn", Record())
    (directory / "drbd-vpn").write_text(text)
    assert staleness.load("vpn") == Record()


def test_half_a_file_is_no_memory(directory: Path) -> None:
    staleness.save("vpn", told((100, HERE), (200, ALONE)))
    path = directory / "drbd-vpn"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "met"}))
    assert staleness.load("vpn") == Record()


def test_a_directory_that_is_not_there_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(records, "directory", tmp_path / "file")
    staleness.save("vpn", Record())
    assert staleness.load("vpn") == Record()
    assert staleness.names() == frozenset()
    assert staleness.heard(staleness.load("vpn")) == 0


def test_what_was_heard_vouches_for_every_resource() -> None:
    staleness.save("vpn", told((100, HERE)))
    assert staleness.heard(staleness.load("vpn")) == 100
    staleness.hear(130)
    assert staleness.heard(staleness.load("vpn")) == 130
    staleness.save("vpn", told((100, HERE), (140, HERE)))
    assert staleness.heard(staleness.load("vpn")) == 140


def test_grace_is_for_those_who_were_never_met() -> None:
    def waits(record: Record, view: Resource, now: float) -> bool:
        found = policy.obstacle(view, record, now, LIMITS)
        return found is not None and found.passes and "just come up" in found.reason

    fresh = told((100, ALONE))
    assert waits(fresh, ALONE, 114.9)
    assert not waits(fresh, ALONE, 115)
    met = told((100, ALONE), (101, NOBODY), (102, ALONE))
    assert not waits(met, ALONE, 103)
    assert not waits(told((100, NOBODY)), NOBODY, 100)
    one_of_two = told((100, QUORATE))
    assert waits(one_of_two, QUORATE, 101)
    split = up(EIGHT / "outdated", "right")
    assert waits(told((100, split)), split, 114.9)  # DRBD has given up a peer that it never met: nothing is known of it
    assert not waits(told((100, NOBODY), (101, split)), split, 102)


VIEWS = {"here": HERE, "alone": ALONE, "syncing": SYNCING, "nobody": NOBODY, "primary": PRIMARY, "down": None}


@given(st.lists(st.tuples(st.floats(0.1, 100), st.sampled_from(sorted(VIEWS))), min_size=1, max_size=12))
def test_data_is_never_taken_for_newer_than_it_is(steps: list[tuple[float, str]]) -> None:
    """Against a model that knows it all: when was everything that the Primary wrote last known to be here?"""
    record, now = Record(), 0.0
    last_well: float | None = None  # None: not following a Primary that could have written without us
    following = False
    for pause, name in steps:
        now += pause
        record = staleness.seen(record, VIEWS[name], now, vouched=now, wall=now)
        if name in ("here", "nobody", "primary"):
            following, last_well = name == "here", None
        elif name == "syncing":
            following = True
        elif following:
            last_well = now if last_well is None else last_well
            following = False
    if last_well is not None and VIEWS[steps[-1][1]] is not None:
        assert record.loss is not None
        assert record.loss.since <= last_well
