"""The pieces that a watcher gets: all, then the changes, then nothing but the time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from failoverd.core.events import VrrpChanged
from failoverd.core.model import State
from failoverd.core.spec import Config, InstanceSpec
from failoverd.core.words import VrrpState
from failoverd.daemon.control import feed
from failoverd.daemon.control.feed import Feed
from failoverd.daemon.loop import CoreLoop
from tests.unit.core.world import World

Answer = dict[str, Any]


def report(state: State, names: Sequence[str]) -> Answer:
    return {"node": "left", "instances": {name: state.instances[name].phase.value for name in names}}


async def core_of(*names: str) -> CoreLoop:
    core = CoreLoop()
    world = World(config=Config(instances={name: InstanceSpec(name=name) for name in names}))
    core.start(world.state, perform=lambda _: None, changed=lambda *_: None)
    for name in names:
        core.dispatch(VrrpChanged(instance=name, state=VrrpState.BACKUP))
    return core


def changes(piece: Answer) -> Answer:
    """All of a piece that is not the same in every one."""
    assert piece.pop("at").endswith("+00:00")
    assert piece.pop("node", "left") == "left"
    return piece


def report_fault(core: CoreLoop, name: str) -> None:
    core.dispatch(VrrpChanged(instance=name, state=VrrpState.FAULT))


async def test_first_all_then_what_has_changed() -> None:
    core = await core_of("VI_1", "VI_2")
    made = Feed(core, report, None)
    first = changes(made.take())
    assert (first["names"], set(first["instances"])) == (["VI_1", "VI_2"], {"VI_1", "VI_2"})
    assert changes(made.take()) == {}
    report_fault(core, "VI_2")
    assert changes(made.take()) == {"instances": {"VI_2": "standby"}}
    assert changes(made.take()) == {}


async def test_the_one_instance_that_is_wanted() -> None:
    core = await core_of("VI_1", "VI_2")
    made = Feed(core, report, "VI_1")
    assert changes(made.take())["names"] == ["VI_1"]
    report_fault(core, "VI_2")
    assert changes(made.take()) == {}


async def test_instances_come_and_go() -> None:
    core = await core_of("VI_1", "VI_2")
    made = Feed(core, report, None)
    made.take()
    core.state = (await core_of("VI_3", "VI_1")).state
    assert changes(made.take())["names"] == ["VI_3", "VI_1"]
    core.state = (await core_of()).state
    assert changes(made.take()) == {"names": [], "instances": {}}


async def test_many_instances_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_INSTANCES", 2)
    made = Feed(await core_of("a", "b", "c", "d", "e"), report, None)
    pieces: list[Answer] = []
    while made.more or not pieces:
        pieces.append(changes(made.take()))
    assert [list(piece["instances"]) for piece in pieces] == [["a", "b"], ["c", "d"], ["e"]]
    assert [piece.get("names") for piece in pieces] == [["a", "b", "c", "d", "e"], None, None]


async def test_what_is_not_an_instance_counts_too() -> None:
    troubles = ["full"]

    def with_troubles(state: State, names: Sequence[str]) -> Answer:
        return report(state, names) | {"troubles": list(troubles)}

    made = Feed(await core_of("VI_1"), with_troubles, None)
    made.take()
    troubles.clear()
    assert changes(made.take()) == {"troubles": [], "instances": {}}


async def test_a_change_after_the_last_piece_is_not_waited_for() -> None:
    core = await core_of("VI_1")
    made = Feed(core, report, None)
    made.take()
    report_fault(core, "VI_1")
    async with asyncio.timeout(30):
        await made.changed()
    made.take()
    waiting = [asyncio.create_task(made.changed()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    core.dispatch(VrrpChanged(instance="VI_1", state=VrrpState.STOP))
    async with asyncio.timeout(30):
        await waiting[1]
