"""``failoverctl unfence``: a node that was fenced, or kept in standby, may be on and active again."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl.page import Block, Cell, Page
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
A node that its fence agent has found off, or an operator has confirmed to be
off, counts as off until this node hears of it again: nothing here waits for it
or fences it meanwhile. And one that was kept in standby when it was last heard
needs no witness against it. Run this after you have switched NODE on, or have
installed it anew, if this node cannot hear it. It switches nothing on.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="the node's name, as in [heartbeat] of failoverd.toml")


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    node = answer["node"]
    done = [f"{node} does not count as off any more"] if answer["was_off"] else []
    done += [f"the promise of {node} to stay at standby does not count any more"] if answer.get("promised") else []
    return (Block(title=(Cell("; ".join(done) or f"{node} was not known to be off"),)),)


VERB = Verb(
    position=62,
    summary="let a node that was fenced, or kept in standby, count as on again",
    details=_DETAILS,
    examples=(("failoverctl unfence left", "left was switched on"),),
    arguments=_arguments,
    action=Request(
        verb="unfence",
        params=lambda asked: {"node": asked.node},
        page=_page,
        operators_only=True,
    ),
)
