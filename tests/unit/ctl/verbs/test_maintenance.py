"""``failoverctl maintenance``: what it says, and how `status` and `check` show it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from failoverd.ctl import arguments, client, verbs, when
from failoverd.ctl.verbs import Request
from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.test_failoverctl import at
from tests.unit.ctl.verbs.pages import shown

Status = Callable[..., dict[str, Any]]

ON = {"by": "jim", "since": "2026-11-21T03:12:00+00:00", "until": "2026-11-21T05:12:00+00:00"}


def answer(**changed: Any) -> dict[str, Any]:
    return {"maintenance": ON, "before": False, "running": {}, "unsaved": None, **changed}


def test_it_says_until_when_and_which_step_still_ends() -> None:
    assert shown("maintenance", answer(running={"VI_1": ["disk", "web"]})) == (
        "  maintenance: failoverd starts no step on this node, until 2026-11-21 05:12:00\n"
        "  VI_1: disk, web: the step in flight ends\n"
    )


def test_a_wish_that_is_not_on_the_disk_is_a_failure() -> None:
    request = verbs.declared("maintenance")["maintenance"].action
    assert isinstance(request, Request)
    assert request.follow is not None
    with pytest.raises(client.CtlError, match="maintenance has begun, and a reboot would forget that: it is full"):
        request.follow(answer(unsaved="it is full"), argparse.Namespace(state="on"))


def test_status_and_check_are_loud(daemon: FakeDaemon, status: Status) -> None:
    told = status() | {"maintenance": ON}
    text = shown("status", told)
    assert text.startswith("! node left: NEEDS ATTENTION: maintenance\n")
    since, until = when.clock(ON["since"]), when.clock(ON["until"])
    assert f"! maintenance by jim, since {since}, until {until}: failoverd starts no step; to end it: " in text
    daemon.answers(told)
    done = at(daemon, "check", "VI_1")
    assert (done.returncode, done.stdout.partition(",")[0]) == (1, "FAILOVERD WARNING - maintenance by jim")


def test_a_step_that_is_held_back_is_critical(daemon: FakeDaemon, status: Status) -> None:
    held = "maintenance: failoverd does not activate web; to let it act: failoverctl maintenance off"
    told = status(phase="promoting", held_back=held, alarm=held, reason=held) | {"maintenance": ON}
    daemon.answers(told)
    done = at(daemon, "check")
    assert done.returncode == 2
    assert done.stdout.count("does not activate web") == 1
    assert shown("status", told).count("does not activate web") == 1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)])
def test_a_time_has_a_unit(text: str, seconds: int) -> None:
    assert arguments.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "2", "-1h", "0m", "1.5h", "2w", "367d", "²h", "2 h"])
def test_other_times_are_not_understood(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time such as 90s, 30m, 2h or 1d"):
        arguments.duration(text)
