"""``failoverctl status --all``: every node, or why it has no answer; and the verdict."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.terminal import Terminal, golden

Answer = dict[str, Any]
Status = Callable[..., Answer]


class Nodes:
    """left, which is asked, and its peers: each a file that a command prints."""

    def __init__(self, daemon: FakeDaemon, status: Status, folder: Path) -> None:
        self._daemon, self._status, self._folder = daemon, status, folder
        self.peers: dict[str, Any] = {}

    def answer(self, node: str, **changed: Any) -> Answer:
        """An answer of now: the ages on the screen are the same in every run."""
        since = (datetime.now(UTC) - timedelta(seconds=200)).isoformat()
        return self._status(since=since, **changed) | {"node": node, "digest": "4f1a0c9d77e2", "peers": self.peers}

    def standby(self, node: str) -> Answer:
        vip = {"address": "80.67.181.1/32", "interface": "br-public", "present": False}
        resources = {"web": {"driver": "xen", "level": "standby", "detail": "", "since": None}}
        changed = {"vips": [vip], "resources": resources, "vrrp_state": "BACKUP", "target": "standby"}
        return self.answer(node, phase="standby", **changed)

    def peer(self, name: str, answer: Any, *, node: str | None = None) -> None:
        """`answer`: an object, or a script."""
        if isinstance(answer, dict):
            file = self._folder / name
            file.write_text(json.dumps(answer | {"node": node or name}))
            answer = f"cat {file}"
        self.peers[name] = ["sh", "-c", answer]

    def ready(self, **changed: Any) -> list[str]:
        self._daemon.answers(self.answer("left", **changed))
        return ["--socket", str(self._daemon.path), "status", "--all"]

    def run(self, *words: str, **changed: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "failoverd.ctl", *self.ready(**changed), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def shown(self, *words: str, **changed: Any) -> str:
        done = self.run(*words, **changed)
        assert (done.returncode, done.stderr) == (0, "")
        return re.sub(r"at \d\d:\d\d:\d\d", "at 03:15:00", done.stdout)


@pytest.fixture
def nodes(daemon: FakeDaemon, status: Status, tmp_path: Path) -> Nodes:
    return Nodes(daemon, status, tmp_path)


def test_when_all_is_well(nodes: Nodes) -> None:
    nodes.peer("right", nodes.standby("right"))
    nodes.peer("center", nodes.standby("center"))
    assert nodes.shown() == (
        "  3 nodes:\n"
        "  VI_1: exactly one active: left\n"
        "\n"
        "  node    instance  phase    since      keepalived  serves\n"
        "  left    VI_1      active   3 min ago  MASTER      80.67.181.1/32, prefix, web\n"
        "  right   VI_1      standby  3 min ago  BACKUP      none\n"
        "  center  VI_1      standby  3 min ago  BACKUP      none\n"
    )


def test_a_node_without_an_answer_says_why_and_nothing_is_concluded(nodes: Nodes) -> None:
    nodes.peer("right", "echo 'ssh: connect to host right port 22: No route to host' >&2; exit 255")
    nodes.peer("center", nodes.standby("center"))
    shown = nodes.shown()
    assert shown.startswith(
        "  3 nodes, 1 without an answer:\n"
        "! VI_1: cannot tell, because right gave no answer. As far as is known: left is active, center is standby\n"
    )
    reason = "ssh: connect to host right port 22: No route to host"
    assert re.search(rf"^! right +- +NO ANSWER +at 03:15:00 +- +{reason}$", shown, re.MULTILINE)


def test_two(nodes: Nodes) -> None:
    nodes.peer("right", nodes.answer("right"))
    shown = nodes.shown()
    both = "active: 80.67.181.1/32, prefix, web"
    assert f"! VI_1: two nodes serve it: left ({both}), right ({both})\n" in shown


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo Welcome", 'its answer is not JSON; it begins with "Welcome"'),
        ("echo '{}'", "its answer is not that of failoverctl status"),
        ('echo \'{"node": "right", "version": "0.0.1", "instances": {"VI_1": {"phase": "active"}}}\'',
         "its failoverd 0.0.1 reports VI_1 in a format that failoverctl cannot read"),
        ("head -c 17000000 /dev/zero", "its answer is longer than 16 MiB"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_count(nodes: Nodes, script: str, said: str) -> None:
    nodes.peer("right", script)
    shown = nodes.shown()
    assert said in shown
    assert "cannot tell, because right gave no answer" in shown


def test_an_answer_of_another_node_does_not_count(nodes: Nodes) -> None:
    nodes.peer("right", nodes.standby("right"), node="centre")
    nodes.peer("center", nodes.standby("center"), node="left")
    nodes.peer("a", nodes.standby("a"), node="a.example.net")
    nodes.peer("a.example.net", nodes.standby("a"))
    shown = nodes.shown()
    assert "5 nodes, 3 without an answer" in shown
    assert "the answer is that of a node centre; correct right in [peers]" in shown
    assert "the answer is that of left once more; correct center in [peers]" in shown
    assert "the answer is that of a once more; correct a.example.net in [peers]" in shown


def test_what_differs_is_said(nodes: Nodes) -> None:
    nodes.peer("right", nodes.standby("right") | {"digest": "000000000000"})
    nodes.peer("center", nodes.standby("center") | {"version": "0.0.9", "digest": None})
    nodes.peer("fourth", nodes.standby("fourth") | {"instances": {}, "troubles": [{"text": "/run is full"}]})
    maintenance = {"by": "root", "since": "2026-11-21T03:12:00+00:00", "until": None}
    nodes.peer("fifth", nodes.standby("fifth") | {"maintenance": maintenance})
    shown = nodes.shown()
    assert "! the configurations differ: left and fourth and fifth: 4f1a0c9d77e2; right: 000000000000\n" in shown
    assert "  no digest of the configuration, from an older failoverd: center\n" in shown
    assert "  the releases differ: left and right and fourth and fifth: 0.1.0; center: 0.0.9\n" in shown
    assert "! fourth: trouble: /run is full\n" in shown
    assert "! fifth: maintenance " in shown
    assert re.search(r"^! fourth  VI_1 +ABSENT .* configuration does not have it$", shown, re.MULTILINE)


def test_json_is_one_object_by_node(nodes: Nodes) -> None:
    nodes.peer("right", nodes.standby("right"))
    nodes.peer("center", "echo no >&2; exit 1")
    done = nodes.run("--json")
    found = json.loads(done.stdout)
    assert list(found) == ["left", "right", "center"]
    assert [found[node]["instances"]["VI_1"]["phase"] for node in ("left", "right")] == ["active", "standby"]
    assert found["center"]["error"] == "no"
    assert datetime.fromisoformat(found["center"]["asked"]).tzinfo is not None


def test_one_instance(nodes: Nodes) -> None:
    nodes.peer("right", nodes.standby("right"))
    assert "VI_1: exactly one" in nodes.shown("VI_1")
    done = nodes.run("VI_9")
    assert done.returncode == 1
    assert done.stderr == 'failoverctl: no node that answered has an instance "VI_9"\n  expected one of: VI_1\n'


def test_without_peers_the_remedy_is_said(nodes: Nodes) -> None:
    done = nodes.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("failoverctl: failoverd.toml names no other node\n  add them")


def test_an_older_failoverd_is_told_apart(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    words = [sys.executable, "-m", "failoverd.ctl", "--socket", str(daemon.path), "status", "--all"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "this failoverd does not know its peers\n" in done.stderr
    assert "systemctl restart failoverd" in done.stderr


def test_no_command_of_another_users_daemon_is_run(nodes: Nodes, daemon: FakeDaemon, tmp_path: Path) -> None:
    nodes.peer("right", f"touch {tmp_path}/ran")
    os.chown(daemon.path, 65534, -1)
    done = nodes.run()
    assert done.returncode == 1
    assert "is of user 65534, whose commands are not run" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_an_address_goes_through_ssh(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the command that a shell on the other side gets."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    (tmp_path / "bin" / "failoverctl").write_text(f"#!/bin/sh\ntest \"$*\" = 'status --json' && cat {tmp_path}/right\n")
    ssh.write_text('#!/bin/sh\nwhile test "$1" != --; do shift; done\ntest "$2" = root@192.0.2.2 && exec sh -c "$3"\n')
    for file in ssh.parent.iterdir():
        file.chmod(0o755)
    nodes.peer("right", nodes.standby("right"))
    nodes.peers["right"] = "root@192.0.2.2"
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    assert "exactly one active: left" in nodes.shown()


def test_a_terminal_shows_who_is_awaited_meanwhile(nodes: Nodes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    nodes.peer("right", f"cat {tmp_path}/gate")
    nodes.peer("center", nodes.standby("center"))
    terminal = Terminal(nodes.ready(), columns=80)
    try:
        terminal.until(lambda: terminal.screen == "waiting for right\n")
        (tmp_path / "gate").write_text("no")
        assert terminal.end() == 0
        assert "waiting for" not in terminal.screen
    finally:
        terminal.close()


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal(nodes: Nodes, columns: int) -> None:
    nodes.peer("right", "echo 'ssh: connect to host right port 22: No route to host' >&2; exit 255")
    nodes.peer("center", nodes.standby("center") | {"digest": "000000000000"})
    terminal = Terminal(nodes.ready(phase="failed", reason="web: xl create exited 3"), columns=columns)
    try:
        assert terminal.end() == 0
        golden(f"status_all_{columns}.txt", terminal, lambda text: re.sub(r"at \d\d:\d\d:\d\d", "at 03:15:00", text))
    finally:
        terminal.close()
