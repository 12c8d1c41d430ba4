"""The story of a newcomer: keepalived runs on three nodes, and failoverctl makes both configurations for failoverd."""

import json
import re

import pytest

from . import status_client
from .configs import REPOSITORY
from .lab import Lab
from .node import Node
from .profiles import ACTIVE_METRIC, PRIORITY, STANDBY_METRIC

_TOML = "etc/failoverd/failoverd.toml"
_KEEPALIVED = "etc/keepalived/keepalived.conf"


@pytest.mark.parametrize("hosting", [{"agent": "none"}], indirect=True, ids=["none"])
def test_from_a_running_keepalived_to_a_node_in_which_doctor_finds_nothing(hosting: Lab) -> None:
    left, right = hosting.left, hosting.right
    for node in hosting.nodes.values():
        _init(node)
    written = {(node.disk / _TOML).read_text(encoding="utf-8") for node in hosting.nodes.values()}
    assert len(written) == 1, "it is the same on every node"

    for node in hosting.nodes.values():
        node.systemctl("stop", "keepalived.service")
        _configure_keepalived(node)
        node.systemctl("enable", "--now", "failoverd.service")
    left.systemctl("enable", "--now", "keepalived.service")
    hosting.wait_for_phase("left", "active")
    for node in (right, hosting.center):
        node.systemctl("enable", "--now", "keepalived.service")
    hosting.wait_for_metrics({"left": ACTIVE_METRIC, "right": STANDBY_METRIC, "center": STANDBY_METRIC})
    for node in (right, hosting.center):
        hosting.wait_until_hears_master(node.name)
    for node in hosting.nodes.values():
        sound = node.failoverctl("doctor", check=False)
        assert sound.stdout == "", sound.stdout
        assert (sound.returncode, sound.stderr) == (0, "")

    _break_and_repair(right)
    left.kill()
    hosting.wait_for_phase("right", "active")
    hosting.wait_until_answered_by("right")
    assert status_client.history(right)[0]["cause"] == "keepalived reported MASTER"


def _init(node: Node) -> None:
    (node.disk / _TOML).unlink()
    done = node.failoverctl("init", check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"wrote /{_TOML}: read it, and correct each guess\n")
    assert "VI_1: keepalived reports no change of VI_1 to failoverd" in done.stdout


def _configure_keepalived(node: Node) -> None:
    """With the lines of keepalived-config, and a priority."""
    node.run(["install", "-D", str(REPOSITORY / "hooks/notify"), "/usr/libexec/failoverd/notify"])
    lines = node.failoverctl("keepalived-config").stdout
    chosen, count = re.subn("priority 100 .*CHOOSE.*", f"priority {PRIORITY[node.name]}", lines)
    assert count == 1
    (node.disk / _KEEPALIVED).write_text(chosen, encoding="utf-8")


def _break_and_repair(node: Node) -> None:
    conf = node.disk / _KEEPALIVED
    text = conf.read_text(encoding="utf-8")
    conf.write_text(text.replace("    enable_dbus\n", ""), encoding="utf-8")
    node.systemctl("stop", "bird.service")
    broken = node.failoverctl("doctor", "--json", check=False)
    assert broken.returncode == 1, broken.stderr
    found = {each["code"]: each for each in json.loads(broken.stdout)["findings"]}
    assert found.keys() == {"keepalived-enable-dbus", "keepalived-not-loaded", "bird-not-running"}
    assert found["keepalived-enable-dbus"]["fix"] in text

    conf.write_text(text, encoding="utf-8")
    node.run(["sh", "-c", found["bird-not-running"]["fix"]])
