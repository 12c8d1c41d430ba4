"""The judge of the laboratory of hypervisors: it must see what went wrong, and nothing where nothing did."""

import json

from tests.vmlab.consistency import Evidence, understand


def guest(at: float, kind: str, life: str, number: int) -> str:
    return f"{int(at * 1e9)} <13>Nov 21 15:49:18 vmlab: {kind} web {life} {number}\n"


def node(at: float, name: str, *, domains: tuple[str, ...] = (), primary: bool = False, took: float = 0.1) -> str:
    devices = {"0": ["Connected", "Primary" if primary else "Secondary", "UpToDate"]}
    minors = ["0" for _ in domains]
    said = {"node": name, "boot": "b", "vip": False, "guests": minors, "devices": devices, "took": took}
    return f"{int(at * 1e9)} sample {json.dumps(said)}\n"


def heard(*lines: str) -> Evidence:
    return understand(lines)


def test_a_guest_that_goes_on_where_it_was_has_lost_nothing() -> None:
    it = heard(
        guest(1, "start", "a", 0),
        guest(2, "ack", "a", 1),
        guest(3, "ack", "a", 2),
        # A number that was written, and cut off before it was told.
        guest(4, "start", "b", 3),
        guest(5, "ack", "b", 4),
    )
    assert it.lost() == []
    assert it.copies() == []
    assert (it.acknowledged("web"), len(it.lives("web"))) == (3, 2)


def test_a_number_that_was_told_and_is_not_found_is_lost() -> None:
    it = heard(guest(1, "start", "a", 0), guest(2, "ack", "a", 1), guest(3, "ack", "a", 2), guest(4, "start", "b", 1))
    assert it.lost() == ["web told 2, and started again with 1"]


def test_a_life_that_goes_on_after_the_next_began_is_a_copy() -> None:
    it = heard(guest(1, "start", "a", 0), guest(2, "start", "b", 0), guest(3, "ack", "a", 1))
    assert it.copies() == ["web a tells 1 after b has started"]


def test_a_domain_and_a_primary_in_two_places_are_seen() -> None:
    it = heard(
        node(1, "left", domains=("web",), primary=True),
        node(1.5, "right", domains=("web",), primary=True),
        node(2, "left", domains=("web",), primary=True),
    )
    assert [line.partition(" is on ")[0] for line in sorted(it.copies())] == ["Primary of minor 0", "domain web"]


def test_what_has_moved_is_not_in_two_places() -> None:
    it = heard(
        node(1, "left", domains=("web",), primary=True),
        node(2, "left"),
        node(2.1, "right", domains=("web",), primary=True),
        node(2.5, "left"),
        node(3, "right", domains=("web",), primary=True),
    )
    assert it.copies() == []


def test_what_was_seen_a_little_late_proves_nothing() -> None:
    it = heard(
        node(1, "left", domains=("web",)),
        node(2.6, "right", domains=("web",)),
        # It was looked at long before it was told.
        node(3, "left", domains=("web",), took=1.0),
    )
    assert it.copies() == []


def test_other_packets_and_half_a_line_are_left_out() -> None:
    it = heard("17 <46>Nov 21 15:49:18 syslogd started: BusyBox v1.35.0\n", "18 nonsense\n", "\n")
    assert it == Evidence([], [])
