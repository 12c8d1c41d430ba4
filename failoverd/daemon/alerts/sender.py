"""Give alerts to the alert command, one at a time, in a task of its own: no transition waits for it.

Every run has a deadline, and a run that fails is repeated, later and later. Nothing here may raise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from failoverd import log
from failoverd.core.effects import Alarm
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Phase
from failoverd.daemon.alerts import facts
from failoverd.daemon.alerts.facts import Alert
from failoverd.daemon.alerts.waiting import Waiting
from failoverd.daemon.config.keys import AlertOptions
from failoverd.daemon.persistence import standing_alarms as persistence
from failoverd.ports import command
from failoverd.ports.errors import DriverError, Hung
from failoverd.trouble import TroubleKind, troubles

#: Alerts that may wait.
MAX_WAITING = 32

#: Attempts for one alert, which take half an hour.
MAX_ATTEMPTS = 10

#: Between two alerts, in seconds, so that a flood can be summed up.
INTERVAL_S = 1.0

#: After a failure, in seconds; each is three times the last, up to the second.
RETRY_S, RETRY_MAX_S = 5.0, 300.0

#: How long the end of the daemon waits for the alerts that wait.
CLOSE_TIMEOUT_S = 2.0

#: How long a test waits for the command: less than a handler of the control socket may take.
TEST_TIMEOUT_S = 3.0

_log = log.get("alerts")


class Sent(NamedTuple):
    """A run of the command. `reason`: why it failed, one line; empty: it accepted the alert. `seconds`: its duration.

    `hung`: its process could not be ended.
    """

    reason: str
    seconds: float
    hung: Hung | None = None


class Alerts:
    """Sends an alert for each alarm. Off until `configure` turns it on.

    `node` returns the name of this node. `interval`, `retry`: INTERVAL_S and RETRY_S, in seconds.
    """

    def __init__(self, node: Callable[[], str], *, interval: float = INTERVAL_S, retry: float = RETRY_S) -> None:
        self._node = node
        self._interval = interval
        self._retry = retry
        self._options = AlertOptions()
        self._waiting = Waiting(MAX_WAITING, MAX_ATTEMPTS)
        self._last = 0
        self._standing: dict[str, Alert] = {}
        self._inherited: set[str] = set()  # the instances whose alarm an earlier daemon gave, and this one not yet
        self._changed = False  # since the last record
        self._sending: asyncio.Task[None] | None = None
        self._testing: asyncio.Task[Sent] | None = None
        self._new = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def command(self) -> tuple[str, ...] | None:
        """The command; None: alerts are off."""
        return self._options.command

    def configure(self, options: AlertOptions) -> None:
        """Use these options from now on. Without a command, the alerts that wait are dropped."""
        changed, self._options = options != self._options, options
        if options.command is None:
            self._waiting.clear()
        if changed:
            troubles.end(TroubleKind.ALERT_COMMAND)

    def recall(self) -> None:
        """Take over the alarms that lasted when the earlier daemon of this boot ended."""
        self._standing = persistence.recall()
        self._inherited = set(self._standing)

    def alarm(self, alarm: Alarm, *, lasts: bool) -> None:
        """There is an alarm. `lasts`: the instance has it until `change` finds that it is over."""
        alert = facts.of_alarm(alarm, self._number(), time.time())
        if lasts:
            before = self._standing.get(alarm.instance)
            if before is not None and before.code != alert.code:
                self._put(before.over(self._number(), time.time()))
            elif before is not None and alarm.instance in self._inherited:
                alert = replace(alert, begin=before.begin)
            self._inherited.discard(alarm.instance)
            self._standing[alarm.instance] = alert
            self._changed = True
        self._put(alert)

    def change(self, before: State, now: State) -> None:
        """The core's state has changed."""
        over = [
            name
            for name in now.agenda.touched
            if not now.instances[name].alarm
            and (
                (name in before.instances and before.instances[name].alarm)
                or (name in self._inherited and _known(now.instances[name]))
            )
        ]
        if now.config is not before.config:  # nobody follows a removed instance any more
            over += self._standing.keys() - now.instances.keys()
        for name in over:
            if (alert := self._standing.pop(name, None)) is not None:
                self._inherited.discard(name)
                self._changed = True
                self._put(alert.over(self._number(), time.time()))

    async def test(self, by: str) -> Sent | None:
        """Send a test for the user `by`. None: the command has not ended yet, and a failure will be a trouble.

        It does not wait for other alerts. A test that runs already is the one that this waits for.
        """
        if self._testing is None or self._testing.done():
            alert = facts.of_test(by, self._number(), time.time())
            self._testing = asyncio.create_task(self._run(alert, 0))
        done, _ = await asyncio.wait({self._testing}, timeout=TEST_TIMEOUT_S)
        return self._testing.result() if done else None

    async def close(self) -> None:
        """Send what waits, for a moment, and end the command that runs."""
        self._closing.set()
        self._new.set()
        tasks = {task for task in (self._sending, self._testing) if task is not None}
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _number(self) -> int:
        """A greater number than each before, also over a restart, unless the clock is set back."""
        self._last = max(self._last + 1, time.time_ns() // 1_000_000)
        return self._last

    def _record(self) -> None:
        """Record the alarms, before the command gets a change of them. So a flood costs one record a second."""
        if self._changed:
            self._changed = False
            persistence.remember(self._standing)

    def _put(self, alert: Alert) -> None:
        if self.command is not None:
            self._waiting.put(alert)
            self._new.set()
            if self._sending is None or self._sending.done():
                self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        retry = self._retry
        while self.command is not None and (taken := self._waiting.take()) is not None:
            self._new.clear()
            alert, attempts = taken
            left_out = self._waiting.left_out
            self._record()
            sent = await self._run(alert, left_out)
            if not sent.reason:
                self._waiting.left_out -= left_out
                retry = self._retry
                await _pause(self._interval, self._closing)
                continue
            if self.command is not None:
                self._waiting.put_back(alert, attempts + 1)
            await _pause(self._retry, self._closing)
            while sent.hung is not None and not sent.hung.over() and not self._closing.is_set():
                await _pause(retry, self._closing)
            if self._closing.is_set():
                return
            await _pause(retry - self._retry, self._new)  # a new alert need not wait for the retry of an old one
            retry = min(3 * retry, RETRY_MAX_S)

    async def _run(self, alert: Alert, left_out: int) -> Sent:
        """Run the command once, and show a failure as a trouble."""
        began, hung, options = time.monotonic(), None, self._options
        try:
            reason = await self._reason(alert, left_out)
        except DriverError as error:
            reason, hung = error.reason, error if isinstance(error, Hung) else None
        except Exception as error:
            _log.exception("cannot run the alert command; this is a bug of failoverd")
            reason = f"internal error: {error!r}"
        sent = Sent(reason, time.monotonic() - began, hung)
        fields = {
            "alert": alert.id,
            "code": alert.code,
            "instance": alert.instance or "",
            "seconds": round(sent.seconds, 3),
        }
        if reason:
            _log.warning("the alert command failed", **fields, reason=reason)
            if options == self._options:  # a reload may have replaced the command meanwhile
                troubles.begin(TroubleKind.ALERT_COMMAND, f"the alert command failed ({reason}), so nobody gets alarms")
        else:
            _log.info("alert sent", **fields)
            troubles.end(TroubleKind.ALERT_COMMAND)
        return sent

    async def _reason(self, alert: Alert, left_out: int) -> str:
        """Why the command failed; empty: it did not. Raises DriverError as `command.run` does."""
        argv = self.command or ()
        given = alert.line(self._node(), left_out)
        done = await command.run(argv, timeout=self._options.timeout, input=given, whole=False)
        said = command.last_line(done.stderr) or command.last_line(done.stdout)
        status = f"exit status {done.returncode}" if done.returncode >= 0 else f"killed by signal {-done.returncode}"
        return "" if done.returncode == 0 else f"{argv[0]}: {status}{': ' if said else ''}{said}"


def _known(instance: InstanceState) -> bool:
    """Whether failoverd knows enough of it to have an alarm, if there was a reason for one."""
    return instance.phase.settled and instance.phase is not Phase.UNKNOWN


async def _pause(seconds: float, end: asyncio.Event) -> None:
    """Wait until the event, `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await end.wait()
