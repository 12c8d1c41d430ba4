"""What the whole daemon shows of itself."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.running_daemon import RunningDaemon, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    yield made
    made.end()


def test_one_instance_is_shown_with_its_strays_and_an_unknown_one_is_an_error(node: RunningDaemon) -> None:
    for name, resource in (("VI_1", "web"), ("VI_2", "vpn")):
        node.instance(name)
        node.resource(resource, instance=name)
    node.start()
    node.hook("MASTER", "VI_1")
    node.until("active")
    assert set(json.loads(node.ctl("status", "VI_2", "--json").stdout)["instances"]) == {"VI_2"}
    assert "VI_2" not in node.ctl("status", "VI_1").stdout
    del node.tables[:2]
    node.instance("VI_3")
    node.reload()
    wait_for("it is said", lambda: node.status()["strays"])
    assert node.ctl("status", "VI_1").stdout.startswith("! stray     VI_1: web is active")
    assert "stray" not in node.ctl("status", "VI_2").stdout
    refused = node.ctl("status", "VI_9")
    assert refused.returncode == 1
    assert refused.stderr == 'failoverctl: there is no instance "VI_9"\n  expected one of: VI_2, VI_3\n'


def test_where_nothing_is_configured_the_remedy_is_said(node: RunningDaemon) -> None:
    node.config.touch()
    node.start()
    assert (
        "no instance is configured; edit failoverd.toml, then: systemctl reload failoverd" in node.ctl("status").stdout
    )
    refused = node.ctl("plan", "VI_1", "master")
    assert refused.stderr == (
        'failoverctl: there is no instance "VI_1"\n'
        "  none is configured; edit failoverd.toml, then: failoverctl config check && systemctl reload failoverd\n"
    )


def test_a_retry_is_explained_with_its_event_and_its_time(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk", activate=["sh", "-c", "echo no data >&2; exit 17"], body='backoff = "1h"')
    node.resource("guest", "disk")
    node.start()
    assert "VI_1  event     keepalived has reported no state since the boot." in node.ctl("why").stdout
    node.fifo('INSTANCE "VI_1" MASTER 250')
    wait_for("a retry is pending", lambda: "disk" in node.instance_status()["reason"])
    text = node.ctl("why", "VI_1").stdout
    assert re.search(r"VI_1  event     keepalived reported MASTER in its FIFO at [\d:]+ \(", text)
    assert re.search(
        r"VI_1  failed    disk failed at [\d:]+ \(.*\), attempt 1 of 3: .*: no data; observed standby\.", text
    )
    assert "VI_1  waits     guest waits until disk is active." in text
    assert re.search(r"VI_1  next      failoverd retries disk at [\d:]+ \(in \d+ s\)\.", text)
    assert node.ctl("why", "VI_9").stderr.startswith('failoverctl: there is no instance "VI_9"\n')


def test_a_fault_that_happened_is_in_the_drill(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.start()
    assert node.ctl("drill").stdout == "  no transition\n  no fault has happened here yet\n"
    node.hook("MASTER")
    node.until("active")
    assert re.search(
        r"^  other node gone: MASTER +all active +1 active +[\d.]+ m?s$", node.ctl("drill").stdout, re.MULTILINE
    )
    plan = json.loads(node.ctl("plan", "VI_1", "master", "--json").stdout)
    assert plan["expected"]["samples"] == 1
    (step,) = json.loads(node.ctl("history", "show", "1", "--json").stdout)["steps"]
    assert (step["resource"], step["outcome"]) == ("disk", "done")


def test_a_step_of_a_killed_daemon_is_shown_with_its_process(node: RunningDaemon) -> None:
    gate, pid = node.things / "gate", node.things / "pid"
    os.mkfifo(gate)
    node.instance()
    node.resource("disk", activate=["sh", "-c", f"echo $$ >{pid}.new; mv {pid}.new {pid}; read word <{gate}"])
    node.start()
    node.hook("MASTER")
    wait_for("the step runs", pid.exists)
    node.stop(signal.SIGKILL)
    node.start()
    runs = f"activate of an earlier failoverd still runs (process {pid.read_text().strip()}); waiting for its end"
    wait_for("it is shown", lambda: node.instance_status()["resources"]["disk"]["detail"] == runs)
    (node.things / "disk").touch()
    with gate.open("w") as opened:
        opened.write("go\n")
    assert node.until("active")["resources"]["disk"]["detail"] != runs
