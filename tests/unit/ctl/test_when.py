"""Times as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from failoverd.ctl import when

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (0.5, "just now"),
        (42.9, "42 s ago"),
        (3 * 60 + 59, "3 min ago"),
        (2 * 3600 + 300, "2 h 5 min ago"),
        (2 * 3600, "2 h ago"),
        (26 * 3600 + 60, "26 h ago"),
        (3 * 86400 + 5, "3 days ago"),
        (-60, "2026-11-21 03:16:00"),
    ],
)
def test_ages(ago: float, said: str) -> None:
    assert when.age((NOW - timedelta(seconds=ago)).isoformat(), NOW) == said


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (3.2, "03:15:03 (in 4 s)"),
        (0, "03:15:00 (just now)"),
        (-42, "03:14:18 (42 s ago)"),
        (-86400, "2026-11-20 03:15:00 (24 h ago)"),
        (90000, "2026-11-22 04:15:00 (in 25 h)"),
    ],
)
def test_moments_with_their_distance(ahead: float, said: str) -> None:
    assert when.moment((NOW + timedelta(seconds=ahead)).isoformat(), NOW) == said


@pytest.mark.parametrize(
    ("stamp", "said"), [(None, "-"), ("", "-"), ("yesterday", "yesterday"), ("2026-11-21", "2026-11-21"), (7, "7")]
)
def test_times_that_say_nothing(stamp: Any, said: str) -> None:
    assert when.age(stamp, NOW) == said
    assert when.clock(stamp, UTC) == said
    assert when.moment(stamp, NOW) == said
    assert when.took(stamp, stamp) == "-"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.004, "4 ms"),
        (0.126, "0.13 s"),
        (30.0, "30 s"),
        (59.999, "1 min"),
        (90, "1 min 30 s"),
        (3900, "1 h 5 min"),
        ("x", "-"),
    ],
)
def test_spans(seconds: Any, said: str) -> None:
    assert when.span(seconds) == said


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 ms"), (0.012, "12 ms"), (0.9, "900 ms"), (2.5, "2.5 s")])
def test_a_duration_below_a_second_is_in_milliseconds(seconds: float, said: str) -> None:
    assert when.took(NOW.isoformat(), (NOW + timedelta(seconds=seconds)).isoformat()) == said
