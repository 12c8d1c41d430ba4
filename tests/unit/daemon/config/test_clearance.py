"""What [fence] and takeover_after need from the rest of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from failoverd.daemon import config
from failoverd.daemon.config import ConfigError, clearance

BEAT = '[heartbeat]\naddresses = { left = "192.0.2.1", right = "192.0.2.2" }\nkey_file = "/etc/failoverd/key"\n'
FENCE = '[fence.right]\nagent = "fence_ipmilan"\noptions = { ip = "right" }\n'
SITE = """\
[instance.VI_1.resource.disk]
driver = "unit"
unit = "a.service"
nodes = ["right"]
timeout = 40
stop_timeout = 20
[instance.VI_1.resource.guest]
driver = "unit"
unit = "b.service"
nodes = ["right"]
needs = ["disk"]
stop_timeout = 50
"""
#: The isolation_timeout, an activation that has begun, and the graceful and the forced stop of each resource.
LEAST = 10 + 40 + 30 + 60


def quorum(seconds: float, witness: str = "icmp://a") -> str:
    return f'[quorum]\nwitnesses = ["{witness}"]\ntakeover_after = {seconds}\n'


DOG = 'watchdog = "/dev/watchdog"\n'


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "failoverd.toml"
    file.write_text(text + SITE)
    try:
        config.load(file, "left")
    except ConfigError as error:
        return [each.removeprefix(f"{file}: ") for each in error.problems]
    return []


@pytest.mark.parametrize(
    "text",
    [
        "",
        BEAT + FENCE,
        BEAT + quorum(LEAST),
        BEAT + quorum(1, "etcd://192.0.2.9:2379"),  # the lease says when the other node has stopped
        quorum(0),
        BEAT + quorum(LEAST + 15) + DOG,
        BEAT + quorum(1) + "[instance.VI_1]\nquorum = false\n",
    ],
)
def test_what_is_complete_is_accepted(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (FENCE, "fence: expected [heartbeat] beside it"),
        (
            BEAT + FENCE.replace("right", "rigth"),
            "fence.rigth: no node of [heartbeat] has this name; expected one of left, right",
        ),
        (quorum(LEAST), "quorum.takeover_after: expected [heartbeat] beside it"),
        (
            BEAT + quorum(LEAST) + DOG,
            f"quorum.takeover_after: expected at least {LEAST + 15} s: isolation_timeout (10 s), the longest",
        ),
        (
            BEAT + quorum(LEAST - 1),
            f"quorum.takeover_after: expected at least {LEAST} s: isolation_timeout (10 s), the longest stop of VI_1",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, problem: str) -> None:
    found = problems(tmp_path, text)
    assert any(each.startswith(problem) for each in found), found


def test_a_heartbeat_with_an_error_is_not_said_to_be_missing(tmp_path: Path) -> None:
    elsewhere = BEAT.replace("left", "center")
    (found,) = problems(tmp_path, f"{elsewhere}{FENCE}{quorum(LEAST)}")
    assert "heartbeat.addresses: this node is missing" in found


@pytest.mark.parametrize(
    "wrong",
    [
        '[fence.right]\nagent = "fence_ipmilan"\noptions = { action = "off" }\n',
        '[fence.right]\nagnet = "fence_ipmilan"\n',
        '[alert]\ncomand = ["/bin/true"]\n',
        '[instance.VI_2]\nvips = ["192.0.2.300/24"]\n',
    ],
)
def test_an_error_elsewhere_hides_none(tmp_path: Path, wrong: str) -> None:
    alone = problems(tmp_path, BEAT + quorum(LEAST) + wrong)
    assert alone
    assert not any("takeover_after" in each for each in alone)
    both = problems(tmp_path, BEAT + quorum(LEAST - 1) + wrong)
    assert set(alone) < set(both)
    assert any(each.startswith("quorum.takeover_after: expected at least") for each in both)


SHARED = SITE.replace('nodes = ["right"]\n', "")
THREE = BEAT.replace("right = ", 'center = "192.0.2.3", right = ')


@pytest.mark.parametrize("node", ["left", "right"])
@pytest.mark.parametrize(
    ("text", "unfenceable", "unguarded"),
    [
        ("", {}, True),
        (BEAT, {}, True),
        (BEAT + FENCE, {"left": ["VI_1"]}, False),
        (BEAT + FENCE + FENCE.replace("right", "left"), {}, False),
        (BEAT + FENCE + quorum(LEAST), {}, False),
        (BEAT + FENCE + quorum(0), {"left": ["VI_1"]}, False),
        (BEAT + FENCE + quorum(0, "etcd://192.0.2.9:2379"), {}, False),
        (BEAT + FENCE + "[instance.VI_1]\nquorum = false\n", {}, False),
        (THREE + FENCE + FENCE.replace("right", "left"), {"center": ["VI_1"]}, False),
    ],
)
def test_the_nodes_without_a_power_switch_beside_others_that_have_one(
    tmp_path: Path, node: str, text: str, unfenceable: dict[str, list[str]], unguarded: bool
) -> None:
    file = tmp_path / "failoverd.toml"
    file.write_text(text + SHARED)
    core = config.load(file, node).core
    assert clearance.unfenceable(core) == unfenceable
    assert clearance.unguarded(core) == unguarded


def test_the_fencing_of_a_node_that_does_not_carry_the_instance_guards_it_not(tmp_path: Path) -> None:
    file = tmp_path / "failoverd.toml"
    nodes = 'nodes = ["left", "right"]\n'
    file.write_text(THREE + FENCE.replace("right", "center") + SITE.replace('nodes = ["right"]\n', nodes))
    core = config.load(file, "left").core
    assert clearance.unfenceable(core) == {}
    assert clearance.unguarded(core)
