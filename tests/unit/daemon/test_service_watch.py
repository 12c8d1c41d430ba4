"""`failoverctl status --watch` of a real daemon, over a transition and over a restart of the daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.running_daemon import RunningDaemon


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    yield made
    made.end()


def test_each_change_is_pushed_and_a_restart_is_survived(node: RunningDaemon) -> None:
    gate = node.things / "gate"
    os.mkfifo(gate)
    node.instance()
    node.resource("disk", activate=["sh", "-c", f"read word <{gate}; touch {node.things}/disk"])
    node.start()
    argv = [sys.executable, "-m", "failoverd.ctl", "--socket", str(node.run_dir / "control.sock"), "status", "--watch"]
    with subprocess.Popen([*argv, "--json"], stdout=subprocess.PIPE, text=True) as watcher:

        def until(condition: Callable[[Any], bool]) -> Any:
            """The first state that is so; every one that is pushed is looked at."""
            assert watcher.stdout is not None
            return next(state for state in map(json.loads, watcher.stdout) if condition(state))

        try:
            first = until(lambda _: True)
            assert (first["node"], first["stale"], list(first["instances"])) == ("left", None, ["VI_1"])
            node.hook("MASTER")
            moving = until(lambda state: state["instances"]["VI_1"]["resources"]["disk"]["step"])["instances"]["VI_1"]
            assert moving["phase"] == "promoting"
            times = moving["why"]["resources"]["disk"]
            assert times["step_since"] < times["step_deadline"]
            with gate.open("w") as opened:
                opened.write("go\n")
            done = until(lambda state: state["instances"]["VI_1"]["phase"] == "active")["instances"]["VI_1"]
            assert done["resources"]["disk"]["observed"] > times["step_since"]
            node.stop()
            assert "connection" in until(lambda state: state["stale"])["stale"]
            node.start()
            again = until(lambda state: not state["stale"] and state["instances"]["VI_1"]["phase"] == "active")
            assert again["instances"]["VI_1"]["reason"] == "keepalived's last state was MASTER"
        finally:
            watcher.kill()
