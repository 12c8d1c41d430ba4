"""Two whole daemons with a heartbeat between them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.running_daemon import RunningDaemon, wait_for


class Node(RunningDaemon):
    """One node of two, of the name `name`."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.name = name

    def words(self) -> list[str]:
        words = super().words()
        words[words.index("--node") + 1] = self.name
        return words

    @property
    def peer(self) -> Any:
        """What it shows of the other one."""
        return next(iter(self.status()["heartbeat"]["peers"].values()))

    @property
    def said(self) -> Any:
        """What the other one has said of VI_1."""
        return self.peer["instances"].get("VI_1") or {}


Pair = tuple[Node, Node]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Pair]:
    made = Node(tmp_path / "l", "left"), Node(tmp_path / "r", "right")
    address = f"127.2.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
    addresses = f'{{ left = "{address}:5409", right = "{address}:5410" }}'
    for node in made:
        key = node.config.parent / "heartbeat.key"
        key.write_text("k" * 44)
        key.chmod(0o600)
        node.tables.append(f'[heartbeat]\naddresses = {addresses}\nkey_file = "{key}"\ninterval = "100ms"\n')
        node.instance()
        node.resource("disk")
    yield made
    for node in made:
        node.end()


def test_each_shows_what_the_other_one_says(nodes: Pair) -> None:
    left, right = nodes
    left.start()
    left.hook("BACKUP")
    left.until("standby")
    wait_for("nobody is heard", lambda: "nothing listens" in (left.peer["trouble"] or ""))
    assert left.peer["word"] is None
    right.start()
    right.hook("MASTER")
    right.until("active")
    said = wait_for("it is heard", lambda: left.said.get("phase") == "active" and left.said)
    assert (said["vrrp_state"], said["rests"], said["levels"]) == ("MASTER", False, {"disk": "active"})
    right.hook("BACKUP")
    wait_for("it is heard", lambda: left.said.get("rests"))
    assert left.peer["silent"] is False
    assert wait_for("it is heard", lambda: right.said.get("rests"))
    assert "word      right says: BACKUP, standby, everything at standby" in left.ctl("status").stdout
    assert "By the heartbeat right has said: BACKUP, standby" in left.ctl("why").stdout


def test_a_node_that_ends_says_at_last_that_it_has_stopped(nodes: Pair) -> None:
    left, right = nodes
    for node in nodes:
        node.start()
    right.hook("MASTER")
    wait_for("it is heard", lambda: left.said.get("phase") == "active")
    right.hook("BACKUP")
    right.stop(signal.SIGTERM)
    assert wait_for("it is heard", lambda: left.said.get("rests"))
    wait_for("it is silent", lambda: left.peer["silent"])
    assert left.said["rests"], "the word stays, and its age is shown"


def test_a_node_that_is_killed_falls_silent_and_is_heard_again(nodes: Pair) -> None:
    left, right = nodes
    for node in nodes:
        node.start()
    right.hook("MASTER")
    wait_for("it is heard", lambda: left.said.get("phase") == "active")
    right.stop(signal.SIGKILL)
    wait_for("it is silent", lambda: left.peer["silent"])
    assert left.said["phase"] == "active", "silence proves nothing"
    right.start()
    wait_for("it is heard", lambda: not left.peer["silent"])


def test_two_that_are_both_master_learn_it_by_the_heartbeat(nodes: Pair) -> None:
    """keepalived reports nothing: their adverts are lost."""
    for node in nodes:
        node.start()
    for node in nodes:
        node.hook("MASTER")
    wait_for("both have a record", lambda: all(node.instance_status()["rivals"] for node in nodes))
    for node, other in (nodes, reversed(nodes)):
        (rival,) = node.instance_status()["rivals"]
        assert (rival["peer"], rival["station"], rival["gave_way"]) == (other.name, None, False)
        assert f"{other.name} said by the heartbeat that it was MASTER too" in node.instance_status()["alarm"]


def test_a_reload_brings_another_key(nodes: Pair) -> None:
    left, right = nodes
    for node in nodes:
        node.start()
    wait_for("it is heard", lambda: not left.peer["silent"])
    (right.config.parent / "heartbeat.key").write_text("x" * 44)
    right.reload()
    wait_for("the key differs", lambda: left.peer["ignored_why"] == "it was signed with another key")
    wait_for("it is silent", lambda: left.peer["silent"])
    assert any("was signed with another key" in each["text"] for each in left.status()["troubles"])
    (left.config.parent / "heartbeat.key").write_text("x" * 44)
    left.reload()
    wait_for("it is heard", lambda: not left.peer["silent"])


def check(node: Node) -> str:
    done = subprocess.run([*node.words(), "--check"], capture_output=True, text=True, check=True)
    return done.stdout


def test_config_check_tells_of_a_key_that_is_missing(nodes: Pair) -> None:
    left, _ = nodes
    key = left.config.parent / "heartbeat.key"
    assert "heartbeat" not in check(left)
    key.unlink()
    assert "is missing; make one, and copy it to every node" in check(left)
    left.start()
    wait_for("the trouble", lambda: any("is missing" in each["text"] for each in left.status()["troubles"]))


def test_hostile_datagrams_cost_no_word(nodes: Pair) -> None:
    """Whatever comes from the other node's own address and port."""
    left, right = nodes
    left.start()
    address = left.peer["address"].rpartition(":")[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
        hostile.bind((address, 5410))
        for number in range(3000):
            hostile.sendto(bytes([number % 256]) * (number % 2000), (address, 5409))
    assert wait_for("they were ignored", lambda: left.peer["ignored"])
    left.hook("MASTER")
    left.until("active")
    right.start()
    wait_for("it is heard", lambda: not left.peer["silent"])
