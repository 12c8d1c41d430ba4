"""``failoverctl history show``: one transition, with every step and its commands."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl import arguments, completion, timeline, when
from failoverd.ctl.page import Block, Cell, Drawing, Page, Row, Tone
from failoverd.ctl.timeline import Bar
from failoverd.ctl.verbs import Answer, Request, Verb
from failoverd.ctl.verbs.history import outcome

_DETAILS = """\
One bar per step, with the waits before it. A star marks the critical path: the
steps that made the transition take so long. For a browser:
  failoverctl history show 118 --html 118.html

Below each step are its commands, ready to paste. With --json, the `command` of
a step holds one command per line.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = "the transition's number, from `failoverctl history`"
    number = parser.add_argument("id", metavar="ID", type=arguments.count, help=text)
    arguments.completed(number, completion.transitions)
    page = parser.add_argument(
        "--html", metavar="FILE", help="write the timeline as an HTML page, and print nothing else"
    )
    arguments.completed(page, completion.files)


def _params(asked: argparse.Namespace) -> dict[str, int]:
    if asked.html is not None and getattr(asked, "json", False):
        asked.parser.error("--html and --json exclude each other")
    return {"id": asked.id}


def _page(answer: Answer, asked: argparse.Namespace, now: datetime) -> Page:
    if asked.html is not None:
        from failoverd.ctl import output_file, timeline_html  # no other request needs them

        output_file.write(asked.html, timeline_html.page(answer, timeline.timeline(answer, now), now))
        return (Block(title=(Cell(f"{asked.html}: written"),)),)
    ended_as, reason = outcome(answer), str(answer.get("reason") or "")
    started, ended = answer.get("started"), answer.get("ended")
    title = (
        Cell(f"transition {answer.get('id', '?')}:", Tone.STRONG),
        Cell(f"{answer.get('instance', '?')} to {answer.get('target', '?')}:", Tone.STRONG),
        ended_as,
    )
    notes = [Cell(f"cause    {answer.get('cause') or '-'}")]
    if reason:
        notes.append(Cell(f"reason   {reason}", ended_as.tone))
    notes.append(Cell(f"started  {when.clock(started, now.tzinfo)} ({when.age(started, now)})"))
    notes.append(Cell(f"ended    {when.clock(ended, now.tzinfo)} (took {when.took(started, ended)})"))
    shown = timeline.timeline(answer, now) if answer.get("steps") or answer.get("waits") else None
    if shown is None or not shown.bars:
        return (Block(title=title, notes=(*notes, Cell("steps    none"))),)
    rows = tuple(_step(bar, shown.total) for bar in shown.bars if bar.outcome)
    notes.append(Cell(f"path     {timeline.path_text(shown)} (the critical path)" if rows else "steps    none"))
    headings = ("after", "resource", "verb", "outcome", "took", "detail")
    return (
        Block(title=title, notes=tuple(notes)),
        Drawing(draw=lambda width, utf8: timeline.lines(shown, width, utf8=utf8)),
        *((Block(headings=headings, rows=rows),) if rows else ()),
    )


def _step(bar: Bar, total: float) -> Row:
    took = when.part(bar.end - bar.start, total) if bar.outcome not in ("running", "interrupted") else "-"
    waited = tuple(Cell(f"# waited {wait.text(total)}", Tone.FAINT) for wait in bar.waits)
    return Row(
        cells=(
            Cell(f"+{when.part(bar.start, total)}", Tone.FAINT),
            Cell(bar.resource),
            Cell(bar.verb),
            outcome({"outcome": bar.outcome}),
            Cell(took),
            Cell(bar.detail),
        ),
        below=(*waited, *(Cell(line, Tone.FAINT) for line in bar.commands)),
    )


VERB = Verb(
    position=30,
    summary="show one transition: its cause, its steps and their commands",
    details=_DETAILS,
    examples=(("failoverctl history show 118", "the timeline, steps and commands"),),
    arguments=_arguments,
    action=Request(verb="transition", params=_params, page=_page),
)
