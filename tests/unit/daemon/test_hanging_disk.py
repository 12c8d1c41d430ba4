"""The whole daemon, with a tool on a disk that hangs: nothing but that one resource waits for it."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.running_daemon import RunningDaemon, wait_for
from tests.unit.ports.disks import Disk, hanging


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with hanging(tmp_path / "disk", f"#!/bin/sh\ntouch {tmp_path}/node/things/ran\n") as disk:
        yield disk


@pytest.fixture
def node(tmp_path: Path, disk: Disk) -> Iterator[RunningDaemon]:
    """Two instances: the first one's resource is activated by the tool on the disk."""
    (tmp_path / "node").mkdir()
    made = RunningDaemon(tmp_path / "node")
    made.instance("VI_1")
    made.tables.append(
        "[instance.VI_1.resource.stuck]\n"
        'driver = "exec"\ntimeout = "1s"\nretries = 0\n'
        f"activate = {json.dumps([str(disk.tool)])}\n"
        'deactivate = ["true"]\nobserve = ["sh", "-c", "exit 3"]\n'
    )
    made.instance("VI_2")
    made.resource("free", instance="VI_2")
    yield made
    made.end()


def test_another_instance_is_followed(node: RunningDaemon, disk: Disk) -> None:
    node.start()
    for name in ("VI_1", "VI_2"):
        node.hook("BACKUP", name)
    node.until("standby", "VI_2")
    node.hook("MASTER", "VI_2")
    node.until("active", "VI_2")
    node.hook("MASTER", "VI_1")
    disk.asked()
    node.hook("BACKUP", "VI_2")
    node.until("standby", "VI_2")
    step = wait_for("the step on the disk ended", lambda: ended(node, "stuck"))
    assert step["outcome"] == "hung"
    assert f"check the disk that {disk.tool} is on" in step["detail"]
    disk.answer()
    node.hook("BACKUP", "VI_1")
    node.until("standby", "VI_1")
    assert not (node.things / "ran").exists()


def test_what_had_not_begun_when_the_daemon_was_killed_never_does(node: RunningDaemon, disk: Disk) -> None:
    node.start()
    node.hook("BACKUP", "VI_1")
    node.until("standby", "VI_1")
    node.hook("MASTER", "VI_1")
    disk.asked()
    unborn = os.pidfd_open(clone(node))
    node.stop(signal.SIGKILL)
    node.hook("BACKUP", "VI_1")
    node.start()
    node.until("standby", "VI_1")
    disk.answer()
    wait_for("it is gone", lambda: select.select([unborn], [], [], 0)[0])
    os.close(unborn)
    assert not (node.things / "ran").exists()


def clone(node: RunningDaemon) -> int:
    """The process that is to become a tool, and is still the daemon's copy."""
    assert node.process is not None
    pid = node.process.pid
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(it) for thread in threads for it in (thread / "children").read_text().split()]
    (found,) = (child for child in children if Path(f"/proc/{child}/cmdline").read_bytes() == words)
    return found


def ended(node: RunningDaemon, resource: str) -> Any:
    """The newest step on it, when it has ended."""
    steps = [step for transition in node.history() for step in transition["steps"] if step["resource"] == resource]
    return steps[0] if steps and steps[0]["outcome"] else None
