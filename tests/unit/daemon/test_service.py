"""The whole daemon, from the outside: keepalived's words go in, and files come and go in order."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.keepaliveds import Fakes
from tests.unit.daemon.running_daemon import PATIENCE, ROOT, RunningDaemon, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    yield made
    made.end()


@pytest.fixture
def chain(node: RunningDaemon) -> RunningDaemon:
    """Three resources in a row: disk, guest, route."""
    node.instance()
    node.resource("disk")
    node.resource("guest", "disk")
    node.resource("route", "guest")
    return node


def overlaps(journal: list[str]) -> list[str]:
    """Resources on which a step began before the last one had ended."""
    running: set[str] = set()
    found = []
    for line in journal:
        mark, _, resource = line.split()
        if mark == "+":
            if resource in running:
                found.append(resource)
            running.add(resource)
        else:
            running.discard(resource)
    return found


def test_master_and_backup_in_order(chain: RunningDaemon) -> None:
    chain.start()
    assert chain.instance_status()["phase"] == "unknown"
    chain.hook("BACKUP")
    chain.until("standby")
    chain.hook("MASTER")
    chain.until("active")
    chain.hook("FAULT")
    chain.until("standby")
    begun = [line.split()[1:] for line in chain.journal() if line.startswith("+")]
    assert begun == [
        ["activate", "disk"],
        ["activate", "guest"],
        ["activate", "route"],
        ["deactivate", "route"],
        ["deactivate", "guest"],
        ["deactivate", "disk"],
    ]


def test_the_history_tells_what_and_why(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("BACKUP")
    chain.until("standby")
    chain.hook("MASTER")
    chain.until("active")
    newest = wait_for("the history has it", lambda: (h := chain.history()) and h[0]["outcome"] == "active" and h[0])
    assert newest["cause"] == "keepalived reported MASTER"
    assert [(step["resource"], step["verb"], step["outcome"]) for step in newest["steps"]] == [
        ("disk", "activate", "done"),
        ("guest", "activate", "done"),
        ("route", "activate", "done"),
    ]
    assert str(chain.things / "disk") in newest["steps"][0]["command"]
    assert newest["started"] <= newest["steps"][0]["started"] < newest["steps"][0]["ended"] <= newest["ended"]


def test_the_same_change_from_two_sources_is_one(chain: RunningDaemon) -> None:
    chain.start()
    for state in ("BACKUP", "MASTER"):
        chain.fifo(f'INSTANCE "VI_1" {state} 150')
        chain.hook(state)
    chain.until("active")
    events = chain.status()["events"]
    assert (events["accepted"], events["duplicate"]) == (2, 2)


def test_priorities_are_no_states(chain: RunningDaemon) -> None:
    chain.start()
    chain.fifo('INSTANCE "VI_1" MASTER 150', 'INSTANCE "VI_1" BACKUP_PRIORITY 105', 'INSTANCE "VI_1" NEW_WORD 1')
    chain.until("active")
    assert chain.instance_status()["vrrp_state"] == "MASTER"


def test_adverts_of_another_master_are_one_alarm(chain: RunningDaemon) -> None:
    chain.start()
    chain.fifo('INSTANCE "VI_1" MASTER 150')
    chain.until("active")

    def told() -> int:
        chain.hook("MASTER_RX_LOWER_PRI")
        lines = chain.log.read_text().splitlines()
        return sum(
            "another node was MASTER at the same time" in line and '"kind": "double-master"' in line for line in lines
        )

    wait_for("it is said", told)  # but not while the other one may be giving way
    for _ in range(30):  # a hook is acknowledged, so each has a turn of its own
        told()
    assert told() == 1


def test_a_group_and_a_name_with_spaces(node: RunningDaemon) -> None:
    node.instance("my group.1")
    node.resource("disk", instance="my group.1")
    node.start()
    node.fifo('GROUP "my group.1" MASTER 0')
    node.until("active", "my group.1")
    node.hook("BACKUP", "my group.1", "GROUP")
    node.until("standby", "my group.1")


def test_deleted_is_standby(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    chain.hook("DELETED")
    chain.until("standby")


def test_fifty_flaps_and_the_last_word_wins(node: RunningDaemon) -> None:
    node.instance()
    node.resource("slow", takes="0.05")
    node.resource("guest", "slow")
    node.start()
    for last in ("MASTER", "BACKUP"):
        for _ in range(50):
            node.hook("MASTER" if last == "BACKUP" else "BACKUP")
            node.hook(last)
        node.until("active" if last == "MASTER" else "standby")
    assert not overlaps(node.journal())
    assert not (node.things / "slow").exists()


@pytest.mark.parametrize("begun", range(1, 4))
def test_killed_in_the_middle_of_a_promotion_and_started_again(node: RunningDaemon, begun: int) -> None:
    node.instance()
    names = ("disk", "guest", "route")
    gate = node.things / "gate"
    gate.touch()
    for number, name in enumerate(names, start=1):
        takes = "0" if number != begun else f"0; while test -e {gate}; do sleep 0.02; done"
        node.resource(name, *names[: number - 1][-1:], takes=takes)
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    node.hook("MASTER")
    wait_for("the step runs", lambda: f"+ activate {names[begun - 1]}" in node.journal())
    wait_for("the history has the transition", lambda: node.history()[0]["target"] == "active")
    node.stop(signal.SIGKILL)
    node.start()
    gate.unlink()
    node.until("active")
    assert all((node.things / name).exists() for name in names)
    assert "interrupted" in {h["outcome"] for h in node.history()}
    assert not overlaps(node.journal())


def test_the_tool_of_a_killed_daemon_is_awaited_and_then_undone(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk", takes="1")
    node.start()
    node.hook("MASTER")
    wait_for("the step runs", node.journal)
    node.stop(signal.SIGKILL)
    node.hook("BACKUP")
    node.start()
    node.until("standby")
    assert node.journal() == ["+ activate disk", "- activate disk", "+ deactivate disk", "- deactivate disk"]


def test_the_tool_of_a_killed_daemon_ends_at_its_deadline(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk", takes="600", body='timeout = "2s"\nretries = 0')
    node.start()
    node.hook("MASTER")
    wait_for("the step runs", node.journal)
    node.stop(signal.SIGKILL)
    node.start()
    wait_for("the tool is ended", lambda: "the step of an earlier failoverd ended" in node.log.read_text())
    assert '"outcome": "timed-out"' in node.log.read_text()
    node.until("failed")


def test_what_a_stranger_puts_into_his_environment_is_nothing_to_a_start(chain: RunningDaemon) -> None:
    made_up = {"runtime_dir": str(chain.run_dir), "instance": "VI_1", "resource": "disk", "deadline": 1e12}
    environments = [json.dumps({**made_up, "verb": verb, "session": os.getsid(0)}) for verb in ("rm", "activate")]
    keys: dict[str, Any] = {"user": 65534, "process_group": 0} if os.geteuid() == 0 else {"process_group": 0}
    strangers = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, "FAILOVERD_STEP": it}, **keys) for it in environments
    ]
    try:
        chain.start()
        chain.hook("MASTER")
        chain.until("active")
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()


def test_what_a_step_left_in_a_process_group_of_its_own_outlives_a_restart(node: RunningDaemon) -> None:
    pid = node.things / "pid"
    node.instance()
    leaving = f"set -m; sh -c 'echo $$ >{pid}; exec sleep 300' & touch {node.things}/guest"
    node.resource("guest", activate=["bash", "-c", leaving], body='timeout = "1s"')
    node.start()
    node.hook("MASTER")
    node.until("active")
    left = os.pidfd_open(int(wait_for("it runs", lambda: pid.exists() and pid.read_text())))
    try:
        node.stop(signal.SIGKILL)
        node.start()
        node.until("active")
        node.hook("BACKUP")
        node.until("standby")
        assert not select.select([left], [], [], 0)[0]
    finally:
        signal.pidfd_send_signal(left, signal.SIGKILL)
        os.close(left)


def test_what_a_step_left_speaking_goes_on_over_restarts(node: RunningDaemon) -> None:
    pid, said = node.things / "pid", node.things / "said"
    node.instance()
    speaking = f"echo $$ >{pid}; while printf %09999d 7 && printf %09999d 7 >&2; do echo >>{said}; sleep 0.01; done"
    leaving = f"set -m; sh -c '{speaking}' & echo begun >>{node.things}/journal; touch {node.things}/guest"
    node.resource("guest", activate=["bash", "-c", leaving], body='timeout = "2s"')
    node.start()
    node.hook("MASTER")
    node.until("active")
    left = int(wait_for("it runs", lambda: pid.exists() and pid.read_text()))

    def goes_on() -> bool:
        """It writes more than the pipes hold."""
        before = said.stat().st_size
        return bool(wait_for("it goes on", lambda: said.stat().st_size > before + 50))

    try:
        assert goes_on()
        for number in (signal.SIGTERM, signal.SIGKILL):
            node.stop(number)
            assert goes_on()
            node.start()
            node.until("active")
            assert goes_on()
        assert node.journal() == ["begun"]
    finally:
        os.kill(left, signal.SIGKILL)


def test_a_tool_that_speaks_when_its_daemon_was_killed_ends_by_itself(node: RunningDaemon) -> None:
    go, journal = node.things / "go", node.things / "journal"
    node.instance()
    step = f"echo + >>{journal}; until test -e {go}; do sleep 0.01; done; printf %099999d 7; printf %099999d 7 >&2; "
    node.resource("disk", activate=["sh", "-c", f"{step} touch {node.things}/disk; echo - >>{journal}"])
    node.start()
    node.hook("MASTER")
    wait_for("the step runs", node.journal)
    node.stop(signal.SIGKILL)
    go.touch()
    node.start()
    node.until("active")
    assert node.journal() == ["+", "-"]


@pytest.mark.usefixtures("own_network")
def test_an_event_while_the_daemon_is_down_is_not_lost(chain: RunningDaemon, fakes: Fakes) -> None:
    fakes.start()
    chain.start()
    chain.hook("BACKUP")
    chain.until("standby")
    chain.stop()
    chain.hook("MASTER")
    assert list((chain.run_dir / "spool").iterdir())
    chain.start()
    chain.until("active")
    assert not list((chain.run_dir / "spool").iterdir())


def test_nobody_but_failoverd_makes_the_socket_of_failoverctl(node: RunningDaemon) -> None:
    """systemd would start a failoverd that somebody has stopped, for whoever asks."""
    unit = (ROOT / "systemd" / "failoverd.socket").read_text()
    assert re.findall("^Listen.*=(.*)$", unit, re.MULTILINE) == [
        *("/run/failoverd/notify.sock", "/run/failoverd/keepalived.fifo")
    ]
    node.instance()
    node.start()
    assert (node.run_dir / "control.sock").is_socket()
    node.stop()
    assert not (node.run_dir / "control.sock").exists()


def test_a_stop_leaves_resources_as_they_are_and_a_start_finds_them(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    before = chain.journal()
    chain.stop()
    assert (chain.things / "route").exists()
    chain.start()
    chain.until("active")
    assert chain.instance_status()["reason"] == "keepalived's last state was MASTER"
    assert chain.journal() == before


def test_a_step_that_hangs_ends_at_its_deadline(node: RunningDaemon) -> None:
    node.instance()
    node.resource("stuck", takes="600", body='timeout = "200ms"\nretries = 0')
    node.resource("other")
    node.start()
    node.hook("MASTER")
    status = node.until("failed")
    assert "did not end within 0.2 s" in status["reason"]
    assert status["resources"]["other"]["level"] == "active", "what does not depend on it had begun"
    wait_for("the log has both steps", lambda: node.log.read_text().count('"step ended"') == 2)
    written, _, _ = node.log.read_text().rpartition("\n")  # another line may be half written
    lines = [json.loads(line) for line in written.splitlines()]
    steps = {line["resource"]: line["level"] for line in lines if line["event"] == "step ended"}
    assert steps == {"stuck": "error", "other": "info"}, "how grave a line is, not what was seen"
    node.hook("BACKUP")
    assert (node.things / "other").exists() or node.instance_status()["phase"] in ("demoting", "standby")


def test_a_stop_awaits_the_step_in_flight_and_starts_nothing_more(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk", takes="1")
    node.resource("guest", "disk")
    node.start()
    node.hook("MASTER")
    wait_for("the step runs", node.journal)
    node.stop()
    assert node.journal() == ["+ activate disk", "- activate disk"]


def test_a_stop_finishes_a_demotion_as_a_shutdown_needs_it(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.resource("guest", "disk", takes="1")
    node.start()
    node.hook("MASTER")
    node.until("active")
    node.fifo('INSTANCE "VI_1" STOP 0')
    node.stop()
    assert not (node.things / "disk").exists(), "what comes after the step in flight was done too"
    assert node.journal()[-2:] == ["+ deactivate disk", "- deactivate disk"]


VIP_ELSEWHERE = 'vips = ["192.0.2.1/32"]\ninterface = "lo"'


def test_a_boot_without_a_word_stops_what_runs_whatever_happens_to_the_daemon(node: RunningDaemon) -> None:
    node.instance(body=VIP_ELSEWHERE)
    node.resource("disk")
    node.resource("guest", "disk", takes="2")
    for name in ("disk", "guest"):
        (node.things / name).touch()
    node.uptime = 30.0
    node.start()
    wait_for("it has begun", lambda: node.journal() == ["+ deactivate guest"])
    node.stop(signal.SIGKILL)
    node.uptime = 3000.0
    node.start()
    node.until("standby")
    assert not (node.things / "disk").exists()


@pytest.fixture
def manager(node: RunningDaemon) -> Iterator[socket.socket]:
    """The end of systemd, of a machine that booted 30 s ago and on which `disk` was left active.

    The demotion takes until the file `go` is there.
    """
    node.instance(body=VIP_ELSEWHERE)
    node.resource("disk", takes=f"0; until test -e {node.things}/go; do sleep 0.02; done")
    (node.things / "disk").touch()
    node.uptime = 30.0
    node.environment["NOTIFY_SOCKET"] = str(node.things / "systemd")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(node.environment["NOTIFY_SOCKET"])
        listening.settimeout(PATIENCE)
        yield listening
    (node.things / "go").touch()  # whatever became of the test, nothing may wait for it


def await_ready(manager: socket.socket) -> None:
    while "READY=1" not in manager.recv(4096).decode().splitlines():
        pass


def test_a_boot_is_ready_when_what_was_left_active_is_at_standby(node: RunningDaemon, manager: socket.socket) -> None:
    node.prelude = f"from failoverd.daemon import wiring; wiring._STANDBY_WITHIN_S = {PATIENCE}"
    node.start()
    wait_for("it has begun", lambda: node.journal() == ["+ deactivate disk"])
    manager.setblocking(False)
    with suppress(BlockingIOError):
        while told := manager.recv(4096).decode():
            assert "READY=1" not in told.splitlines(), "bird would start with the metric of a MASTER"
    manager.settimeout(PATIENCE)
    (node.things / "go").touch()
    await_ready(manager)
    assert not (node.things / "disk").exists()


def test_a_boot_does_not_wait_for_ever_for_a_demotion(node: RunningDaemon, manager: socket.socket) -> None:
    node.prelude = "from failoverd.daemon import wiring; wiring._STANDBY_WITHIN_S = 0.1"
    node.start()
    await_ready(manager)
    wait_for("it says so", lambda: "ready, but something is still active" in node.log.read_text())
    (node.things / "go").touch()
    node.until("standby")


def test_what_runs_on_a_machine_that_has_not_just_booted_is_left_alone(node: RunningDaemon) -> None:
    node.instance(body=VIP_ELSEWHERE)
    node.resource("disk")
    (node.things / "disk").touch()
    node.uptime = 3000.0
    node.start()
    wait_for("it has asked", lambda: "waiting for an event" in node.instance_status()["reason"])
    assert node.instance_status()["phase"] == "unknown"
    assert (node.things / "disk").exists()


def test_what_a_reload_adds_soon_after_a_boot_is_left_alone(node: RunningDaemon) -> None:
    node.instance("VI_0", body=VIP_ELSEWHERE)
    node.uptime = 30.0
    node.start()
    node.instance(body='vips = ["192.0.2.2/32"]\ninterface = "lo"')
    node.resource("disk")
    (node.things / "disk").touch()
    node.reload()
    wait_for("it is followed", lambda: "VI_1" in node.status()["instances"])
    wait_for("it has asked", lambda: "waiting for an event" in node.instance_status()["reason"])
    assert (node.things / "disk").exists()
    node.stop(signal.SIGKILL)
    node.start()
    wait_for("it has asked again", lambda: "waiting for an event" in node.instance_status()["reason"])
    assert (node.things / "disk").exists(), "the boot's first daemon did not know of it"


def test_what_a_tool_made_a_daemon_of_outlives_every_restart(node: RunningDaemon) -> None:
    pid = node.things / "pid"
    node.instance()
    leaving = f"setsid sh -c 'echo $$ >{pid}; exec sleep 300' & touch {node.things}/guest"
    node.resource("guest", activate=["sh", "-c", leaving], body='timeout = "1s"')
    node.start()
    node.hook("MASTER")
    node.until("active")
    monitor = int(wait_for("it runs", lambda: pid.exists() and pid.read_text()))
    try:
        node.stop(signal.SIGKILL)
        node.start()
        node.until("active")
        assert "step of an earlier failoverd" not in node.log.read_text()
        assert Path(f"/proc/{monitor}").exists()
    finally:
        os.kill(monitor, signal.SIGKILL)


def test_what_the_watchdog_kills_says_where_it_was(chain: RunningDaemon) -> None:
    chain.start()
    chain.stop(signal.SIGABRT)
    assert "Fatal Python error: Aborted" in chain.log.read_text()
    assert "asyncio/base_events.py" in chain.log.read_text()


def test_an_operator_resets_what_has_failed_and_the_history_knows(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk", body="retries = 0", activate=["false"])
    node.start()
    node.hook("MASTER")
    node.until("failed")
    (node.things / "disk").touch()  # it is mended
    told = node.ctl("reset", "VI_1")
    assert (told.returncode, told.stderr) == (0, "")
    assert "VI_1: failoverd checks every resource" in told.stdout
    node.until("active")
    wrong = node.ctl("reset", "VI_2")
    assert wrong.returncode == 1
    assert 'there is no instance "VI_2"' in wrong.stderr


def test_mastership_that_cannot_be_served_is_given_away_until_an_operator_takes_it_back(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk", body='retries = 0\non_failure = "release"', activate=["false"])
    node.start()
    track = node.run_dir / "track" / "VI_1"
    assert track.read_text() == "0\n"

    node.hook("MASTER")
    wait_for("keepalived is told to give it away", lambda: track.read_text() == "1\n")
    node.hook("FAULT")
    node.until("standby")
    assert "disk" in node.instance_status()["released"]
    assert "to take back mastership: failoverctl reset VI_1" in node.ctl("status").stdout

    node.stop(signal.SIGKILL)
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    assert track.read_text() == "1\n"
    assert node.instance_status()["released"]

    assert node.ctl("reset", "VI_1").returncode == 0
    wait_for("keepalived may have it back", lambda: track.read_text() == "0\n")
    assert node.instance_status()["released"] is None


def test_what_has_given_up_is_tried_again_and_where_keepalived_does_not_let_go_too(node: RunningDaemon) -> None:
    for name, on_failure in (("VI_1", "stop"), ("VI_2", "release")):
        node.instance(name)
        node.resource(f"disk{name}", body=f'retries = 0\non_failure = "{on_failure}"', instance=name)
        node.tables[-1] = node.tables[-1].replace("sleep 0;", f"test -e {node.things}/mended || exit 1;")
    node._write()
    node.start()
    for name in ("VI_1", "VI_2"):
        node.hook("MASTER", name)
    node.until("failed")
    wait_for("it is said", lambda: "(track_file)" in node.instance_status("VI_2")["reason"])
    (node.things / "mended").touch()
    for name in ("VI_1", "VI_2"):
        node.until("active", name)
    assert node.instance_status("VI_2")["released"] is None
    assert (node.run_dir / "track" / "VI_2").read_text() == "0\n"


def test_a_word_in_the_spool_counts_as_if_it_had_come_while_the_daemon_ran(node: RunningDaemon) -> None:
    node.instance(body='vips = ["127.0.0.1/8"]\ninterface = "lo"')
    node.resource("disk")
    node.start()
    node.hook("MASTER")
    node.until("active")
    node.stop()
    node.hook("BACKUP")
    node.start()
    node.until("standby")
    assert not (node.things / "disk").exists()


def test_a_notify_socket_that_nobody_reads_is_no_obstacle(
    chain: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(chain.things / "nobody"))
    chain.start()
    chain.hook("MASTER")
    chain.until("active")


def test_drift_is_mended_after_a_reload(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    (chain.things / "route").unlink()
    chain.reload()
    wait_for("the route is back", (chain.things / "route").exists)
    chain.until("active")


def test_a_bad_file_leaves_the_running_configuration_in_force(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    chain.config.write_text('[instance.VI_1]\nvipz = ["192.0.2.1"]\n')
    chain.reload()
    wait_for("it says so", lambda: "still using the previous configuration" in chain.log.read_text())
    assert 'did you mean \\"vips\\"' in chain.log.read_text()
    assert set(chain.instance_status()["resources"]) == {"disk", "guest", "route"}
    chain.hook("BACKUP")
    chain.until("standby")


def test_a_reload_that_would_follow_nothing_is_refused(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    chain.config.write_text("# everything is commented out\n")
    chain.reload()
    wait_for("it says so", lambda: "has no instance any more" in chain.log.read_text())
    assert chain.instance_status()["phase"] == "active"


def test_a_reload_follows_a_new_instance(chain: RunningDaemon) -> None:
    chain.start()
    chain.instance("VI_2")
    chain.resource("extra", instance="VI_2")
    chain.reload()
    wait_for("it is there", lambda: "VI_2" in chain.status()["instances"])
    chain.hook("MASTER", "VI_2")
    chain.until("active", "VI_2")


def test_what_a_reload_drops_is_said_and_keeps_what_it_needs(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.resource("guest", "disk")
    node.start()
    node.hook("MASTER")
    node.until("active")
    lost = node.tables.pop()
    node.instance("VI_2")
    node.reload()
    (stray,) = wait_for("it is said", lambda: node.status()["strays"])
    assert (stray["instance"], stray["resource"], stray["level"]) == ("VI_1", "guest", "active")
    wait_for("the log has it", lambda: stray["text"] in node.log.read_text())
    node.hook("BACKUP")
    wait_for("the instance says why", lambda: "disk is not deactivated" in node.instance_status()["reason"])
    assert (node.things / "disk").exists()
    node.tables.append(lost)
    node._write()
    node.reload()
    node.until("standby")
    assert not node.status()["strays"]
    assert not (node.things / "disk").exists()


def test_what_a_restart_drops_is_said_as_well(node: RunningDaemon) -> None:
    node.instance()
    node.resource("disk")
    node.resource("guest", "disk")
    node.start()
    node.hook("MASTER")
    node.until("active")
    node.stop()
    node.tables.pop()
    node._write()
    node.start()
    (stray,) = wait_for("it is said", lambda: node.status()["strays"])
    assert (stray["resource"], stray["level"]) == ("guest", "active")
    node.hook("BACKUP")
    wait_for("the instance says why", lambda: "disk is not deactivated" in node.instance_status()["reason"])
    (node.things / "guest").unlink()
    node.until("standby")
    assert not (node.things / "disk").exists()


def test_a_dropped_instance_is_forgotten_by_a_reset(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    chain.tables.clear()
    chain.instance("VI_2")
    chain.reload()
    wait_for("it is said", lambda: len(chain.status()["strays"]) == len(("disk", "guest", "route")))
    assert "forgotten the strays disk, guest, route" in chain.ctl("reset", "VI_1").stdout
    assert not chain.status()["strays"]
    assert chain.ctl("reset", "VI_1").returncode != 0


def test_what_was_seen_with_other_options_is_not_believed(node: RunningDaemon) -> None:
    node.instance()
    node.resource("base")
    node.resource("guest", "base")
    node.start()
    node.hook("MASTER")
    node.until("active")
    node.tables[1] = node.tables[1].replace("things/base", "things/base2")
    node._write()
    node.reload()
    wait_for("the other one is made", (node.things / "base2").exists)
    node.until("active")
    (stray,) = wait_for("the first one is said", lambda: node.status()["strays"])
    assert stray["resource"] == "base"
    (node.things / "base").unlink()
    wait_for("it is over", lambda: not node.status()["strays"])


def test_a_daemon_that_was_stopped_calls_nobody_late_who_was_done(node: RunningDaemon) -> None:
    """Its step's deadline passed while it was stopped, and so did the tool: the result was there first."""
    node.instance()
    gate = node.things / "gate"
    gate.touch()
    node.resource("disk", takes=f"0; while test -e {gate}; do sleep 0.02; done", body='timeout = "2s"')
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    node.hook("MASTER")
    wait_for("the step runs", lambda: "+ activate disk" in node.journal())
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    gate.unlink()
    wait_for("the tool is done", lambda: "- activate disk" in node.journal())
    select.select([], [], [], 4)  # the deadline passes
    node.process.send_signal(signal.SIGCONT)
    node.until("active")
    newest = wait_for("the history has it", lambda: (h := node.history()) and h[0]["outcome"] == "active" and h[0])
    assert [step["outcome"] for step in newest["steps"]] == ["done"]
    wait_for("the log has it", lambda: "the event loop stalled" in node.log.read_text())


def test_a_second_daemon_is_refused_in_words(chain: RunningDaemon) -> None:
    chain.start()
    second = subprocess.run(chain.words(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == os.EX_CANTCREAT
    assert "another failoverd" in second.stderr
    assert chain.instance_status()["phase"] == "unknown", "the first goes on"


def test_history_trouble_changes_nothing(chain: RunningDaemon) -> None:
    chain.state_dir.mkdir()
    (chain.state_dir / "history.db").mkdir()  # not even root can open this as a database
    chain.start()
    chain.hook("MASTER")
    chain.until("active")
    assert chain.status()["history"]["trouble"]


def test_a_track_file_that_somebody_writes_is_put_right_and_shown(chain: RunningDaemon) -> None:
    chain.start()
    chain.hook("BACKUP")
    chain.until("standby")
    file = chain.run_dir / "track" / "VI_1"
    file.write_text("1\n")
    wait_for("it is put right", lambda: file.read_text() == "0\n")
    (trouble,) = (each for each in chain.status()["troubles"] if each["about"].startswith("track-file"))
    assert f"another program wrote 1 into {file}" in trouble["text"]


@pytest.mark.usefixtures("own_network")
def test_the_vip_decides(node: RunningDaemon) -> None:
    node.instance(body='vips = ["192.0.2.1/32", "2001:db8::1/128"]\ninterface = "eth0"\nvip_timeout = "300ms"')
    node.resource("disk")
    node.start()
    node.hook("MASTER")
    status = node.until("refused")
    assert status["reason"] == "MASTER, but 192.0.2.1/32 is not on eth0"
    assert [vip["present"] for vip in status["vips"]] == [False, False]
    subprocess.run(["ip", "link", "add", "vrrp.51", "type", "veth", "peer", "name", "peer"], check=True)
    subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "vrrp.51"], check=True)
    instead = 'is on vrrp.51, not on eth0; if that is intended, configure vips = ["192.0.2.1/32 dev vrrp.51"]'
    wait_for("it is said where it is", lambda: instead in node.instance_status()["reason"])
    assert instead in node.ctl("status").stdout
    assert [vip["detail"] for vip in node.instance_status()["vips"]] == [instead, None]
    subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "eth0"], check=True)
    subprocess.run(["ip", "addr", "add", "2001:db8::1/128", "dev", "eth0", "nodad"], check=True)
    node.until("active")
    subprocess.run(["ip", "addr", "del", "192.0.2.1/32", "dev", "eth0"], check=True)
    node.until("refused")
    assert not (node.things / "disk").exists()


def test_check_says_what_is_wrong_and_where(chain: RunningDaemon) -> None:
    good = chain.ctl("config", "check", str(chain.config))
    assert good.returncode == 0, good.stderr
    assert "ok (1 instance, 3 of 3 resources" in good.stdout
    assert "without [quorum], a cut between two nodes leaves both MASTER" in good.stdout
    chain.config.write_text(f'[quorum]\nwitnesses = ["icmp://192.0.2.254"]\n{chain.config.read_text()}')
    assert "without [quorum]" not in chain.ctl("config", "check", str(chain.config)).stdout
    table = chain.config.read_text().replace("[quorum]", '[quorum]\nwatchdog = "/dev/watchdog"')
    chain.config.write_text(table)
    found = chain.ctl("config", "check", str(chain.config)).stdout
    assert "the watchdog resets a node that cannot stop, but no other node waits for that" in found
    chain.config.write_text('[instance.VI_1]\nvipz = ["192.0.2.1"]\n')
    bad = chain.ctl("config", "check", str(chain.config))
    assert bad.returncode == os.EX_CONFIG
    assert f'{chain.config}: instance.VI_1.vipz: unknown key; did you mean "vips"?' in bad.stderr


def test_check_says_what_is_not_followed_here(tmp_path: Path) -> None:
    node = RunningDaemon(tmp_path)
    node.instance("VI_1")
    node.resource("a", body='nodes = ["right", "center"]')
    node.instance("VI_2")
    words = [sys.executable, "-m", "failoverd", "--check", "--config", str(node.config), "--node", "left.example.net"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [
        f"{node.config}: ok (2 instances, 0 of 1 resource on left.example.net)",
        f"{node.config}: no resource on left.example.net follows VI_1: its resources are for center, right",
        f"{node.config}: no resource on left.example.net follows VI_2: it has no resources",
    ]
    node.config.write_text("")
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout.endswith("failoverd follows no instance: the configuration has no [instance.NAME]\n")


@pytest.mark.parametrize(
    ("device", "wrong"), [("/etc/passwd", True), ("/dev", True), ("/dev/null", False), ("/dev/no-such-watchdog", False)]
)
def test_check_names_a_watchdog_that_is_no_device(tmp_path: Path, device: str, wrong: bool) -> None:
    node = RunningDaemon(tmp_path)
    node.tables = [f'[quorum]\nwitnesses = ["icmp://192.0.2.254"]\nwatchdog = "{device}"\n']
    node.instance("VI_1")
    words = [sys.executable, "-m", "failoverd", "--check", "--config", str(node.config), "--node", "left.example.net"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    text = (
        f"quorum.watchdog: {device} is not a character device; expected a watchdog device, as listed by: ls -l /dev/w"
    )
    assert (text in told) == wrong
    assert ("quorum.watchdog" in told) == wrong


def test_failoverctl_says_that_the_configuration_keeps_failoverd_from_starting(node: RunningDaemon) -> None:
    node.run_dir.mkdir()
    node.config.write_text('[instance.VI_1]\nvipz = ["192.0.2.1"]\ninterfase = "eth0"\n')
    done = subprocess.run(node.words(), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == os.EX_CONFIG
    told = node.ctl("status")
    assert told.returncode == 69
    assert f"its configuration has errors: {node.config}: instance.VI_1.vipz: unknown key" in told.stderr
    assert "(and 1 more)" in told.stderr
    assert "failoverctl config check && systemctl restart failoverd" in told.stderr
    node.instance()
    node.start()
    node.stop()
    assert "there is no socket" in node.ctl("status").stderr


class Few(RunningDaemon):
    """A daemon that is started with a low soft limit of descriptors."""

    def words(self) -> list[str]:
        return ["sh", "-c", 'ulimit -Sn 90; exec "$@"', "sh", *super().words()]


def test_more_looks_at_once_than_a_low_limit_of_descriptors_allows(tmp_path: Path) -> None:
    node = Few(tmp_path)
    node.instance()
    for number in range(60):
        node.resource(f"r{number}")
        node.tables[-1] = node.tables[-1].replace("test -e", "sleep 1; test -e")
    node._write()
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    for resource in node.instance_status()["resources"].values():
        assert resource["level"] == "standby", resource["detail"]
    node.stop()
    assert "Too many open files" not in node.log.read_text()
