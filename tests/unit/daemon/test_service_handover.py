"""A handover on three nodes, and what else happens meanwhile: somebody serves in the end, and it is said who."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.cluster import Cluster, Node
from tests.unit.daemon.running_daemon import PATIENCE, wait_for

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(tmp_path, preempt=getattr(request, "param", False)) as made:
        yield made


def told(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How failoverctl has ended."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def stopping(cluster: Cluster) -> Node:
    """left, which stops its resources until its hatch is there."""
    left = cluster.nodes["left"]
    left.until("demoting")
    return left


def test_a_target_that_is_lost_while_the_resources_stop_does_not_get_it(cluster: Cluster) -> None:
    cluster.nodes["left"].hatch.unlink()
    process = cluster.handover("--to", "center")
    left = stopping(cluster)
    cluster.cut_the_power("center")
    code, _, err = told(process)
    assert code == 1
    assert "no node can take over any more: center: it gives no answer" in err
    assert left.state == "MASTER"
    left.hatch.touch()
    cluster.until_served_by("left")
    wait_for("right may be elected again", lambda: not cluster.nodes["right"].lets_go)


@pytest.mark.parametrize("cluster", [True, False], indirect=True, ids=["preempt", "nopreempt"])
def test_a_target_that_does_not_come_up_loses_it_again(cluster: Cluster) -> None:
    center = cluster.nodes["center"]
    (center.things / "disk").symlink_to("/nowhere/disk")  # it cannot be touched, and is not there
    code, _, err = told(cluster.handover("--to", "center"))
    assert code == 1
    assert "center is MASTER and does not serve: failed" in err
    cluster.until_served_by("left")
    assert cluster.nodes["left"].instance_status()["standby"] is None


@pytest.mark.parametrize("cluster", [True], indirect=True, ids=["preempt"])
def test_where_nodes_preempt_it_stays_on_the_node_that_was_named(cluster: Cluster) -> None:
    code, out, _ = told(cluster.handover("--to", "center"))
    assert code == 0
    assert "so does right; to end that, there: failoverctl online VI_1" in out
    cluster.until_served_by("center")
    kept = {name: node.instance_status()["standby"] is not None for name, node in cluster.nodes.items()}
    assert kept == {"left": True, "right": True, "center": False}
    assert cluster.nodes["right"].instance_status()["aside"] is None


def test_an_operators_standby_of_a_node_that_is_aside_stays(cluster: Cluster) -> None:
    cluster.nodes["left"].hatch.unlink()
    process = cluster.handover("--to", "center")
    left, right = stopping(cluster), cluster.nodes["right"]
    assert right.ctl("standby", "VI_1").returncode == 0
    left.hatch.touch()
    assert told(process)[0] == 0
    cluster.until_served_by("center")
    assert right.instance_status()["standby"]["by"]
    assert right.instance_status()["aside"] is None


def test_of_two_handovers_the_second_is_refused_and_undoes_nothing(cluster: Cluster) -> None:
    cluster.nodes["left"].hatch.unlink()
    first = cluster.handover("--to", "center")
    left = stopping(cluster)
    code, _, err = told(cluster.handover("--to", "center"))
    assert code == 1
    assert "hands VI_1 over already" in err
    assert cluster.nodes["right"].lets_go, "it is aside for the first"
    left.hatch.touch()
    assert told(first)[0] == 0
    cluster.until_served_by("center")


def test_a_failoverctl_that_is_stopped_hands_nothing_over(cluster: Cluster) -> None:
    """Ctrl-Z, or a terminal that hangs: the daemon goes on by itself, and so do the nodes that are aside."""
    cluster.nodes["left"].hatch.unlink()
    process = cluster.handover("--to", "center")
    left = stopping(cluster)
    process.send_signal(signal.SIGSTOP)
    wait_for("left ends the handover", lambda: left.instance_status()["handover"] is None)
    left.hatch.touch()
    cluster.until_served_by("left")
    wait_for("right may be elected again", lambda: not cluster.nodes["right"].lets_go)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert left.state == "MASTER"


def test_ctrl_c_brings_everything_back(cluster: Cluster) -> None:
    cluster.nodes["left"].hatch.unlink()
    process = cluster.handover("--to", "center")
    left = stopping(cluster)
    process.send_signal(signal.SIGINT)
    code, _, err = told(process)
    assert code == 130, err
    assert "the handover of VI_1 is cancelled; this node serves again" in err
    assert not cluster.nodes["right"].lets_go
    left.hatch.touch()
    cluster.until_served_by("left")


def test_a_third_node_that_has_failed_prevents_none(cluster: Cluster) -> None:
    right = cluster.nodes["right"]
    (right.things / "disk").mkdir()
    (right.things / "disk" / "busy").touch()  # `rm -f` cannot remove it
    right.ctl("reconcile", "VI_1")
    right.until("failed")
    assert told(cluster.handover("--to", "center"))[0] == 0
    wait_for("center is active", lambda: cluster.nodes["center"].active)


def test_a_failoverd_that_ends_meanwhile_leaves_the_node_as_it_was(cluster: Cluster) -> None:
    cluster.nodes["left"].hatch.unlink()
    process = cluster.handover("--to", "center")
    left = stopping(cluster)
    assert left.process is not None
    left.process.terminate()
    wait_for("the handover is over", lambda: left.instance_status()["handover"] is None)
    left.hatch.touch()
    assert left.process.wait(PATIENCE) == 0
    left.process = None
    assert left.active
    assert left.state == "MASTER"
    assert told(process)[0] == 1
