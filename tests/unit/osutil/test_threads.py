"""What may wait without end, in threads that nobody waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from failoverd.osutil import threads


async def test_what_comes_back_is_the_result_or_the_error() -> None:
    assert await threads.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_there_are_at_most_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_room", threading.Semaphore(2))
    done = threading.Event()
    waiting = [asyncio.create_task(threads.run(done.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="threads already wait"):
        await threads.run(lambda: 7)
    waiting[0].cancel()
    with pytest.raises(OSError, match="threads already wait"):  # who is given up still takes its room
        await threads.run(lambda: 7)
    done.set()
    assert await waiting[1]
    async with asyncio.timeout(30):
        while True:
            try:
                assert await threads.run(lambda: 7) == 7
                break
            except OSError:
                await asyncio.sleep(0.001)


async def test_a_single_call_that_hangs_holds_one_thread() -> None:
    done, begun = threading.Event(), []

    def hangs() -> str:
        begun.append(1)
        done.wait()
        return "at last"

    single = threads.Single(hangs)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await single.run(0.01)
    async with asyncio.timeout(60):
        while not begun:
            await asyncio.sleep(0.001)
    assert len(begun) == 1
    done.set()
    assert await single.run(30) == "at last"
    assert await single.run(30) == "at last"
    assert len(begun) <= 2


def test_the_process_ends_without_them() -> None:
    program = """
import asyncio, threading
from failoverd.osutil import threads

async def main():
    hanging = asyncio.create_task(threads.run(threading.Event().wait))
    await asyncio.sleep(0.1)
    print("done")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
