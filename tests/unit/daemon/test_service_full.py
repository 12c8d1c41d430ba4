"""The whole daemon where its runtime directory is full, or takes no change at all; needs root."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.records import Records, spare
from tests.unit import full
from tests.unit.daemon.running_daemon import RunningDaemon, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    made.look_often()
    with full.tmpfs(made.run_dir):
        try:
            yield made
        finally:
            made.end()
            shutil.rmtree(Records(made.run_dir).spare, ignore_errors=True)
            shutil.rmtree(spare(made.run_dir), ignore_errors=True)


def troubles(node: RunningDaemon) -> list[str]:
    return [trouble["about"] for trouble in node.status()["troubles"]]


@pytest.fixture
def broken(node: RunningDaemon) -> RunningDaemon:
    """What fails where it is MASTER, and gives mastership away."""
    node.instance()
    node.resource("disk", body='on_failure = "release"\nretries = 0', activate=["false"])
    return node


def given_away(node: RunningDaemon) -> bool:
    return (node.run_dir / "track" / "VI_1").read_text() == "1\n"


def test_what_keepalived_said_last_is_not_forgotten_for_what_it_said_before(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.start()
    node.hook("MASTER")
    node.until("active")
    full.fill(node.run_dir)
    for _ in range(30):  # more than what is left of a page
        node.hook("MASTER", "VI_2")
        node.hook("BACKUP", "VI_2")
    node.hook("BACKUP")
    node.until("standby")
    node.stop(signal.SIGKILL)
    node.start()
    assert node.until("standby")["target"] == "standby"


def test_what_was_recorded_before_is_not_believed_after_a_time_in_which_nothing_could_be(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.start()
    node.fifo('INSTANCE "VI_1" MASTER 150')
    node.until("active")
    full.read_only(node.run_dir)
    node.fifo('INSTANCE "VI_1" BACKUP 150')
    node.until("standby")
    node.stop(signal.SIGKILL)
    full.read_only(node.run_dir, is_so=False)
    node.start()
    assert node.until("standby")["vrrp_state"] == "BACKUP"


def test_what_a_hook_has_left_is_not_newer_than_what_the_fifo_told_after_it(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.start()
    full.fill(node.run_dir)
    node.fifo('INSTANCE "VI_1" MASTER 150')
    node.hook("MASTER")
    node.until("active")
    node.fifo('INSTANCE "VI_1" BACKUP 150')
    node.until("standby")
    node.stop(signal.SIGKILL)
    node.start()
    assert node.until("standby")["vrrp_state"] == "BACKUP"


def test_what_cannot_be_recorded_is_trouble_until_it_is(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.start()
    full.read_only(node.run_dir)
    node.fifo('INSTANCE "VI_1" MASTER 150')
    node.until("active")
    wait_for("it is said", lambda: "record last-events" in troubles(node))
    full.read_only(node.run_dir, is_so=False)
    wait_for("it is over", lambda: not any(about.startswith("record ") for about in troubles(node)))


def test_mastership_is_given_away_as_soon_as_keepalived_can_be_told(broken: RunningDaemon) -> None:
    broken.start()
    broken.hook("BACKUP")
    broken.until("standby")
    full.read_only(broken.run_dir)
    broken.fifo('INSTANCE "VI_1" MASTER 150')
    wait_for("it is said", lambda: "track-file VI_1" in troubles(broken))
    assert broken.instance_status()["released"]
    assert not given_away(broken)
    full.read_only(broken.run_dir, is_so=False)
    wait_for("keepalived is told", lambda: given_away(broken))
    wait_for("it is over", lambda: "track-file VI_1" not in troubles(broken))


def test_a_full_runtime_directory_keeps_no_mastership(broken: RunningDaemon) -> None:
    broken.start()
    full.fill(broken.run_dir)
    broken.fifo('INSTANCE "VI_1" MASTER 150')
    wait_for("keepalived is told", lambda: given_away(broken))


def test_an_instance_that_is_configured_no_more_is_not_kept_from_mastership(broken: RunningDaemon) -> None:
    broken.instance("VI_2")
    broken.start()
    broken.fifo('INSTANCE "VI_1" MASTER 150')
    wait_for("keepalived is told", lambda: given_away(broken))
    del broken.tables[:2]
    broken._write()
    broken.reload()
    wait_for("it may compete again", lambda: not given_away(broken))
