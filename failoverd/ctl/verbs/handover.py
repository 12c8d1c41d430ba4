"""``failoverctl handover``: move mastership to another node, in order, verified there, and measured."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime

from failoverd.command_text import failoverctl
from failoverd.ctl import arguments, client, handover, output, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verbs import Answer, Request, Run, Verb

_DETAILS = """\
First it asks every node in [peers]: one of them must be a standby without a
problem, with the same configuration and every resource of this node. Then this
node, still MASTER, deactivates its resources: routes are withdrawn, guests are
stopped, DRBD is demoted. When all are at standby it releases mastership. That
is the point of no return: until then Ctrl-C, or a failure, ends the handover,
and this node serves again. Where no other node takes over, it competes again.

failoverctl asks the other nodes again while it waits: if none can take over any
more, this node serves again. Without --to, keepalived elects one of the nodes
that can. The others, with --to all others, are aside meanwhile: their track
files say so. That needs the right to run failoverctl handover there, and ends
by itself.

With preempt = false this node competes again at the end; otherwise it stays in
standby, so that it does not take mastership back, as do the nodes that were
aside: failoverctl online ends that.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance(parser)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--to", metavar="NODE", help="the node that is to take over, as in [peers]")
    one.add_argument("--aside", metavar="ID", help="keep this node aside, for 15 seconds: failoverctl itself runs that")
    one.add_argument("--compete", metavar="ID", help="end --aside of the same ID")


def _instead(_: argparse.Namespace) -> Run:
    return _run


def _run(asked: argparse.Namespace) -> int:
    for part in ("aside", "compete"):
        if number := getattr(asked, part, None):
            found = client.ask(asked.socket, "handover", {"instance": asked.instance, "part": part, "id": number})
            _show(asked, found, f"{asked.instance}: {'aside' if found['aside'] else 'not aside'}\n")
            return 0
    answer = handover.run(asked.socket, asked.instance, asked.to)
    _show(asked, answer, output.drawn(_page(answer, asked, datetime.now().astimezone())))
    if answer["unsaved"]:
        raise client.CtlError(
            f"{answer['from']} stays in standby, but a reboot would forget that: {answer['unsaved']}",
            "fix that; failoverd then writes it by itself",
        )
    return 0


def _show(asked: argparse.Namespace, answer: Answer, page: str) -> None:
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if getattr(asked, "json", False) else page)
    sys.stdout.flush()


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    name, took = str(answer["instance"]), answer["took"]
    title = Cell(f"{name}: handed over from {answer['from']} to {answer['to']}", Tone.GOOD)
    parts = (
        ("stop", f"the resources on {answer['from']}", took["stop"]),
        ("move", "mastership", took["move"]),
        ("start", f"the resources on {answer['to']}", took["start"]),
    )
    rows = [_row(word, when.span(seconds) if seconds is not None else "?", text) for word, text, seconds in parts]
    if None not in took.values():
        rows.append(_row("total", when.span(sum(took.values())), "not served by either node, at most"))
    notes = [Cell(note, Tone.BUSY) for note in answer["notes"]]
    if answer["competes"]:
        notes.append(Cell(f"{answer['from']} competes for mastership again (preempt = false)"))
    elif answer["standby"]:
        back = failoverctl("online", name)
        notes.append(Cell(f"{answer['from']} stays in standby; to let it take mastership back: {back}"))
        notes += [Cell(f"so does {node}; to end that, there: {back}") for node in answer["kept"]]
    else:
        notes.append(Cell(f"{answer['from']} does not compete for mastership; see: failoverctl status", Tone.BUSY))
    return (Block(title=(title,), notes=tuple(notes)), Block(rows=tuple(rows)))


def _row(word: str, seconds: str, text: str) -> Row:
    return Row(cells=(Cell(word, Tone.FAINT), Cell(seconds), Cell(text)))


VERB = Verb(
    position=49,
    summary="move mastership to another node, resources first, and measure it",
    details=_DETAILS,
    examples=(("failoverctl handover VI_1", "before maintenance of this node"),),
    arguments=_arguments,
    action=Request(verb="handover", params=lambda asked: {"instance": asked.instance}, page=_page, operators_only=True),
    instead=_instead,
)
