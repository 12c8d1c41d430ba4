"""What is said now and then, however often it happens."""

from __future__ import annotations

from structlog.testing import capture_logs

from failoverd.daemon.rate_limited_log import INTERVAL_S, RateLimitedLog


def test_a_thing_is_said_once_in_a_while_and_how_often_it_was_not() -> None:
    now = 0.0
    said = RateLimitedLog("control", lambda: now)
    with capture_logs() as lines:
        for number in range(1000):
            said.warning("refused", by=number)
        said.warning("another thing")
        said.exception("a bug")
        said.exception("a bug")
        now = INTERVAL_S
        said.warning("refused", by="the last")
    assert [(line["event"], line.get("by"), line["suppressed"]) for line in lines] == [
        ("refused", 0, 0),
        ("another thing", None, 0),
        ("a bug", None, 0),
        ("refused", "the last", 999),
    ]
