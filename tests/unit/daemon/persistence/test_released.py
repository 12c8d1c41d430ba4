"""What one daemon lets the next know of mastership that was given away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.core.model import Aside, InstanceState, Release
from failoverd.core.spec import InstanceSpec
from failoverd.daemon.persistence import released
from failoverd.records import records


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path) -> None:
    records.move(tmp_path)


def instance(why: str, times: int = 2) -> InstanceState:
    spec = InstanceSpec(name="VI_1")
    return InstanceState(
        spec=spec, since=0.0, next_check=0.0, vips={}, resources={}, released=why, released_at=7.0, releases=times
    )


def test_why_since_when_and_how_often_are_known() -> None:
    released.remember({"VI_1": instance("disk: it refused")})
    assert released.recall(["VI_1"], 100.0) == {"VI_1": Release(why="disk: it refused", at=7.0, times=2)}


def test_how_often_in_a_row_is_known_also_when_it_was_taken_back() -> None:
    released.remember({"VI_1": instance("")})
    assert released.recall([], 100.0) == {"VI_1": Release(why="", at=7.0, times=2)}


def test_the_file_says_whether_it_is_given_away() -> None:
    released.remember({"VI_1": instance("disk: it refused")})
    assert released.recall([], 100.0)["VI_1"].why == ""
    earlier = Release(why="its track file released mastership when failoverd started", at=100.0, times=1)
    assert released.recall(["VI_2"], 100.0)["VI_2"] == earlier


def test_what_is_not_understood_is_not_believed() -> None:
    for told in ({"VI_1": {"why": "x"}}, ["VI_1"], {"VI_1": 3}):
        records.write("released", {"told": told})
        assert released.recall([], 100.0) == {}


def test_a_node_that_was_aside_in_a_handover_has_released_nothing() -> None:
    """Its track file says so when failoverd starts; failoverctl asks it again, or nobody does."""
    aside = replace(instance("", times=0), aside=Aside(id="left.1", until=9.0))
    released.remember({"VI_1": aside, "VI_2": instance("disk: it refused")})
    assert set(released.recall(["VI_1", "VI_2"], 100.0)) == {"VI_2"}
    released.remember({"VI_1": replace(instance("disk: it refused"), aside=aside.aside)})
    assert released.recall(["VI_1"], 100.0)["VI_1"].why == "disk: it refused"
