"""What is said over and over."""

from __future__ import annotations

import asyncio

from failoverd.daemon.rate_limit import RateLimit


async def test_the_first_is_for_now_and_the_last_is_not_lost() -> None:
    released: list[str] = []
    dropped: list[str] = []
    over = asyncio.Event()

    def release(said: str) -> None:
        released.append(said)
        over.set()

    restraint = RateLimit(0.01, release, dropped.append)
    assert [restraint.admits("a", word) for word in ("one", "two", "three")] == [True, False, False]
    assert restraint.admits("b", "other")
    await asyncio.wait_for(over.wait(), 60)
    assert (released, dropped) == (["three"], ["two"])
    assert not restraint.admits("a", "four"), "as many seconds began anew"
    over.clear()
    await asyncio.wait_for(over.wait(), 60)
    assert (released[1:], dropped[1:]) == (["four"], [])
    while "a" in restraint._timers:
        await asyncio.sleep(0)
    assert restraint.admits("a", "five"), "nothing was said for as long"
    restraint.close()
