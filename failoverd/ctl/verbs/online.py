"""``failoverctl online``: end ``failoverctl standby``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.ctl import arguments, client
from failoverd.ctl.page import Block, Cell, Page, Tone
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
It ends `failoverctl standby`: keepalived competes for mastership again. Whether
it takes mastership back at once is its own decision: with nopreempt it does not
while another node is MASTER.

With fencing and preempt it is refused if another node is active, and this one
would first fence a third node, or refuse because of it: --anyway overrules it.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance_or_all(parser)
    parser.add_argument("--anyway", action="store_true", help="even if this node could not take over")


def _params(asked: argparse.Namespace) -> dict[str, Any]:
    return {**arguments.chosen(asked), "anyway": asked.anyway}


def _follow(answer: Answer, _asked: argparse.Namespace) -> Answer:
    if answer["unsaved"]:
        raise client.CtlError(
            f"online, but a reboot would bring the standby back: {answer['unsaved']}",
            "fix that; failoverd then writes it by itself",
        )
    return answer


def _told(name: str, each: Mapping[str, Any]) -> Cell:
    if each["released"]:
        remedy = f"to take back mastership: {failoverctl('reset', name)}"
        return Cell(f"{name}: failoverd has released mastership: {each['released']}; {remedy}", Tone.BUSY)
    if not each["ended"]:
        return Cell(f"{name}: it was not kept in standby")
    if not each["configured"]:
        return Cell(f"{name}: its standby has ended; it is not configured here", Tone.GOOD)
    return Cell(f"{name}: keepalived competes for mastership again", Tone.GOOD)


def _relied_on(name: str, others: Sequence[str]) -> Cell:
    """The silent nodes that may not learn that the standby has ended."""
    text = f"{', '.join(others)} cannot hear that, and may still count on the standby of this node"
    return Cell(f"{name}: {text}: see there: {failoverctl('status', name)}", Tone.BUSY)


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    told = [_told(name, each) for name, each in answer["instances"].items()]
    told += [_relied_on(name, each["relying"]) for name, each in answer["instances"].items() if each.get("relying")]
    return (Block(notes=tuple(told)),)


VERB = Verb(
    position=47,
    summary="end standby: compete for mastership again",
    details=_DETAILS,
    examples=(
        ("failoverctl online VI_1", "one instance"),
        ("failoverctl online --all", "all, after an update of the kernel"),
    ),
    arguments=_arguments,
    action=Request(
        verb="online",
        params=_params,
        page=_page,
        operators_only=True,
        follow=_follow,
    ),
)
