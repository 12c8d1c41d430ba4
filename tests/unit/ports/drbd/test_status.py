"""What DRBD says, on recordings of both generations in every state, and on damaged ones."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.ports.drbd import events, status
from failoverd.ports.drbd.status import Garbled, essence
from tests.unit.ports.drbd.drbdsetups import DUMPS, EIGHT, NAMES, NINE, STATUSES, live, recorded


@pytest.mark.parametrize("path", STATUSES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_json_and_events_say_the_same(path: Path) -> None:
    dump = path.with_name(path.name.replace("status.json", "events2-now.txt"))
    # The two were asked for some seconds apart, and here the disk had been synchronised by then.
    if not dump.exists() or path.parent.name == "disk-reattached-left":
        return
    for name in NAMES:
        told = essence(events.parse(dump.read_text(), name))
        assert told == essence(status.parse(path.read_text(), name))


@pytest.mark.parametrize(
    ("stream", "state"),
    [
        ("drbd-8.4/bring-up.left", "all-fine"),
        ("drbd-8.4/bring-up.right", "all-fine"),
        ("drbd-8.4/disk-failed-on-primary-left.left", "disk-failed-on-primary-left"),
        ("drbd-8.4/disk-failed-on-primary-left.right", "disk-failed-on-primary-left"),
        ("drbd-8.4/left-back-resync.left", "left-back-resync"),
        ("drbd-8.4/left-isolated.left", "left-isolated"),
        ("drbd-8.4/left-isolated.right", "left-isolated"),
        ("drbd-8.4/left-killed.left", "primary-on-left"),
        ("drbd-8.4/left-killed.right", "left-killed"),
        ("drbd-8.4/promote-demote.left", "primary-on-left"),
        ("drbd-8.4/promote-demote.right", "primary-on-left"),
        ("drbd-9.2/bring-up.left", "initial-sync-primary-on-left"),
        ("drbd-9.2/bring-up.right", "synctarget-disconnected-from-source"),
        ("drbd-9.2/concurrent-promotion.right", "all-fine"),
        ("drbd-9.2/detached.left", "detached"),
        ("drbd-9.2/device-open.left", "all-fine"),
        ("drbd-9.2/disconnect-and-down.left", "right-disconnected-left-primary"),
        ("drbd-9.2/disk-failed-on-primary-left.left", "disk-failed-on-primary-left"),
        ("drbd-9.2/disk-failed-on-primary-left.right", "disk-failed-on-primary-left"),
        ("drbd-9.2/flapping-link.right", "all-fine"),
        ("drbd-9.2/isolated-secondary-right.right", "isolated-secondary-right"),
        ("drbd-9.2/left-back-alone-stale.left", "left-back-alone-stale"),
        ("drbd-9.2/left-isolated-nobody-promoted.center", "left-isolated-nobody-promoted"),
        ("drbd-9.2/left-isolated.center", "left-isolated"),
        ("drbd-9.2/left-isolated.left", "left-isolated"),
        ("drbd-9.2/left-isolated.right", "left-isolated"),
        ("drbd-9.2/left-killed-promote-at-once.right", "right-promoted-after-left-killed"),
        ("drbd-9.2/left-killed.center", "left-killed"),
        ("drbd-9.2/left-killed.right", "left-killed"),
        ("drbd-9.2/promote-demote.left", "primary-on-left"),
        ("drbd-9.2/promote-demote.right", "primary-on-left"),
        ("drbd-9.2/web9-auto-promote.left", "all-three-resources"),
    ],
)
def test_a_stream_comes_to_the_state_that_was_recorded_apart_from_it(stream: str, state: str) -> None:
    version, _, file = stream.partition("/")
    node = file.rpartition(".")[2]
    at_rest = {name: essence(recorded(NINE.parent / version / state, node, name)) for name in NAMES}
    fold = events.Fold()
    met: set[str] = set()
    for line in live(NINE.parent / version / "live-events2" / f"{file}.txt"):
        fold.take(line)
        met |= {name for name in fold.names if essence(fold.resource(name)) == at_rest[name]}
    assert met
    assert met == {name for name in fold.names if at_rest[name] is not None}


#: The streams in which DRBD said that it skipped events.
SKIPPING = {
    "left-isolated-nobody-promoted.left.txt",
    "left-isolated-nobody-promoted.right.txt",
    "left-vm-paused-and-resumed.left.txt",
    "web9-left-isolated-suspended.left.txt",
}


@pytest.mark.parametrize("path", sorted(NINE.parent.glob("*/live-events2/*")), ids=lambda path: path.name)
def test_every_stream_is_understood_and_skipped_events_are_noticed(path: Path) -> None:
    skipping = path.name in SKIPPING and NINE in path.parents
    fold = events.Fold()
    with pytest.raises(Garbled, match="DRBD skipped events") if skipping else contextlib.nullcontext():
        for line in live(path):
            fold.take(line)
            for name in fold.names:
                fold.resource(name)


def test_standalone_on_8_is_seen_in_a_stream_that_tells_of_its_end() -> None:
    fold = events.Fold()
    alone = False
    for line in live(EIGHT / "live-events2/left-isolated.right.txt"):
        fold.take(line)
        view = fold.resource("vpn")
        alone |= line == "destroy connection name:vpn peer-node-id:0 conn-name:peer"
        if alone:
            assert view is not None
            assert view.peers[0].connection == "StandAlone"
            break
    assert alone


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\x00\xff",
        "exists",
        "exists resource",
        "changes device name:vpn volume:0 disk:UpToDate",
        "change gadget name:vpn volume:0",
        "change device name:vpn volume:0 UpToDate",
        "change device name:nosuch volume:0 disk:UpToDate",
        "change device name:vpn volume:7 disk:UpToDate",
        "change connection name:vpn peer-node-id:9 connection:Connected",
        "create peer-device name:vpn peer-node-id:9 volume:0 replication:Off peer-disk:DUnknown",
        "create resource name:vpn role:Primary suspended:no",
        "destroy device name:vpn volume:7",
        "rename resource name:vpn new_name:other",
        "exists -",
        "- skipped 2",
    ],
)
def test_a_line_that_does_not_fit_is_refused(line: str) -> None:
    fold = events.Fold()
    for good in live(NINE / "live-events2/promote-demote.left.txt"):
        fold.take(good)
    with pytest.raises(Garbled):
        fold.take(line)


@pytest.mark.parametrize(
    "line",
    [
        "change peer-device name:vpn peer-node-id:1 conn-name:right volume:0",
        "call helper name:vpn peer-node-id:1 conn-name:right helper:disconnected",
        "response helper name:vpn peer-node-id:1 conn-name:right helper:disconnected status:0",
        "change resource name:vpn may_promote:no promotion_score:10103",
        "change device name:vpn volume:0 minor:0 something-new:17",
    ],
)
def test_a_line_that_says_nothing_new_changes_nothing(line: str) -> None:
    fold = events.Fold()
    for good in live(NINE / "live-events2/promote-demote.left.txt"):
        fold.take(good)
    before = fold.resource("vpn")
    fold.take(line)
    assert fold.resource("vpn") == before


@given(path=st.sampled_from(DUMPS), at=st.floats(0, 1, exclude_max=True))
def test_half_a_dump_is_no_dump(path: Path, at: float) -> None:
    text = path.read_text().rstrip("\n")
    part = text[: int(at * len(text))]
    with pytest.raises(Garbled):
        events.parse(part, "vpn")


@given(path=st.sampled_from(STATUSES), at=st.floats(0, 1, exclude_max=True))
def test_half_an_answer_is_no_answer(path: Path, at: float) -> None:
    text = path.read_text().rstrip()
    with pytest.raises(Garbled):
        status.parse(text[: int(at * len(text))], "vpn")


@pytest.mark.parametrize("text", ["null", "{}", "[1]", '[{"name": "vpn"}]', '[{"name": "vpn", "role": 1}]', "[[]]"])
def test_json_of_another_shape_is_refused(text: str) -> None:
    if text == "{}":
        assert status.parse(text, "vpn") is None
        return
    with pytest.raises(Garbled):
        status.parse(text, "vpn")
