"""Run the core's effects with drivers, and report each end as an event with an observation.

A driver may fail, hang, or report a wrong success. In every case the core gets exactly one answer to each effect, in
time: the outcome, the reason in one line, and the observation afterwards. The only exception is a check that a later
effect replaces: it is cancelled without an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from failoverd import drivers, log
from failoverd.core.context import CHECK_TIMEOUT_S, REPORT_GRACE_S
from failoverd.core.effects import Observe, RunStep
from failoverd.core.events import ResourceChanged, ResourceObserved, StepEnded, ToolEnded
from failoverd.core.model import State
from failoverd.core.resource import Observation, Step
from failoverd.core.spec import Config, ResourceSpec
from failoverd.core.words import Level, Outcome, Verb
from failoverd.daemon import orphans
from failoverd.daemon.history.store import Store
from failoverd.daemon.orphans import Flight, Orphan
from failoverd.daemon.watches import Watches
from failoverd.drivers import Accepts, Driver, Listens, Replicates
from failoverd.ports import command
from failoverd.ports.errors import DriverError, Hung, InUse, NotStarted, Refused, TimedOut

_log = log.get("executor")

#: Checks that run at once; each may start a process. A thousand checks of two seconds each end within eight seconds,
#: well before their deadline in the core. The check at the end of a step does not count.
MAX_CONCURRENT_CHECKS = 256

#: Seconds between two checks of a hanging tool.
HUNG_CHECK_INTERVAL_S = 5.0

#: The outcome of a step by the driver's error; the first that fits.
_OUTCOMES: tuple[tuple[type[DriverError], Outcome], ...] = (
    (TimedOut, Outcome.TIMED_OUT),
    (Hung, Outcome.HUNG),
    (InUse, Outcome.IN_USE),
    (Refused, Outcome.REFUSED),
    (NotStarted, Outcome.NOT_STARTED),
    (DriverError, Outcome.FAILED),
)


#: The events by which the executor answers the core.
Answer = StepEnded | ResourceObserved | ResourceChanged | ToolEnded

#: The observation of a resource of an earlier release, for which this one has no driver.
_UNOBSERVABLE = Observation(level=Level.UNKNOWN, detail="this release of failoverd cannot observe it")


class Executor:
    """Runs the core's effects.

    `report` gets each answer, in the event loop; `store` gets each step, for the history. `vouched`,
    `serving`: of a resource by the names of its instance and itself, what drivers.Listens wants to know.
    """

    def __init__(
        self,
        report: Callable[[Answer], None],
        store: Store,
        vouched: Callable[[str, str], Mapping[str, float]] = lambda _instance, _resource: {},
        serving: Callable[[str, str], Mapping[str, float]] = lambda _instance, _resource: {},
    ) -> None:
        self._report = report
        self._store = store
        self._vouched = vouched
        self._serving = serving
        self._listening: list[Listens] = []
        self._drivers: Mapping[ResourceSpec, Driver] = {}
        self._steps: set[asyncio.Task[None]] = set()
        self._checks: set[asyncio.Task[None]] = set()
        self._hanging: set[asyncio.Task[None]] = set()
        self._hung: Counter[tuple[str, str]] = Counter()
        self._awaited: dict[ResourceSpec, asyncio.Task[None]] = {}
        self._check_slots = asyncio.Semaphore(MAX_CONCURRENT_CHECKS)
        self._watches = Watches(self._resource_changed)
        self._final_checks: dict[tuple[str, str], bool] = {}
        self._unobserved: set[ResourceSpec] = set()

    def configure(self, made: Mapping[ResourceSpec, Driver]) -> None:
        """Use these drivers, which `drivers_of` made. Steps in flight keep the drivers that they have."""
        self._drivers = made
        self._unobserved &= set(made)
        for spec in set(self._awaited) - set(made):
            self._cancel_check(spec)
        self._listening = []
        for spec, driver in made.items():
            if isinstance(driver, Listens):
                self._listening.append(driver)
                names = spec.instance, spec.name
                driver.listen(partial(self._vouched, *names), partial(self._serving, *names))
        self._watches.configure(((spec.instance, spec.name, spec.driver), driver) for spec, driver in made.items())

    def commands(self, spec: ResourceSpec, verb: Verb) -> tuple[str, ...]:
        """The commands that a step would run, for `failoverctl plan`."""
        return self._drivers[spec].commands(verb)

    def heard(self) -> None:
        """The other nodes have said something."""
        for driver in self._listening:
            driver.heard()

    def perform(self, effect: RunStep | Observe) -> None:
        """Start the effect, and return at once."""
        self._cancel_check(effect.spec)
        match effect:
            case RunStep():
                self._start(self._step(effect, self._drivers[effect.spec]), self._steps)
            case Observe():
                self._awaited[effect.spec] = self._start(self._observe(effect), self._checks)
            case _:
                assert_never(effect)

    def take_over(self, state: State) -> State:
        """Adopt the steps that an earlier daemon left in flight: no other step starts on their resources meanwhile."""
        found: dict[tuple[str, str], Step] = {}
        for number, orphan in enumerate(orphans.find(), state.next_step):
            mark = orphan.mark
            left = max(orphan.deadline - time.monotonic(), 0.0)
            deadline = asyncio.get_running_loop().time() + left + REPORT_GRACE_S
            names = (mark.instance, mark.resource)
            found[names] = Step(
                id=number,
                verb=mark.verb,
                deadline=deadline,
                of=names,
                things=orphan.things,
                pids=tuple(tool.pid for tool in orphan.tools),
            )
            self._start(self._adopt(orphan, number), self._steps)
        return replace(state, orphans=found, next_step=state.next_step + len(found))

    async def close(self) -> None:
        """Wait for the steps in flight, each until its deadline: the end of the daemon must not kill a tool."""
        await self._watches.close()
        for task in (*self._checks, *self._hanging):
            task.cancel()
        await asyncio.gather(*self._checks, *self._hanging, *self._steps, return_exceptions=True)

    async def accept(self, spec: ResourceSpec, by: str) -> str:
        """Overrule one refusal of a resource, once, for the operator `by`; return the accepted risk in one line.

        DriverError: the resource has no refusal that can be accepted.
        """
        driver = self._drivers[spec]
        if not isinstance(driver, Accepts):
            raise DriverError(f"there is never anything to accept of {spec.name}")
        return await driver.accept(by)

    async def no_successor(self, spec: ResourceSpec) -> str:
        """Why no other node could take over the resource; empty if one could, or if it has no copies to ask about.

        DriverError: it cannot be found out.
        """
        driver = self._drivers[spec]
        return await driver.no_successor() if isinstance(driver, Replicates) else ""

    def _resource_changed(self, event: ResourceChanged) -> None:
        """Report a change.

        During a final check it is reported again afterwards, because the check may have missed it.
        """
        key = (event.instance, event.resource)
        if key in self._final_checks:
            self._final_checks[key] = True
        self._report(event)

    async def _final_check(self, spec: ResourceSpec, driver: Driver) -> tuple[Observation, bool]:
        """The observation at the end of a step, and whether the resource has changed since that check began."""
        key = (spec.instance, spec.name)
        self._final_checks[key] = False
        try:
            seen = await _observed(driver, CHECK_TIMEOUT_S)
        finally:
            changed = self._final_checks.pop(key)
        return seen, changed

    def _start(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task

    def _cancel_check(self, spec: ResourceSpec) -> None:
        """Cancel the running check of this resource, if there is one."""
        if (check := self._awaited.pop(spec, None)) is not None:
            check.cancel()

    async def _observe(self, effect: Observe) -> None:
        async with self._check_slots:
            with log.bound(instance=effect.instance, resource=effect.resource):
                driver = self._drivers.get(effect.spec) or _stray(effect.spec)
                seen = await _observed(driver, effect.timeout) if driver is not None else _UNOBSERVABLE
                self._log_observability(effect.spec, seen)
        self._report(ResourceObserved(instance=effect.instance, resource=effect.resource, look=effect.look, seen=seen))

    def _log_observability(self, spec: ResourceSpec, seen: Observation) -> None:
        """Log once when a resource cannot be observed, and once when it can be again."""
        unobserved = seen.level is Level.UNKNOWN
        if unobserved and spec not in self._unobserved:
            _log.warning("cannot observe the resource", reason=seen.detail)
            self._unobserved.add(spec)
        elif not unobserved and spec in self._unobserved:
            _log.info("the resource can be observed again", observed=seen.level.value)
            self._unobserved.discard(spec)

    async def _adopt(self, orphan: Orphan, step: int) -> None:
        names = {"instance": orphan.mark.instance, "resource": orphan.mark.resource}
        with log.bound(**names):
            _log.warning(
                "waiting for a step that an earlier failoverd left in flight",
                pids=[tool.pid for tool in orphan.tools],
            )
            ended = await orphan.end()
            outcome, reason = (Outcome.DONE, "") if ended else (Outcome.TIMED_OUT, "it did not end within its deadline")
            _log.info("the step of an earlier failoverd ended", outcome=outcome.value)
        seen = Observation(level=Level.UNKNOWN, detail="not checked since the step of an earlier failoverd ended")
        self._report(StepEnded(**names, step=step, outcome=outcome, reason=reason, seen=seen))

    async def _step(self, effect: RunStep, driver: Driver) -> None:
        """Answer exactly once, even after an internal error: the core never retries a step that has not ended."""
        names = {"instance": effect.instance, "resource": effect.resource}
        try:
            outcome, reason, seen, changed = await self._run_step(effect, driver)
        except Exception as error:
            _log.exception("a step failed with an internal error; this is a bug of failoverd", **names)
            outcome, reason, changed = Outcome.FAILED, f"internal error: {error!r}", False
            seen = Observation(level=Level.UNKNOWN, detail=reason)
        self._report(StepEnded(**names, step=effect.step, outcome=outcome, reason=reason, seen=seen))
        if changed:
            self._report(ResourceChanged(**names))

    async def _await_hung(self, effect: RunStep, flight: Flight, hung: Hung) -> None:
        """Wait until a hung tool has ended: its disk or network may recover.

        The end of the last hung tool of a resource is reported to the core.
        """
        names = (effect.instance, effect.resource)
        self._hung[names] += 1
        while not hung.over():  # noqa: ASYNC110 - the kernel does not report the end of a process group
            await asyncio.sleep(HUNG_CHECK_INTERVAL_S)
        flight.over()
        _log.info("a hung tool has ended", instance=effect.instance, resource=effect.resource)
        self._hung[names] -= 1
        if not self._hung[names]:
            self._report(ToolEnded(instance=effect.instance, resource=effect.resource))

    async def _run_step(self, effect: RunStep, driver: Driver) -> tuple[Outcome, str, Observation, bool]:
        """The step's outcome, its reason, the observation afterwards, and whether the resource has changed since."""
        names = {"instance": effect.instance, "resource": effect.resource}
        deadline = time.monotonic() + effect.timeout
        flight = Flight(**names, things=effect.spec.things, verb=effect.verb, deadline=deadline)
        with log.bound(transition=effect.transition, **names), command.recording() as commands:
            started = time.monotonic()
            self._store.step_started(
                effect.transition, resource=effect.resource, verb=effect.verb.value, started=started
            )
            with command.marked(flight):
                outcome, reason, alarm, hung = await _run(effect, driver)
            if hung is None:
                flight.over()
            else:
                self._start(self._await_hung(effect, flight, hung), self._hanging)
            ended = time.monotonic()
            seen, changed = await self._final_check(effect.spec, driver)
            if alarm is not None:
                seen = replace(seen, alarm=alarm)
            say = _log.info if outcome is Outcome.DONE else _log.error
            say(
                "step ended",
                verb=effect.verb.value,
                outcome=outcome.value,
                seconds=round(ended - started, 3),
                observed=seen.level.value,
                **({"reason": reason} if reason else {}),
                **({"detail": seen.detail} if seen.detail else {}),
            )
            self._store.step_ended(
                effect.transition,
                resource=effect.resource,
                verb=effect.verb.value,
                started=started,
                ended=ended,
                outcome=outcome.value,
                commands=list(commands),
                detail="; ".join(text for text in (reason, seen.detail) if text),
            )
        return outcome, reason, seen, changed


def _stray(spec: ResourceSpec) -> Driver | None:
    """The driver of a resource that the configuration has lost; None: no driver of this release takes its options."""
    try:
        return driver_of(spec) if spec.options is not None else None
    except Exception as error:
        _log.warning("cannot observe a removed resource: its driver rejects its options", reason=repr(error))
        return None


def driver_of(spec: ResourceSpec) -> Driver:
    """Make a driver for the resource. Raises any error of the driver's `make`."""
    return drivers.find(spec.driver).make(spec.options, spec)


def drivers_of(config: Config) -> Mapping[ResourceSpec, Driver]:
    """Make the driver of each resource, as `driver_of` does."""
    return {spec: driver_of(spec) for instance in config.instances.values() for spec in instance.resources.values()}


async def _run(effect: RunStep, driver: Driver) -> tuple[Outcome, str, str | None, Hung | None]:
    """Run the verb.

    Return the outcome, the reason (empty if done), an alarm or None, and the error of a hung tool or None.
    """
    act = driver.activate if effect.verb is Verb.ACTIVATE else driver.deactivate
    try:
        async with asyncio.timeout(effect.timeout):
            return Outcome.DONE, "", await act(), None
    except TimeoutError:
        return Outcome.TIMED_OUT, f"{effect.verb.value} did not end within {effect.timeout:g} s", None, None
    except DriverError as error:
        outcome = next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
        return outcome, error.reason, None, error if isinstance(error, Hung) else None
    except Exception as error:
        _log.exception("a driver failed in a way that it should not; this is a bug of failoverd")
        return Outcome.FAILED, f"internal error: {error!r}", None, None


async def _observed(driver: Driver, timeout: float) -> Observation:
    """The driver's observation; UNKNOWN if it fails, or takes longer than `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await driver.observe()
    except TimeoutError:
        return Observation(level=Level.UNKNOWN, detail=f"no answer within {timeout:g} s")
    except DriverError as error:
        return Observation(level=Level.UNKNOWN, detail=error.reason)
    except Exception as error:
        _log.exception("a driver failed in a way that it should not; this is a bug of failoverd")
        return Observation(level=Level.UNKNOWN, detail=f"internal error: {error!r}")
