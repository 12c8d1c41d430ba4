"""What is said over and over."""

from __future__ import annotations

import asyncio

from failoverd.daemon.restraint import Restraint


async def test_the_first_is_for_now_and_the_last_is_not_lost() -> None:
    released: list[tuple[str, int]] = []
    over = asyncio.Event()

    def release(said: str, held: int) -> None:
        released.append((said, held))
        over.set()

    restraint = Restraint(0.01, release)
    assert [restraint.admits("a", word) for word in ("one", "two", "three")] == [True, False, False]
    assert restraint.admits("b", "other")
    await asyncio.wait_for(over.wait(), 60)
    assert released == [("three", 2)]
    assert not restraint.admits("a", "four"), "as many seconds began anew"
    over.clear()
    await asyncio.wait_for(over.wait(), 60)
    assert released[1:] == [("four", 1)]
    while "a" in restraint._timers:
        await asyncio.sleep(0)
    assert restraint.admits("a", "five"), "nothing was said for as long"
    restraint.close()
