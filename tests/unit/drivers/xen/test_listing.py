"""One `xl list` for all who ask at once, and never an old one."""

from __future__ import annotations

import asyncio

import pytest

from failoverd.drivers import DriverError, TimedOut
from failoverd.drivers.xen.listing import Listing
from tests.unit.drivers.scripted import until
from tests.unit.drivers.xen.xens import FakeXen, table

LIST = "xl list -v"


def gated(fake: FakeXen, shown: str) -> str:
    """What lists `shown` once the file `gate` is there."""
    return f"while ! [ -e ../gate ]; do sleep 0.01; done; {fake.listing(shown)}"


async def test_those_who_ask_while_one_runs_share_the_next(fake: FakeXen) -> None:
    listing = Listing()
    fake.listed(gated(fake, table("running")))
    first = asyncio.create_task(listing.read())
    await until(lambda: fake.told == [LIST])
    fake.show(table("absent"))
    later = [asyncio.create_task(listing.read()) for _ in range(8)]
    await asyncio.sleep(0)  # they have asked
    (fake.directory / "gate").touch()
    assert [it.name for it in await first] == ["Domain-0", "web"]
    for seen in await asyncio.gather(*later):
        assert [it.name for it in seen] == ["Domain-0"]
    assert fake.told == [LIST] * 2


async def test_those_who_ask_one_after_the_other_are_told_what_is_so_then(fake: FakeXen) -> None:
    listing = Listing()
    for shown, guests in (("running", 1), ("absent", 0)):
        fake.show(table(shown))
        assert len(await listing.read()) == 1 + guests


async def test_one_that_hangs_is_waited_for_by_nobody_who_asks_later(fake: FakeXen) -> None:
    listing = Listing()
    fake.listed("exec sleep 60")
    patient = asyncio.create_task(listing.read())
    await until(lambda: fake.told == [LIST])
    for _ in range(2):
        with pytest.raises(TimedOut, match=r"^xl list: no answer within 0\.05 s$"):
            await listing.read(0.05)
        fake.show(table("absent"))
        assert len(await listing.read()) == 1
        fake.listed("exec sleep 60")
    patient.cancel()


async def test_who_gives_up_does_not_take_it_from_the_others(fake: FakeXen) -> None:
    listing = Listing()
    fake.listed(gated(fake, table("running")))
    other = asyncio.create_task(listing.read())
    gone = asyncio.create_task(listing.read())
    await until(lambda: fake.told == [LIST])
    gone.cancel()
    (fake.directory / "gate").touch()
    assert len(await other) == 2


async def test_after_one_that_failed_the_next_is_tried(fake: FakeXen) -> None:
    listing = Listing()
    fake.listed("echo no >&2; exit 1")
    with pytest.raises(DriverError, match=r"^xl list: no$"):
        await listing.read()
    fake.show(table("absent"))
    assert len(await listing.read()) == 1
