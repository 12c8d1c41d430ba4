"""The figures of the whole daemon: at its port and in its file, and as it is reloaded."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.metrics.measured_daemon import MeasuredDaemon
from tests.unit.daemon.metrics.parsed import Parsed
from tests.unit.daemon.running_daemon import wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MeasuredDaemon]:
    made = MeasuredDaemon(tmp_path)
    yield made
    made.end()


def test_the_figures_follow_what_happens(node: MeasuredDaemon) -> None:
    node.instance("VI 1é")
    node.resource("disk", instance="VI 1é")
    node.resource("web", "disk", instance="VI 1é", activate=["sh", "-c", "exit 1"], body="retries = 0")
    node.start()
    wait_for("it serves", node.serves)
    node.hook("MASTER", "VI 1é")
    node.until("failed", "VI 1é")
    found = node.scrape()
    found.held_against_the_declarations()
    its = {"vrrp_instance": "VI 1é"}
    assert found.value("build_info", version=node.status()["version"], node="left") == 1
    assert found.value("instance_phase", **its, phase="failed") == 1
    assert sum(found.of("instance_phase").values()) == 1
    assert found.value("instance_target", **its, target="active") == 1
    assert found.value("instance_vrrp_state", **its, state="MASTER") == 1
    assert found.value("instance_alarm", **its) == 1
    assert found.value("resource_level", **its, resource="disk", driver="exec", level="active") == 1
    assert found.value("resource_level", **its, resource="web", driver="exec", level="standby") == 1
    assert found.value("transitions_total", **its, target="active", outcome="failed") == 1
    assert found.value("steps_total", **its, resource="disk", driver="exec", verb="activate", outcome="done") == 1
    assert found.value("steps_total", **its, resource="web", driver="exec", verb="activate", outcome="failed") == 1
    assert found.value("step_duration_seconds_count", driver="exec", verb="activate") == 1
    assert found.value("alarms_total", **its, code="failed") == 1
    assert found.value("events_total", source="hook", verdict="accepted") == 1
    made = found.value("exposition_timestamp_seconds")
    for resource in ("disk", "web"):
        at = found.value("resource_last_observation_timestamp_seconds", **its, resource=resource)
        assert made - 60 < at <= made + 1
    node.hook("BACKUP", "VI 1é")
    node.until("standby", "VI 1é")
    found = node.scrape()
    assert found.value("instance_phase", **its, phase="standby") == 1
    assert found.value("transition_duration_seconds_count", **its, target="standby") == 1


def test_the_file_has_them_too_until_the_daemon_ends(node: MeasuredDaemon) -> None:
    node.instance()
    node.resource("web")
    node.start()
    wait_for("it is there", node.file.exists)
    node.hook("MASTER")
    wait_for(
        "it says so",
        lambda: Parsed(node.file.read_text()).value("instance_phase", vrrp_instance="VI_1", phase="active"),
    )
    Parsed(node.file.read_text()).held_against_the_declarations()
    node.stop()
    assert not node.file.exists()


def test_a_reload_turns_both_off_and_on(node: MeasuredDaemon) -> None:
    node.instance()
    on = node.tables.pop(0)
    node.instance("VI_2")
    node.start()
    assert not node.serves()
    assert not node.file.exists()
    node.tables.append(on)
    node._write()
    node.reload()
    wait_for("both are there", lambda: node.serves() and node.file.exists())
    assert {dict(its)["vrrp_instance"] for its in node.scrape().of("instance_phase")} == {"VI_1", "VI_2"}
    node.tables.pop()
    node._write()
    node.reload()
    wait_for("both are gone", lambda: not node.serves() and not node.file.exists())


def test_a_port_in_use_keeps_nothing_from_starting(node: MeasuredDaemon) -> None:
    node.instance()
    with socket.create_server(("127.0.0.1", node.port)):
        node.start()
        [trouble] = [each for each in node.status()["troubles"] if each["about"] == "metrics-port"]
        assert trouble["text"].endswith(f"; run: ss -ltnp sport = :{node.port}")
        node.hook("MASTER")
        node.until("active")


def test_a_file_of_a_killed_daemon_is_replaced(node: MeasuredDaemon) -> None:
    node.instance()
    node.start()
    wait_for("it is there", node.file.exists)
    node.stop(signal.SIGKILL)
    node.file.write_text("old")
    node.start()
    wait_for("it is new", lambda: node.file.read_text() != "old")
