"""``failoverctl reset``: check every resource of an instance, and retry those that gave up."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.command_text import failoverctl
from failoverd.ctl import arguments
from failoverd.ctl.page import Block, Cell, Page, Tone
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
Fix the cause first: failoverctl status
Then failoverd checks every resource of INSTANCE and retries those that have
given up. Healthy resources stay as they are. failoverd also takes back released
mastership, and forgets the strays of INSTANCE. It does
not end `failoverctl standby`.
"""


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    told = f"{answer['instance']}: failoverd checks every resource and retries those that have given up"
    if answer.get("forgotten"):
        told = f"{answer['instance']}: failoverd has forgotten the strays {', '.join(answer['forgotten'])}"
    notes = [Cell("for the result: failoverctl status")]
    if answer.get("standby"):
        name = answer["instance"]
        end = failoverctl("online", name)
        notes.append(Cell(f"{name} is still kept in standby; to end that: {end}", Tone.BUSY))
    return (Block(title=(Cell(told),), notes=tuple(notes)),)


VERB = Verb(
    position=50,
    summary="check every resource of an instance, and retry those that gave up",
    details=_DETAILS,
    examples=(("failoverctl reset VI_1", "retry the resources that gave up"),),
    arguments=arguments.instance,
    action=Request(
        verb="reset",
        params=lambda asked: {"instance": asked.instance},
        page=_page,
        operators_only=True,
    ),
)
