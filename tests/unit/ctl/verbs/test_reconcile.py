"""``failoverctl reconcile``: it waits for the checks, and names those that have not ended."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest

from failoverd.ctl import verbs
from failoverd.ctl.page import plain
from failoverd.ctl.verbs import Request
from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.verbs.pages import NOW

Status = Callable[..., dict[str, Any]]


def reconcile() -> Request:
    action = verbs.declared("reconcile")["reconcile"].action
    assert isinstance(action, Request)
    return action


def followed(daemon: FakeDaemon, *, answered: bool = True) -> str:
    asked, request = Namespace(instance="VI_1", socket=str(daemon.path)), reconcile()
    assert request.follow is not None
    return plain(request.page(request.follow({"instance": "VI_1", "answered": answered}, asked), asked, NOW))


def checked(status: Status, *, checking: bool) -> dict[str, Any]:
    answer = status()
    for resource in answer["instances"]["VI_1"]["resources"].values():
        resource["checking"] = checking
    return answer


def test_the_instance_is_shown_as_status_does(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(checked(status, checking=False))
    assert followed(daemon).startswith("  VI_1 ACTIVE 3 min ago (keepalived reports MASTER, target active)\n")


def test_what_was_not_checked_is_named(daemon: FakeDaemon, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.ctl.verbs.reconcile._CHECKS_WITHIN_S", 0.0)
    daemon.answers(checked(status, checking=True))
    text = followed(daemon, answered=False)
    assert text.startswith(
        "  VI_1: keepalived's D-Bus has not answered\n! VI_1: not checked within 0 s: prefix, web\n\n  VI_1 ACTIVE"
    )


def test_it_asks_again_until_the_checks_have_ended(
    daemon: FakeDaemon, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers(checked(status, checking=True))
    monkeypatch.setattr("failoverd.ctl.waiting.time.sleep", lambda _: daemon.answers(checked(status, checking=False)))
    assert "not checked" not in followed(daemon)
    assert [each["verb"] for each in daemon.asked] == ["status", "status"]
