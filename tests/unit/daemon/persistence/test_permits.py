"""The record of the time that a node may be active without a further answer of the witnesses."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.core import votes
from failoverd.core.model import State
from failoverd.core.words import Standing, VrrpState
from failoverd.daemon.persistence.permits import Permits
from failoverd.records import records
from tests.unit.core.test_quorum import ONE, ROUTER, wait, world
from tests.unit.core.world import World


@pytest.fixture
async def serving(tmp_path: Path) -> World:
    """An active node, in the time of the loop."""
    records.move(tmp_path)
    made = world()
    made.now = asyncio.get_running_loop().time()
    made.say(VrrpState.MASTER)
    made.settle()
    return made


def anew(state: State) -> State:
    """The same with another configuration, so that everything is compared."""
    return replace(state, config=replace(state.config))


async def test_the_next_daemon_has_what_is_left(serving: World) -> None:
    Permits().change(anew(serving.state), serving.state)
    assert Permits().recall() == {"VI_1": pytest.approx(votes.lost_at(serving.instance, serving.state), abs=1.0)}


async def test_answers_move_it_and_nothing_else_does(serving: World) -> None:
    permits = Permits()
    permits.change(anew(serving.state), serving.state)
    [first] = Permits().recall().values()
    before = serving.state
    wait(serving, 5.0)
    permits.change(before, serving.state)
    [second] = Permits().recall().values()
    assert second - first == pytest.approx(5.0, abs=1.0)
    serving.granted[ROUTER] = None
    before = serving.state
    wait(serving, 5.0)
    permits.change(before, serving.state)
    assert Permits().recall() == {"VI_1": pytest.approx(second, abs=0.1)}


@pytest.mark.parametrize("removed", ["instance", "quorum"])
async def test_a_reload_that_removes_it_leaves_what_was_left(serving: World, removed: str) -> None:
    permits = Permits()
    permits.change(anew(serving.state), serving.state)
    [until] = Permits().recall().values()
    before, full = serving.state, serving.config
    serving.reload(replace(full, instances={}) if removed == "instance" else replace(full, quorum=None))
    permits.change(before, serving.state)
    assert Permits().recall() == {"VI_1": pytest.approx(until, abs=0.1)}
    serving.start()
    Permits().change(anew(serving.state), serving.state)
    assert Permits().recall() == {"VI_1": pytest.approx(until, abs=0.1)}


async def test_a_node_that_is_alone_leaves_nothing(serving: World) -> None:
    permits = Permits()
    permits.change(anew(serving.state), serving.state)
    serving.granted[ROUTER] = None
    before = serving.state
    wait(serving, ONE.isolation_timeout + 1.0)
    permits.change(before, serving.state)
    assert Permits().recall() == {"VI_1": -math.inf}


async def test_what_rests_has_no_record_and_neither_has_what_is_not_configured(serving: World) -> None:
    permits = Permits()
    permits.change(anew(serving.state), serving.state)
    before = serving.state
    serving.say(VrrpState.BACKUP)
    serving.settle()
    permits.change(before, serving.state)
    assert Permits().recall() == {}
    permits.change(anew(before), before)
    permits.change(before, replace(before, config=replace(before.config), instances={}))
    assert Permits().recall() == {}


async def test_a_start_does_not_move_it(serving: World) -> None:
    Permits().change(anew(serving.state), serving.state)
    written = (records.directory / "permits").read_bytes()
    following = Permits()
    unasked = replace(serving.instance, standing=Standing.IDLE, lost_by=following.recall()["VI_1"])
    started = replace(serving.state, instances={"VI_1": unasked})
    following.change(anew(started), started)
    assert (records.directory / "permits").read_bytes() == written
