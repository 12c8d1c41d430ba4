"""The whole daemon with [fence]: it powers other nodes off by agents, and answers DRBD's handlers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.daemon.running_daemon import PATIENCE, ROOT, RunningDaemon, wait_for
from tests.unit.fence_agents import OFF, ScriptedAgent


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    yield made
    made.end()


def test_check_holds_the_keys_against_the_agents_metadata(node: RunningDaemon, tmp_path: Path) -> None:
    agent = ScriptedAgent(tmp_path)
    addresses = 'left = "192.0.2.1", center = "192.0.2.2", right = "192.0.2.3"'
    node.tables = [
        f'[heartbeat]\naddresses = {{ {addresses} }}\nkey_file = "/key"\n',
        f'[fence.left]\nagent = "{tmp_path}/fence_of_others"\n',
        f'[fence.center]\nagent = "{agent.path}"\noptions = {{ status_fil = "/x" }}\n',
        f'[fence.right]\nagent = "{tmp_path}/fence_absent"\nsecrets = {{ password = "right-bmc" }}\n',
    ]
    node.instance()
    node.resource("disk")
    words = [sys.executable, "-m", "failoverd", "--check", "--config", str(node.config), "--node", "left.example.net"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert all(line.startswith(f"{node.config}: ") for line in told)  # and no line of the log
    center, right, credential = [line.removeprefix(f"{node.config}: fence.") for line in told if "fence." in line]
    assert center == 'center: the agent has no key `status_fil`, and would ignore it; did you mean "status_file"?'
    assert right.startswith(f"right: {tmp_path}/fence_absent: not found; install it")
    assert credential == (
        "right: the credential right-bmc is missing; expected LoadCredential=right-bmc in a drop-in of "
        "failoverd.service, and the file /etc/credstore/right-bmc; then: systemctl daemon-reload && systemctl restart "
        "failoverd"
    )
    assert agent.actions == ["metadata"]
    assert "without [quorum]" not in "".join(told)  # a cut is decided by who is powered off


def test_check_names_a_node_without_a_power_switch_beside_one_that_has_one(node: RunningDaemon, tmp_path: Path) -> None:
    agent = ScriptedAgent(tmp_path)
    node.tables = [
        '[heartbeat]\naddresses = { left = "192.0.2.1", right = "192.0.2.2" }\nkey_file = "/key"\n',
        f'[fence.right]\nagent = "{agent.path}"\n',
    ]
    node.instance()
    node.resource("disk")
    words = [sys.executable, "-m", "failoverd", "--check", "--config", str(node.config), "--node", "right"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "left carries VI_1 and has no [fence.left], as another node has: while left is silent, no other node" in told
    assert "before `failoverctl confirm-off left` there; or set takeover_after in [quorum]" in told


WORD = "tr0ub4dor"


class Site:
    """The node left, active with a disk and a DRBD resource, and a node right that nobody hears, with its agent.

    A node that was never heard has no time here to say its first word, which is a minute otherwise.
    """

    def __init__(self, folder: Path, off: str = OFF, *tables: str) -> None:
        self.agent = ScriptedAgent(folder, off=off)
        self.node = RunningDaemon(folder)
        self.node.prelude = "from failoverd.core import peers; peers.FIRST_WORD_S = 0.0"
        (folder / "right-bmc").write_text(f"{WORD}\n")
        self.node.environment["CREDENTIALS_DIRECTORY"] = str(folder)
        key = folder / "heartbeat.key"
        key.write_bytes(b"k" * 64 + b"\n")
        key.chmod(0o600)
        here = f"{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
        self.node.tables = [
            f'[heartbeat]\naddresses = {{ left = "127.2.{here}", right = "127.3.{here}" }}\nkey_file = "{key}"\n',
            f'[fence.left]\nagent = "{folder}/fence_of_others"\n',
            f'[fence.right]\nagent = "{self.agent.path}"\nsecrets = {{ status_file = "right-bmc" }}\n',
        ]
        self.node.tables += tables
        self.node.instance()
        self.node.resource("disk")

    def handler(self, verb: str = "fence-peer") -> subprocess.CompletedProcess[str]:
        """DRBD's handler for its resource web, run to its end."""
        drbd = {"DRBD_RESOURCE": "web", "DRBD_PEER_NODE_ID": "1", "DRBD_NODE_ID_0": "left", "DRBD_NODE_ID_1": "right"}
        argv = [str(ROOT / "hooks" / verb), "--runtime-dir", str(self.node.run_dir)]
        return subprocess.run(argv, env=drbd, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)

    def become_master(self) -> None:
        self.node.start()
        self.node.hook("BACKUP")
        self.node.until("standby")
        self.node.hook("MASTER")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:

        def make(*arguments: str) -> Site:
            made = Site(tmp_path, *arguments)
            stack.callback(made.node.end)
            return made

        yield make


def test_a_silent_node_is_powered_off_before_anything_is_activated(site: Callable[..., Site], tmp_path: Path) -> None:
    made = site(f"[ ! -e {tmp_path}/things/disk ] && {OFF}")
    node = made.node
    made.become_master()
    node.until("active")
    assert not made.agent.is_on
    assert [action for action in made.agent.actions if action != "metadata"] == ["off", "status"]
    assert f"status_file={WORD}" in made.agent.given
    wait_for("there is an alarm", lambda: '"kind": "fenced"' in node.log.read_text())
    assert node.ctl("unfence", "right").stdout == "  right does not count as off any more\n"
    assert node.ctl("unfence", "right").stdout == "  right was not known to be off\n"
    assert node.ctl("unfence", "left").returncode != 0
    node.stop()
    told = "".join(path.read_text(errors="replace") for path in (node.log, *node.state_dir.glob("*.db")))
    assert "status` says that it is off" in told
    assert WORD not in told


def test_without_the_proof_nothing_is_activated_and_that_is_said(site: Callable[..., Site]) -> None:
    made = site("echo 'Success: Powered OFF'")
    made.become_master()
    shown = made.node.until("refused")
    assert "right is silent, and could not be fenced: " in shown["reason"]
    assert "then `status` says that it is on" in shown["reason"]
    assert made.node.journal() == []


def test_a_standby_fences_nobody(site: Callable[..., Site]) -> None:
    made = site()
    made.node.start()
    made.node.hook("BACKUP")
    made.node.until("standby")
    wait_for("its keys are checked", lambda: made.agent.actions)
    made.node.stop()
    assert set(made.agent.actions) == {"metadata"}


@pytest.mark.parametrize(("off", "code"), [(OFF, 7), ("echo 'Success: Powered OFF'", 1)])
def test_drbds_handler_gets_the_proof_or_nothing(site: Callable[..., Site], off: str, code: int) -> None:
    made = site(off, '[instance.VI_1.resource.web]\ndriver = "drbd"\nresource = "web"\n')
    made.become_master()
    done = made.handler()
    assert (done.returncode, f"exit status {code}" in done.stderr) == (code, True)
    if code == 7:
        assert "web, right: right is off: " in done.stderr
        done = made.handler("unfence-peer")
        assert (done.returncode, "right does not count as off any more" in done.stderr) == (0, True)
