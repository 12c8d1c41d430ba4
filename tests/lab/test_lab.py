"""The laboratory itself: that it shows what happens, and that it leaves nothing behind.

failoverd has no part in it: a shell script follows keepalived here.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import lab as lab_module
from .client import INTERVAL_MS, Packet, gaps
from .lab import Lab
from .node import REPOSITORY
from .profiles import ACTIVE_METRIC, NODES, STANDBY_METRIC
from .run import Run, existing_runs, new_run
from .waiting import NotInTimeError, wait_for

PREFIX = "192.0.2.0/24"


@pytest.fixture(scope="module")
def scripted() -> Iterator[Lab]:
    with Lab("hosting", agent="script") as lab:
        lab.client.start()
        yield lab


@pytest.fixture(scope="module")
def scripted_router() -> Iterator[Lab]:
    with Lab("router", agent="script") as lab:
        lab.client.start()
        yield lab


def test_every_node_peers_with_upstream_and_one_is_preferred(scripted: Lab) -> None:
    assert scripted.upstream.bgp_sessions() == set(NODES)
    assert scripted.upstream.route_metrics(PREFIX) == {
        "left": ACTIVE_METRIC,
        "right": STANDBY_METRIC,
        "center": STANDBY_METRIC,
    }
    assert scripted.upstream.best_next_hop(PREFIX) == "left"
    assert scripted.vip_holders() == ["left"]


def test_the_client_is_answered_by_the_master(scripted: Lab) -> None:
    since = time.monotonic_ns()
    report = scripted.wait_for(
        "the client has sent a hundred packets",
        lambda: scripted.client.report(since),
        until=lambda report: report.sent >= 100,
        within=10,
    )
    assert report.lost == 0
    assert set(report.answered_by) == {"left"}


def test_what_a_node_writes_stays_in_the_node(scripted: Lab) -> None:
    for directory in ("/etc", "/tmp", "/usr/lib", "/run", "/var/lib", "/dev/shm", "/root"):
        scripted.center.run(["touch", f"{directory}/written-by-a-node"])
        assert not Path(directory, "written-by-a-node").exists()
    assert scripted.center.run(["touch", str(REPOSITORY / "x")], check=False).returncode != 0


def test_a_killed_node_loses_the_vip_and_stays_standby_when_it_is_back(scripted: Lab) -> None:
    cut = scripted.left.kill()
    scripted.wait_until_served_by("right", within=10)
    scripted.wait_for(
        "right answers the client", scripted.client.answering_node, until=lambda node: node == "right", within=10
    )
    assert scripted.vip_holders() == ["right"]
    assert scripted.upstream.next_hops(PREFIX) == {"right", "center"}
    report = scripted.client.report(since=cut)
    assert report.longest_gap is not None
    assert (report.longest_gap.before, report.longest_gap.after) == ("left", "right")
    assert abs(report.longest_gap.lost * INTERVAL_MS - report.gap_ms) < 200

    scripted.left.start()
    scripted.wait_for("left peers again", lambda: "left" in scripted.upstream.bgp_sessions(), within=15)
    assert scripted.vip_holders() == ["right"]
    assert scripted.upstream.best_next_hop(PREFIX) == "right"


def test_a_start_is_a_boot_and_the_disk_survives_it(scripted: Lab) -> None:
    node = scripted.center
    boot_id = node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    for path in ("/var/lib/failoverd/kept", "/run/lost"):
        node.run(["touch", path])
    node.kill()
    assert scripted.vip_holders() == ["right"]
    node.start()
    assert node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout != boot_id
    assert node.path("/var/lib/failoverd/kept").exists()
    assert not node.path("/run/lost").exists()
    assert node.unit_state("keepalived.service") == "active"


def test_an_unplugged_node_thinks_for_itself(scripted: Lab) -> None:
    scripted.center.unplug()
    scripted.center.wait_for_vip("192.0.2.1", within=5)
    assert sorted(scripted.vip_holders()) == ["center", "right"]
    scripted.center.plug()
    scripted.wait_for("one VIP again", scripted.vip_holders, until=lambda holders: len(holders) == 1, within=10)


def test_routing_daemon_and_six_vips_move_in_the_router_profile(scripted_router: Lab) -> None:
    lab = scripted_router
    assert len(lab.profile.addresses) == 6
    assert all(lab.vip_holders(address) == ["left"] for address in lab.profile.addresses)
    assert lab.upstream.ospf_neighbours() == {"left": "Full"}
    lab.left.kill()
    lab.wait_until_served_by("right")
    lab.wait_for("right answers the client", lab.client.answering_node, until=lambda node: node == "right", within=10)
    assert all(lab.vip_holders(address) == ["right"] for address in lab.profile.addresses)


def test_nothing_is_left_after_the_end() -> None:
    with Lab("hosting", agent="none") as lab:
        assert lab.run.left_behind()
        lab.client.start()
    assert lab.run.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["starting", "ready"])
def test_nothing_is_left_after_an_interrupt(number: signal.Signals, moment: str) -> None:
    with _laboratory_elsewhere(wait_until=moment) as (process, run):
        process.send_signal(number)
        process.wait(timeout=20)
        assert run.left_behind() == []


def test_a_process_that_enters_late_is_ended_too() -> None:
    """As one of which an interrupted start knows nothing: it was made, and had no processor yet."""
    run = new_run()
    run.make()
    sleeper = run.in_cgroup(["sleep", "1000"])
    with (
        subprocess.Popen(sleeper, stdout=subprocess.PIPE) as early,
        subprocess.Popen(["sh", "-c", 'read -r _; exec "$@"', "sh", *sleeper], stdin=early.stdout) as late,
    ):
        try:
            wait_for("one is in", lambda: (run.cgroup / "cgroup.procs").read_text(encoding="ascii"), within=10)
            run.remove()
            assert early.wait(10) == -signal.SIGKILL
            assert late.wait(10) != 0
        finally:
            early.kill()
            late.kill()
    assert run.left_behind() == []


def test_the_next_laboratory_removes_what_a_killed_one_left() -> None:
    with _laboratory_elsewhere(wait_until="ready") as (process, run):
        process.kill()
        process.wait(timeout=20)
        assert run.left_behind()
        with Lab("hosting", agent="none"):
            assert run.left_behind() == []


def test_a_living_laboratory_is_left_alone_by_the_next(scripted: Lab) -> None:
    with Lab("hosting", agent="none"):
        assert scripted.right.alive
        assert scripted.upstream.best_next_hop(PREFIX) == "right"


def test_a_machine_that_lacks_something_is_told_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_module, "PROGRAMS", ("ip", "no-such-program"))
    with pytest.raises(RuntimeError, match="no-such-program"), Lab():
        pass


def test_a_wait_that_fails_says_for_what_and_what_was_seen() -> None:
    with pytest.raises(NotInTimeError, match=r"not within 0 s: the moon; last seen: 'cheese'"):
        wait_for("the moon", lambda: "cheese", until=lambda _seen: False, within=0)


def test_gaps_run_from_answer_to_answer() -> None:
    def packet(number: int, answered: int | None, node: str | None = "left") -> Packet:
        return Packet(number=number, sent=number, answered=answered, node=node if answered else None)

    (first, second) = gaps([packet(1, 10), packet(2, None), packet(3, None), packet(4, 40, "right"), packet(5, 45)])
    assert (first.start, first.end, first.lost, first.before, first.after) == (10, 40, 2, "left", "right")
    assert (second.lost, second.milliseconds) == (0, 5e-6)


@contextmanager
def _laboratory_elsewhere(*, wait_until: str) -> Iterator[tuple[subprocess.Popen[bytes], Run]]:
    """A laboratory in another process, with the run that it owns."""
    # What a shell runs in the background ignores SIGINT, and so does all that it starts.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "tests.lab", "hosting", "none"]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        try:
            run = wait_for(
                "the other process has begun a run",
                lambda: [run for run in existing_runs() if run.pid == process.pid],
                within=10,
            )[0]
            if wait_until == "ready":
                assert process.stdout is not None
                while not process.stdout.readline().startswith(b"ready "):
                    assert process.poll() is None
            else:
                wait_for("the other laboratory boots its nodes", (run.cgroup / "center").exists, within=30)
            yield process, run
        finally:
            process.kill()
