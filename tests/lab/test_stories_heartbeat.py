"""Stories of the heartbeat between three real failoverds: what a node may believe of the others, and what it may not.

Left, right and the listener are in room A, center is in room B; see rooms.py. There are no witnesses.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from . import rooms, status_client
from .hearing import config, give_key, peer, wait_until_heard
from .lab import Lab
from .profiles import NODES, NodeName, node_address
from .rooms import Rooms, monotonic

_SECONDS = 30.0
_DATAGRAMS = Path(__file__).with_name("datagrams.py")


def word(lab: Lab, here: NodeName, there: NodeName) -> dict[str, Any]:
    """What `there` says of the instance, as `here` knows it; empty if it has said nothing."""
    return dict(peer(lab, here, there)["instances"].get(lab.profile.follows, {}))


@pytest.fixture(scope="module")
def site() -> Iterator[Rooms]:
    with Lab("hosting", track=True, extra_config=rooms.RESOURCES + config("200ms")) as lab:
        for name in NODES:
            give_key(lab, name)
        with Rooms(lab) as made:
            yield made


@pytest.fixture(autouse=True)
def well(site: Rooms) -> None:
    """All hear one another, and left serves."""
    wait_until_heard(site.lab, *NODES)
    site.lab.wait_for_phase("left", "active")
    for name in ("right", "center"):
        site.lab.wait_for_phase(name, "standby")


def test_after_a_handover_the_new_master_knows_that_the_old_one_is_at_standby(site: Rooms) -> None:
    lab = site.lab
    assert word(lab, "right", "left")["levels"]["service"] == "active"
    lab.left.failoverctl("standby", lab.profile.follows)
    lab.wait_for_phase("right", "active")
    fresh = lab.wait_for(
        "left has said at once that it is at standby",
        lambda: (word(lab, "right", "left"), status_client.history(lab.right)[0]["started"]),
        until=lambda seen: seen[0]["rests"] and monotonic(seen[0]["word"]) > monotonic(seen[1]),
        within=_SECONDS,
    )
    said, master = fresh
    print(f"left's word counts from {_between(master, said['word']) * 1000:.0f} ms after right became MASTER")
    assert (said["standby"], said["competes"]) == (True, False)
    lab.left.failoverctl("online", lab.profile.follows)
    lab.right.failoverctl("standby", lab.profile.follows)
    lab.center.failoverctl("standby", lab.profile.follows)
    lab.wait_for_phase("left", "active")
    for name in (lab.right, lab.center):
        name.failoverctl("online", lab.profile.follows)


def _between(first: str, last: str) -> float:
    return monotonic(last) - monotonic(first)


@pytest.mark.parametrize("lost", ["both", "a_to_b", "b_to_a"])
def test_behind_a_cut_the_words_stay_as_old_as_the_cut(site: Rooms, lost: str) -> None:
    """Also where only one way is lost: what center receives of left then answers nothing that center has sent."""
    lab = site.lab
    try:
        cut = site.cut(a_to_b=lost != "b_to_a", b_to_a=lost != "a_to_b")
        ways: tuple[tuple[NodeName, NodeName], ...] = (("center", "left"), ("left", "center"))
        for here, there in ways:
            seen = lab.wait_for(
                f"{there} is silent for {here}",
                partial(peer, lab, here, there),
                until=lambda seen: seen["silent"],
                within=_SECONDS,
            )
            assert monotonic(seen["word"]) <= cut + 0.1
        if lost != "both":
            here, there = ways[lost == "a_to_b"]
            seen = peer(lab, here, there)
            assert monotonic(seen["heard"]) > cut + 1, "its datagrams arrive"
        assert not peer(lab, "left", "right")["silent"]
    finally:
        site.heal()
    wait_until_heard(lab, *NODES)
    site.wait_until_well()
    _serve_from_left(site)


def _serve_from_left(site: Rooms) -> None:
    lab = site.lab
    others = NODES[1:]
    for name in others:
        lab.nodes[name].failoverctl("standby", lab.profile.follows)
    lab.wait_for_phase("left", "active")
    for name in others:
        lab.nodes[name].failoverctl("online", lab.profile.follows)


def test_a_node_with_another_key_is_not_heard_and_that_is_told(site: Rooms) -> None:
    lab = site.lab
    give_key(lab, "right", "x" * 44)
    ways: tuple[tuple[NodeName, NodeName], ...] = (("left", "right"), ("right", "left"), ("right", "center"))
    for here, there in ways:
        seen = lab.wait_for(
            f"{there} is silent for {here}",
            partial(peer, lab, here, there),
            until=lambda seen: seen["silent"] and seen["ignored_why"] == "it was signed with another key",
            within=_SECONDS,
        )
        assert seen["ignored"] > 0
    assert not peer(lab, "left", "center")["silent"]
    assert "was signed with another key; run: ls -l" in lab.left.failoverctl("status").stdout
    assert status_client.phase(lab.left) == "active"
    give_key(lab, "right")
    wait_until_heard(lab, *NODES)


def test_what_was_recorded_and_is_sent_again_proves_nothing_also_after_a_restart_of_both(site: Rooms) -> None:
    lab = site.lab
    source, target = node_address("right"), node_address("left")
    argv = [sys.executable, "-I", str(_DATAGRAMS), "record", "20", source]
    recorded = subprocess.run(
        lab.left.inside(argv), capture_output=True, text=True, check=True, timeout=_SECONDS
    ).stdout

    def replay() -> None:
        argv = [sys.executable, "-I", str(_DATAGRAMS), "send", source, target, "5409"]
        subprocess.run(lab.right.inside(argv), input=recorded * 5, text=True, check=True, timeout=_SECONDS)

    lab.right.systemctl("stop", "failoverd.service")
    lab.wait_for("right is silent", lambda: peer(lab, "left", "right")["silent"], within=_SECONDS)
    before = peer(lab, "left", "right")
    replay()
    after = lab.wait_for(
        "the replays are ignored",
        lambda: peer(lab, "left", "right"),
        until=lambda seen: seen["ignored"] >= before["ignored"] + 100,
        within=_SECONDS,
    )
    assert (after["silent"], after["instances"], after["word"]) == (True, before["instances"], before["word"])
    assert after["ignored_why"] == "it is a replay, or late"

    lab.left.systemctl("restart", "failoverd.service")
    lab.wait_for("left answers", lambda: peer(lab, "left", "right")["silent"], within=_SECONDS)
    replay()
    lab.wait_for("they arrive", lambda: peer(lab, "left", "right")["heard"], within=_SECONDS)
    seen = peer(lab, "left", "right")
    assert (seen["silent"], seen["word"], seen["instances"]) == (True, None, {})
    lab.right.systemctl("start", "failoverd.service")
    begun = time.monotonic()
    wait_until_heard(lab, *NODES)
    print(f"heard again {time.monotonic() - begun:.1f} s after the start, in spite of the replays")
