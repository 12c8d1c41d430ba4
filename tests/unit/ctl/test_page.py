"""A page in a pipe and on a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from failoverd.ctl import page_rich
from failoverd.ctl.page import Block, Page, clean, plain
from tests.unit.ctl.verbs.pages import page

Answer = dict[str, Any]
Status = Callable[..., Answer]


def all_pages(status: Answer, transition: Answer, plan: Answer) -> list[Page]:
    pages = [
        page("status", status),
        page("history", {"transitions": [transition]}),
        page("history show", transition),
        page("plan", plan),
    ]
    return [tuple(block for block in each if isinstance(block, Block)) for each in pages]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_shows_the_same_words(
    status: Status, transition: Answer, plan: Answer, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for each in all_pages(status(phase="failed"), transition, plan):
        drawn = page_rich.draw(each, width)
        assert "\x1b[" in drawn
        bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
        assert bare.split() == re.sub(r"(?m)^[! ] (VI_1  )?", "", plain(each)).split()


def test_a_terminal_never_breaks_a_command(plan: Answer) -> None:
    plan["steps"][0]["commands"] = ["drbdadm " + "very-long-name " * 20]
    assert plan["steps"][0]["commands"][0].strip() in page_rich.draw(page("plan", plan), 60)


def test_no_color_is_heeded(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in page_rich.draw(page("status", status()), 80)
    assert "\x1b[32m" not in page_rich.draw(page("status", status()), 80)


def test_what_a_tool_printed_cannot_drive_the_terminal(status: Status) -> None:
    evil = {"level": "active", "detail": "[red]a\x1b[2J\nb\u202e\udcff"}
    drawn = page("status", status(resources={"web": evil}))
    for text in (plain(drawn), page_rich.draw(drawn, 200)):
        assert r"[red]a\x1b[2J\nb\u202e\udcff" in text
        assert "\x1b[2J" not in text
    assert clean("plain é") == "plain é"
