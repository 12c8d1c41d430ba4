"""``failoverctl plan``: what would be run, in order, and how long it could take at worst. Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from failoverd.ctl import when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone


def page(plan: Mapping[str, Any]) -> Page:
    """The daemon's ``plan`` as a page."""
    steps = plan.get("steps") or ()
    title = (
        Cell(f"plan: {plan.get('instance', '?')} to {plan.get('target', '?')},", Tone.STRONG),
        Cell(f"at worst {when.span(plan.get('worst_case'))}; nothing has been run"),
    )
    if not steps:
        return (Block(title=title, notes=(Cell("there is nothing to do: this instance has no resource here"),)),)
    note = Cell("steps of one wave run side by side; each also waits for what it needs", Tone.FAINT)
    headings = ("wave", "resource", "driver", "verb", "at worst", "after")
    return (Block(title=title, notes=(note,), headings=headings, rows=tuple(_step(step) for step in steps)),)


def _step(step: Mapping[str, Any]) -> Row:
    already = bool(step.get("already"))
    commands = tuple(Cell(line) for command in step.get("commands") or () for line in str(command).split("\n"))
    return Row(
        cells=(
            Cell(str(step.get("wave", "?")), Tone.STRONG),
            Cell(str(step.get("resource", "?"))),
            Cell(str(step.get("driver", "?"))),
            Cell(str(step.get("verb", "?"))),
            Cell(
                "done already" if already else when.span(step.get("worst_case")), Tone.GOOD if already else Tone.PLAIN
            ),
            Cell(", ".join(map(str, step.get("needs") or ())) or "-", Tone.FAINT),
        ),
        below=() if already else commands,
    )
