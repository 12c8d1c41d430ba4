"""``failoverctl accept``: an operator's consent, once, to stale data or one side of a split brain."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl import arguments, completion
from failoverd.ctl.page import Block, Cell, Page
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
failoverd refuses to activate RESOURCE because its copy may lack the newest
writes: the replication to the Primary was down, or DRBD gave up the connection
to a node (StandAlone: split brain). If you activate and keep this copy, those
writes are lost. If you can, bring the other node back instead. For a split
brain, the consent holds for one promotion. The history records the consent and
its operator.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance(parser)
    text = "the resource's name, as in failoverd.toml"
    arguments.completed(parser.add_argument("resource", metavar="RESOURCE", help=text), completion.resources)


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    title = Cell(f"{answer['resource']}: {answer['accepted']}")
    return (Block(title=(title,), notes=(Cell("for the result: failoverctl status"),)),)


VERB = Verb(
    position=70,
    summary="consent once to stale data, or to one side of a split brain",
    details=_DETAILS,
    examples=(("failoverctl accept VI_1 web-disk", "activate stale data rather than none"),),
    arguments=_arguments,
    action=Request(
        verb="accept",
        params=lambda asked: {"instance": asked.instance, "resource": asked.resource},
        page=_page,
        operators_only=True,
    ),
)
