"""Keep the watchdog device armed and fed for as long as the core's state says so. This module must not decide that.

The device is armed while something can be active here, and disarmed otherwise: where nothing is active, no trouble of
failoverd's own resets the machine. The time until which it is fed is recorded for the next daemon, which has no more
time than this one had.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

from failoverd import log
from failoverd.core import self_fencing
from failoverd.core.model import State
from failoverd.core.spec import Quorum
from failoverd.ports import hardware_watchdog
from failoverd.ports.errors import DriverError
from failoverd.ports.hardware_watchdog import HardwareWatchdog
from failoverd.records import number, records
from failoverd.trouble import TroubleKind, troubles

#: Seconds between two looks at the state while the device is armed: answers of witnesses move the time.
_REFRESH_S = 1.0

#: Seconds between two attempts to arm a device that cannot be.
_RETRY_S = 10.0

#: Seconds that the end of the daemon waits for the device.
_CLOSE_TIMEOUT_S = 5.0

#: Seconds by which the recorded time may be too early: it is not written at each answer.
_RECORD_EVERY_S = 1.0

_RECORD = "self-fencing"
_log = log.get("self-fencing")


class SelfFencing:
    """The watchdog device of [quorum]. Made on the running loop.

    Without a `watchdog` it does nothing.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._use: tuple[str, int] | None = None  # the device and its timeout, as configured
        self._untested = False
        self._device: HardwareWatchdog | None = None
        self._armed_as: tuple[str, int] | None = None
        self._until: float | None = None  # monotonic seconds; None: nothing can be active
        self._known: tuple[float, float] | None = None  # the core's time for that, and `_until`
        self._recorded: float | None = None
        self._retry_at = 0.0
        self._said = self._troubled = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._state: State | None = None

    def take_over(self, quorum: Quorum | None) -> float:
        """Feed the device that an earlier daemon has left armed, as soon as possible, and for as long as that would.

        Returns that time, in seconds of the loop; infinity: no earlier daemon of this boot had one armed lately.
        """
        until = records.read(_RECORD, _until)
        self._set(quorum)
        if until is None or self._use is None or until + self._use[1] <= time.monotonic():
            return math.inf
        at = self._loop.time() + until - time.monotonic()
        self._known, self._until, self._recorded = (at, until), until, until
        self._begin()
        return at

    def configure(self, quorum: Quorum | None) -> None:
        """Use this device from here on. One that is new is tried at once: its trouble must show before it is needed."""
        before = self._use
        self._set(quorum)
        if self._use is None:
            troubles.end(TroubleKind.WATCHDOG_DEVICE)
        if self._use != before or self._armed_as is None:
            self._untested, self._retry_at = self._use is not None, 0.0
            self._begin()

    def look(self) -> None:
        """Try again a device that could not be armed."""
        if self._troubled and self._device is None and self._use is not None:
            self._untested = True
            self._begin()

    def change(self, before: State, now: State) -> None:
        """Follow a change of the core's state."""
        self._state = now
        if self._use is not None and self_fencing.moved(before, now):
            self._refresh()

    async def close(self) -> None:
        """Disarm the device, unless this node must stop and has not: then the machine is reset.

        A stop of failoverd changes nothing of what is active, and is not distinguished from a restart.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_TIMEOUT_S)
        if self._device is None or self._state is None:
            return
        late = self_fencing.must_stop(self._state)
        if late:
            _log.critical(
                "failoverd ends, and resources that must not be active are not at standby: the watchdog stays armed, "
                "and resets this machine unless failoverd runs again",
                seconds=self._device.timeout,
                resources=_named(late),
            )
            return
        if self._until is not None:
            _log.warning("failoverd ends with active resources: no watchdog resets this machine until it runs again")
        await self._disarm(self._device)

    def _set(self, quorum: Quorum | None) -> None:
        device = None if quorum is None else quorum.watchdog
        self._use = None if quorum is None or device is None else (device, int(quorum.watchdog_timeout))

    def _refresh(self) -> None:
        """Compute anew until when it is fed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        assert self._state is not None
        now = self._loop.time()
        at = self_fencing.fed_until(self._state, now)
        if at is None:
            self._known = self._until = None
        elif self._known is None or self._known[0] != at:
            until = time.monotonic() + at - now
            if self._known is not None and self._until is not None and at < self._known[0]:
                until = min(until, self._until)  # the loop may have stalled meanwhile
            self._until = until
            self._known = at, until  # a loop that stalls later does not move it
        self._record()
        self._feed()
        if self._until is not None:
            self._timer = self._loop.call_later(_REFRESH_S, self._refresh)
        if (self._device is not None) is not (self._until is not None):
            self._begin()

    def _feed(self) -> None:
        if self._device is None or self._until is None:
            return
        self._device.feed_until(self._until)
        self._report(self._device.failure)
        over = time.monotonic() >= self._until
        if over and not self._said and self._state is not None:
            _log.critical(
                "resources that must not be active are not at standby in time: the watchdog is not fed any more, and "
                "resets this machine",
                seconds=self._device.timeout,
                resources=_named(self_fencing.must_stop(self._state)),
            )
        self._said = over

    def _record(self) -> None:
        if self._until is None:
            if self._recorded is not None:
                records.remove(_RECORD)
        elif self._recorded is None or abs(self._until - self._recorded) >= _RECORD_EVERY_S:
            records.write(_RECORD, {"until": self._until})
        else:
            return
        self._recorded = self._until

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._settle())
            self._task.add_done_callback(_ended)

    async def _settle(self) -> None:
        """Arm or disarm until the device is as it must be, or cannot be."""
        while True:
            wanted = self._use if self._until is not None or self._untested else None
            if self._device is not None and (wanted != self._armed_as or self._until is None):
                self._untested = self._untested and wanted != self._armed_as
                await self._disarm(self._device)
            elif self._device is None and wanted is not None and time.monotonic() >= self._retry_at:
                await self._arm(*wanted)
            else:
                return

    async def _arm(self, path: str, timeout: int) -> None:
        try:
            self._device = await hardware_watchdog.armed(path, timeout)
        except DriverError as error:
            self._untested, self._retry_at = False, time.monotonic() + _RETRY_S
            self._report(error.reason)
            return
        self._armed_as = path, timeout
        if self._until is not None:
            self._untested = False
            _log.info("the watchdog is armed", device=path, timeout=self._device.timeout, driver=self._device.identity)
        self._report("")
        self._feed()

    async def _disarm(self, device: HardwareWatchdog) -> None:
        self._device = self._armed_as = None
        try:
            await device.disarm()
        except DriverError as error:
            self._report(error.reason)

    def _report(self, failure: str) -> None:
        self._troubled = bool(failure)
        if failure and self._use is not None:
            troubles.begin(TroubleKind.WATCHDOG_DEVICE, failure, device=self._use[0])
        else:
            troubles.end(TroubleKind.WATCHDOG_DEVICE)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("cannot arm or disarm the watchdog; this is a bug of failoverd", exc_info=error)


def _named(late: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name}.{resource}" for name, resources in late.items() for resource in resources)


def _until(content: Mapping[str, Any]) -> float:
    return number(content["until"])
