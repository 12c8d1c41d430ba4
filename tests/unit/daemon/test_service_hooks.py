"""Hooks that keepalived runs as other users, and in other ways than it should; needs root."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.records import spare
from tests.unit import full
from tests.unit.daemon.running_daemon import RunningDaemon, wait_for

MASTER = ("INSTANCE", "VI_1", "MASTER", "150")


@pytest.fixture
def node() -> Iterator[RunningDaemon]:
    """In a directory that everybody may enter, as /run is."""
    directory = Path(tempfile.mkdtemp(prefix="failoverd-", dir="/tmp"))
    directory.chmod(0o755)
    made = RunningDaemon(directory)
    made.instance()
    made.resource("disk")
    try:
        yield made
    finally:
        made.end()
        # The process of the history may still write and remove files there.
        wait_for("the directory is gone", lambda: subprocess.run(["rm", "-rf", directory], check=False).returncode == 0)
        shutil.rmtree(spare(made.run_dir), ignore_errors=True)


def script_user(node: RunningDaemon, name: str) -> None:
    node.tables.insert(0, f'[keepalived]\nscript_user = "{name}"\n')
    node._write()


def texts(node: RunningDaemon) -> list[str]:
    return [trouble["text"] for trouble in node.status()["troubles"] if trouble["about"].startswith("hook")]


def admitted(node: RunningDaemon) -> bool:
    return (node.run_dir / "spool").stat().st_uid != 0


@pytest.mark.parametrize("group", ["daemon", "adm", "nogroup"])
def test_the_script_user_is_heard_in_whatever_group(node: RunningDaemon, group: str) -> None:
    script_user(node, "daemon")
    node.start()
    wait_for("it is let in", lambda: admitted(node))
    assert node.hook_as("daemon", group, *MASTER) == 0
    node.until("active")
    node.process.send_signal(signal.SIGSTOP) if node.process else None
    assert node.hook_as("daemon", group, "INSTANCE", "VI_1", "BACKUP", "150") == 0
    node.process.send_signal(signal.SIGCONT) if node.process else None
    node.until("standby")
    assert texts(node) == []


def test_a_hook_of_somebody_else_leaves_a_trace(node: RunningDaemon) -> None:
    node.start()
    assert node.hook_as("nobody", "nogroup", *MASTER) == 75
    wait_for("it is shown", lambda: texts(node))
    (text,) = texts(node)
    assert text.startswith("failoverd rejected VI_1 MASTER from user nobody (pid ")
    assert 'write script_user = "nobody" into [keepalived] of failoverd.toml and reload' in text
    assert node.status()["events"]["rejected"] == 1
    assert node.instance_status()["phase"] == "unknown"
    assert "NEEDS ATTENTION: failoverd itself" in node.ctl("status").stdout
    script_user(node, "nobody")
    node.reload()
    wait_for("it is let in", lambda: admitted(node))
    assert node.hook_as("nobody", "nogroup", *MASTER) == 0
    node.until("active")


def test_invalid_arguments_leave_a_trace(node: RunningDaemon) -> None:
    node.start()
    assert node.hook_as("root", "root", "instance", "VI_1", "master", "150") == 64
    (text,) = wait_for("it is shown", lambda: texts(node))
    assert "instance VI_1 master 150); expected INSTANCE|GROUP NAME STATE [PRIORITY]" in text
    assert node.status()["events"]["rejected"] == 1


def test_an_event_outlives_a_full_runtime_directory_and_no_daemon(node: RunningDaemon) -> None:
    with full.tmpfs(node.run_dir):
        node.start()
        node.hook("MASTER")
        node.until("active")
        full.fill(node.run_dir)
        assert node.process is not None
        node.process.send_signal(signal.SIGSTOP)
        assert node.hook_as("root", "root", "INSTANCE", "VI_1", "BACKUP", "150") == 0
        assert len(list(spare(node.run_dir).iterdir())) == 1
        node.stop(signal.SIGKILL)
        node.start()
        node.until("standby")
        wait_for("it is taken", lambda: not list(spare(node.run_dir).iterdir()))
        node.stop(signal.SIGKILL)
