"""The watchdog device follows the core's state; a stand-in plays the device."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from failoverd.core import self_fencing as core
from failoverd.core.spec import Quorum
from failoverd.core.words import VrrpState
from failoverd.daemon import self_fencing
from failoverd.daemon.self_fencing import SelfFencing
from failoverd.ports import hardware_watchdog
from failoverd.ports.errors import DriverError
from failoverd.records import records
from failoverd.trouble import TroubleKind, troubles
from tests.unit.core.test_quorum import ROUTER, active, wait, world
from tests.unit.core.world import World

LONG = 20.0
WATCHED = Quorum(witnesses=(ROUTER,), need=1, watchdog="/dev/watchdog", watchdog_timeout=10.0)


class Device:
    """The device. `until`: as it was last fed; `problem`: why it cannot be armed."""

    def __init__(self) -> None:
        self.timeout, self.identity, self.failure = 0, "Software Watchdog", ""
        self.armed = False
        self.times_armed = 0
        self.until = -math.inf
        self.problem = ""

    async def open(self, path: str, timeout: int) -> Device:
        await asyncio.sleep(0)
        if self.problem:
            raise DriverError(self.problem)
        assert path == "/dev/watchdog"
        assert not self.armed
        self.timeout, self.armed, self.until = timeout, True, -math.inf
        self.times_armed += 1
        return self

    def feed_until(self, until: float) -> None:
        assert self.armed
        self.until = until

    async def disarm(self) -> None:
        await asyncio.sleep(0)
        self.armed = False


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Device]:
    made = Device()
    monkeypatch.setattr(hardware_watchdog, "armed", made.open)
    monkeypatch.setattr(self_fencing, "_RETRY_S", 0.0)
    before = records.directory
    records.move(tmp_path)
    yield made
    records.move(before)
    troubles.end(TroubleKind.WATCHDOG_DEVICE)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not holds():
            await asyncio.sleep(0.01)


def follow(fencing: SelfFencing, made: World) -> None:
    fencing.configure(made.config.quorum)
    fencing.change(replace(made.state, config=replace(made.config)), made.state)


@pytest.fixture
def serving(device: Device) -> World:
    """An active node, in the time of the monotonic clock."""
    del device
    made = world(WATCHED)
    made.now = time.monotonic()
    made.say(VrrpState.MASTER)
    made.settle()
    return made


async def test_it_is_armed_while_something_is_active_and_fed_as_the_core_says(device: Device, serving: World) -> None:
    fencing = SelfFencing()
    follow(fencing, serving)
    await until(lambda: device.armed and device.until > 0)
    assert device.timeout == 10
    expected = core.fed_until(serving.state, asyncio.get_running_loop().time())
    assert device.until == pytest.approx(expected, abs=1.0)

    before = serving.state
    serving.say(VrrpState.BACKUP)
    serving.settle()
    fencing.change(before, serving.state)
    await until(lambda: not device.armed)
    await fencing.close()


async def test_a_device_that_cannot_be_used_shows_before_it_is_needed(device: Device) -> None:
    fencing, made = SelfFencing(), world(WATCHED)
    device.problem = "/dev/watchdog: another program has it open"
    follow(fencing, made)
    await until(lambda: bool(troubles.standing))
    [trouble] = troubles.standing
    assert trouble.kind is TroubleKind.WATCHDOG_DEVICE
    assert trouble.text == f"{device.problem}; run: wdctl /dev/watchdog"

    device.problem = ""
    fencing.look()
    await until(lambda: not troubles.standing)
    await until(lambda: device.times_armed == 1 and not device.armed)
    await fencing.close()


async def test_one_that_works_again_is_armed_while_it_is_needed(device: Device, serving: World) -> None:
    fencing = SelfFencing()
    device.problem = "/dev/watchdog: there is no such watchdog"
    follow(fencing, serving)
    await until(lambda: bool(troubles.standing))
    device.problem = ""
    await until(lambda: device.armed and not troubles.standing)
    await fencing.close()


async def test_a_stop_disarms_it_though_resources_are_active(device: Device, serving: World) -> None:
    fencing = SelfFencing()
    follow(fencing, serving)
    await until(lambda: device.armed)
    await fencing.close()
    assert not device.armed


async def test_a_stop_of_a_node_that_has_not_stopped_in_time_leaves_it_armed(device: Device, serving: World) -> None:
    fencing = SelfFencing()
    serving.say(VrrpState.BACKUP)
    follow(fencing, serving)
    await until(lambda: device.armed)
    await fencing.close()
    assert device.armed


async def test_a_daemon_that_was_killed_leaves_its_time_to_the_next(device: Device, serving: World) -> None:
    fencing = SelfFencing()
    serving.say(VrrpState.BACKUP)
    follow(fencing, serving)
    await until(lambda: device.armed and device.until > 0)
    left = device.until
    device.armed = False  # its process is gone, and the device closed

    following = SelfFencing()
    at = following.take_over(WATCHED)
    assert at == pytest.approx(left, abs=1.5)
    await until(lambda: device.armed)
    assert device.until == pytest.approx(left, abs=1.5)
    await following.close()


async def test_a_time_whose_reset_did_not_come_proves_nothing(device: Device) -> None:
    records.write("self-fencing", {"until": time.monotonic() - 11.0})
    fencing = SelfFencing()
    assert fencing.take_over(WATCHED) == math.inf
    records.write("self-fencing", {"until": time.monotonic() - 1.0})
    assert SelfFencing().take_over(WATCHED) < time.monotonic()
    assert not device.armed


async def test_at_rest_nothing_is_left_to_the_next(device: Device, serving: World) -> None:
    fencing = SelfFencing()
    follow(fencing, serving)
    await until(lambda: device.armed)
    before = serving.state
    serving.say(VrrpState.BACKUP)
    serving.settle()
    fencing.change(before, serving.state)
    await until(lambda: not device.armed)
    assert SelfFencing().take_over(WATCHED) == math.inf
    await fencing.close()


async def test_a_node_that_must_stop_after_its_loop_has_stalled_gains_no_time(
    device: Device, serving: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the others count on began before the stall, which the core's time does not have."""
    fencing = SelfFencing()
    follow(fencing, serving)
    await until(lambda: device.armed and device.until > 0)
    fed, real = device.until, time.monotonic
    monkeypatch.setattr("failoverd.daemon.self_fencing.time", SimpleNamespace(monotonic=lambda: real() + 60.0))
    device.until = -math.inf
    before = serving.state
    serving.say(VrrpState.BACKUP)
    fencing.change(before, serving.state)
    await until(lambda: device.until > 0)
    assert device.until <= fed
    monkeypatch.undo()
    await fencing.close()


async def test_a_loop_that_stalled_gains_no_time(
    device: Device, serving: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock stops while it does; that of the machine does not."""
    fencing = SelfFencing()
    serving.say(VrrpState.BACKUP)
    follow(fencing, serving)
    await until(lambda: device.armed and device.until > 0)
    fed = device.until
    real = time.monotonic
    late = SimpleNamespace(monotonic=lambda: real() + 60.0)
    monkeypatch.setattr("failoverd.daemon.self_fencing.time", late)  # the loop has its own
    device.until = -math.inf
    await until(lambda: device.until > 0)
    assert device.until == fed
    monkeypatch.undo()
    await fencing.close()


async def test_without_a_watchdog_nothing_is_done(device: Device) -> None:
    fencing, made = SelfFencing(), active()
    assert fencing.take_over(made.config.quorum) == math.inf
    follow(fencing, made)
    wait(made, 1.0)
    await fencing.close()
    assert device.times_armed == 0
