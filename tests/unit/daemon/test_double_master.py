"""The whole daemon, while two nodes are MASTER: it leaves a trace on both, until somebody acknowledges it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.rivals import CROSSING
from tests.unit.daemon.living import Living, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Living]:
    made = Living(tmp_path)
    yield made
    made.stop(signal.SIGKILL)


def recorded(node: Living, *, gave_way: bool) -> Any:
    """What status has of it, and that it is marked."""
    (rival,) = node.instance_status()["rivals"]
    assert rival["gave_way"] is gave_way
    assert rival["from"] <= rival["to"]
    assert "VI_1" in node.ctl("status").stdout.splitlines()[0]
    return rival


def until_acknowledged(node: Living, *, gave_way: bool) -> None:
    """It outlives the daemon, and ends with the acknowledgement."""
    rival = recorded(node, gave_way=gave_way)
    node.stop(signal.SIGKILL)
    node.start()
    wait_for("it is settled", lambda: node.instance_status()["phase"] in ("active", "standby"))
    again = recorded(node, gave_way=gave_way)
    assert (again["from"][:19], again["to"][:19]) == (rival["from"][:19], rival["to"][:19])
    done = node.ctl("acknowledge", "VI_1")
    assert (done.returncode, done.stderr) == (0, "")
    well = node.instance_status()
    assert (well["rivals"], well["alarm"]) == ([], None)
    node.stop(signal.SIGKILL)
    node.start()
    assert node.instance_status()["rivals"] == []


@pytest.mark.parametrize("follows", ["instance", "group"])
def test_the_one_that_stays(node: Living, follows: str) -> None:
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
    assert "keepalived heard another MASTER beside this one" in [each["cause"] for each in node.history()]
    until_acknowledged(node, gave_way=False)


def test_the_one_that_gives_way(node: Living) -> None:
    node.instance(body="preempt = false")
    node.resource("web")
    node.start()
    node.hook("MASTER")
    node.until("active")
    begun = time.monotonic()
    wait_for("it is no election any more", lambda: time.monotonic() > begun + CROSSING)
    node.hook("BACKUP")
    node.until("standby")
    assert "this node was MASTER for" in node.history()[0]["cause"]
    until_acknowledged(node, gave_way=True)


def test_a_planned_failback_leaves_none(node: Living) -> None:
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
