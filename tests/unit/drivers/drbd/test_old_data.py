"""What becomes of data that the Primary may have gone beyond."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from failoverd.core.words import Verb
from failoverd.drivers.drbd import follow, staleness
from failoverd.drivers.drbd.staleness import Loss, Record
from failoverd.ports.drbd import look
from failoverd.ports.errors import DriverError
from failoverd.records import records
from tests.unit.drivers.drbd.conftest import Clock
from tests.unit.drivers.drbd.drbds import PRIMARY_8, PRIMARY_9, SHOW, SPEC, actions, make, over_when, refused
from tests.unit.ports.drbd.drbdsetups import EIGHT, EVENTS, NINE, FakeDrbd, eight


def lost(since: float, name: str = "vpn", **more: Any) -> None:
    loss = Loss(peer=0, name="left", since=since, noticed=since, wall=time.time() - 60, **more)
    staleness.save(name, Record(at=since, up=since - 500, met=frozenset({0}), loss=loss))


@pytest.fixture
def cut_off(fake: FakeDrbd) -> FakeDrbd:
    """DRBD 8.4, alone, Secondary and UpToDate, as it says."""
    eight(EIGHT / "left-isolated", "right")
    dump = (EIGHT / "left-isolated/right.events2-now.txt").read_text().replace("role:Primary", "role:Secondary")
    fake.answer(EVENTS, dump.rstrip())
    fake.answer(PRIMARY_8)
    return fake


async def test_old_data_is_refused_in_words(cut_off: FakeDrbd, clock: Clock) -> None:
    lost(clock.now - 62)
    driver = make()
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - 60))[:6]
    reason = await refused(driver)
    assert reason.startswith(
        f"the data here is 62 s old, stale: the connection to the Primary (left) has been down since {since}"
    )
    assert reason.endswith("reconnect them, or run: failoverctl accept VI_1 vpn-disk")
    assert actions(cut_off) == []
    clock.now += 300
    assert await refused(driver) == reason  # how old it was when mastership came here
    seen = await driver.observe()
    assert seen.obstacle == reason
    assert f"replication from the Primary (left) is down since {since}" in seen.detail


async def test_before_it_was_refused_it_is_told_as_an_obstacle(cut_off: FakeDrbd, clock: Clock) -> None:
    del cut_off
    lost(clock.now - 10)
    assert (await make().observe()).obstacle == ""
    clock.now += 6
    assert (await make().observe()).obstacle.startswith("the data here is stale: the connection to the Primary (left)")


async def test_fresh_enough_data_is_served_and_the_loss_is_over(cut_off: FakeDrbd, clock: Clock) -> None:
    lost(clock.now - 14)
    await make().activate()
    assert actions(cut_off) == [PRIMARY_8]
    assert staleness.load("vpn").loss is None


async def test_a_promotion_reads_the_memory_once_before_drbdsetup_and_once_after(
    fake: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.state(NINE / "left-killed", "right")
    fake.answer(PRIMARY_9)
    lost(clock.now - 10)
    reads: list[str] = []
    read = records.read

    def counted(record: str, understand: Callable[[dict[str, Any]], Any]) -> Any:
        reads.append(record)
        return read(record, understand)

    monkeypatch.setattr(records, "read", counted)
    await make().activate()
    assert actions(fake) == [PRIMARY_9]
    assert reads == ["drbd-vpn", "drbd.heard", "drbd-vpn"]


async def test_a_loss_that_is_told_while_drbd_is_asked_for_its_quorum_is_kept(
    fake: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.state(NINE / "left-killed", "right")
    lost(clock.now - 10, quorate=True)

    async def asked(_: str) -> look.Rules:
        lost(clock.now - 500)
        return look.Rules(quorum=False, two_primaries=False, fencing=True)

    monkeypatch.setattr(look, "rules", asked)
    assert "is 500 s old" in await refused(make())
    assert actions(fake) == []


async def test_an_attempt_that_fails_makes_nothing_older(
    cut_off: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(clock.now - 10)
    cut_off.forget(PRIMARY_8)
    cut_off.transcript(PRIMARY_8, EIGHT / "primary-on-left/right.cmd.drbdsetup-primary-peer-is-primary.txt")
    driver = make()
    tell = driver._tell

    async def slowly(verb: Verb) -> str | None:
        clock.now += 30
        return await tell(verb)

    monkeypatch.setattr(driver, "_tell", slowly)
    over_when(monkeypatch, lambda: clock.now > 1030)
    with pytest.raises(DriverError, match="Multiple primaries"):
        await driver.activate()
    assert clock.now > 1030
    cut_off.forget(PRIMARY_8)
    cut_off.answer(PRIMARY_8)
    await driver.activate()


async def test_mastership_that_came_and_went_does_not_stop_the_clock(cut_off: FakeDrbd, clock: Clock) -> None:
    lost(clock.now - 3)
    cut_off.forget(PRIMARY_8)
    cut_off.script(PRIMARY_8, "exit 20")
    with pytest.raises(DriverError):
        await make().activate()
    clock.now += 3600
    assert "is 3603 s old" in await refused(make())


async def test_accept(cut_off: FakeDrbd, clock: Clock) -> None:
    lost(clock.now - 62)
    driver = make()
    with pytest.raises(DriverError, match="nothing to accept"):
        await driver.accept("root")
    await refused(driver)
    line = await driver.accept("alice (uid 1000)")
    assert "62 s old" in line
    assert "accepted by alice (uid 1000)" in line
    await driver.activate()
    assert actions(cut_off) == [PRIMARY_8]
    with pytest.raises(DriverError, match="nothing to accept"):
        await driver.accept("root")


async def test_a_refusal_survives_a_restart(cut_off: FakeDrbd, clock: Clock) -> None:
    del cut_off
    lost(clock.now - 62)
    first = await refused(make())
    clock.now += 1000
    assert await refused(make()) == first
    assert "62 s old" in await make().accept("root")


async def test_the_peer_is_back(cut_off: FakeDrbd, clock: Clock) -> None:
    lost(clock.now - 62)
    await refused(make())
    cut_off.state(EIGHT / "all-fine", "right")
    await make().activate()
    assert actions(cut_off) == [PRIMARY_8]


async def test_a_loss_that_nobody_followed_is_found_by_looking(cut_off: FakeDrbd, clock: Clock) -> None:
    del cut_off
    staleness.save("vpn", Record(at=clock.now - 300, up=0, met=frozenset({0}), primary=(0, "peer")))
    staleness.hear(clock.now - 100)
    assert "is 100 s old" in await refused(make())


async def test_who_kept_a_quorum_has_no_old_data(fake: FakeDrbd, clock: Clock) -> None:
    fake.state(NINE / "left-killed", "right")
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.answer(PRIMARY_9)
    lost(clock.now - 500, quorate=True)
    driver = make()
    assert (await driver.observe()).obstacle == ""
    await driver.activate()
    assert actions(fake) == [PRIMARY_9]
    assert fake.told.count(SHOW) == 1


async def test_where_no_quorum_is_needed_it_proves_nothing(fake: FakeDrbd, clock: Clock) -> None:
    fake.state(NINE / "left-killed", "right", "web")
    fake.answer("show web", "resource web {\n}")
    lost(clock.now - 500, "web", quorate=True)
    assert "is 500 s old" in await refused(make(resource="web"))
    assert actions(fake) == []


async def test_while_it_is_not_known_whether_a_quorum_is_needed_the_data_is_old(fake: FakeDrbd, clock: Clock) -> None:
    fake.state(NINE / "left-killed", "right")
    fake.answer(SHOW, code=10)
    lost(clock.now - 500, quorate=True)
    driver = make()
    assert (await driver.observe()).obstacle.startswith("the data here is stale")
    assert "is 500 s old" in await refused(driver)
    fake.forget(SHOW)
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.answer(PRIMARY_9)
    await driver.activate()
    assert actions(fake) == [PRIMARY_9]


async def test_what_cannot_be_recorded_is_not_accepted(
    cut_off: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(clock.now - 62)
    driver = make()
    reason = await refused(driver)
    monkeypatch.setattr("failoverd.osutil.atomic_file.write", Mock(side_effect=OSError("no room")))
    with pytest.raises(DriverError, match="the acceptance cannot be recorded"):
        await driver.accept("root")
    assert await refused(driver) == reason
    assert actions(cut_off) == []


async def test_an_acceptance_is_for_one_outage(cut_off: FakeDrbd, clock: Clock) -> None:
    lost(clock.now - 62)
    driver = make()
    await refused(driver)
    await driver.accept("root")
    clock.now += 3600
    assert (await driver.observe()).obstacle == ""
    lost(clock.now - 100)  # it was back, and is lost once more
    assert "is 100 s old" in await refused(driver)
    assert actions(cut_off) == []


FENCING = "resource vpn {\n    disk {\n        fencing resource-and-stonith;\n    }\n}"


@pytest.mark.parametrize(("show", "outdated"), [(FENCING, True), ("resource vpn {\n}", False)])
async def test_a_primary_that_goes_on_by_the_answer_of_its_handler_makes_the_data_here_old(
    cut_off: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch, show: str, outdated: bool
) -> None:
    lost(clock.now - 1)
    cut_off.answer(SHOW, show)
    active = {"left": clock.now - 2}  # said before the loss
    spec = replace(SPEC, others=("left",))
    driver = make(spec)
    driver.listen(dict, lambda: active)
    told = Mock()
    monkeypatch.setattr(follow.notifier, "changed", told)
    assert not (await driver.observe()).outdated
    driver.heard()
    told.assert_not_called()
    active["left"] = clock.now
    driver.heard()
    told.assert_called_once_with("vpn")
    for each in (driver, make(spec)):  # the next daemon knows it too
        seen = await each.observe()
        assert seen.outdated is outdated
        assert ("has gone on alone" in seen.obstacle) is outdated
    driver.heard()
    told.assert_called_once()  # it is known
    clock.now += 3  # reconnect_grace
    if not outdated:
        await driver.activate()
        return
    assert "has gone on alone; reconnect them, or run: failoverctl accept" in await refused(driver)
    assert actions(cut_off) == []
    await driver.accept("root")
    assert not (await driver.observe()).outdated
    await driver.activate()
    assert actions(cut_off) == [PRIMARY_8]


async def test_a_quorum_here_outdates_nothing(fake: FakeDrbd, clock: Clock) -> None:
    """For who is said to be outdated is no voter: by such an answer the lost Primary would have a quorum again."""
    fake.state(NINE / "left-killed", "right")
    lost(clock.now - 1, quorate=True, voted=True)
    assert not (await make().observe()).outdated


async def test_a_quorum_does_not_make_up_for_what_was_written_alone(fake: FakeDrbd, clock: Clock) -> None:
    fake.state(NINE / "left-killed", "right")
    lost(clock.now - 1, quorate=True, voted=True, alone=True)
    driver = make()
    assert (await driver.observe()).outdated
    assert "has gone on alone" in await refused(driver)
    assert actions(fake) == []
