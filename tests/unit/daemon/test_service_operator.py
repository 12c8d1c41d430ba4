"""The verbs with which an operator moves an instance, with the real daemon and the real failoverctl."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from tests.unit.ctl.terminal import UNTOUCHED
from tests.unit.daemon.running_daemon import PATIENCE, ROOT, RunningDaemon, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    """A node with one instance and one resource."""
    made = RunningDaemon(tmp_path)
    made.instance()
    made.resource("disk")
    yield made
    made.end()


def track(node: RunningDaemon) -> str:
    """What keepalived reads."""
    return (node.run_dir / "track" / "VI_1").read_text(encoding="ascii").strip()


def active(node: RunningDaemon) -> None:
    node.start()
    node.hook("MASTER")
    node.until("active")


def lets_go(node: RunningDaemon) -> Thread:
    """A keepalived that reports FAULT as soon as its track file says 1."""

    def follow() -> None:
        wait_for("the track file says 1", lambda: track(node) == "1")
        node.hook("FAULT")

    thread = Thread(target=follow)
    thread.start()
    return thread


def test_standby_waits_until_the_node_is_in_standby(node: RunningDaemon) -> None:
    active(node)
    keepalived = lets_go(node)
    done = node.ctl("standby", "VI_1")
    keepalived.join(PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"  VI_1: in standby after [\d.]+ m?s; keepalived reports FAULT\n", done.stdout)
    assert not (node.things / "disk").exists()
    assert "kept in standby by root" in node.instance_status()["alarm"]
    check = node.ctl("check")
    assert check.returncode == 1
    assert "kept in standby by root" in check.stdout
    reset = node.ctl("reset", "VI_1")
    assert "VI_1 is still kept in standby; to end that: failoverctl online VI_1" in reset.stdout
    assert track(node) == "1"
    assert "competes for mastership again" in node.ctl("online", "VI_1").stdout
    assert track(node) == "0"
    assert node.instance_status()["standby"] is None
    acts = [(event["state"], event["source"]) for event in operators(node)]
    assert acts == [("standby", "root"), ("reset", "root"), ("online", "root")]


def operators(node: RunningDaemon) -> list[dict[str, str]]:
    """What operators did, from the history's own file."""
    with closing(sqlite3.connect(node.state_dir / "history.db")) as database:
        database.row_factory = sqlite3.Row
        rows = wait_for(
            "three acts are written",
            lambda: (
                (found := database.execute("SELECT state, source FROM events WHERE kind = 'OPERATOR'").fetchall())
                and len(found) == 3
                and found
            ),
        )
    return [dict(row) for row in rows]


def test_standby_survives_a_kill_and_a_reboot(node: RunningDaemon) -> None:
    active(node)
    keepalived = lets_go(node)
    assert node.ctl("standby", "--all").returncode == 0
    keepalived.join(PATIENCE)
    node.stop(signal.SIGKILL)
    node.start()
    assert (track(node), node.instance_status()["standby"]["by"]) == ("1", "root")
    assert not node.instance_status()["released"]
    node.stop()
    shutil.rmtree(node.run_dir)  # as a boot does
    node.start()
    assert (track(node), node.instance_status()["standby"]["by"]) == ("1", "root")
    assert node.ctl("online", "--all").returncode == 0
    node.stop()
    shutil.rmtree(node.run_dir)
    node.start()
    assert (track(node), node.instance_status()["standby"]) == ("0", None)


def test_a_standby_of_an_instance_that_is_removed_is_not_silent(node: RunningDaemon) -> None:
    node.start()
    node.hook("BACKUP")
    assert node.ctl("standby", "VI_1").returncode == 0
    node.tables[:] = ["[instance.VI_2]\n"]
    node._write()
    node.reload()
    wait_for("VI_1 is gone", lambda: "VI_1" not in node.status()["instances"])
    told = "VI_1 is kept in standby by root, since "
    assert told in node.ctl("status").stdout
    check = node.ctl("check")
    assert check.returncode == 1
    assert told in check.stdout
    assert "to end that: failoverctl online VI_1" in check.stdout
    ended = node.ctl("online", "VI_1")
    assert (ended.returncode, ended.stdout) == (0, "  VI_1: its standby has ended; it is not configured here\n")
    assert "VI_1" not in node.ctl("check").stdout
    node.stop(signal.SIGKILL)
    node.start()
    assert node.status()["unconfigured_standby"] == {}, "it is recorded"


def test_ctrl_c_ends_the_waiting_and_not_the_standby(node: RunningDaemon) -> None:
    active(node)
    socket = str(node.run_dir / "control.sock")
    words = [*UNTOUCHED, sys.executable, "-m", "failoverd.ctl", "--socket", socket, "standby", "VI_1"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as waiting:
        wait_for("the track file says 1", lambda: track(node) == "1")
        wait_for("it waits", lambda: node.instance_status()["standby"])
        waiting.send_signal(signal.SIGINT)
        _, error = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 130
    waited = "stopped waiting for VI_1; the standby remains\n  to follow it: failoverctl status\n"
    not_begun = "interrupted; failoverd continues the request, if it has it\n  see: failoverctl status\n"
    assert error.removeprefix("failoverctl: ") in (waited, not_begun)
    assert track(node) == "1"


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_shows_the_progress_and_then_the_result(node: RunningDaemon, columns: int) -> None:
    active(node)
    words = [sys.executable, "-m", "failoverd.ctl", "--socket", str(node.run_dir / "control.sock"), "standby", "VI_1"]
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment
    ) as waiting:
        os.close(terminal)
        shown = read_until(controller, "waiting for keepalived")
        node.hook("FAULT")
        shown += read_until(controller, "failoverctl online VI_1")
        assert waiting.wait(PATIENCE) == 0
    os.close(controller)
    assert re.search(r"\r\x1b\[KVI_1: \d s; waiting for keepalived", shown)
    result = re.sub(r"\x1b\[[\d;]*m", "", shown.rpartition("\r\x1b[K")[2])
    assert re.match(r"VI_1: in standby after [\d.]+ m?s; keepalived reports FAULT\s*\r\n", result)


def read_until(descriptor: int, text: str) -> str:
    """What is read, to `text` at the least."""
    shown = ""
    while text not in shown:
        assert select.select([descriptor], [], [], PATIENCE)[0], shown
        shown += os.read(descriptor, 4096).decode()
    return shown


def test_standby_is_refused_where_only_this_node_has_a_resource(tmp_path: Path) -> None:
    node = RunningDaemon(tmp_path)
    node.instance()
    node.resource("disk", body='nodes = ["left"]')
    try:
        active(node)
        refused = node.ctl("standby", "VI_1")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            "failoverctl: VI_1: disk is configured on this node only\n"
            "  to do it all the same: failoverctl standby --anyway VI_1\n"
        )
        assert track(node) == "0"
        keepalived = lets_go(node)
        assert node.ctl("standby", "VI_1", "--anyway").returncode == 0
        keepalived.join(PATIENCE)
    finally:
        node.end()


def test_maintenance_holds_everything_back_until_it_ends(node: RunningDaemon) -> None:
    active(node)
    done = node.ctl("maintenance", "on")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("  maintenance: failoverd starts no step on this node, until: failoverctl maintenance off\n")
    refused = node.ctl("standby", "VI_1")
    assert (refused.returncode, refused.stderr.partition(":")[2].partition(":")[0]) == (1, " maintenance")
    node.hook("BACKUP")
    wait_for("it is held back", lambda: node.instance_status()["held_back"])
    assert (node.things / "disk").exists()
    status = node.ctl("status").stdout
    assert status.startswith("! node left: NEEDS ATTENTION: maintenance, ")
    assert "! maintenance by root, since " in status
    check = node.ctl("check")
    assert check.returncode == 2
    assert check.stdout.startswith("FAILOVERD CRITICAL - VI_1 maintenance: failoverd does not deactivate disk")

    node.stop()  # which does not wait for a demotion that is held back
    shutil.rmtree(node.run_dir)  # as a boot does
    node.start()
    node.hook("MASTER")
    node.hook("BACKUP")
    wait_for("it is held back", lambda: node.instance_status()["held_back"])
    assert (node.things / "disk").exists()

    assert node.ctl("maintenance", "off").stdout == "  maintenance is off: failoverd acts\n"
    node.until("standby")
    assert not (node.things / "disk").exists()
    assert node.ctl("maintenance", "off").stdout == "  there was no maintenance\n"
    assert node.ctl("check", "VI_1").returncode == 0


def test_maintenance_ends_by_itself(node: RunningDaemon) -> None:
    active(node)
    assert node.ctl("maintenance", "on", "--for", "1s").returncode == 0
    node.hook("BACKUP")
    node.until("standby")
    assert node.status()["maintenance"] is None


@pytest.mark.parametrize(
    "words", [("on", "--for", "2"), ("on", "--for", "0s"), ("off", "--for", "2h"), ("on", "--for", "9999d"), ()]
)
def test_wrong_arguments_of_maintenance_are_one_line(node: RunningDaemon, words: tuple[str, ...]) -> None:
    done = node.ctl("maintenance", *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("words", [("standby",), ("standby", "VI_1", "--all"), ("online",), ("standby", "--anyways")])
def test_wrong_arguments_are_one_line(node: RunningDaemon, words: tuple[str, ...]) -> None:
    done = node.ctl(*words)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith(f"failoverctl {words[0]}: ")
    assert done.stderr.count("\n") == 2


def test_reconcile_checks_now_and_repairs(node: RunningDaemon) -> None:
    node.start()
    node.hook("MASTER")
    node.until("active")
    (node.things / "disk").unlink()
    done = node.ctl("reconcile", "VI_1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "disk" in done.stdout
    node.until("active")
    assert (node.things / "disk").exists()


def test_reconcile_of_another_instance_names_the_known_ones(node: RunningDaemon) -> None:
    node.start()
    done = node.ctl("reconcile", "VI_7")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'failoverctl: there is no instance "VI_7"\n  expected one of: VI_1\n'
