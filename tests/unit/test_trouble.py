"""Trouble is said once, and stands until it is over."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from failoverd.trouble import MESSAGE_ID, Troubles


def test_it_is_said_when_it_begins_and_when_it_is_over() -> None:
    troubles = Troubles()
    with capture_logs() as lines:
        for _ in range(3):
            troubles.begin("record boot", "no room")
        since = troubles.standing[0].since
        troubles.begin("record boot", "read-only")
        assert [(each.about, each.text, each.since) for each in troubles.standing] == [
            ("record boot", "read-only", since)
        ]
        for _ in range(3):
            troubles.end("record boot")
    assert troubles.standing == ()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("trouble", "error"),
        ("trouble", "error"),
        ("trouble is over", "info"),
    ]
    assert lines[0]["message_id"] == MESSAGE_ID


def test_what_happened_is_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("failoverd.trouble.time.monotonic", lambda: now)
    troubles = Troubles()
    troubles.begin("a", "it happened", lasts=10)
    now = 109.0
    assert len(troubles.standing) == 1
    troubles.begin("a", "it happened", lasts=10)
    now = 118.0
    assert len(troubles.standing) == 1
    now = 119.0
    with capture_logs() as lines:
        assert troubles.standing == ()
    assert [line["event"] for line in lines] == ["trouble is over"]


def test_the_oldest_comes_first() -> None:
    troubles = Troubles()
    for about in ("a", "c", "b"):
        troubles.begin(about, "so")
    assert [each.about for each in troubles.standing] == ["a", "c", "b"]
