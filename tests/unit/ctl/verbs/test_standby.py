"""``failoverctl standby`` and ``online``: they wait, and say what has happened."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest

from failoverd.ctl import client, command_line, verbs
from failoverd.ctl.page import plain
from failoverd.ctl.verbs import Request
from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.verbs.pages import NOW, shown

Status = Callable[..., dict[str, Any]]

LEAVING = {"leaving": True, "worst_case": 90.0, "obstacles": [], "unknown": []}


def answer(**changed: Any) -> dict[str, Any]:
    return {"instances": {"VI_1": LEAVING | changed}, "unsaved": None}


def asked(daemon: FakeDaemon, *, every: bool = False) -> Namespace:
    words = Namespace(instance=None if every else "VI_1", all=every, anyway=False, socket=str(daemon.path))
    request().params(words)
    return words


def request() -> Request:
    found = verbs.declared("standby")["standby"].action
    assert isinstance(found, Request)
    return found


def followed(daemon: FakeDaemon, first: dict[str, Any], *, every: bool = False) -> str:
    words, standby = asked(daemon, every=every), request()
    assert standby.follow is not None
    return plain(standby.page(standby.follow(first, words), words, NOW))


def failure(daemon: FakeDaemon, first: dict[str, Any]) -> client.CtlError:
    with pytest.raises(client.CtlError) as caught:
        followed(daemon, first)
    return caught.value


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for time to pass."""
    monkeypatch.setattr("failoverd.ctl.verbs.standby._RELEASED_WITHIN_S", -1.0)
    monkeypatch.setattr("failoverd.ctl.verbs.standby.when.span", lambda _: "0.4 s")


def test_it_waits_until_the_node_is_in_standby(
    daemon: FakeDaemon, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers(status(phase="demoting", vrrp_state="FAULT"))
    done = status(phase="standby", vrrp_state="FAULT")
    monkeypatch.setattr("failoverd.ctl.waiting.time.sleep", lambda _: daemon.answers(done))
    assert followed(daemon, answer()) == (
        "  VI_1: in standby after 0.4 s; keepalived reports FAULT\n"
        "  whether another node is active: failoverctl status --all\n"
        "  to end it: failoverctl online VI_1\n"
    )


def test_during_a_handover_it_waits_until_keepalived_lets_go(
    daemon: FakeDaemon, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.ctl.verbs.standby._RELEASED_WITHIN_S", 100.0)
    daemon.answers(status(phase="standby", vrrp_state="MASTER"))
    done = status(phase="standby", vrrp_state="FAULT")
    monkeypatch.setattr("failoverd.ctl.waiting.time.sleep", lambda _: daemon.answers(done))
    assert followed(daemon, answer()).startswith("  VI_1: in standby after 0.4 s; keepalived reports FAULT\n")


def test_the_time_counts_from_the_request(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status(phase="standby", vrrp_state="FAULT"))
    words, standby = asked(daemon), request()
    words.began -= 100
    assert standby.follow is not None
    assert standby.follow(answer(), words)["took"]["VI_1"] >= 100


def test_an_instance_that_was_not_active_is_not_awaited(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status(phase="unknown", vrrp_state=None))
    unknown = answer(leaving=False, unknown=["the peers of disk: drbdsetup is missing"])
    assert followed(daemon, unknown, every=True) == (
        "  VI_1: kept in standby from now on; it was not active here; keepalived has reported no state\n"
        "  VI_1: unknown: the peers of disk: drbdsetup is missing\n"
        "  whether another node is active: failoverctl status --all\n"
        "  to end it: failoverctl online --all\n"
    )


def test_obstacles_that_were_overruled_are_marked(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status(phase="standby", vrrp_state="FAULT"))
    assert "! VI_1: disk is configured on this node only\n" in followed(
        daemon, answer(obstacles=["disk is configured on this node only"])
    )


def test_a_keepalived_that_stays_master_is_a_failure(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status(phase="active", vrrp_state="MASTER", alarm="standby (by root) has no effect: …"))
    failed = failure(daemon, answer())
    assert (failed.error, failed.status) == ("VI_1: standby (by root) has no effect: …", 1)
    assert failed.hint == "the standby remains; to end it: failoverctl online VI_1"
    daemon.answers(status(phase="standby", vrrp_state="MASTER", alarm=""))
    assert failure(daemon, answer()).error == "VI_1: keepalived still reports MASTER"


def test_a_demotion_that_fails_is_a_failure(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status(phase="failed", vrrp_state="FAULT", reason="guest: it cannot be stopped"))
    assert failure(daemon, answer()).error == "VI_1: guest: it cannot be stopped"


def test_a_demotion_that_does_not_end_is_a_failure(
    daemon: FakeDaemon, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.ctl.verbs.standby._GRACE_S", -100.0)
    daemon.answers(status(phase="demoting", vrrp_state="FAULT"))
    assert failure(daemon, answer()).error == "VI_1 is still demoting after 0.4 s"


def test_a_wish_that_is_not_on_the_disk_is_a_failure(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status(phase="standby", vrrp_state="FAULT"))
    failed = failure(daemon, answer() | {"unsaved": "the disk is full"})
    assert failed.error == "a reboot would forget this standby: the disk is full"


def test_ctrl_c_ends_the_waiting_only(daemon: FakeDaemon, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    daemon.answers(status(phase="demoting", vrrp_state="FAULT"))
    monkeypatch.setattr("failoverd.ctl.waiting.time.sleep", interrupted)
    failed = failure(daemon, answer())
    assert (failed.error, failed.status) == ("stopped waiting for VI_1; the standby remains", 130)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"ended": True, "released": None, "configured": True}, "  VI_1: keepalived competes for mastership again\n"),
        ({"ended": False, "released": None, "configured": True}, "  VI_1: it was not kept in standby\n"),
        (
            {"ended": True, "released": None, "configured": False},
            "  VI_1: its standby has ended; it is not configured here\n",
        ),
        (
            {"ended": True, "released": None, "configured": True, "relying": ["right"]},
            (
                "  VI_1: keepalived competes for mastership again\n"
                "  VI_1: right cannot hear that, and may still count on the standby of this node: see there: "
                "failoverctl status VI_1\n"
            ),
        ),
        (
            {"ended": True, "released": "it is old"},
            "  VI_1: failoverd has released mastership: it is old; to take back mastership: failoverctl reset VI_1\n",
        ),
    ],
)
def test_online_says_what_keepalived_may_do(told: dict[str, Any], line: str) -> None:
    assert shown("online", {"instances": {"VI_1": told}, "unsaved": None}) == line


def test_online_that_is_not_on_the_disk_is_a_failure(daemon: FakeDaemon) -> None:
    request = verbs.declared("online")["online"].action
    assert isinstance(request, Request)
    assert request.follow is not None
    with pytest.raises(client.CtlError, match="a reboot would bring the standby back: the disk is full"):
        request.follow({"instances": {}, "unsaved": "the disk is full"}, asked(daemon))


def test_status_and_check_show_it(status: Status) -> None:
    kept = {"by": "jim", "since": "2026-11-21T03:12:00+00:00"}
    text = shown("status", status(phase="standby", vrrp_state="FAULT", target="standby", standby=kept))
    assert text.startswith("! node left: NEEDS ATTENTION: VI_1\n")
    assert "! VI_1  standby   by jim, 3 min ago; to end it: failoverctl online VI_1\n" in text


@pytest.mark.parametrize("anyway", [False, True])
def test_online_overrules_a_refusal_by_an_option_only(anyway: bool) -> None:
    request = verbs.declared("online")["online"].action
    assert isinstance(request, Request)
    asked = command_line.parse(["online", *(["--anyway"] if anyway else []), "VI_1"])
    assert request.params(asked) == {"instance": "VI_1", "anyway": anyway}
