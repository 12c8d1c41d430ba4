"""``failoverctl history``: one line for each transition."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ctl.verbs.pages import shown

Answer = dict[str, Any]


def test_history_is_a_table_newest_first(transition: Answer) -> None:
    older = transition | {"id": 9, "outcome": "standby", "target": "standby", "reason": ""}
    oldest = transition | {"id": 8, "outcome": "interrupted", "ended": None, "reason": ""}
    text = shown("history", {"transitions": [transition, older, oldest]})
    assert text == (
        "  id   started              instance  target   outcome      took    cause\n"
        "! 118  2026-11-21 03:11:57  VI_1      active   failed       3.33 s  MASTER by fifo: web did not start\n"
        "  9    2026-11-21 03:11:57  VI_1      standby  standby      3.33 s  MASTER by fifo\n"
        "  8    2026-11-21 03:11:57  VI_1      active   interrupted  -       MASTER by fifo\n"
    )
    assert shown("history", {"transitions": []}) == "  no transition is recorded\n"


@pytest.mark.parametrize(
    ("cause", "reason", "why"),
    [
        ("MASTER, but X", "MASTER, but X", "MASTER, but X"),
        ("MASTER, but X", "MASTER, but X; web: it failed", "MASTER, but X; web: it failed"),
        ("keepalived is gone; X", "X", "keepalived is gone; X"),
        ("MASTER, but X", "", "MASTER, but X"),
        ("keepalived reported MASTER", "web: it failed", "keepalived reported MASTER: web: it failed"),
    ],
)
def test_history_says_once_what_cause_and_reason_say(transition: Answer, cause: str, reason: str, why: str) -> None:
    text = shown("history", {"transitions": [transition | {"cause": cause, "reason": reason}]})
    assert text.splitlines()[1].endswith(f"  3.33 s  {why}")
