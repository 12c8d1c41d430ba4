"""What drivers notice by themselves becomes an event for the resources that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from failoverd import drivers
from failoverd.core.events import ResourceChanged
from failoverd.daemon import watches
from failoverd.daemon.watches import Watches
from failoverd.ports.errors import DriverError


class Stream:
    """What goes on until it is made to fail, or is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.fail = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def run(self, error: Exception) -> None:
        self.started.set()
        try:
            await self.fail.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.fail.clear()
        raise error


class Source(Stream):
    """A driver module's watch, in the hands of the test."""

    changed: Callable[[str | None], None]

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        self.changed = changed
        await self.run(RuntimeError("the stream garbled"))


class Told:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[ResourceChanged] = asyncio.Queue()

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(60):
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
    monkeypatch.setattr(watches, "RETRY_S", 0.01)
    told = Told()
    following = Watches(told.queue.put_nowait)
    following.configure([disk("web-disk", "web")])
    await source.started.wait()
    source.started.clear()
    source.fail.set()
    assert await told.next() == ("VI_1", "web-disk")
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
        await source.cancelled.wait()
    await following.close()


class Followed(Stream):
    """A driver that follows its own resource, in the hands of the test."""

    changed: Callable[[], None]

    def __init__(self, subject: str) -> None:
        super().__init__()
        self.subject = subject

    async def follow(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        await self.run(DriverError("nobody tells for now"))


def unit(resource: str, driver: Followed) -> tuple[watches.Key, drivers.Driver]:
    return ("VI_1", resource, "unit"), driver  # type: ignore[return-value]


async def test_what_a_driver_follows_by_itself_is_told_of_all_with_its_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "RETRY_S", 0.01)
    told = Told()
    web, twin, vpn = Followed("web"), Followed("web"), Followed("vpn")
    following = Watches(told.queue.put_nowait)
    following.configure([unit("web", web), unit("twin", twin), unit("vpn", vpn)])
    async with asyncio.timeout(60):
        await web.started.wait()
        await vpn.started.wait()
        assert not twin.started.is_set(), "one of those with the same subject follows for all"
        web.changed()
        assert [await told.next(), await told.next()] == [("VI_1", "twin"), ("VI_1", "web")]
        vpn.started.clear()
        vpn.fail.set()
        assert await told.next() == ("VI_1", "vpn")  # what was missed is looked at
        await vpn.started.wait()

        following.configure([unit("site", Followed("web"))])
        await vpn.cancelled.wait()
        web.changed()
        assert await told.next() == ("VI_1", "site")
        assert not web.cancelled.is_set(), "a reload keeps what is followed"
        await following.close()
        assert web.cancelled.is_set()
