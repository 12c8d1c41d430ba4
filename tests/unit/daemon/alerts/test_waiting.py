"""Which alert is next, and which is dropped."""

from __future__ import annotations

from failoverd.alarms import Severity
from failoverd.daemon.alerts.facts import Alert
from failoverd.daemon.alerts.waiting import Waiting


def alert(id: int, severity: Severity = Severity.ERROR, *, instance: str | None = None, code: str = "failed") -> Alert:
    return Alert(
        id=id,
        code=code,
        severity=severity,
        title="",
        text="",
        explanation="",
        remedy=(),
        instance=instance or f"VI_{id}",
        time=0.0,
        begin=0.0,
    )


def taken(waiting: Waiting) -> list[int]:
    found = []
    while (each := waiting.take()) is not None:
        found.append(each[0].id)
    return found


def test_the_most_severe_is_first_and_then_the_oldest() -> None:
    waiting = Waiting(limit=9, attempts=9)
    for each in (alert(1, Severity.WARNING), alert(2), alert(3, Severity.CRITICAL), alert(4)):
        waiting.put(each)
    assert taken(waiting) == [3, 2, 4, 1]
    assert waiting.left_out == 0


def test_a_newer_one_of_the_same_kind_replaces_it() -> None:
    waiting = Waiting(limit=9, attempts=9)
    for id, code in ((1, "failed"), (2, "drift"), (3, "failed")):
        waiting.put(alert(id, instance="VI_1", code=code))
    waiting.put(alert(4, instance="VI_2"))
    assert taken(waiting) == [2, 3, 4]
    assert waiting.left_out == 1


def test_where_there_is_no_room_the_newest_of_the_least_severe_is_dropped() -> None:
    waiting = Waiting(limit=2, attempts=9)
    for each in (alert(1), alert(2, Severity.WARNING), alert(3, Severity.CRITICAL), alert(4, Severity.INFO), alert(5)):
        waiting.put(each)
    assert taken(waiting) == [3, 1]
    assert waiting.left_out == 3


def test_one_that_failed_lets_the_others_go_first() -> None:
    waiting = Waiting(limit=9, attempts=9)
    critical, warning = alert(1, Severity.CRITICAL), alert(2, Severity.WARNING)
    waiting.put(warning)
    waiting.put_back(critical, 1)
    assert waiting.take() == (warning, 0)
    assert waiting.take() == (critical, 1)


def test_the_attempts_end() -> None:
    waiting = Waiting(limit=9, attempts=3)
    waiting.put_back(alert(1), 2)
    assert waiting.take() == (alert(1), 2)
    waiting.put_back(alert(1), 3)
    assert (waiting.take(), waiting.left_out) == (None, 1)


def test_one_that_failed_gives_way_to_a_newer_one_of_its_kind() -> None:
    waiting = Waiting(limit=9, attempts=3)
    newer = alert(2, instance="VI_1")
    waiting.put(newer)
    waiting.put_back(alert(1, instance="VI_1"), 1)
    assert waiting.take() == (newer, 0)
    assert (waiting.take(), waiting.left_out) == (None, 1)
