"""The whole daemon, and keepaliveds that die, and start again, while it does not look."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failoverd.osutil import processes
from tests.unit.daemon.keepaliveds import Fake, Fakes
from tests.unit.daemon.running_daemon import HOOK, RunningDaemon, wait_for

pytestmark = pytest.mark.usefixtures("own_network")

#: Whatever keepaliveds there are on this machine.
NOBODY_ELSE = "from failoverd.osutil import processes; processes.has_raw_socket = lambda _pid, _protocol: False"

Say = Callable[[RunningDaemon, Fake, str], None]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    """Without VIPs: nothing else tells what keepalived is up to."""
    made = RunningDaemon(tmp_path)
    made.instance()
    made.resource("web")
    made.look_often()
    yield made
    made.end()


def by_fifo(_node: RunningDaemon, fake: Fake, state: str) -> None:
    fake.do(f"echo 'INSTANCE \"VI_1\" {state} 150' >&4; echo said")
    assert fake.line() == "said\n"


def by_hook(node: RunningDaemon, fake: Fake, state: str) -> None:
    fake.do(f"{HOOK} --runtime-dir {node.run_dir} INSTANCE VI_1 {state} 150; echo said")
    assert fake.line() == "said\n"


@contextmanager
def stalled(node: RunningDaemon) -> Iterator[None]:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    yield
    node.process.send_signal(signal.SIGCONT)


def begin(node: RunningDaemon, fakes: Fakes, say: Say, *states: str) -> Fake:
    node.start()
    fake = fakes.start(fifo=node.run_dir / "keepalived.fifo")
    for state in states:
        say(node, fake, state)
    node.until("active" if states[-1] == "MASTER" else "standby")
    wait_for("it is seen", lambda: node.instance_status()["keepalived"] == "running")
    return fake


@pytest.mark.parametrize("say", [by_fifo, by_hook])
def test_what_the_next_one_said_during_a_stall_is_not_void(node: RunningDaemon, fakes: Fakes, say: Say) -> None:
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
def test_what_the_dead_one_said_during_a_stall_is_void(node: RunningDaemon, fakes: Fakes, say: Say) -> None:
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


def test_who_owns_the_addresses_is_master_at_once(node: RunningDaemon, fakes: Fakes) -> None:
    """As keepalived 2.2.7 has it, with `state MASTER` and `priority 255`."""
    fake = begin(node, fakes, by_fifo, "BACKUP", "MASTER")
    fakes.kill(fake)
    node.until("standby")
    fakes.start(fifo=node.run_dir / "keepalived.fifo").do("echo 'INSTANCE \"VI_1\" MASTER 255' >&4")
    node.until("active")


def kept(node: RunningDaemon, fakes: Fakes, say: Say) -> Fake:
    """What says MASTER before failoverd has run in this boot: it is in the spool, or in the pipe that systemd holds."""
    node.prelude = NOBODY_ELSE
    (node.run_dir / "spool").mkdir(parents=True)
    fifo = node.run_dir / "keepalived.fifo"
    os.mkfifo(fifo, 0o600)
    fake = fakes.start(fifo=fifo)
    say(node, fake, "MASTER")
    return fake


@pytest.mark.parametrize("say", [by_fifo, by_hook])
def test_what_was_kept_of_one_that_lives_is_followed(node: RunningDaemon, fakes: Fakes, say: Say) -> None:
    kept(node, fakes, say)
    node.start()
    node.until("active")


@pytest.mark.parametrize("say", [by_fifo, by_hook])
def test_what_was_kept_of_one_that_died_unseen_binds_nobody(node: RunningDaemon, fakes: Fakes, say: Say) -> None:
    """Nor does it bind the next one, which has not spoken."""
    fake = kept(node, fakes, say)
    with (node.run_dir / "keepalived.fifo").open("r+b", buffering=0):
        fakes.kill(fake)
        node.start()
        wait_for("it is classified", lambda: node.status()["events"]["stale"] == 1)
    node.until("standby")
    fake = fakes.start(fifo=node.run_dir / "keepalived.fifo")
    wait_for("it is seen", lambda: node.instance_status()["keepalived"] == "running")
    assert node.instance_status()["phase"] == "standby"
    assert node.journal() == []
    say(node, fake, "BACKUP")
    say(node, fake, "MASTER")
    node.until("active")


def test_what_was_spooled_before_the_one_that_lives_was_started_does_not_bind_it(
    node: RunningDaemon, fakes: Fakes
) -> None:
    fakes.kill(kept(node, fakes, by_hook))
    killed = processes.now()
    wait_for("another tick", lambda: processes.now() > killed)
    fake = fakes.start()
    node.start()
    wait_for("it is classified", lambda: node.status()["events"]["stale"] == 1)
    assert node.until("standby")["keepalived"] == "running"
    assert node.journal() == []
    by_hook(node, fake, "MASTER")
    node.until("active")


def test_what_was_recorded_of_one_that_nobody_remembers_does_not_bind_the_next_one(
    node: RunningDaemon, fakes: Fakes
) -> None:
    fake = begin(node, fakes, by_hook, "BACKUP", "MASTER")
    node.stop(signal.SIGKILL)
    fakes.kill(fake)
    (node.run_dir / "records" / "keepalived").unlink()
    node.prelude = NOBODY_ELSE
    fakes.start()
    node.start()
    assert node.until("standby")["keepalived"] == "running"
