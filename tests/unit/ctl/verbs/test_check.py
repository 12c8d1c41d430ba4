"""``failoverctl check`` as a monitoring system runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ctl.conftest import FakeDaemon

Status = Callable[..., dict[str, Any]]

#: The Monitoring Plugins Development Guidelines: a label with other letters than a word's in quotes, a value with its
#: unit, and at most four thresholds and limits.
DATUM = r"(?:'(?:[^'=]|'')+'|[^\s'=]+)=-?\d+(?:\.\d+)?(?:s|c|B|%)?(?:;[^;\s]*){0,4}"


def check(path: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "failoverd.ctl", "--socket", str(path), "check", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert re.fullmatch(rf"FAILOVERD (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| {DATUM}( {DATUM})*)?\n", done.stdout)
    return done.returncode, done.stdout.removeprefix("FAILOVERD ").partition(" | ")[0].rstrip("\n")


WITHOUT = "VI_1 active without web"
TWO = "two nodes were MASTER; after a check of the data: failoverctl acknowledge"
ABSENT = {"vips": [{"address": "192.0.2.1/32", "interface": "eth0", "present": False}]}


@pytest.mark.parametrize(
    ("changed", "code", "line"),
    [
        ({}, 0, "OK - VI_1 active"),
        ({"phase": "promoting"}, 0, "OK - VI_1 promoting"),
        ({"phase": "failed", "reason": "web: a | b\nc"}, 2, "CRITICAL - VI_1 failed: web: a / b c"),
        ({"phase": "failed", "reason": "\x1b[2J"}, 2, r"CRITICAL - VI_1 failed: \x1b[2J"),
        ({"phase": "refused", "reason": "no quorum"}, 2, "CRITICAL - VI_1 refused: no quorum"),
        ({"phase": "unknown", "reason": ""}, 1, "WARNING - VI_1 unknown"),
        ({"degraded": ["web"]}, 2, "CRITICAL - VI_1 active without web"),
        ({"rivals": [{}]}, 2, f"CRITICAL - VI_1 {TWO}"),
        (ABSENT, 2, "CRITICAL - VI_1 192.0.2.1/32 expected here: keepalived reports MASTER"),
        ({"obstacle": "old data"}, 1, "WARNING - VI_1 could not take over: old data"),
        ({"released": "web: failed"}, 1, "WARNING - VI_1 mastership is released: web: failed"),
        ({"alarm": "drift", "reason": "drift of web"}, 1, "WARNING - VI_1 drift"),
        ({"alarm": "x", "phase": "failed", "reason": "x; y"}, 2, "CRITICAL - VI_1 failed: x; y"),
        ({"alarm": "drift"}, 1, "WARNING - VI_1 drift"),
        ({"degraded": ["web"], "released": "x"}, 2,
         f"CRITICAL - {WITHOUT}; VI_1 mastership is released: x"),
    ],
)  # fmt: skip
def test_the_exit_status_is_that_of_a_monitoring_plugin(
    daemon: FakeDaemon, status: Status, changed: dict[str, Any], code: int, line: str
) -> None:
    daemon.answers(status(**changed))
    assert check(daemon.path) == (code, line)


def test_failoverd_itself_is_checked_where_no_instance_is_named(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status() | {"troubles": [{"about": "log", "text": "the disk is full"}]})
    assert check(daemon.path) == (1, "WARNING - failoverd: the disk is full")
    assert check(daemon.path, "VI_1") == (0, "OK - VI_1 active")
    assert [asked.get("instance") for asked in daemon.asked] == [None, "VI_1"]


def test_a_resource_that_is_active_and_serves_nothing_is_critical(daemon: FakeDaemon, status: Status) -> None:
    answer = status()
    (name, resource), *_ = answer["instances"]["VI_1"]["resources"].items()
    resource |= {"alarm": "DRBD has frozen the I/O", "stalled": True}
    daemon.answers(answer)
    assert check(daemon.path) == (2, f"CRITICAL - VI_1 {name}: DRBD has frozen the I/O")


def test_only_critical_is_a_failure_for_keepalived(daemon: FakeDaemon, status: Status, tmp_path: Path) -> None:
    daemon.answers(status(alarm="drift"))
    assert check(daemon.path, "--only-critical") == (0, "WARNING - VI_1 drift")
    daemon.answers(status(degraded=["web"]))
    assert check(daemon.path, "--only-critical") == (2, "CRITICAL - VI_1 active without web")
    assert check(tmp_path / "none", "--only-critical")[0] == 2


def test_a_daemon_that_does_not_answer_is_critical(tmp_path: Path) -> None:
    code, line = check(tmp_path / "none")
    assert (
        code,
        line.startswith(f"CRITICAL - there is no socket {tmp_path / 'none'}; check the daemon: systemctl"),
    ) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"version": 1, "ok": True, "result": {"instances": {}}}, "UNKNOWN - no instance is configured"),
        ({"version": 1, "ok": False, "error": 'there is no instance "X"', "hint": "expected one of: A"},
         'UNKNOWN - there is no instance "X"; expected one of: A'),
        ({"version": 1, "ok": True, "result": {"instances": {"VI_1": 3}}}, "UNKNOWN - cannot understand the answer ("),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_unknown(daemon: FakeDaemon, answer: dict[str, Any], line: str) -> None:
    daemon.says(answer)
    code, told = check(daemon.path, "X")
    assert (code, told.startswith(line)) == (3, True), told


def test_names_of_instances_are_quoted_for_the_performance_data(daemon: FakeDaemon, status: Status) -> None:
    answer = status()
    daemon.answers(answer | {"instances": {"it's = 1": answer["instances"]["VI_1"]}})
    assert check(daemon.path) == (0, "OK - it's = 1 active")
