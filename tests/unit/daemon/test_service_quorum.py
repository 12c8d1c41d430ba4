"""The whole daemon with a witness: a program of its own that listens, dies and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.running_daemon import RunningDaemon, wait_for


class Station:
    """A program that says whether it answers. An address on loopback is no witness."""

    def __init__(self, directory: Path) -> None:
        self._up = directory / "up"
        self.program = directory / "witness"
        self.program.write_text(f"#!/bin/sh\ntest -e {self._up} && echo connected\n")
        self.program.chmod(0o755)
        self.open()

    def open(self) -> None:
        self._up.touch()

    def close(self) -> None:
        self._up.unlink()


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


@pytest.fixture
def node(tmp_path: Path, station: Station) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    urls = json.dumps([f"exec://{station.program}"])
    made.tables.append(f'[quorum]\nwitnesses = {urls}\nisolation_timeout = "2s"\ntimeout = "500ms"\n')
    made.instance()
    made.resource("disk")
    made.resource("guest", "disk")
    yield made
    made.end()


def track(node: RunningDaemon) -> str:
    """What keepalived reads."""
    return (node.run_dir / "track" / "VI_1").read_text(encoding="ascii").strip()


def test_an_active_node_that_misses_its_witness_stops_and_comes_back(node: RunningDaemon, station: Station) -> None:
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    assert node.status()["quorum"]["asking"] is False
    node.hook("MASTER")
    shown = node.until("active")
    assert shown["standing"] == "present"
    station.close()
    shown = node.until("refused")
    assert "this node is alone" in shown["alarm"]
    assert track(node) == "1"
    assert not (node.things / "disk").exists()
    assert "does not answer" in node.ctl("check").stdout
    node.hook("FAULT")
    node.until("standby")
    station.open()
    wait_for("it competes again", lambda: track(node) == "0")
    assert node.status()["quorum"]["asking"] is False
    node.hook("MASTER")
    node.until("active")


def test_nothing_is_activated_where_no_witness_answers(node: RunningDaemon, station: Station) -> None:
    station.close()
    node.start()
    node.hook("MASTER")
    shown = node.until("refused")
    assert f"exec://{station.program}: " in shown["alarm"]
    assert node.journal() == []
    station.open()
    node.until("active")
    assert track(node) == "0"


def test_a_restart_beside_active_resources_without_a_witness_stops_them_after_its_time(
    node: RunningDaemon, station: Station
) -> None:
    node.start()
    node.hook("MASTER")
    node.until("active")
    node.stop(9)
    station.close()
    node.start()
    node.until("refused")
    assert [line for line in node.journal() if "+ activate" in line] == ["+ activate disk", "+ activate guest"]
    assert not (node.things / "disk").exists()


def test_a_failoverd_that_is_killed_again_and_again_without_its_witness_stops_all_the_same(
    node: RunningDaemon, station: Station
) -> None:
    node.start()
    node.hook("MASTER")
    node.until("active")
    station.close()

    def stops() -> bool:
        node.stop(9)
        node.start()
        return "+ deactivate guest" in node.journal()

    wait_for("it is alone", stops)
    node.until("refused")


def test_a_witness_whose_program_is_not_here_is_said_before_it_is_needed(node: RunningDaemon, station: Station) -> None:
    station.program.chmod(0o644)
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    wait_for("a trouble", lambda: [t for t in node.status()["troubles"] if "not an executable file" in t["text"]])
    station.program.chmod(0o755)
    node.reload()
    assert node.until("standby")
