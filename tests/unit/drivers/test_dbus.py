"""The door to D-Bus on a private bus, with a stand-in for systemd."""

import asyncio
import gc
import os
import signal
import sys
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import Driver, DriverError, TimedOut, command, dbus, unit
from failoverd.drivers import systemd as systemd_units
from tests.unit.privatebus import ended, private_bus, started

from .fake_systemd import START_LIMIT

FAKE = Path(__file__).with_name("fake_systemd.py")


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Path, asyncio.subprocess.Process]]:
    async with private_bus(monkeypatch) as made:
        yield made


@pytest.fixture
async def systemd(bus: tuple[Path, asyncio.subprocess.Process]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await started(sys.executable, str(FAKE), f"unix:path={bus[0]}/bus")
    async with asyncio.timeout(20):
        while True:
            try:
                await dbus.unit_state("first.service")
            except DriverError:
                assert process.returncode is None
                await asyncio.sleep(0.02)
            else:
                break
    # What was said before systemd was there to hear it has to be said again.
    dbus._connection._bus = None
    yield process
    await ended(process)


def make(name: str, stop_timeout: float = 10) -> Driver:
    return unit.make(
        unit.Options(unit=name), ResourceSpec(instance="VI_1", name="web", driver="unit", stop_timeout=stop_timeout)
    )


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize("name", ["late.service", "early.service"])
async def test_start_and_stop(name: str) -> None:
    driver = make(name)
    assert (await driver.observe()).level is Level.STANDBY
    with command.recording() as texts:
        await driver.activate()
        assert (await driver.observe()).level is Level.ACTIVE
        await driver.deactivate()
    assert (await driver.observe()).level is Level.STANDBY
    assert texts == [f"systemctl reset-failed {name}", f"systemctl start {name}", f"systemctl stop {name}"]


@pytest.mark.usefixtures("systemd")
async def test_it_is_started_however_often_it_was_before() -> None:
    driver = make("late.service")
    for _ in range(2 * START_LIMIT):
        await driver.activate()
        await driver.deactivate()


@pytest.mark.usefixtures("systemd")
async def test_many_jobs_at_once_are_told_apart() -> None:
    units = [make(f"{kind}-{n}.service") for n in range(30) for kind in ("early", "late", "fails")]
    results = await asyncio.gather(*(one.activate() for one in units), return_exceptions=True)
    assert [isinstance(result, DriverError) for result in results] == [False, False, True] * 30


@pytest.mark.usefixtures("systemd")
async def test_a_unit_that_fails() -> None:
    with pytest.raises(DriverError, match=r"fails.service: start: it failed; see systemctl status"):
        await make("fails.service").activate()
    seen = await make("fails.service").observe()
    assert (seen.level, seen.detail) == (Level.STANDBY, "failed (exit-code)")


@pytest.mark.usefixtures("systemd")
async def test_a_unit_that_does_not_stop_is_killed() -> None:
    driver = make("stubborn.service", stop_timeout=0.1)
    await driver.activate()
    with command.recording() as texts:
        await driver.deactivate()
    assert texts == ["systemctl stop stubborn.service", "systemctl kill --signal=SIGKILL stubborn.service"]
    assert (await driver.observe()).level is Level.STANDBY


@pytest.mark.usefixtures("systemd")
async def test_two_that_wait_for_one_job() -> None:
    await make("stubborn.service").activate()
    results = await asyncio.gather(*(make("stubborn.service", stop_timeout=0.1).deactivate() for _ in range(2)))
    assert results == [None, None]


@pytest.mark.usefixtures("systemd")
async def test_a_unit_that_is_not_there() -> None:
    driver = make("nosuch.service")
    seen = await driver.observe()
    assert seen.level is Level.STANDBY
    assert "nosuch.service is not-found: install" in (seen.alarm or "")
    with pytest.raises(DriverError, match=r"Unit nosuch.service not found\.$"):
        await driver.activate()
    await driver.deactivate()


@pytest.mark.usefixtures("systemd")
async def test_giving_up_on_a_job_does_not_disturb_the_next() -> None:
    driver = make("late.service")
    task = asyncio.create_task(driver.activate())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await driver.deactivate()
    assert (await driver.observe()).level is Level.STANDBY


async def test_no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
    monkeypatch.setattr(dbus._connection, "_bus", None)
    seen = await make("web.service").observe()
    assert seen.level is Level.UNKNOWN
    assert "no system bus" in seen.detail
    with pytest.raises(dbus.NoBus):
        await make("web.service").activate()
    with pytest.raises(dbus.NoBus):
        await dbus.names()


@pytest.mark.usefixtures("bus")
async def test_a_bus_without_systemd() -> None:
    seen = await make("web.service").observe()
    assert seen.level is Level.UNKNOWN
    assert "is this machine run by systemd?" in seen.detail


async def test_a_bus_that_goes_away_ends_the_wait_and_comes_back(
    bus: tuple[Path, asyncio.subprocess.Process], systemd: asyncio.subprocess.Process
) -> None:
    del systemd
    driver = make("stubborn.service")
    await driver.activate()
    task = asyncio.create_task(driver.deactivate())
    while (await driver.observe()).detail != "deactivating (stop-sigterm)":
        await asyncio.sleep(0.01)
    assert (await driver.observe()).level is Level.UNKNOWN
    await ended(bus[1])
    with pytest.raises(DriverError, match="went away"):
        await task
    assert (await driver.observe()).level is Level.UNKNOWN


async def test_a_systemd_that_does_not_answer(
    systemd: asyncio.subprocess.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbus, "ANSWER", 0.2)
    await dbus.unit_state("web.service")
    systemd.send_signal(signal.SIGSTOP)
    with pytest.raises(TimedOut):
        await dbus.unit_state("web.service")
    with pytest.raises(TimedOut):
        await dbus.start_unit("web.service")
    assert (await make("web.service").observe()).level is Level.UNKNOWN


@pytest.mark.usefixtures("systemd")
async def test_who_owns_a_name() -> None:
    assert dbus.SYSTEMD in await dbus.names()
    assert await dbus.owner(dbus.SYSTEMD) not in (None, os.getpid())
    assert await dbus.owner("org.example.nobody") is None


def state(active: str, sub: str = "x", *, load: str = "loaded", result: str = "", tasks: int | None = None) -> Level:
    seen = systemd_units.seen(
        "web.service", dbus.UnitState(load=load, active=active, sub=sub, result=result, tasks=tasks)
    )
    assert (seen.alarm is not None) == (load != "loaded" and active == "inactive")
    return seen.level


def test_levels() -> None:
    assert state("active", "running") is Level.ACTIVE
    assert state("active", "exited") is Level.ACTIVE
    assert state("reloading") is Level.ACTIVE
    assert state("inactive", "dead") is Level.STANDBY
    assert state("inactive", "dead", load="masked") is Level.STANDBY
    assert state("inactive", "dead", load="not-found") is Level.STANDBY
    assert state("active", "running", load="not-found") is Level.ACTIVE  # its file was removed while it ran
    assert state("failed", result="exit-code", tasks=0) is Level.STANDBY
    assert state("failed", result="timeout", tasks=2) is Level.FAILED
    assert state("activating", "auto-restart") is Level.UNKNOWN
    assert state("deactivating", "stop-sigterm") is Level.UNKNOWN
    assert state("maintenance") is Level.UNKNOWN


def test_commands() -> None:
    assert make("web@1.service").commands(Verb.ACTIVATE) == (
        "systemctl reset-failed web@1.service",
        "systemctl start web@1.service",
    )
    assert make("web@1.service").commands(Verb.DEACTIVATE) == (
        "systemctl stop web@1.service",
        "systemctl kill --signal=SIGKILL web@1.service  # after 10 s",
    )


@pytest.mark.parametrize("name", ["web", "web.", "web.conf", "web service.service", ""])
def test_what_is_no_unit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected e\.g\."):
        make(name)


@pytest.mark.usefixtures("systemd")
async def test_a_connection_is_never_let_go(bus: tuple[Path, asyncio.subprocess.Process]) -> None:
    # To let one go stops the whole process where something is being received; see `_ever`.
    await dbus.unit_state("late.service")
    lost = weakref.ref(dbus._connection._bus.con)
    await ended(bus[1])
    async with asyncio.timeout(10):
        while dbus._connection._bus is not None:
            await asyncio.sleep(0.01)
    gc.collect()
    assert lost() is not None
