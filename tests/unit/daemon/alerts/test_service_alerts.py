"""Alarms of the whole daemon reach a command, in the sandbox of its unit, and failoverctl tests it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.running_daemon import ROOT, RunningDaemon, wait_for


class Node(RunningDaemon):
    """A daemon whose alerts are files."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.pager = directory / "pager"
        self.pager.mkdir()
        self.environment["CREDENTIALS_DIRECTORY"] = "/run/credentials/failoverd.service"

    def alert(self, script: str) -> None:
        self.tables.insert(0, f"[alert]\ncommand = {json.dumps(['sh', '-c', script, 'page', str(self.pager)])}\n")
        self._write()

    def words(self) -> list[str]:
        if os.geteuid() != 0:
            return super().words()
        confined = ROOT / "tests" / "unit" / "systemd" / "confined.py"
        return [sys.executable, str(confined), str(ROOT / "systemd" / "failoverd.service"), *super().words()]

    def got(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted(self.pager.glob("got.*"))]


KEEP = 'cat >"$1/new" && mv "$1/new" "$1/got.$(date +%s%N)"'


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    made.instance()
    made.resource("web", activate=["sh", "-c", "echo 'no license' >&2; exit 1"], body="retries = 0")
    yield made
    made.end()


def test_an_alarm_arrives_when_it_begins_and_when_it_ends(node: Node) -> None:
    node.alert(KEEP)
    node.start()
    node.hook("MASTER")
    node.until("failed")
    wait_for("it arrives", node.got)
    node.hook("BACKUP")
    wait_for("its end does too", lambda: len(node.got()) == 2)
    begun, ended = node.got()
    assert (begun["code"], begun["instance"], begun["node"], begun["end"]) == ("failed", "VI_1", "left", None)
    assert "no license" in begun["text"]
    assert begun["remedy"] == ["failoverctl history", "failoverctl reset VI_1"]
    assert (ended["code"], ended["begin"]) == ("failed", begun["begin"])
    assert ended["end"] is not None


def test_an_alarm_that_passes_while_failoverd_is_down_gets_its_end(node: Node) -> None:
    node.alert(KEEP)
    node.start()
    node.hook("MASTER")
    node.until("failed")
    wait_for("it arrives", node.got)
    node.stop(signal.SIGKILL)
    node.hook("BACKUP")
    node.start()
    node.until("standby")
    wait_for("its end arrives", lambda: len(node.got()) == 2)
    begun, ended = node.got()
    assert (ended["code"], ended["begin"], ended["instance"]) == ("failed", begun["begin"], "VI_1")
    assert ended["end"] is not None


def test_a_command_that_hangs_delays_no_transition(node: Node) -> None:
    node.alert(f"{KEEP}; exec sleep 3600")
    node.resource("disk")
    node.start()
    node.hook("MASTER")
    node.until("failed")
    wait_for("it hangs", node.got)
    node.hook("BACKUP")
    node.until("standby")
    node.stop()


def test_failoverctl_tests_the_command(node: Node) -> None:
    node.alert(f'printenv CREDENTIALS_DIRECTORY >"$1/place"; {KEEP}')
    node.start()
    done = node.ctl("alert", "test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("  the alert command accepted the test within ")
    assert "\n  now see that it arrives\n" in done.stdout
    [got] = node.got()
    assert (got["code"], got["instance"]) == ("test", None)
    assert (node.pager / "place").read_text() == "/run/credentials/failoverd.service\n"


def test_failoverctl_shows_the_failure_and_so_does_the_status(node: Node) -> None:
    node.alert("echo 'page: no such room' >&2; exit 3")
    node.start()
    done = node.ctl("alert", "test")
    assert done.returncode == 1
    assert done.stderr.startswith("failoverctl: the alert command failed: sh: exit status 3: page: no such room\n")
    trouble = "the alert command failed (sh: exit status 3: page: no such room), so nobody gets alarms"
    assert f"{trouble}; run: failoverctl alert test" in node.ctl("status").stdout


def test_without_a_command_the_remedy_is_shown(node: Node) -> None:
    node.start()
    done = node.ctl("alert", "test")
    assert done.returncode == 1
    assert done.stderr == (
        "failoverctl: no alert command is configured\n"
        "  set `command` in [alert] of failoverd.toml, then: systemctl reload failoverd\n"
    )
