"""``failoverctl history`` and ``history show``: what was done, why, and with which commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone

_TONES = {
    "done": Tone.GOOD,
    "active": Tone.GOOD,
    "standby": Tone.GOOD,
    "running": Tone.BUSY,
    "partial": Tone.BUSY,
    "overtaken": Tone.BUSY,
    "interrupted": Tone.BUSY,
}


def page(history: Mapping[str, Any], now: datetime) -> Page:
    """The daemon's ``history`` as a page, newest first; times in the zone of `now`."""
    transitions = history.get("transitions") or ()
    if not transitions:
        return (Block(title=(Cell("no transition has been recorded"),)),)
    headings = ("id", "started", "instance", "target", "outcome", "took", "why")
    return (Block(headings=headings, rows=tuple(_transition(one, now) for one in transitions)),)


def page_of_one(transition: Mapping[str, Any], now: datetime) -> Page:
    """One transition with its steps as a page."""
    steps = transition.get("steps") or ()
    outcome, reason = _outcome(transition), str(transition.get("reason") or "")
    started, ended = transition.get("started"), transition.get("ended")
    title = (
        Cell(f"transition {transition.get('id', '?')}:", Tone.STRONG),
        Cell(f"{transition.get('instance', '?')} to {transition.get('target', '?')}", Tone.STRONG),
        outcome,
    )
    notes = [Cell(f"why      {transition.get('cause') or '-'}")]
    if reason:
        notes.append(Cell(f"result   {reason}", outcome.tone))
    notes.append(Cell(f"started  {when.clock(started, now.tzinfo)} ({when.age(started, now)})"))
    notes.append(Cell(f"ended    {when.clock(ended, now.tzinfo)} (took {when.took(started, ended)})"))
    if not steps:
        notes.append(Cell("steps    none"))
    headings = ("after", "resource", "verb", "outcome", "took", "detail") if steps else ()
    rows = tuple(_step(step, started) for step in steps)
    return (Block(title=title, notes=tuple(notes), headings=headings, rows=rows),)


def _transition(one: Mapping[str, Any], now: datetime) -> Row:
    outcome = _outcome(one)
    why = str(one.get("cause") or "-")
    if outcome.tone is not Tone.GOOD and one.get("reason"):
        why = f"{why}: {one['reason']}"
    return Row(
        cells=(
            Cell(str(one.get("id", "?")), Tone.STRONG),
            Cell(when.clock(one.get("started"), now.tzinfo)),
            Cell(str(one.get("instance", "?"))),
            Cell(str(one.get("target", "?"))),
            outcome,
            Cell(when.took(one.get("started"), one.get("ended"))),
            Cell(why),
        )
    )


def _step(step: Mapping[str, Any], begun: Any) -> Row:
    return Row(
        cells=(
            Cell(f"+{when.took(begun, step.get('started'))}", Tone.FAINT),
            Cell(str(step.get("resource", "?"))),
            Cell(str(step.get("verb", "?"))),
            _outcome(step),
            Cell(when.took(step.get("started"), step.get("ended"))),
            Cell(str(step.get("detail") or "")),
        ),
        below=tuple(Cell(line, Tone.FAINT) for line in str(step.get("command") or "").split("\n") if line),
    )


def _outcome(entry: Mapping[str, Any]) -> Cell:
    word = str(entry.get("outcome") or "running")
    return Cell(word, _TONES.get(word, Tone.BAD))
