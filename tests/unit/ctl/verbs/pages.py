"""What a verb shows, through its declaration."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from failoverd.ctl import verbs
from failoverd.ctl.page import Page, plain
from failoverd.ctl.verbs import Request

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)


def page(verb: str, answer: dict[str, Any], now: datetime = NOW) -> Page:
    """The page that `verb` makes of `answer`, where no instance was named."""
    action = verbs.declared()[verb].action
    assert isinstance(action, Request)
    return action.page(answer, Namespace(instance=None, html=None), now)


def shown(verb: str, answer: dict[str, Any], now: datetime = NOW) -> str:
    """The same in a pipe."""
    return plain(page(verb, answer, now))
