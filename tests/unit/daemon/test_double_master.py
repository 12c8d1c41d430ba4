"""The whole daemon, while two nodes are MASTER: it leaves a trace on both, until somebody acknowledges it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.rivals import CROSSING_S
from tests.unit.daemon.running_daemon import RunningDaemon, wait_for

#: Seconds by which one moment may be told in two ways, on a machine whose clocks are read one after the other.
ROUNDED = 5.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    yield made
    made.end()


def recorded(node: RunningDaemon, *, gave_way: bool) -> Any:
    """What status has of it, and that it is marked."""
    (rival,) = node.instance_status()["rivals"]
    assert rival["gave_way"] is gave_way
    assert rival["from"] <= rival["to"]
    assert "VI_1" in node.ctl("status").stdout.splitlines()[0]
    return rival


def until_acknowledged(node: RunningDaemon, *, gave_way: bool) -> None:
    """It outlives the daemon, and ends with the acknowledgement."""
    rival = recorded(node, gave_way=gave_way)
    node.stop(signal.SIGKILL)
    node.start()
    wait_for("it is settled", lambda: node.instance_status()["phase"] in ("active", "standby"))
    again = recorded(node, gave_way=gave_way)
    for moment in ("from", "to"):  # kept by the clock of the boot, and told by that of the day
        apart = datetime.fromisoformat(again[moment]) - datetime.fromisoformat(rival[moment])
        assert abs(apart.total_seconds()) < ROUNDED
    done = node.ctl("acknowledge", "VI_1")
    assert (done.returncode, done.stderr) == (0, "")
    well = node.instance_status()
    assert (well["rivals"], well["alarm"]) == ([], None)
    node.stop(signal.SIGKILL)
    node.start()
    assert node.instance_status()["rivals"] == []


@pytest.mark.parametrize("follows", ["instance", "group"])
def test_the_one_that_stays(node: RunningDaemon, follows: str) -> None:
    node.instance(body='members = ["VI_10"]' if follows == "group" else "")
    node.resource("web")
    node.start()
    kind, member = ("GROUP", "VI_10") if follows == "group" else ("INSTANCE", "VI_1")
    node.hook("MASTER", kind=kind)
    node.until("active")

    def heard() -> bool:
        node.hook("MASTER_RX_LOWER_PRI", member)
        return bool(node.instance_status()["rivals"])

    wait_for("it is recorded", heard)
    assert "keepalived received an advert of another MASTER" in [each["cause"] for each in node.history()]
    until_acknowledged(node, gave_way=False)


def test_the_one_that_gives_way(node: RunningDaemon) -> None:
    node.instance(body="preempt = false")
    node.resource("web")
    node.start()
    node.hook("MASTER")
    node.until("active")
    begun = time.monotonic()
    # Twice: the daemon does not count the time for which a busy machine kept it from living.
    wait_for("it is no election any more", lambda: time.monotonic() > begun + 2 * CROSSING_S)
    node.hook("BACKUP")
    node.until("standby")
    assert "this node was MASTER for" in node.history()[0]["cause"]
    until_acknowledged(node, gave_way=True)


def test_a_planned_failback_leaves_none(node: RunningDaemon) -> None:
    node.instance()
    node.resource("web")
    node.start()
    node.hook("MASTER")
    node.hook("MASTER_RX_LOWER_PRI")  # the one that gives way has sent one more
    node.until("active")
    node.hook("BACKUP")
    node.until("standby")
    assert node.instance_status()["rivals"] == []
    assert "VI_1" not in node.ctl("status").stdout.splitlines()[0]
