"""What DRBD says, on recordings of both generations in every state, and on damaged ones."""

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.core.model import Level
from failoverd.drivers import command
from failoverd.drivers.drbd import events, judge, look, status
from failoverd.drivers.drbd.memory import Memory
from failoverd.drivers.drbd.status import Garbled, Resource, essence
from tests.unit.drivers.drbd.drbds import EIGHT, NINE, live, recorded, up

LETTERS = {"": Level.ACTIVE, "!": Level.FAILED, "-": Level.STANDBY}

#: For each recorded state: NODE/RESOURCE that is ACTIVE, with ``!`` one that is FAILED, with ``*`` one that is up and
#: has an alarm (after ``-``: a STANDBY). All others that are up are STANDBY, without one.
STATES_9 = {
    "all-diskless": "left/web",
    "all-fine": "",
    "all-inconsistent": "",
    "all-three-resources": "left/vpn left/web",
    "alone-after-restart": "",
    "attach-stuck-negotiating": "left/web",
    "detached": "left/vpn! left/web",
    "device-mounted": "left/vpn",
    "device-open-read": "",
    "device-open-write": "left/vpn",
    "disk-failed-on-primary-left": "left/vpn! left/web",
    "disk-failed-on-secondary-center": "left/vpn left/web",
    "disk-reattached-left": "left/vpn! left/web",
    "first-node-up": "",
    "forced-secondary-still-mounted": "",
    "initial-sync-primary-on-left": "left/vpn",
    "isolated-secondary-right": "left/vpn left/web",
    "left-back-alone-stale": "right/vpn! right/web",
    "left-back-resync": "right/vpn right/web",
    "left-down-cleanly": "",
    "left-isolated": "left/vpn! left/web right/vpn right/web",
    "left-isolated-demoted": "right/vpn right/web",
    "left-isolated-nobody-promoted": "left/vpn!",
    "left-isolated-right-primary": "left/vpn! left/web right/vpn right/web",
    "left-killed": "",
    "left-killed-before-timeout": "",
    "left-rejoined-demoted-standalone": "left/vpn-* left/web-* right/vpn* right/web*",
    "left-rejoins-both-primary": "left/vpn!* left/web* right/vpn* right/web* center/vpn-*",
    "no-resource-up": "",
    "peers-down-cleanly-right-primary": "right/vpn right/web",
    "primary-on-left": "left/vpn left/web",
    "primary-on-synctarget": "left/vpn! right/web",
    "right-disconnected-from-left-only": "left/vpn left/web right/vpn-*",
    "right-disconnected-left-primary": "left/vpn left/web right/vpn-* right/web-*",
    "right-promoted-after-left-killed": "right/vpn right/web",
    "synctarget-disconnected-from-source": "left/vpn right/vpn-*",
    "web-split-brain": "right/vpn right/web* left/web-*",
    "web-split-brain-resolving": "right/vpn right/web",
    "web9-left-isolated-suspended": "left/vpn! left/web left/web9!",
    "web9-primary-on-left": "left/vpn left/web left/web9",
}
STATES_8 = {
    "all-fine": "",
    "all-inconsistent": "",
    "detached": "left/vpn left/web",
    "device-open-read": "left/vpn",
    "device-open-write": "left/vpn",
    "disk-failed-on-primary-left": "left/vpn! left/web",
    "first-node-up": "",
    "initial-sync-primary-on-left": "left/vpn",
    "left-back-resync": "right/vpn right/web",
    "left-down-cleanly": "left/web right/vpn*",
    "left-isolated": "left/vpn left/web right/vpn",
    "left-killed": "right/vpn",
    "left-killed-before-timeout": "right/vpn",
    "no-resource-up": "",
    "outdated": "left/web right/vpn-*",
    "primary-on-left": "left/vpn left/web",
    "primary-on-synctarget": "left/vpn! right/web",
    "right-disconnected-left-primary": "left/vpn left/web right/vpn-* right/web-*",
    "right-promoted-after-left-killed": "right/vpn right/web",
    "split-brain": "left/vpn* left/web right/vpn*",
}

#: What an operator must be able to read in `status`.
DETAILS = [
    (NINE / "primary-on-left", "left", "web", "Primary, UpToDate; right is Secondary, UpToDate"),
    (NINE / "left-isolated", "left", "vpn", "Primary, but without quorum; not connected to right (Connecting)"),
    (NINE / "left-isolated-demoted", "left", "vpn", "Secondary, UpToDate; no quorum; not connected to right"),
    (NINE / "web9-left-isolated-suspended", "left", "web9", "but without quorum; I/O suspended (quorum); not"),
    (NINE / "disk-failed-on-primary-left", "left", "vpn", "Primary, but the data here is Diskless; right is"),
    (NINE / "primary-on-synctarget", "left", "vpn", "here is Inconsistent; right is Secondary, UpToDate, synch"),
    (NINE / "primary-on-synctarget", "left", "vpn", "right: 49 %; center is Secondary, UpToDate, waits to synchronise"),
    (NINE / "left-back-resync", "right", "vpn", "left is Secondary, Inconsistent, synchronises to left: 30 %"),
    (NINE / "left-back-resync", "center", "vpn", "left is Secondary, Inconsistent, waits to synchronise to left: 28 %"),
    (NINE / "web-split-brain", "left", "web", "Secondary, UpToDate; not connected to right (StandAlone)"),
    (EIGHT / "left-back-resync", "left", "vpn", "Inconsistent; peer is Primary, UpToDate, synchronises from peer: 2"),
    (EIGHT / "primary-on-synctarget", "right", "vpn", "peer is Primary, Inconsistent, synchronises to peer: 38 %"),
    (EIGHT / "split-brain", "right", "vpn", "Primary, UpToDate; not connected to peer (StandAlone)"),
    (EIGHT / "detached", "left", "vpn", "Primary, UpToDate; peer is Secondary, Diskless"),
]  # fmt: skip

STATUSES = sorted(NINE.glob("*/*.status.json"))
DUMPS = sorted(path for path in (*NINE.glob("*/*.events2-now.txt"), *EIGHT.glob("*/*.events2-now.txt"))
               if ".cmd." not in path.name)  # fmt: skip
NAMES = ("vpn", "web", "web9")


def expected(words: str) -> dict[str, tuple[Level, bool]]:
    found: dict[str, tuple[Level, bool]] = {}
    for word in words.split():
        place = word.rstrip("!-*")
        found[place] = LETTERS[word[len(place) :].rstrip("*")], word.endswith("*")
    return found


def nodes(state: Path) -> set[str]:
    return {path.name.split(".")[0] for path in state.glob("*") if path in STATUSES or path in DUMPS}


@pytest.mark.parametrize(
    ("state", "words"),
    [(NINE / s, w) for s, w in STATES_9.items()] + [(EIGHT / s, w) for s, w in STATES_8.items()],
    ids=lambda value: f"{value.parent.name}-{value.name}" if isinstance(value, Path) else "",
)
def test_every_recorded_state(state: Path, words: str) -> None:
    rest = expected(words)
    assert nodes(state)
    for node, name in itertools.product(sorted(nodes(state)), NAMES):
        view = recorded(state, node, name)
        level, alarm = rest.pop(f"{node}/{name}", (Level.STANDBY, False))
        if view is None:
            continue
        assert judge.level(view) is level, (node, name)
        assert (judge.alarm(view) is not None) is alarm, (node, name)
        assert judge.detail(view, Memory())
    assert not rest


def test_no_recorded_state_is_left_out() -> None:
    assert {path.parent.name for path in STATUSES} == set(STATES_9)
    assert {path.parent.name for path in DUMPS if EIGHT in path.parents} == set(STATES_8)


@pytest.mark.parametrize(("state", "node", "name", "words"), DETAILS)
def test_details(state: Path, node: str, name: str, words: str) -> None:
    assert words in judge.detail(up(state, node, name), Memory())


def test_the_alarm_names_the_peer_and_the_way_back() -> None:
    alarm = judge.alarm(up(NINE / "left-rejoins-both-primary", "left"))
    assert alarm is not None
    assert alarm.startswith("StandAlone towards right, center: split brain")
    assert "drbdadm connect vpn" in alarm


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
    with pytest.raises(Garbled, match="skipped some") if skipping else contextlib.nullcontext():
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


def judged(parse: Callable[[str, str], Resource | None], text: str, name: str) -> Level:
    try:
        view = parse(text, name)
    except Garbled:
        return Level.UNKNOWN
    return judge.level(view) if isinstance(view, Resource) else Level.STANDBY


DAMAGE = st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["", "\n", "x", " ", "no", ":", "\x00"]))


@given(path=st.sampled_from([*STATUSES, *DUMPS]), damage=DAMAGE, name=st.sampled_from(NAMES))
def test_damage_raises_nothing_and_makes_nothing_active(
    path: Path, damage: tuple[float, float, str], name: str
) -> None:
    parse = status.parse if path in STATUSES else events.parse
    text = path.read_text()
    start, length, instead = damage
    begin = int(start * len(text))
    damaged = text[:begin] + instead + text[begin + int(length * (len(text) - begin)) :]
    level = judged(parse, damaged, name)
    if level is Level.ACTIVE:
        assert judged(parse, text, name) is Level.ACTIVE


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


def test_suspended_by_an_operator_is_told_and_no_failure() -> None:
    text = (
        (NINE / "primary-on-left/left.status.json")
        .read_text()
        .replace('"suspended-user": false', '"suspended-user": true')
    )
    view = status.parse(text, "vpn")
    assert view is not None
    assert judge.level(view) is Level.ACTIVE
    assert "I/O suspended (user)" in judge.detail(view, Memory())
    lost = status.parse(text.replace('"suspended-no-data": false', '"suspended-no-data": true'), "vpn")
    assert lost is not None
    assert judge.level(lost) is Level.FAILED


def test_a_volume_without_its_disk_is_enough_to_fail() -> None:
    dump = (EIGHT / "primary-on-left/left.events2-now.txt").read_text()
    more = "exists device name:vpn volume:1 minor:7 disk:Diskless\nexists -"
    view = events.parse(dump.replace("exists -", more), "vpn")
    assert view is not None
    assert judge.level(view) is Level.FAILED
    assert "UpToDate (volume 0), Diskless (volume 1)" in judge.detail(view, Memory())


def test_rules_of_a_resource() -> None:
    nine = look.understood((NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text())
    assert (nine.quorum, nine.two_primaries) == (True, False)
    eight = look.understood((EIGHT / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text())
    assert (eight.quorum, eight.two_primaries) == (False, False)
    assert look.understood("net {\n  allow-two-primaries\tyes;\n}").two_primaries
    assert not look.understood("options {\n  quorum  off;\n}").quorum


TRANSCRIPTS = sorted(path for version in (EIGHT, NINE) for path in version.glob("*/*.cmd.*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_a_tool_complains_of_is_one_line_for_a_person(path: Path) -> None:
    lines = path.read_text().splitlines()
    stderr = "\n".join(line[3:] for line in lines if line.startswith("2> "))
    said = look.said(completed(stderr))
    assert said
    assert "\n" not in said
    assert "terminated with exit code" not in said
    assert "additional info" not in said


def completed(stderr: str) -> command.Completed:
    return command.Completed(argv=("drbdsetup",), returncode=11, stdout="", stderr=stderr, started=0, ended=0)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            NINE / "isolated-secondary-right/right.cmd.primary-after-timeout.txt",
            "vpn: State change failed: (-25) No quorum: 1 of 3 nodes visible, need 2 for quorum",
        ),
        (EIGHT / "outdated/right.cmd.primary.txt", "0: State change failed: (-2) Need access to UpToDate data"),
        (NINE / "no-resource-up/left.cmd.primary.txt", "vpn: Failure: (158) Unknown resource: unknown resource"),
    ],
)
def test_complaints(path: Path, words: str) -> None:
    assert look.said(completed("\n".join(line[3:] for line in path.read_text().splitlines()[1:-1]))) == words
