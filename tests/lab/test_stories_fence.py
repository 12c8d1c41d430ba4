"""Stories of a node that falls silent: it is powered off before another one serves, or no other one does.

Left, right and the only witness are in room A, center is in room B, and the power switch is in both; see rooms.py and
power.py. Left serves when a story begins. Who serves is looked at every 10 ms from outside, and it is never two.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from . import configs, hearing, operating, power, rooms, status_client
from .lab import Lab
from .power import PowerSwitch
from .profiles import NODES, NodeName
from .rooms import TCP, Rooms

_SECONDS = 60.0
_SWITCH = "10.77.0.21"
CONFIG = rooms.RESOURCES + rooms.quorum(TCP) + hearing.config("1s") + power.config(power.AGENT, _SWITCH, *NODES)


@pytest.fixture(scope="module")
def site() -> Iterator[Rooms]:
    with Lab("hosting", track=True, extra_config=rooms.RESOURCES) as lab, Rooms(lab, witnesses=(TCP,)) as made:
        made.start_witness()
        for name in NODES:
            config = configs.failoverd(lab.profile) + CONFIG
            (lab.nodes[name].disk / "etc/failoverd/failoverd.toml").write_text(config, encoding="utf-8")
            hearing.give_key(lab, name)
        hearing.wait_until_heard(lab, *NODES)
        operating.name_peers(lab)
        yield made


@pytest.fixture(scope="module")
def switch(site: Rooms) -> Iterator[PowerSwitch]:
    outlets = {node.address: node for node in site.lab.nodes.values()}
    with PowerSwitch(site.add_to_both("power", _SWITCH), outlets) as made:
        yield made


@pytest.fixture(autouse=True)
def begin(site: Rooms, switch: PowerSwitch) -> Iterator[float]:
    """When the story began: all nodes are on, hear one another and nothing is wrong, and left serves."""
    switch.faults.clear()
    for name in NODES:
        if not site.lab.nodes[name].alive:
            site.power_on(name)
        site.ask(name, "acknowledge")  # where one node hung, and another one became MASTER
    site.serve_from("left")
    hearing.wait_until_heard(site.lab, *NODES)
    switch.asked.clear()
    began = time.monotonic()
    yield began
    assert all(len(serving) < 2 for _, serving in site.samples.since(began)), "two nodes served at once"


@pytest.mark.parametrize("how", ["hangs", "is cut off"])
def test_a_node_that_falls_silent_is_powered_off_before_another_one_serves(
    site: Rooms, switch: PowerSwitch, begin: float, how: str
) -> None:
    left, right = site.lab.left, site.lab.right
    if how == "hangs":
        left.hang()
    else:
        left.unplug()
    assert left.has_file(rooms.SERVES), "it goes on"
    site.wait_until_only("right")
    _check_order(site, switch, "left", "right", begin)
    site.lab.wait_for_phase("right", "active")
    assert status_client.status(right)["off"]["left"]["said"].endswith("`status` says that it is off")
    print(f"left {how}: {_told(site, switch, 'left', 'right', begin)}")

    site.power_on("left")
    site.lab.wait_for(
        "left is heard, and does not count as off", lambda: not status_client.status(right)["off"], within=_SECONDS
    )
    assert site.wait_until_well() == "right"
    assert switch.fenced() == [("right", "left")]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("lies", "not proven to be off: `off`: exit status 0, Status: done; then `status` says that it is on"),
        ("hangs", "not proven to be off: "),
    ],
)
def test_without_a_proof_nobody_serves_until_the_switch_is_mended(
    site: Rooms, switch: PowerSwitch, begin: float, fault: power.Fault, said: str
) -> None:
    right = site.lab.right
    switch.faults["left"] = fault
    site.lab.left.hang()
    refused = _wait_until_refused(site, "right")
    assert said in refused["reason"]
    print(f"the switch {fault}: {refused['reason']}")
    assert site.samples.since(begin) == [(begin, {"left"})], "left hangs and goes on"
    del switch.faults["left"]
    right.failoverctl("reset", site.lab.profile.follows)
    site.wait_until_only("right")
    _check_order(site, switch, "left", "right", begin)


def test_a_node_that_is_rebooted_instead_counts_only_once_it_says_that_it_is_at_standby(
    site: Rooms, switch: PowerSwitch, begin: float
) -> None:
    switch.faults["left"] = "reboots"
    site.lab.left.hang()
    refused = _wait_until_refused(site, "right")
    assert (
        "not proven to be off: `off`: exit status 0, Status: done; then `status` says that it is on"
        in refused["reason"]
    )
    assert site.samples.served(begin) == {"left"}
    site.power_on("left")
    site.wait_until_only("right")
    assert site.wait_until_well() == "right"
    assert switch.fenced() == [("right", "left")]


def test_a_planned_move_powers_nobody_off(site: Rooms, switch: PowerSwitch) -> None:
    operating.wait_until_fit(site.lab, "right")
    told = operating.failoverctl(site.lab, "left", "handover", site.lab.profile.follows, "--to", "right")
    assert told.returncode == 0, told.stderr
    assert site.wait_until_well() == "right"
    site.lab.right.systemctl("stop", "keepalived.service")
    site.wait_until_only("left")
    site.lab.right.systemctl("start", "keepalived.service")
    assert site.wait_until_well() == "left"
    assert switch.asked == []


def test_behind_a_cut_line_the_side_without_the_witness_powers_nobody_off(
    site: Rooms, switch: PowerSwitch, begin: float
) -> None:
    cut = site.cut()
    site.wait_until_alone("center")
    site.outlast("center", TCP, cut)
    site.heal()
    assert site.wait_until_well() == "left"
    assert site.samples.since(begin) == [(begin, {"left"})]
    assert switch.asked == []


def test_behind_a_cut_line_the_side_with_the_witness_powers_the_other_one_off(site: Rooms, switch: PowerSwitch) -> None:
    site.serve_from("center")
    switch.asked.clear()
    cut = site.cut()
    site.wait_until_only("left")
    _check_order(site, switch, "center", "left", cut)
    print(f"line cut, MASTER in room B: {_told(site, switch, 'center', 'left', cut)}")


def test_who_is_known_to_be_off_needs_no_witness_against_it(site: Rooms, switch: PowerSwitch) -> None:
    left = site.lab.left
    site.serve_from("center")
    switch.asked.clear()
    site.lab.center.hang()
    site.wait_until_only("left")
    with site.in_standby("right"):
        alone = site.kill_witness()
        site.outlast("left", TCP, alone)
        assert site.samples.since(alone) == [(alone, {"left"})], "every other node is off, or has promised to rest"

        left.failoverctl("unfence", "center")
        site.wait_until_alone("left")
        unfenced = site.start_witness()
        site.wait_until_only("left")
        assert switch.fenced() == [("left", "center")] * 2, "it is proven once more"

        alone = site.kill_witness()
        site.outlast("left", TCP, alone)
        assert site.samples.served(unfenced) == {"left"}
        site.power_on("center")
        site.wait_until_alone("left")
        heard = time.monotonic()
        assert "center" not in status_client.status(left)["off"]
        site.start_witness()
    serves = site.wait_until_well()
    assert site.samples.served(heard) == {serves}


def _wait_until_refused(site: Rooms, name: NodeName) -> dict[str, Any]:
    return site.lab.wait_for(
        f"{name} could not fence",
        lambda: status_client.instance(site.lab.nodes[name]),
        until=lambda seen: seen["phase"] == "refused" and "could not be fenced" in seen["reason"],
        within=_SECONDS,
    )


def _check_order(site: Rooms, switch: PowerSwitch, old: NodeName, new: NodeName, begin: float) -> None:
    """`old` was powered off by `new`, nobody else was, and `new` has started after the proof."""
    assert set(switch.fenced()) == {(new, old)}
    started = site.samples.started(new, begin)
    assert started is not None
    assert switch.proven(old) < started
    assert site.samples.served(begin) == {old, new}


def _told(site: Rooms, switch: PowerSwitch, old: NodeName, new: NodeName, cut: float) -> str:
    """What a fencing took, in seconds from the cut."""
    stopped, started = site.samples.stopped(old, cut), site.samples.started(new, cut)
    assert stopped is not None
    assert started is not None
    moments = {"powered off": stopped, "proven": switch.proven(old), f"started on {new}": started}
    return ", ".join(f"{words} after {at - cut:.2f} s" for words, at in moments.items())
