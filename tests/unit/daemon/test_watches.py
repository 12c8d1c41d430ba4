"""What drivers notice by themselves becomes an event for the resources that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from failoverd import drivers
from failoverd.core.events import Stirred
from failoverd.daemon import watches
from failoverd.daemon.watches import Watches


class Source:
    """A driver module's watch, in the hands of the test."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.fail = asyncio.Event()
        self.changed: Callable[[str | None], None] = lambda _subject: None
        self.cancelled = asyncio.Event()

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        self.changed = changed
        self.started.set()
        try:
            await self.fail.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.fail.clear()
        raise RuntimeError("the stream garbled")


class Told:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Stirred] = asyncio.Queue()

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(10):
            stirred = await self.queue.get()
        return stirred.instance, stirred.resource


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    made = Source()
    found = {"drbd": SimpleNamespace(watch=made.watch), "exec": SimpleNamespace(watch=None)}
    monkeypatch.setattr(drivers, "find", found.__getitem__)
    return made


def disk(name: str, subject: str) -> tuple[watches.Key, drivers.Driver]:
    return ("VI_1", name, "drbd"), SimpleNamespace(subject=subject)


def other() -> tuple[watches.Key, drivers.Driver]:
    return ("VI_1", "other", "exec"), SimpleNamespace()


async def test_what_changed_is_told_of_those_whom_it_concerns(source: Source) -> None:
    told = Told()
    following = Watches(told.queue.put_nowait)
    following.configure([disk("web-disk", "web"), disk("vpn-disk", "vpn"), other()])
    await source.started.wait()
    source.changed("vpn")
    source.changed("vpn")
    source.changed("a stranger")
    assert await told.next() == ("VI_1", "vpn-disk")
    source.changed(None)
    assert [await told.next(), await told.next()] == [("VI_1", "vpn-disk"), ("VI_1", "web-disk")]
    assert told.queue.empty(), "a burst is one change, and what has no watch is none"
    await following.close()
    assert source.cancelled.is_set()


async def test_a_watch_that_fails_is_started_again_and_everything_is_looked_at(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "PAUSE", 0.01)
    told = Told()
    following = Watches(told.queue.put_nowait)
    following.configure([disk("web-disk", "web")])
    await source.started.wait()
    source.started.clear()
    source.fail.set()
    assert await told.next() == ("VI_1", "web-disk")
    async with asyncio.timeout(10):
        await source.started.wait()
    await following.close()


async def test_a_reload_follows_what_is_configured_and_keeps_what_runs(source: Source) -> None:
    told = Told()
    following = Watches(told.queue.put_nowait)
    following.configure([disk("web-disk", "web")])
    await source.started.wait()
    source.started.clear()
    following.configure([disk("site-disk", "web")])
    source.changed("web")
    assert await told.next() == ("VI_1", "site-disk")
    assert not source.started.is_set(), "the stream went on"
    following.configure([other()])
    async with asyncio.timeout(10):
        await source.cancelled.wait()
    await following.close()
