"""``failoverctl alert test``: let the daemon run the alert command, with a test instead of an alarm."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl.page import Block, Cell, Page
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
The daemon runs the command of [alert] in failoverd.toml once, as it does for an
alarm: as the same user, in the same sandbox, with the facts on standard input.
Exit status: 0 if the command accepted the test, 1 if it failed.
"""


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    command, seconds = answer["command"], answer["seconds"]
    if seconds is None:
        told, note = f"the alert command still runs: {command}", "if it fails, this has the reason: failoverctl status"
    else:
        told, note = f"the alert command accepted the test within {seconds:.1f} s: {command}", "now see that it arrives"
    return (Block(title=(Cell(told),), notes=(Cell(note),)),)


def _no_arguments(_parser: argparse.ArgumentParser) -> None:
    """It has none."""


VERB = Verb(
    position=75,
    summary="run the alert command with a test, to see that alarms arrive",
    details=_DETAILS,
    examples=(("failoverctl alert test", "after a change of [alert], or monthly"),),
    arguments=_no_arguments,
    action=Request(verb="alert test", params=lambda _: {}, page=_page, operators_only=True),
)
