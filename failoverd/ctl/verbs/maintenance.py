"""``failoverctl maintenance``: let failoverd observe and report, and start no step."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl import arguments, client, when
from failoverd.ctl.page import Block, Cell, Page, Tone
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
While maintenance is on, failoverd starts no step on this node, whatever
keepalived reports and whatever drifts: a guest that is stopped by hand stays
stopped. Steps in flight end. Checks, status and alarms continue, and `status`
shows the steps that are held back. It lasts over restarts and reboots, until
--for has passed or until `maintenance off`. Then failoverd checks everything,
and acts.

If keepalived changes mastership meanwhile, the resources of this node do not
follow: nothing may be active, or two nodes may be. To move mastership first:
failoverctl standby --all. It is refused while mastership leaves this node.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("state", choices=("on", "off"), help="begin or end it")
    text = "with on: end it after this time, such as 90s, 30m, 2h or 1d; without, only `off` ends it"
    parser.add_argument("--for", dest="duration", metavar="TIME", type=arguments.duration, help=text)


class _WrongArguments(client.CtlError):
    status = 64


def _params(asked: argparse.Namespace) -> dict[str, object]:
    if asked.state == "off" and asked.duration is not None:
        raise _WrongArguments("--for is for maintenance on", "try: failoverctl maintenance --help")
    return {"on": asked.state == "on", "for": asked.duration}


def _follow(answer: Answer, asked: argparse.Namespace) -> Answer:
    if answer["unsaved"]:
        done = "begun" if asked.state == "on" else "ended"
        raise client.CtlError(
            f"maintenance has {done}, and a reboot would forget that: {answer['unsaved']}",
            "fix that; failoverd then writes it by itself",
        )
    return answer


def _page(answer: Answer, _asked: argparse.Namespace, now: datetime) -> Page:
    found = answer["maintenance"]
    if found is None:
        told = "maintenance is off: failoverd acts" if answer["before"] else "there was no maintenance"
        return (Block(title=(Cell(told, Tone.GOOD),)),)
    end = f"until {when.clock(found['until'], now.tzinfo)}" if found["until"] else "until: failoverctl maintenance off"
    notes = [
        Cell(f"{name}: {', '.join(running)}: the step in flight ends", Tone.BUSY)
        for name, running in answer["running"].items()
    ]
    title = Cell(f"maintenance: failoverd starts no step on this node, {end}", Tone.BUSY)
    return (Block(title=(title,), notes=tuple(notes)),)


VERB = Verb(
    position=48,
    summary="observe and report, and start no step",
    details=_DETAILS,
    examples=(
        ("failoverctl maintenance on --for 2h", "for two hours at most"),
        ("failoverctl maintenance off", "check everything, and act"),
    ),
    arguments=_arguments,
    action=Request(
        verb="maintenance",
        params=_params,
        page=_page,
        operators_only=True,
        follow=_follow,
    ),
)
