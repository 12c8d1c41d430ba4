"""A loop that stood still calls nobody late, and works off first what has arrived meanwhile."""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Awaitable, Callable

import pytest

from failoverd.core import machine as core_machine
from failoverd.core.events import Event, Stalled, Tick
from failoverd.core.model import State
from failoverd.core.spec import Config
from failoverd.daemon import clock
from failoverd.daemon.loop import CoreLoop


class Clock:
    """The machine's own, in the hands of the test; a wait passes `late` more seconds than it should, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.skipped = 0.0
        self.late = 0.0
        real, select = time.monotonic, selectors.DefaultSelector.select

        def selecting(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
            if self.late and timeout:
                late, self.late = self.late, 0.0
                self.skipped += timeout + late
                return []  # as epoll does, whose timeout has passed when the process is continued
            return select(selector, timeout)

        monkeypatch.setattr(time, "monotonic", lambda: real() + self.skipped)
        monkeypatch.setattr(selectors.DefaultSelector, "select", selecting)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(main: Callable[[], Awaitable[object]]) -> object:
    async def bounded() -> object:
        return await main()

    with asyncio.Runner(loop_factory=clock.Loop) as runner:
        return runner.run(bounded())


async def answer(reader: int) -> bytes:
    """What is in a pipe, some turns of the loop after it can be read."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(reader, ready.set)
    try:
        await ready.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        return os.read(reader, 10)
    finally:
        loop.remove_reader(reader)


@pytest.mark.parametrize("stopped", ["in a wait", "in a callback"])
def test_what_lies_there_wins_over_its_timer(machine: Clock, stopped: str) -> None:
    reader, writer = os.pipe()

    def stop() -> None:
        os.write(writer, b"done")
        if stopped == "in a wait":
            machine.late = 30.0
        else:
            machine.skipped += 30.0

    async def main() -> bytes:
        asyncio.get_running_loop().call_soon(stop)
        async with asyncio.timeout(10):
            return await answer(reader)

    assert run(main) == b"done"
    os.close(reader)
    os.close(writer)


def test_time_that_was_not_lived_is_not_counted(machine: Clock) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        machine.late = 30.0
        await asyncio.sleep(0.05)
        machine.skipped += 30.0
        return loop.time() - before

    passed = run(main)
    assert isinstance(passed, float)
    assert passed < 30


def test_time_that_was_lived_is(machine: Clock) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        for _ in range(10):
            machine.skipped += clock.STALL_S / 2
            loop.time()
        return loop.time() - before

    passed = run(main)
    assert isinstance(passed, float)
    assert passed >= 5 * clock.STALL_S


def test_a_loop_that_is_always_late_still_comes_to_its_timers(machine: Clock) -> None:
    async def main() -> None:
        async def starve() -> None:
            while True:
                machine.late = 2 * clock.STALL_S
                await asyncio.sleep(0)

        starving = asyncio.create_task(starve())
        for _ in range(5):
            await asyncio.sleep(0.01)
        starving.cancel()

    run(main)


def test_a_loop_that_is_never_idle_does_not_stop_the_clock(machine: Clock) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        loop.call_later(0.01, fired.set)
        machine.late = 30.0
        await asyncio.sleep(0)

        async def busy() -> None:
            while True:
                machine.skipped += 0.1
                await asyncio.sleep(0)

        await asyncio.sleep(0.005)
        working = asyncio.create_task(busy())
        await fired.wait()
        working.cancel()

    run(main)


def test_the_core_learns_of_the_time_that_the_clock_does_not_count(
    machine: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []

    def advance(state: State, event: Event, _: float) -> tuple[State, tuple[()]]:
        told.append(event)
        return state, ()

    monkeypatch.setattr(core_machine, "advance", advance)

    async def main() -> None:
        core = CoreLoop()
        core.start(State(config=Config(), instances={}), perform=print, changed=lambda *_: None)
        core.dispatch(Tick())
        machine.late = 60.0
        await asyncio.sleep(0.001)
        core.dispatch(Tick())
        core.dispatch(Tick())

    run(main)
    ticks = [each for each in told if isinstance(each, Tick)]
    stalls = [each for each in told if isinstance(each, Stalled)]
    assert len(ticks) == 3
    assert told.index(stalls[0]) == 1, "before anything that came meanwhile"
    assert stalls[0].seconds >= 60.0
