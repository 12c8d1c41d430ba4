"""What systemd's units mean to failoverd: how one is started and stopped for certain, and which level it has.

Shared by the drivers whose resource is a unit. Speaks through dbus.py only.
What this must not do: enable, mask or edit a unit; it starts and stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal

from failoverd.core.model import Observation
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError, command, dbus

SUFFIXES = ("service", "socket", "target", "mount", "automount", "path", "timer", "slice", "scope", "swap", "device")
PATTERN = rf"^[A-Za-z0-9:_.\\@-]+\.({'|'.join(SUFFIXES)})$"

_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_JOB_RESULTS = {
    "failed": "it failed",
    "timeout": "it did not come up in systemd's own time",
    "canceled": "somebody else's start or stop took the place of this one",
    "dependency": "a unit that it depends on failed",
    "skipped": "it does not apply in its present state",
    "assert": "an assertion in it does not hold",
    "unsupported": "this machine does not support it",
}


def check_name(name: str) -> None:
    """ValueError unless `name` is the whole name of a unit."""
    if not re.fullmatch(PATTERN, name):
        raise ValueError(f'unit: "{name}" is not a unit\'s whole name; expected e.g. "{name.rstrip(".")}.service"')


class Unit:
    """One unit, which may have `stop_timeout` seconds to stop before its processes are killed."""

    def __init__(self, name: str, stop_timeout: float) -> None:
        self._name = name
        self._stop_timeout = stop_timeout

    async def observe(self) -> Observation:
        """Its level; UNKNOWN while it is changing, and when systemd cannot be asked."""
        try:
            return seen(self._name, await dbus.unit_state(self._name))
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)

    async def activate(self) -> None:
        """Start it, and wait until systemd says that it is up.

        systemd counts starts, and refuses the fourth in three minutes of FRR's unit: it forgets the count first. How
        often a start is tried is for who calls this to bound.
        """
        command.note(self._systemctl("reset-failed"))
        with contextlib.suppress(dbus.BusError):  # it is not loaded: there is nothing to forget
            await dbus.reset_failed_unit(self._name)
        command.note(self._systemctl("start"))
        self._judge("start", await dbus.start_unit(self._name))

    async def deactivate(self) -> None:
        """Stop it; when it has not stopped in its time, kill all its processes."""
        command.note(self._systemctl("stop"))
        stopping = asyncio.create_task(dbus.stop_unit(self._name))
        try:
            ended, _ = await asyncio.wait({stopping}, timeout=self._stop_timeout)
            if not ended:
                await self._kill()
            result = await stopping  # one job: it ends when the last process has
        except dbus.BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise
            return
        finally:
            stopping.cancel()
        if result != "done" and (await self.observe()).level is not Level.STANDBY:
            self._judge("stop", result)

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """What a person would type to the same end."""
        if verb is Verb.ACTIVATE:
            return (self._systemctl("reset-failed"), self._systemctl("start"))
        return (self._systemctl("stop"), f"{self._killing()}  # after {self._stop_timeout:g} s")

    async def _kill(self) -> None:
        command.note(self._killing())
        with contextlib.suppress(dbus.BusError):  # it stopped a moment ago: there is nothing to kill
            await dbus.kill_unit(self._name, signal.SIGKILL)

    def _judge(self, what: str, result: str) -> None:
        if result != "done":
            why = _JOB_RESULTS.get(result, result)
            raise DriverError(f"{self._name}: {what}: {why}; see systemctl status {shlex.quote(self._name)}")

    def _systemctl(self, what: str) -> str:
        return shlex.join(("systemctl", what, self._name))

    def _killing(self) -> str:
        return shlex.join(("systemctl", "kill", "--signal=SIGKILL", self._name))


def seen(name: str, state: dbus.UnitState) -> Observation:
    """What systemd's words are as a level.

    Nothing of an inactive unit runs, nor of a failed one unless systemd could not end its processes. One that
    does not exist cannot run either: that is standby, and somebody should know.
    """
    words = f"{state.active} ({state.sub})"
    if state.active in {"active", "reloading"}:
        return Observation(level=Level.ACTIVE, detail=words)
    if state.active == "failed" and state.tasks:
        return Observation(level=Level.FAILED, detail=f"failed ({state.result}), {state.tasks} of its processes live")
    if state.active == "failed":
        return Observation(level=Level.STANDBY, detail=f"failed ({state.result or state.sub})")
    if state.load in {"not-found", "error", "bad-setting", "masked"} and state.active == "inactive":
        alarm = f"{name} is {state.load}: install or mend the unit, or correct `unit` in the configuration"
        return Observation(level=Level.STANDBY, detail=f"{state.load}, {words}", alarm=alarm)
    if state.active == "inactive":
        return Observation(level=Level.STANDBY, detail=words)
    return Observation(level=Level.UNKNOWN, detail=words)
