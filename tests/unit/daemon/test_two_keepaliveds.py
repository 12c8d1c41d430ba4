"""The whole daemon, and two keepaliveds that each speak for an instance of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.keepaliveds import Fake, Fakes
from tests.unit.daemon.running_daemon import HOOK, RunningDaemon, wait_for

pytestmark = pytest.mark.usefixtures("own_network")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    for number in (1, 2):
        made.instance(f"VI_{number}")
        made.resource(f"web{number}", instance=f"VI_{number}")
    yield made
    made.end()


def say(node: RunningDaemon, fake: Fake, name: str, state: str) -> None:
    """What a keepalived does: it runs the hook."""
    fake.do(f"{HOOK} --runtime-dir {node.run_dir} INSTANCE {name} {state} 150; echo said")
    assert fake.line() == "said\n"


def test_the_death_of_one_concerns_its_own_instances_only(node: RunningDaemon, fakes: Fakes) -> None:
    node.start()
    one, two = fakes.start(), fakes.start()
    for fake, name in ((one, "VI_1"), (two, "VI_2")):
        say(node, fake, name, "MASTER")
        node.until("active", name)
    fakes.kill(one)
    wait_for("what the dead one spoke for is inactive", lambda: not (node.things / "web1").exists())
    dead, well = node.instance_status("VI_1"), node.instance_status("VI_2")
    assert (dead["keepalived"], well["keepalived"]) == ("gone", "running")
    assert "keepalived is gone: systemctl start keepalived" in dead["reason"]
    assert (well["phase"], well["alarm"]) == ("active", None)

    # What it said as MASTER is void; what the other one said is not.
    node.stop(signal.SIGKILL)
    node.start()
    node.until("active", "VI_2")
    assert node.instance_status("VI_1")["vrrp_state"] is None
    say(node, fakes.start(), "VI_1", "MASTER")
    node.until("active", "VI_1")


def test_who_speaks_and_is_not_found_is_a_trouble(node: RunningDaemon, fakes: Fakes) -> None:
    node.start()
    say(node, fakes.start("stranger"), "VI_1", "MASTER")
    node.until("active")
    (trouble,) = wait_for("there is a trouble", lambda: node.status()["troubles"])
    assert trouble["about"] == "keepalived-processes"
    say(node, fakes.start(), "VI_1", "MASTER")
    wait_for("it is over", lambda: not node.status()["troubles"])
