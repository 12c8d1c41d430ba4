"""Subscriptions: changes arrive, intermediate states do not, and a client that does not read is left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.daemon.control import server
from failoverd.daemon.control.connection_limits import ConnectionLimits
from failoverd.daemon.control.feed import Feed
from failoverd.daemon.control.server import Control, Refused
from tests.unit.daemon.control.test_server import Client, connect

Answer = dict[str, Any]


class Numbers(Feed):
    """Reports the newest number; the test counts."""

    def __init__(self, size: int = 0) -> None:
        self.number = 0
        self.taken: list[int] = []
        self.more = False
        self.awaited = asyncio.Event()
        self._size = size
        self._counted = asyncio.Event()

    def count(self) -> None:
        self.number += 1
        self._counted.set()

    def take(self) -> Answer:
        if self.number < 0:
            raise KeyError("ours")
        before = self.taken[-1:]
        self.taken.append(self.number)
        self._counted.clear()
        return {} if before == [self.number] else {"number": self.number, "filler": "x" * self._size}

    async def changed(self) -> None:
        self.awaited.set()
        await self._counted.wait()


class Site:
    """A server, with the feeds that its clients have subscribed to."""

    def __init__(self, path: Path, **limits: float) -> None:
        self.path = path
        self.feeds: list[Numbers] = []
        self.size = 0
        self.control = Control(path, {"status": self._status}, {}, {"watch": self._watch}, **limits)
        self.control.take()
        self.control.serve()

    async def _status(self, _params: Mapping[str, Any], _peer: object) -> Answer:
        return {"status": True}

    def _watch(self, params: Mapping[str, Any]) -> Numbers:
        if params.get("instance") == "VI_9":
            raise Refused("there is no instance VI_9", "expected one of: VI_1")
        self.feeds.append(Numbers(self.size))
        return self.feeds[-1]

    async def until_left(self) -> None:
        while self.control._places._taken.total():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MIN_PUSH_INTERVAL_S", 0.01)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "control.sock")
    yield made
    await made.control.close()


async def result(client: Client) -> Answer:
    reply = await client.send(b"")
    assert reply["ok"] is True
    found: Answer = reply["result"]
    return found


async def subscribed(site: Site) -> Client:
    client = await connect(site.path)
    assert (await client.ask("watch"))["result"]["number"] == 0
    return client


async def test_changes_are_pushed_and_quick_ones_become_one(site: Site) -> None:
    client = await subscribed(site)
    (feed,) = site.feeds
    for _ in range(500):
        feed.count()
    assert (await result(client))["number"] == 500
    assert feed.taken == [0, 500]
    feed.count()
    assert (await result(client))["number"] == 501
    await client.close()


async def turns() -> None:
    """Let everything else run that can."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_there_is_a_pause_between_two_replies(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await subscribed(site)
    (feed,) = site.feeds
    await feed.awaited.wait()
    monkeypatch.setattr(server, "MIN_PUSH_INTERVAL_S", 600.0)
    feed.count()
    await turns()
    assert feed.taken == [0]
    await client.close()


async def test_every_reply_waits_for_its_share_of_the_loop(site: Site) -> None:
    may, share = asyncio.Event(), site.control._feeding

    @asynccontextmanager
    async def one() -> AsyncIterator[None]:
        await may.wait()
        async with share_of_its_own():
            yield

    share_of_its_own, share.one = share.one, one  # type: ignore[method-assign]
    client = await connect(site.path)
    client.writer.write(b'{"version": 1, "verb": "watch"}\n')
    while not site.feeds:
        await asyncio.sleep(0)
    await turns()
    assert site.feeds[0].taken == []
    may.set()
    assert (await result(client))["number"] == 0
    await client.close()


async def test_without_changes_there_is_a_beat(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BEAT_INTERVAL_S", 0.01)
    client = await subscribed(site)
    assert [await result(client) for _ in range(3)] == [{}, {}, {}]
    await client.close()


async def test_what_is_due_at_once_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BEAT_INTERVAL_S", 600.0)
    client = await subscribed(site)
    (feed,) = site.feeds
    feed.more = True
    feed.count()
    for _ in range(3):
        await result(client)
    assert len(feed.taken) >= 4
    await client.close()


@pytest.mark.parametrize("size", [0, 4_000_000])
async def test_a_client_that_does_not_read_is_left_and_costs_nothing_meanwhile(tmp_path: Path, size: int) -> None:
    site = Site(tmp_path / "control.sock", idle_timeout=0.3)
    site.size = size
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.connect(str(site.path))
        deaf.sendall(b'{"version": 1, "verb": "watch"}\n')
        while not site.feeds:
            await asyncio.sleep(0.001)
        (feed,) = site.feeds
        counting = asyncio.create_task(site.until_left())
        while not counting.done():
            feed.count()
            await asyncio.sleep(0.001)
    assert feed.taken == [0], "nothing was made of it that it would not have read"
    await site.control.close()


async def test_others_are_answered_meanwhile(site: Site) -> None:
    watcher, other = await subscribed(site), await connect(site.path)
    assert (await other.ask("status"))["ok"]
    await watcher.close()
    await other.close()


@pytest.mark.parametrize("last", [b"", b'{"version": 1, "verb": "status"}\n'])
async def test_it_ends_with_the_client_or_with_anything_more_from_it(site: Site, last: bytes) -> None:
    client = await subscribed(site)
    if last:
        client.writer.write(last)
    else:
        await client.close()
    await site.until_left()
    assert await client.gone()
    await client.close()


async def test_a_refusal_is_an_answer_and_the_connection_stays(site: Site) -> None:
    client = await connect(site.path)
    refused = await client.ask("watch", instance="VI_9")
    assert (refused["error"], refused["hint"]) == ("there is no instance VI_9", "expected one of: VI_1")
    assert (await client.ask("status"))["ok"]
    assert (await client.ask("wach"))["hint"] == "did you mean watch? expected one of: status, watch"
    await client.close()


async def test_a_bug_is_logged_and_the_client_told(site: Site) -> None:
    client = await subscribed(site)
    with capture_logs() as logs:
        site.feeds[0].number = -2
        site.feeds[0].count()
        assert (await client.send(b""))["error"] == "internal error: KeyError"
    assert [line["event"] for line in logs] == ["subscription failed"]
    assert await client.gone()
    await client.close()


async def test_those_who_watch_leave_places_for_requests(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ConnectionLimits(clients=1, reserved=0, watchers_per_user=2)
    monkeypatch.setattr(site.control, "_places", limits)
    watchers = [await subscribed(site) for _ in range(2)]
    refused = await connect(site.path)
    reply = await refused.ask("watch")
    assert reply["error"] == "too many clients watch"
    assert reply["hint"] == "at most 2 at once for one user; end some of them, or use: failoverctl status"
    assert await refused.gone()
    client = await connect(site.path)
    assert (await client.ask("status"))["ok"]
    for each in (refused, client, *watchers):
        await each.close()
    await site.until_left()
    assert not limits._watching


async def test_the_end_of_the_daemon_ends_it(site: Site) -> None:
    client = await subscribed(site)
    await site.control.close()
    assert await client.gone()
    await client.close()
