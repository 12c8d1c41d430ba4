"""Starts, stops and observes a systemd unit, for the drivers whose resource is a unit. It uses dbus.py only.

It must not enable, mask or edit a unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
import time
from collections.abc import Callable

from failoverd.core.resource import Observation
from failoverd.core.words import Level, Verb
from failoverd.ports import command, dbus, graceful_stop
from failoverd.ports.errors import DriverError, Refused

SUFFIXES = ("service", "socket", "target", "mount", "automount", "path", "timer", "slice", "scope", "swap", "device")
PATTERN = rf"^[A-Za-z0-9:_.\\@-]+\.({'|'.join(SUFFIXES)})$"

#: A unit that reloads its configuration, or refreshes its extension images (systemd 257), continues to run.
_UP = frozenset({"active", "reloading", "refreshing"})
#: The unit has failed, none of its processes runs, and systemd will restart it after RestartSec=.
_DIED = frozenset({"auto-restart", "auto-restart-queued"})

#: A unit that is starting or stopping for longer than this is observed as such.
SETTLE_TIMEOUT_S = 1.0
_POLL_INTERVAL_S = 0.05

_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_JOB_RESULTS = {
    "failed": "it failed",
    "timeout": "systemd's timeout for it expired",
    "canceled": "another start or stop replaced this one",
    "dependency": "a unit that it depends on failed",
    "skipped": "the job does not apply to its current state",
    "assert": "an assertion of the unit failed",
    "unsupported": "this machine does not support it",
}


def check_name(name: str) -> None:
    """Raises ValueError unless `name` is the complete name of a unit."""
    if not re.fullmatch(PATTERN, name):
        raise ValueError(f'unit: "{name}" is not a complete unit name; expected e.g. "{name.rstrip(".")}.service"')
    template, _, suffix = name.rpartition(".")
    if template.endswith("@"):
        raise ValueError(f'unit: "{name}" is a template; expected an instance of it, e.g. "{template}web.{suffix}"')


class Unit:
    """One unit. `stop_timeout`: seconds that it may take to stop; then its processes are killed."""

    def __init__(self, name: str, stop_timeout: float) -> None:
        self._name = name
        self._stop_timeout = stop_timeout

    @property
    def subject(self) -> str:
        """The name of the unit, which `follow` follows."""
        return self._name

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` when the unit has reached a lasting state. A transient state is always followed by another."""

        def on_state(active: str, sub: str) -> None:
            if not _passing(active, sub):
                changed()

        await dbus.follow_unit(self._name, on_state)

    async def observe(self) -> Observation:
        """The unit's level; UNKNOWN if it is starting or stopping for longer, or if systemd does not answer."""
        until = time.monotonic() + SETTLE_TIMEOUT_S
        try:
            state = await dbus.unit_state(self._name)
            while _passing(state.active, state.sub) and time.monotonic() < until:
                await asyncio.sleep(_POLL_INTERVAL_S)
                state = await dbus.unit_state(self._name)
            return seen(self._name, state)
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)

    async def obstacle(self) -> str:
        """The reason why this unit can never be active; empty if there is none, or if systemd does not answer."""
        with contextlib.suppress(DriverError):
            found = seen(self._name, await dbus.unit_state(self._name))
            return found.obstacle
        return ""

    async def activate(self) -> None:
        """Start the unit, and wait until systemd reports it as active. Raises Refused if it would not stay active.

        systemd limits starts: of FRR's unit it refuses the fourth within three minutes. So its count is reset first;
        the caller limits the retries.
        """
        found = await self.observe()
        if found.obstacle and found.alarm is None:  # the start of a unit that is not there fails by itself
            raise Refused(found.obstacle)
        command.note(self._systemctl("reset-failed"))
        with contextlib.suppress(dbus.BusError):  # it is not loaded, so it has no count
            await dbus.reset_failed_unit(self._name)
        command.note(self._systemctl("start"))
        self._check_result("start", await dbus.start_unit(self._name))

    async def deactivate(self) -> None:
        """Stop the unit; after `stop_timeout`, kill all its processes."""
        command.note(self._systemctl("stop"))
        stopping = asyncio.create_task(dbus.stop_unit(self._name))

        async def stop(until: float) -> str | None:
            ended, _ = await asyncio.wait({stopping}, timeout=until - time.monotonic())
            return None if ended else "stopping"

        async def kill(_: float) -> None:
            await self._kill()
            await asyncio.wait({stopping})  # the job ends with the last process

        try:
            await graceful_stop.stop(self._stop_timeout, graceful=stop, forced=kill)
            result = await stopping
        except dbus.BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise
            return
        finally:
            stopping.cancel()
        if result != "done" and (await self.observe()).level is not Level.STANDBY:
            self._check_result("stop", result)

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The equivalent commands, pasteable."""
        if verb is Verb.ACTIVATE:
            return (self._systemctl("reset-failed"), self._systemctl("start"))
        return graceful_stop.commands(self._stop_timeout, graceful=self._systemctl("stop"), forced=self._killing())

    async def _kill(self) -> None:
        command.note(self._killing())
        with contextlib.suppress(dbus.BusError):  # it has just stopped: there is no process to kill
            await dbus.kill_unit(self._name, signal.SIGKILL)

    def _check_result(self, verb: str, result: str) -> None:
        if result != "done":
            reason = _JOB_RESULTS.get(result, result)
            raise DriverError(f"{self._name}: {verb}: {reason}; see systemctl status {shlex.quote(self._name)}")

    def _systemctl(self, verb: str) -> str:
        return shlex.join(("systemctl", verb, self._name))

    def _killing(self) -> str:
        return shlex.join(("systemctl", "kill", "--signal=SIGKILL", self._name))


def _passing(active: str, sub: str) -> bool:
    return active in {"activating", "deactivating"} and sub not in _DIED


def seen(name: str, state: dbus.UnitState) -> Observation:
    """The observation that follows from systemd's state of a unit.

    An inactive unit has no processes, nor has a failed one, unless systemd could not kill them. A unit that does not
    exist cannot run: it is standby, with an alarm.
    """
    detail = f"{state.active} ({state.sub})"
    if state.active in _UP:
        return Observation(level=Level.ACTIVE, detail=detail)
    if state.sub in _DIED:
        return Observation(level=Level.FAILED, detail=detail)
    if state.active == "failed":
        if state.tasks:
            detail = f"failed ({state.result}), {state.tasks} of its processes still run"
            return Observation(level=Level.FAILED, detail=detail)
        detail = f"failed ({state.result or state.sub})"
    elif state.active != "inactive":
        return Observation(level=Level.UNKNOWN, detail=detail)
    elif state.load in {"not-found", "error", "bad-setting", "masked"}:
        alarm = f"{name} is {state.load}: install or fix the unit, or correct `unit` in the configuration"
        return Observation(level=Level.STANDBY, detail=f"{state.load}, {detail}", alarm=alarm, obstacle=alarm)
    return Observation(level=Level.STANDBY, detail=detail, obstacle=_brief(name) if state.passes else "")


def _brief(name: str) -> str:
    return (
        f"{name} is Type=oneshot and becomes inactive when its commands end: add RemainAfterExit=yes to its [Service] "
        f"with systemctl edit {shlex.quote(name)}"
    )
