"""One look for all who ask at once, and never an old one."""

from __future__ import annotations

import asyncio

import pytest

from failoverd.ports.coalesce import Shared
from failoverd.ports.errors import DriverError, TimedOut


class Scene:
    """What is looked at. A look sees what there is when it begins, and takes until `gate` is open."""

    def __init__(self) -> None:
        self.there = "this"
        self.looks = 0
        self.gate = asyncio.Event()

    async def look(self) -> str:
        self.looks += 1
        seen = self.there
        await self.gate.wait()
        if seen == "":
            raise DriverError("it is dark")
        return seen


async def begun(scene: Scene, looks: int) -> None:
    """Wait until so many looks have begun."""
    async with asyncio.timeout(60):
        while scene.looks < looks:
            await asyncio.sleep(0)


async def test_those_who_ask_while_one_runs_share_the_next() -> None:
    scene = Scene()
    shared = Shared("the look", scene.look)
    first = asyncio.create_task(shared.read(20))
    await begun(scene, 1)
    later = [asyncio.create_task(shared.read(20)) for _ in range(8)]
    await asyncio.sleep(0)  # they have asked
    scene.there = "that"
    scene.gate.set()
    assert await first == "this"
    assert await asyncio.gather(*later) == ["that"] * 8
    assert scene.looks == 2


async def test_those_who_ask_one_after_the_other_are_told_what_is_so_then() -> None:
    scene = Scene()
    scene.gate.set()
    shared = Shared("the look", scene.look)
    for there in ("this", "that"):
        scene.there = there
        assert await shared.read(20) == there


async def test_one_that_hangs_is_waited_for_by_nobody_who_asks_later() -> None:
    scene = Scene()
    shared = Shared("the look", scene.look)
    patient = asyncio.create_task(shared.read(20))
    await begun(scene, 1)
    for _ in range(2):
        with pytest.raises(TimedOut, match=r"^the look: no answer within 0\.05 s$"):
            await shared.read(0.05)
        hung, scene.gate = scene.gate, asyncio.Event()
        scene.gate.set()
        assert await shared.read(20) == "this"
        scene.gate = hung
    patient.cancel()


async def test_who_gives_up_does_not_take_it_from_the_others() -> None:
    scene = Scene()
    shared = Shared("the look", scene.look)
    other = asyncio.create_task(shared.read(20))
    gone = asyncio.create_task(shared.read(20))
    await begun(scene, 1)
    gone.cancel()
    scene.gate.set()
    assert await other == "this"
    assert scene.looks == 1


async def test_after_one_that_failed_the_next_is_tried() -> None:
    scene = Scene()
    scene.gate.set()
    scene.there = ""
    shared = Shared("the look", scene.look)
    with pytest.raises(DriverError, match=r"^it is dark$"):
        await shared.read(20)
    scene.there = "that"
    assert await shared.read(20) == "that"
