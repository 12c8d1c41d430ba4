"""``failoverctl reconcile``: check an instance now, and show the result."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl import arguments, waiting
from failoverd.ctl.page import Block, Cell, Page, Tone
from failoverd.ctl.verbs import Answer, Request, Verb, status

_DETAILS = """\
failoverd queries keepalived's state and checks every resource of INSTANCE, as
it does every `check_interval`. A resource in the wrong state is repaired. One
that has given up stays so until `failoverctl reset`. The answer waits for the
checks, 15 seconds at most, and shows the instance as `status` does.
"""

#: A check may take 10 s.
_CHECKS_WITHIN_S = 12.0


def _follow(answer: Answer, asked: argparse.Namespace) -> Answer:
    name = asked.instance

    def checking(instances: waiting.Instances) -> list[str]:
        resources = instances[name]["resources"] if name in instances else {}
        return [key for key, resource in resources.items() if resource["checking"]]

    found, _ = waiting.until(
        asked.socket,
        lambda instances: not checking(instances),
        within=_CHECKS_WITHIN_S,
        progress=lambda instances: f"{name}: checking {', '.join(checking(instances))}",
    )
    instances = {key: each for key, each in found["instances"].items() if key == name}
    return {**found, "instances": instances, "answered": answer["answered"], "unchecked": checking(instances)}


def _page(answer: Answer, asked: argparse.Namespace, now: datetime) -> Page:
    notes = []
    if not answer["answered"]:
        notes.append(Cell(f"{asked.instance}: keepalived's D-Bus has not answered", Tone.BUSY))
    if answer["unchecked"]:
        late = ", ".join(answer["unchecked"])
        notes.append(Cell(f"{asked.instance}: not checked within {_CHECKS_WITHIN_S:g} s: {late}", Tone.BAD))
    blocks = status.page(answer, asked, now)
    return (Block(notes=tuple(notes)), *blocks) if notes else blocks


VERB = Verb(
    position=55,
    summary="check every resource of an instance now, and show the result",
    details=_DETAILS,
    examples=(("failoverctl reconcile VI_1", "check everything now"),),
    arguments=arguments.instance,
    action=Request(
        verb="reconcile",
        params=lambda asked: {"instance": asked.instance},
        page=_page,
        operators_only=True,
        follow=_follow,
    ),
)
