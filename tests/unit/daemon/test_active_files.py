"""The file of an instance exists while it is active here, also over a restart of the daemon."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.core.model import InstanceState
from failoverd.core.spec import InstanceSpec
from failoverd.core.words import Phase
from failoverd.daemon.active_files import ActiveFiles
from failoverd.trouble import TroubleKind, Troubles
from tests.unit.daemon.running_daemon import RunningDaemon, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    yield made
    made.end()


SPEC = InstanceSpec(name="VI_1")


def instance(phase: Phase, name: str = "VI_1") -> dict[str, InstanceState]:
    spec = replace(SPEC, name=name)
    state = InstanceState(spec=spec, resources={}, vips={}, phase=phase, since=0.0, next_check=0.0)
    return {name: state}


def files(directory: Path) -> list[str]:
    return sorted(file.name for file in (directory / "active").glob("*"))


@pytest.mark.parametrize(
    ("phase", "before", "after"),
    [
        (Phase.ACTIVE, False, True),
        (Phase.PROMOTING, True, True),  # a repair, or a new daemon
        (Phase.PROMOTING, False, False),
        (Phase.UNKNOWN, True, True),
        (Phase.UNKNOWN, False, False),
        (Phase.DEMOTING, True, False),
        (Phase.FAILED, True, False),
        (Phase.REFUSED, True, False),
        (Phase.STANDBY, True, False),
    ],
)
def test_each_phase(tmp_path: Path, phase: Phase, *, before: bool, after: bool) -> None:
    made = ActiveFiles(tmp_path)
    made.follow(instance(Phase.ACTIVE if before else Phase.STANDBY))
    assert files(tmp_path) == (["VI_1"] if before else [])
    made.want(instance(phase))
    assert files(tmp_path) == (["VI_1"] if after else [])
    if before:
        made.follow(instance(Phase.ACTIVE))
    for daemon in (made, ActiveFiles(tmp_path)):
        daemon.follow(instance(phase))
        assert files(tmp_path) == (["VI_1"] if after else [])


def test_an_instance_that_is_no_longer_followed_has_none(tmp_path: Path) -> None:
    made = ActiveFiles(tmp_path)
    made.follow(instance(Phase.ACTIVE))
    made.follow(instance(Phase.ACTIVE, name="a/b"))
    assert files(tmp_path) == ["a%2fb"]
    ActiveFiles(tmp_path).follow({})
    assert files(tmp_path) == []


def test_a_promotion_that_was_interrupted_is_not_active_until_it_is_done(tmp_path: Path) -> None:
    made = ActiveFiles(tmp_path)
    made.follow(instance(Phase.ACTIVE))
    for phase, there in ((Phase.DEMOTING, []), (Phase.PROMOTING, []), (Phase.ACTIVE, ["VI_1"])):
        made.want(instance(phase))
        assert files(tmp_path) == there


def test_a_file_that_was_removed_is_made_again(tmp_path: Path, troubles: Troubles) -> None:
    made = ActiveFiles(tmp_path)
    made.follow(instance(Phase.ACTIVE))
    shutil.rmtree(tmp_path / "active")
    made.check()
    assert files(tmp_path) == ["VI_1"]
    shutil.rmtree(tmp_path / "active")
    (tmp_path / "active").touch()
    made.check()
    assert [each.kind for each in troubles.standing] == [TroubleKind.ACTIVE_FILES]
    (tmp_path / "active").unlink()
    made.check()
    assert (files(tmp_path), list(troubles.standing)) == (["VI_1"], [])


def test_it_follows_the_daemon(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    assert files(node.run_dir) == []
    node.hook("MASTER")
    node.until("active")
    wait_for("it is made", lambda: files(node.run_dir) == ["VI_1"])
    node.stop(signal.SIGKILL)
    node.start()
    assert files(node.run_dir) == ["VI_1"]
    node.until("active")
    node.hook("FAULT")
    wait_for("it is removed", lambda: not files(node.run_dir))
    node.until("standby")
    assert files(node.run_dir) == []
