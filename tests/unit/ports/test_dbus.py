"""The door to D-Bus on a private bus, with a stand-in for systemd."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import Driver, Follows, quagga, unit
from failoverd.ports import command, dbus, systemd_units
from failoverd.ports.errors import DriverError, Refused, TimedOut
from tests.unit.privatebus import ended, private_bus, started

from .fake_systemd import CHATTER, DEATH, START_LIMIT

SPEC = ResourceSpec(instance="VI_1", name="web", driver="unit", stop_timeout=10)
FAKE = Path(__file__).with_name("fake_systemd.py")


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Path, asyncio.subprocess.Process]]:
    async with private_bus(monkeypatch) as made:
        yield made


@pytest.fixture
async def systemd(bus: tuple[Path, asyncio.subprocess.Process]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await started(sys.executable, str(FAKE), f"unix:path={bus[0]}/bus")
    async with asyncio.timeout(60):
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
async def test_more_is_asked_at_once_than_the_bus_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "CALL_TIMEOUT_S", 60.0)
    states = await asyncio.gather(*(dbus.unit_state(f"late-{n}.service") for n in range(600)))
    assert {state.active for state in states} == {"inactive"}


@pytest.mark.usefixtures("systemd")
async def test_more_units_are_followed_than_the_bus_has_subscriptions() -> None:
    begun, changed = asyncio.Semaphore(0), asyncio.Event()

    def hear(number: int, active: str) -> None:
        begun.release()
        if (number, active) == (599, "active"):
            changed.set()

    tasks = [
        asyncio.create_task(dbus.follow_unit(f"late-{n}.service", lambda active, _, n=n: hear(n, active)))  # type: ignore[misc]
        for n in range(600)
    ]
    async with asyncio.timeout(30):
        for _ in tasks:
            await begun.acquire()
        await make("late-599.service").activate()
        await changed.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


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
async def test_what_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_units, "SETTLE_TIMEOUT_S", 10)
    starting = asyncio.create_task(dbus.start_unit("late.service"))
    while (await dbus.unit_state("late.service")).active == "inactive":
        pass
    assert (await make("late.service").observe()).level is Level.ACTIVE
    await starting


@pytest.mark.usefixtures("systemd")
async def test_a_unit_that_would_be_over_at_once_is_not_started() -> None:
    driver = make("oneshot.service")
    seen = await driver.observe()
    assert (seen.level, seen.alarm) == (Level.STANDBY, None)
    assert seen.obstacle == (
        "oneshot.service is Type=oneshot and becomes inactive when its commands end: add RemainAfterExit=yes to its "
        "[Service] with systemctl edit oneshot.service"
    )
    with command.recording() as texts, pytest.raises(Refused, match="RemainAfterExit=yes"):
        await driver.activate()
    assert texts == []
    assert (await make("oneshot-remains.service").observe()).obstacle == ""
    await make("oneshot-remains.service").activate()


@pytest.mark.usefixtures("systemd")
async def test_a_check_of_the_configuration_tells_what_can_never_be_active_here(tmp_path: Path) -> None:
    units = {
        "once": "oneshot.service",
        "gone": "nosuch.service",
        "web": "web.service",
        "stays": "oneshot-remains.service",
    }
    table = "[instance.VI_1.resource.{}]\ndriver = 'unit'\nunit = '{}'\n"
    file = tmp_path / "failoverd.toml"
    file.write_text("[instance.VI_1]\n" + "".join(table.format(*each) for each in units.items()))
    check = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "failoverd", "--check", "--config", str(file), stdout=asyncio.subprocess.PIPE
    )
    lines = [line.removeprefix(f"{file}: ") for line in (await check.communicate())[0].decode().splitlines()]
    assert check.returncode == 0
    assert lines[0].startswith("ok (")
    told = [line for line in lines if line.startswith("VI_1")]
    assert [line.partition(":")[0] for line in told] == ["VI_1.once", "VI_1.gone"]
    assert "oneshot.service is Type=oneshot" in told[0]
    assert "RemainAfterExit=yes" in told[0]
    assert "nosuch.service is not-found: install" in told[1]


@contextlib.asynccontextmanager
async def following(driver: Driver) -> AsyncIterator[asyncio.Queue[Level]]:
    """What a look that follows each change sees; the first is there when nothing is missed any more."""
    assert isinstance(driver, Follows)
    seen: asyncio.Queue[Level] = asyncio.Queue()
    looks: set[asyncio.Task[None]] = set()

    async def look() -> None:
        seen.put_nowait((await driver.observe()).level)

    task = asyncio.create_task(driver.follow(lambda: looks.add(asyncio.create_task(look()))))
    async with asyncio.timeout(60):
        yield seen
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.gather(*looks)


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize("make", [make, lambda name: quagga.make(quagga.Options(unit=name), SPEC)])
async def test_what_happens_to_a_unit_is_noticed(make: Callable[[str], Driver]) -> None:
    driver, other = make("late.service"), make("early.service")
    async with following(driver) as seen:
        assert await seen.get() is Level.STANDBY
        await other.activate()
        await driver.activate()
        assert await seen.get() is Level.ACTIVE
        for number in (CHATTER, CHATTER, DEATH):  # what its status says is none of ours, nor that it is dying
            await dbus.kill_unit("late.service", number)
        assert await seen.get() is Level.STANDBY
        assert (await driver.observe()).detail == "failed (success)"
        await driver.activate()
        assert await seen.get() is Level.ACTIVE
        assert seen.empty()
    await driver.deactivate()
    assert seen.empty()


@pytest.mark.usefixtures("systemd")
async def test_a_unit_cannot_be_followed_without_a_bus(bus: tuple[Path, asyncio.subprocess.Process]) -> None:
    changes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    task = asyncio.create_task(dbus.follow_unit("late.service", lambda *change: changes.put_nowait(change)))
    async with asyncio.timeout(60):
        assert await changes.get() == ("", "")
        await ended(bus[1])
        with pytest.raises(dbus.NoBus, match="lost the connection to the system bus"):
            await task
        with pytest.raises(dbus.NoBus):
            await dbus.follow_unit("late.service", lambda *_: None)


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
    assert "check that systemd is running: systemctl status" in seen.detail


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
    with pytest.raises(DriverError, match="lost the connection to the system bus"):
        await task
    assert (await driver.observe()).level is Level.UNKNOWN


async def test_a_systemd_that_does_not_answer(
    systemd: asyncio.subprocess.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dbus.unit_state("web.service")
    systemd.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(dbus, "CALL_TIMEOUT_S", 0.2)
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
    assert state("refreshing") is Level.ACTIVE
    assert state("inactive", "dead") is Level.STANDBY
    assert state("inactive", "dead", load="masked") is Level.STANDBY
    assert state("inactive", "dead", load="not-found") is Level.STANDBY
    assert state("active", "running", load="not-found") is Level.ACTIVE  # its file was removed while it ran
    assert state("failed", result="exit-code", tasks=0) is Level.STANDBY
    assert state("failed", result="timeout", tasks=2) is Level.FAILED
    assert state("activating", "start") is Level.UNKNOWN
    assert state("activating", "auto-restart") is Level.FAILED  # it died, and waits for its RestartSec
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


@pytest.mark.parametrize("driver", [unit, quagga])
def test_a_template_is_refused(driver: ModuleType) -> None:
    with pytest.raises(ValueError, match=r'"web@.service" is a template; expected an instance of it, e.g. "web@web'):
        driver.Options(unit="web@.service")


@pytest.mark.usefixtures("systemd")
async def test_a_connection_is_never_let_go(bus: tuple[Path, asyncio.subprocess.Process]) -> None:
    # To let one go stops the whole process where something is being received; see `_ever`.
    await dbus.unit_state("late.service")
    lost = weakref.ref(dbus._connection._bus.con)
    await ended(bus[1])
    async with asyncio.timeout(60):
        while dbus._connection._bus is not None:
            await asyncio.sleep(0.01)
    gc.collect()
    assert lost() is not None
