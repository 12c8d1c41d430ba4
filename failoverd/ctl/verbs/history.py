"""``failoverctl history``: the last transitions, and their causes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import arguments, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
A transition is all steps from one change of target to the next settled phase.
Outcomes:
  active, standby        the instance reached its target
  partial                active without a resource that may fail
  refused, failed        the instance did not reach its target
  released               failoverd released mastership
  overtaken              a later event came first
  interrupted            failoverd ended during the transition
  running                steps are running
"""

_TONES = {
    "done": Tone.GOOD,
    "active": Tone.GOOD,
    "standby": Tone.GOOD,
    "running": Tone.BUSY,
    "partial": Tone.BUSY,
    "overtaken": Tone.BUSY,
    "interrupted": Tone.BUSY,
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", metavar="N", type=arguments.count, default=20, help="the number of transitions (default 20)"
    )


def _page(answer: Answer, _asked: argparse.Namespace, now: datetime) -> Page:
    transitions = answer.get("transitions") or ()
    if not transitions:
        return (Block(title=(Cell("no transition is recorded"),)),)
    headings = ("id", "started", "instance", "target", "outcome", "took", "cause")
    return (Block(headings=headings, rows=tuple(_transition(one, now) for one in transitions)),)


def _transition(one: Mapping[str, Any], now: datetime) -> Row:
    ended_as = outcome(one)
    return Row(
        cells=(
            Cell(str(one.get("id", "?")), Tone.STRONG),
            Cell(when.clock(one.get("started"), now.tzinfo)),
            Cell(str(one.get("instance", "?"))),
            Cell(str(one.get("target", "?"))),
            ended_as,
            Cell(when.took(one.get("started"), one.get("ended"))),
            Cell(_cause(one, ended_as)),
        )
    )


def _cause(one: Mapping[str, Any], ended_as: Cell) -> str:
    """The cause, and the reason where it did not end well, without repetition."""
    cause, reason = str(one.get("cause") or "-"), str(one.get("reason") or "")
    if ended_as.tone is Tone.GOOD or reason in cause:
        return cause
    return reason if cause in reason else f"{cause}: {reason}"


def outcome(entry: Mapping[str, Any]) -> Cell:
    """How a transition or a step ended, in its tone; "running" where it has not ended."""
    word = str(entry.get("outcome") or "running")
    return Cell(word, _TONES.get(word, Tone.BAD))


VERB = Verb(
    position=20,
    summary="list the last transitions, newest first",
    details=_DETAILS,
    examples=(("failoverctl history -n 5", "the last five transitions"),),
    arguments=_arguments,
    action=Request(verb="history", params=lambda asked: {"n": asked.n}, page=_page),
)
