"""What every recorded state means, on both generations, and what damaged words do."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.core.words import Level
from failoverd.drivers.drbd import policy, staleness, wording
from failoverd.drivers.drbd.staleness import Loss, Record
from failoverd.ports.drbd import events, status
from failoverd.ports.drbd.status import Garbled, Resource
from tests.unit.ports.drbd.drbdsetups import DUMPS, EIGHT, NAMES, NINE, STATUSES, recorded, up

#: All that there are have been met.
MET = Record(up=1, met=frozenset({0, 1, 2}))

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
        assert policy.level(view) is level, (node, name)
        assert (alarmed(view) is not None) is alarm, (node, name)
        assert wording.detail(view, Record())
    assert not rest


def test_no_recorded_state_is_left_out() -> None:
    assert {path.parent.name for path in STATUSES} == set(STATES_9)
    assert {path.parent.name for path in DUMPS if EIGHT in path.parents} == set(STATES_8)


@pytest.mark.parametrize(("state", "node", "name", "words"), DETAILS)
def test_details(state: Path, node: str, name: str, words: str) -> None:
    assert words in wording.detail(up(state, node, name), Record())


def alarmed(view: Resource, *, voted: bool = False, record: Record = MET, now: float = 1000) -> str | None:
    limits = policy.Limits(connect_grace=15, reconnect_grace=3, stale_after=15, remedy="accept it")
    return wording.alarm(view, record, now, limits, voted=voted)


def test_the_alarm_tells_what_it_may_be_and_the_way_back() -> None:
    assert alarmed(up(EIGHT / "split-brain", "right")) == (
        "DRBD has given up the connection to peer (StandAlone), and nothing is replicated: "
        "if it was disconnected by hand, run drbdadm connect vpn; "
        "after a split brain (journalctl -k -g Split-Brain) decide whose data is kept, and on the other node run "
        "drbdadm secondary vpn; drbdadm disconnect vpn; drbdadm connect --discard-my-data vpn, "
        "then where it is kept drbdadm connect vpn"
    )


def test_of_a_mesh_a_connect_would_stop_at_the_first_that_is_connected() -> None:
    alarm = alarmed(up(NINE / "left-rejoined-demoted-standalone", "left", "web"))
    assert alarm is not None
    assert "disconnected by hand, run drbdadm adjust web;" in alarm
    assert alarm.endswith("where it is kept drbdadm adjust web")


@pytest.mark.parametrize("node", ["right", "center"])
def test_with_quorum_the_node_that_is_sound_is_told_that_it_is(node: str) -> None:
    assert alarmed(up(NINE / "left-rejoins-both-primary", node), voted=True) == (
        "DRBD has given up the connection to left (StandAlone); this node has quorum, and its data is not in question: "
        "on left run drbdadm secondary vpn; drbdadm adjust vpn, and here drbdadm adjust vpn"
    )


def test_with_quorum_the_node_that_was_cut_off_is_told_what_to_do() -> None:
    assert alarmed(up(NINE / "left-rejoins-both-primary", "left"), voted=True) == (
        "DRBD has given up the connection to right and center (StandAlone), "
        "and this node has no quorum: it was cut off, and the others' data counts; "
        "stop what uses it here, run drbdadm secondary vpn; drbdadm adjust vpn, "
        "and drbdadm adjust vpn on right and center"
    )


def test_a_connection_that_is_not_begun_yet_is_no_alarm() -> None:
    alone = up(EIGHT / "split-brain", "right")
    assert alarmed(alone, record=Record(up=990)) is None
    assert alarmed(alone, record=Record(up=990, met=frozenset({0}))) is not None
    assert alarmed(alone, record=Record(up=980)) is not None


def test_a_tiebreaker_is_told_to_be_one_and_to_be_connected() -> None:
    view = up(NINE / "web9-primary-on-left", "center", "web9")
    loss = Loss(peer=0, name="left", since=1, noticed=1, wall=1)
    assert wording.detail(view, Record()) == (
        "Secondary, no disk here, as configured; left is Primary, UpToDate; right is Secondary, UpToDate"
    )
    assert staleness.seen(Record(loss=loss), view, 2, vouched=2, wall=2).loss is None
    assert policy.level(view) is Level.STANDBY
    assert alarmed(view) is None


def test_data_that_is_not_all_here_yet_is_not_told_to_be_cut_off() -> None:
    view = up(EIGHT / "left-back-resync", "left")
    loss = Loss(peer=0, name="peer", since=1, noticed=1, wall=1)
    assert "what the Primary (peer) has written since 1970" in wording.detail(view, Record(loss=loss))
    alone = replace(up(EIGHT / "split-brain", "right"), role="Secondary")
    assert "replication from the Primary (peer) is down since 1970" in wording.detail(alone, Record(loss=loss))


def judged(parse: Callable[[str, str], Resource | None], text: str, name: str) -> Level:
    try:
        view = parse(text, name)
    except Garbled:
        return Level.UNKNOWN
    return policy.level(view) if isinstance(view, Resource) else Level.STANDBY


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


def test_suspended_by_an_operator_is_told_and_no_failure() -> None:
    text = (
        (NINE / "primary-on-left/left.status.json")
        .read_text()
        .replace('"suspended-user": false', '"suspended-user": true')
    )
    view = status.parse(text, "vpn")
    assert view is not None
    assert policy.level(view) is Level.ACTIVE
    assert "I/O suspended (user)" in wording.detail(view, Record())
    lost = status.parse(text.replace('"suspended-no-data": false', '"suspended-no-data": true'), "vpn")
    assert lost is not None
    assert policy.level(lost) is Level.FAILED


def test_a_volume_without_its_disk_is_enough_to_fail() -> None:
    dump = (EIGHT / "primary-on-left/left.events2-now.txt").read_text()
    more = "exists device name:vpn volume:1 minor:7 disk:Diskless\nexists -"
    primary = status.Minor(role="Primary")
    view = events.parse(dump.replace("exists -", more), "vpn", lambda: {0: primary, 7: primary})
    assert view is not None
    assert policy.level(view) is Level.FAILED
    assert "UpToDate (volume 0), Diskless (volume 1)" in wording.detail(view, Record())
