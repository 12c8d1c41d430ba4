"""Following xenstore: what happens to a domain is told at once, by its file's name, and nothing is asked in turns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd import drivers
from failoverd.drivers.xen import events
from failoverd.drivers.xen.guest import Guest
from tests.unit.drivers.scripted import until, watching
from tests.unit.drivers.xen.xens import RECORDINGS, FakeXen, table

WATCH = "xenstore-watch @introduceDomain @releaseDomain"


class Xenstore:
    """A xenstore-watch that tells what the test says."""

    def __init__(self, fake: FakeXen) -> None:
        self._path = fake.directory / "events"
        os.mkfifo(self._path)
        self._fd = os.open(self._path, os.O_RDWR)
        fake.script(WATCH, "exec cat <>../events")

    def tell(self, *lines: str) -> None:
        os.write(self._fd, "".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def xenstore(fake: FakeXen, monkeypatch: pytest.MonkeyPatch) -> Iterator[Xenstore]:
    monkeypatch.setattr(events, "SHORTEST_RESTART_PAUSE_S", 0.02)
    monkeypatch.setattr(events, "LONGEST_RESTART_PAUSE_S", 0.1)
    xenstore = Xenstore(fake)
    yield xenstore
    xenstore.close()


def test_the_daemon_finds_it() -> None:
    found = drivers.find("xen")
    assert found.watch is events.watch
    assert "xen" in drivers.names()


async def test_a_guest_that_crashes_is_told_at_once(fake: FakeXen, web: Guest, cfg: str, xenstore: Xenstore) -> None:
    fake.show(table("running"))
    await web.observe()
    async with watching(events.watch) as changed:
        xenstore.tell(*(RECORDINGS / "watch.txt").read_text().splitlines()[:2])
        await until(lambda: changed == [cfg])
        fake.show(table("crashed"))
        xenstore.tell("@releaseDomain")
        await until(lambda: changed == [cfg] * 2)
        fake.show(table("absent"))
        xenstore.tell("@releaseDomain")
        await until(lambda: changed == [cfg] * 3)


async def test_what_happens_to_others_is_no_change(fake: FakeXen, web: Guest, cfg: str, xenstore: Xenstore) -> None:
    fake.show(table("running"))
    await web.observe()
    async with watching(events.watch) as changed:
        xenstore.tell("@introduceDomain")
        await until(lambda: changed == [cfg])
        before = fake.told.count("xl list -v")
        fake.show(table("running") + other("running"))
        xenstore.tell("@introduceDomain")
        await until(lambda: fake.told.count("xl list -v") == before + 1)
        fake.show(other("running", only=True))
        xenstore.tell("@releaseDomain")
        await until(lambda: changed == [cfg] * 2)


def other(state: str, *, only: bool = False) -> str:
    its = table(state, id=9, name="other", uuid="11111111-16ee-4220-8844-4b1a58d15981")
    return its if only else its.split("\n")[2] + "\n"


async def test_one_that_rebooted_has_changed(fake: FakeXen, web: Guest, cfg: str, xenstore: Xenstore) -> None:
    fake.show(table("running"))
    await web.observe()
    async with watching(events.watch) as changed:
        xenstore.tell("@introduceDomain")
        await until(lambda: changed == [cfg])
        fake.show(table("rebooted", id=8))
        xenstore.tell("@releaseDomain")
        await until(lambda: changed == [cfg] * 2)


async def test_nothing_is_asked_while_nothing_happens(fake: FakeXen, xenstore: Xenstore) -> None:
    async with watching(events.watch) as changed:
        xenstore.tell("@introduceDomain")
        await until(lambda: "xl list -v" in fake.told)
        told = len(fake.told)
        for _ in range(50):
            await asyncio.sleep(0.01)
        assert len(fake.told) == told
        assert changed == []


async def test_a_storm_of_events_is_not_one_of_looks(
    fake: FakeXen, xenstore: Xenstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REST_FACTOR", 1e6)
    monkeypatch.setattr(events, "LONGEST_REST_S", 60.0)
    async with watching(events.watch):
        xenstore.tell("@introduceDomain")
        await until(lambda: "xl list -v" in fake.told)
        for _ in range(50):
            xenstore.tell("@introduceDomain", "@releaseDomain")
            await asyncio.sleep(0.01)
        assert fake.told.count("xl list -v") == 1


async def test_when_it_cannot_be_seen_anything_may_have_changed(
    fake: FakeXen, web: Guest, cfg: str, xenstore: Xenstore
) -> None:
    fake.show(table("running"))
    await web.observe()
    async with watching(events.watch) as changed:
        xenstore.tell("@introduceDomain")
        await until(lambda: changed == [cfg])
        fake.listed("exit 1")
        xenstore.tell("@releaseDomain")
        await until(lambda: changed == [cfg, None])
        fake.show(table("running"))
        xenstore.tell("@releaseDomain")
        await until(lambda: changed == [cfg, None, cfg])


async def test_a_watch_that_ends_is_begun_again_and_all_may_have_changed(
    fake: FakeXen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SHORTEST_RESTART_PAUSE_S", 0.02)
    monkeypatch.setattr(events, "LONGEST_RESTART_PAUSE_S", 0.1)
    fake.answer(WATCH, "", "xs_open: Connection refused", 1)
    async with watching(events.watch) as changed:
        await until(lambda: fake.told.count(WATCH) >= 3)
    assert set(changed) == {None}


async def test_who_waits_is_woken(fake: FakeXen, xenstore: Xenstore) -> None:
    async with watching(events.watch):
        before = events.bell.count
        waiting = asyncio.create_task(events.bell.pause(60))
        await until(lambda: WATCH in fake.told)
        xenstore.tell("@releaseDomain")
        assert await asyncio.wait_for(waiting, 30) is True
        assert await events.bell.pause(60, before) is True
    assert await events.bell.pause(0.01) is False


async def test_what_happens_between_a_look_and_a_pause_is_not_missed(
    fake: FakeXen, web: Guest, xenstore: Xenstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest ends, and is heard to, before its shutdown returns; a pause of this test is longer than it may take."""
    monkeypatch.setattr("failoverd.drivers.xen.guest.CHECK_INTERVAL_S", 50.0)
    fake.show(table("running"))
    (fake.directory / "absent").write_text(fake.listing(table("absent")))
    count = 'grep -c "^xl list" ../told'
    fake.script(
        "xl shutdown -F web",
        f"mv ../absent ../table.sh; n=$({count}); echo @releaseDomain >../events\n"
        f'while [ "$({count})" = "$n" ]; do sleep 0.01; done',
    )
    async with watching(events.watch):
        xenstore.tell("@introduceDomain")
        await until(lambda: "xl list -v" in fake.told)
        await asyncio.wait_for(web.deactivate(), 15)


def test_the_recorded_watch_tells_nothing_but_that_something_happened() -> None:
    lines = (RECORDINGS / "watch.txt").read_text().splitlines()
    assert lines[:2] == ["@introduceDomain", "@releaseDomain"]
    assert set(lines) == set(events.COMMAND[1:])
    assert Path(RECORDINGS).name == "xl-4.17"
