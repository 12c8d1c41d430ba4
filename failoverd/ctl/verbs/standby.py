"""``failoverctl standby``: let another node be MASTER, until ``failoverctl online``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.ctl import arguments, client, waiting, when
from failoverd.ctl.page import Block, Cell, Page, Tone
from failoverd.ctl.verbs import Answer, Request, Verb
from failoverd.ctl.waiting import Instances

_DETAILS = """\
failoverd tells keepalived, by the track file, that this node is not to be
MASTER of INSTANCE. keepalived lets go in milliseconds, another node takes over,
and the resources of this node are deactivated as at any failover. It lasts over
restarts and reboots: only `failoverctl online` ends it.

It is refused if no other node can take over, as far as this node knows:
keepalived does not watch the track file; a resource is configured on this node
only; no peer of a DRBD resource is connected and UpToDate; or, with fencing, a
resource that is no longer configured may run here, no node that may be elected
is heard, or one would first fence a third node. --anyway overrules that.
This node does not know whether another keepalived runs and may be MASTER: check
`failoverctl status` there.

The command waits until this node is in standby; Ctrl-C ends only the waiting.
"""

#: Seconds after which a keepalived that still reports MASTER does not let go.
_RELEASED_WITHIN_S = 5.0

#: Seconds beyond the deadlines of all steps.
_GRACE_S = 15.0


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance_or_all(parser)
    parser.add_argument("--anyway", action="store_true", help="even if no other node can take over")


def _params(asked: argparse.Namespace) -> dict[str, Any]:
    asked.began = time.monotonic()
    return {**arguments.chosen(asked), "anyway": asked.anyway}


def _follow(answer: Answer, asked: argparse.Namespace) -> Answer:
    """Wait until every instance that was active has left. CtlError: one has not."""
    leaving = [name for name, each in answer["instances"].items() if each["leaving"]]
    took = dict[str, float]()

    def done(instances: Instances) -> bool:
        passed = time.monotonic() - asked.began
        for name in leaving:
            if name not in took and _ended(instances.get(name), passed):
                took[name] = passed
        return len(took) == len(leaving)

    limit = max((answer["instances"][name]["worst_case"] for name in leaving), default=0.0) + _GRACE_S
    try:
        status, _ = waiting.until(
            asked.socket, done, within=limit, progress=lambda i: _progress(i, leaving, asked.began)
        )
    except KeyboardInterrupt:
        raise _Interrupted(leaving) from None
    found = status["instances"]
    wrong = [why for name in leaving if (why := _failure(name, found.get(name), limit))]
    if answer["unsaved"]:
        wrong.append(f"a reboot would forget this standby: {answer['unsaved']}")
    if wrong:
        raise client.CtlError("; ".join(wrong), f"the standby remains; {_more(asked)}")
    states = {name: (found.get(name) or {}).get("vrrp_state") for name in answer["instances"]}
    return {**answer, "took": {name: round(seconds, 3) for name, seconds in took.items()}, "vrrp_states": states}


def _ended(instance: Mapping[str, Any] | None, passed: float) -> bool:
    """Whether waiting longer would change nothing."""
    if instance is None or instance["phase"] == "failed" or _reached(instance):
        return True
    return instance["vrrp_state"] == "MASTER" and passed > _RELEASED_WITHIN_S


def _reached(instance: Mapping[str, Any]) -> bool:
    """Whether it is in standby. A handover deactivates the resources while keepalived is still MASTER."""
    return bool(instance["phase"] == "standby" and instance["vrrp_state"] != "MASTER")


def _failure(name: str, instance: Mapping[str, Any] | None, limit: float) -> str:
    """Why it is not in standby; empty if it is."""
    if instance is None:
        return f"{name} is no longer configured"
    if _reached(instance):
        return ""
    if instance["vrrp_state"] == "MASTER":
        alarm = str(instance["alarm"] or "keepalived still reports MASTER")
        return f"{name}: {alarm.partition('; to end it')[0]}"
    if instance["phase"] == "failed":
        return f"{name}: {instance['reason']}"
    return f"{name} is still {instance['phase']} after {when.span(limit)}"


def _progress(instances: Instances, leaving: list[str], began: float) -> str:
    left = {name: instances[name] for name in leaving if name in instances and not _reached(instances[name])}
    steps = [key for each in left.values() for key, resource in each["resources"].items() if resource.get("step")]
    seconds = when.span(int(time.monotonic() - began))
    return f"{', '.join(left)}: {seconds}; {'steps: ' + ', '.join(steps) if steps else 'waiting for keepalived'}"


class _Interrupted(client.CtlError):
    """Ctrl-C while waiting."""

    status = 130

    def __init__(self, leaving: list[str]) -> None:
        names = ", ".join(leaving)
        super().__init__(f"stopped waiting for {names}; the standby remains", "to follow it: failoverctl status")


def _more(asked: argparse.Namespace) -> str:
    return f"to end it: {'failoverctl online --all' if asked.all else failoverctl('online', asked.instance)}"


def _page(answer: Answer, asked: argparse.Namespace, _now: datetime) -> Page:
    titles, notes = [], []
    for name, each in answer["instances"].items():
        state = answer["vrrp_states"].get(name)
        told = f"keepalived reports {state}" if state else "keepalived has reported no state"
        if name in answer["took"]:
            titles.append(Cell(f"{name}: in standby after {when.span(answer['took'][name])}; {told}", Tone.GOOD))
        else:
            titles.append(Cell(f"{name}: kept in standby from now on; it was not active here; {told}", Tone.GOOD))
        notes += [Cell(f"{name}: unknown: {unknown}", Tone.BUSY) for unknown in each["unknown"]]
        notes += [Cell(f"{name}: {obstacle}", Tone.BAD) for obstacle in each["obstacles"]]
    notes.append(Cell("whether another node is active: failoverctl status --all"))
    notes.append(Cell(_more(asked)))
    return (*(Block(title=(title,)) for title in titles[:-1]), Block(title=(titles[-1],), notes=tuple(notes)))


VERB = Verb(
    position=46,
    summary="let another node be MASTER, until online",
    details=_DETAILS,
    examples=(
        ("failoverctl standby VI_1", "hand one instance over"),
        ("failoverctl standby --all", "before an update of the kernel"),
    ),
    arguments=_arguments,
    action=Request(
        verb="standby",
        params=_params,
        page=_page,
        operators_only=True,
        follow=_follow,
    ),
)
