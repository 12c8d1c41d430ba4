"""Answers that take the loop's time, one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from failoverd.daemon.control.fair_share import PAUSE_FACTOR, FairShare


async def test_the_loop_has_its_pause_before_the_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[tuple[float, Callable[[], None]]] = []
    clock = iter((100.0, 100.5))
    monkeypatch.setattr("failoverd.daemon.control.fair_share.time.thread_time", lambda: next(clock))
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda after, call: later.append((after, call)))
    made = FairShare()
    async with made.one():
        pass
    assert [after for after, _ in later] == [0.5 * PAUSE_FACTOR]
    second = asyncio.create_task(made.one().__aenter__())
    await asyncio.sleep(0)
    assert not second.done()
    clock = iter((101.0,))
    later[0][1]()
    await second


async def test_turns_come_in_the_order_of_asking() -> None:
    made, said = FairShare(pause_factor=0.0), list[str]()

    async def speak(word: str) -> None:
        async with made.one():
            said.append(f"{word} begins")
            await asyncio.sleep(0)
            said.append(f"{word} ends")

    await asyncio.gather(speak("one"), speak("two"))
    assert said == ["one begins", "one ends", "two begins", "two ends"]
