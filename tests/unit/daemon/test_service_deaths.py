"""The whole daemon, and keepaliveds that die, and start again, while it does not look."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.daemon.keepaliveds import Fake, Fakes
from tests.unit.daemon.living import HOOK, Living, wait_for

pytestmark = pytest.mark.usefixtures("own_network")

Say = Callable[[Living, Fake, str], None]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Living]:
    """Without VIPs: nothing else tells what keepalived is up to."""
    made = Living(tmp_path)
    made.instance()
    made.resource("web")
    made.look_often()
    yield made
    made.stop(signal.SIGKILL)


def by_fifo(_node: Living, fake: Fake, state: str) -> None:
    fake.do(f"echo 'INSTANCE \"VI_1\" {state} 150' >&4; echo said")
    assert fake.line() == "said\n"


def by_hook(node: Living, fake: Fake, state: str) -> None:
    fake.do(f"{HOOK} --runtime-dir {node.run_dir} INSTANCE VI_1 {state} 150; echo said")
    assert fake.line() == "said\n"


@contextmanager
def stalled(node: Living) -> Iterator[None]:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    yield
    node.process.send_signal(signal.SIGCONT)


def begin(node: Living, fakes: Fakes, say: Say, *states: str) -> Fake:
    node.start()
    fake = fakes.start(fifo=node.run_dir / "keepalived.fifo")
    for state in states:
        say(node, fake, state)
    node.until("active" if states[-1] == "MASTER" else "standby")
    wait_for("it is seen", lambda: node.instance_status()["keepalived"] == "running")
    return fake


@pytest.mark.parametrize("say", [by_fifo, by_hook])
def test_what_the_next_one_said_during_a_stall_is_not_void(node: Living, fakes: Fakes, say: Say) -> None:
    fake = begin(node, fakes, say, "BACKUP", "MASTER")
    with stalled(node):
        fakes.kill(fake)
        fake = fakes.start(fifo=node.run_dir / "keepalived.fifo")
        say(node, fake, "BACKUP")
        say(node, fake, "MASTER")
    accepted = 4 if say is by_fifo else 3
    wait_for("all of it is heard", lambda: node.status()["events"]["accepted"] >= accepted)
    node.until("active")
    assert node.instance_status()["vrrp_state"] == "MASTER"
    # And so it is for the next daemon.
    node.stop(signal.SIGKILL)
    node.start()
    assert node.until("active")["vrrp_state"] == "MASTER"


@pytest.mark.parametrize("say", [by_fifo, by_hook])
def test_what_the_dead_one_said_during_a_stall_is_void(node: Living, fakes: Fakes, say: Say) -> None:
    fake = begin(node, fakes, say, "BACKUP")
    with stalled(node):
        say(node, fake, "MASTER")
        fakes.kill(fake)
        fake = fakes.start(fifo=node.run_dir / "keepalived.fifo")
    wait_for("it is heard", lambda: node.status()["events"]["stale"])
    assert node.until("standby")["keepalived"] == "running"
    assert not [line for line in node.journal() if "activate" in line and "deactivate" not in line]
    say(node, fake, "BACKUP")
    say(node, fake, "MASTER")
    node.until("active")


def test_who_owns_the_addresses_is_master_at_once(node: Living, fakes: Fakes) -> None:
    """As keepalived 2.2.7 has it, with `state MASTER` and `priority 255`."""
    fake = begin(node, fakes, by_fifo, "BACKUP", "MASTER")
    fakes.kill(fake)
    node.until("standby")
    fakes.start(fifo=node.run_dir / "keepalived.fifo").do("echo 'INSTANCE \"VI_1\" MASTER 255' >&4")
    node.until("active")
