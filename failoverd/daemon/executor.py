"""From effects to drivers, and back to events: every step and every look ends in time, with an observation.

A driver may fail, hang, or be wrong about itself. Whatever it does, exactly one answer comes back for each effect:
the outcome, the reason in a line, and what was seen afterwards. Only a look that a later effect has made void goes
without: it is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from failoverd import drivers, log
from failoverd.core.events import Observe, ResourceObserved, RunStep, StepEnded, Stirred
from failoverd.core.model import Observation, State, Step
from failoverd.core.spec import Config, ResourceSpec
from failoverd.core.turn import LATE, LOOK_TIMEOUT
from failoverd.core.words import Level, Outcome, Verb
from failoverd.daemon import leftovers
from failoverd.daemon.leftovers import Flight, Leftover
from failoverd.daemon.store import Store
from failoverd.daemon.watches import Watches
from failoverd.drivers import Accepts, Driver, DriverError, Hung, NotStarted, Refused, TimedOut, command

_log = log.get("executor")

#: The most looks at once, each of which may be a process. A thousand that take two seconds are through in eight, well
#: before the core takes them for lost; the look at the end of a step waits for none of them.
LOOKS = 256

#: What an error of a driver's makes of its step; the first that fits.
_OUTCOMES: tuple[tuple[type[DriverError], Outcome], ...] = (
    (TimedOut, Outcome.TIMED_OUT),
    (Hung, Outcome.HUNG),
    (Refused, Outcome.REFUSED),
    (NotStarted, Outcome.NOT_STARTED),
    (DriverError, Outcome.FAILED),
)


#: Of what an earlier release followed, and this one cannot look at.
_UNKNOWABLE = Observation(level=Level.UNKNOWN, detail="this release of failoverd cannot look at it")


class Executor:
    """Runs what the core asks for. `report` takes each answer, in the event loop."""

    def __init__(self, report: Callable[[StepEnded | ResourceObserved | Stirred], None], store: Store) -> None:
        self._report = report
        self._store = store
        self._drivers: Mapping[ResourceSpec, Driver] = {}
        self._steps: set[asyncio.Task[None]] = set()
        self._looks: set[asyncio.Task[None]] = set()
        self._awaited: dict[ResourceSpec, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(LOOKS)
        self._watches = Watches(self._stirred)
        self._last_looks: dict[tuple[str, str], bool] = {}

    def configure(self, made: Mapping[ResourceSpec, Driver]) -> None:
        """Work with these drivers, which `drivers_of` made. Steps in flight go on with those that they have."""
        self._drivers = made
        for spec in set(self._awaited) - set(made):
            self._end_look(spec)
        self._watches.configure(((spec.instance, spec.name, spec.driver), driver) for spec, driver in made.items())

    def commands(self, spec: ResourceSpec, verb: Verb) -> tuple[str, ...]:
        """What a step would run."""
        return self._drivers[spec].commands(verb)

    def perform(self, effect: RunStep | Observe) -> None:
        """Start what the effect asks for, and return at once."""
        self._end_look(effect.spec)
        if isinstance(effect, RunStep):
            self._start(self._step(effect, self._drivers[effect.spec]), self._steps)
        else:
            self._awaited[effect.spec] = self._start(self._observe(effect), self._looks)

    def take_over(self, state: State) -> State:
        """Await the steps that an earlier daemon left running, as if they were this one's: nothing is done on top."""
        orphans: dict[tuple[str, str], Step] = {}
        for number, leftover in enumerate(leftovers.find(), state.next_step):
            mark = leftover.mark
            left = max(leftover.deadline - time.monotonic(), 0.0)
            deadline = asyncio.get_running_loop().time() + left + LATE
            names = (mark.instance, mark.resource)
            orphans[names] = Step(id=number, verb=mark.verb, deadline=deadline, of=names)
            self._start(self._adopted(leftover, number), self._steps)
        return replace(state, orphans=orphans, next_step=state.next_step + len(orphans))

    async def close(self) -> None:
        """Wait for the steps in flight, each within its deadline: a tool is not killed because the daemon stops."""
        await self._watches.close()
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, *self._steps, return_exceptions=True)

    async def accept(self, spec: ResourceSpec, by: str) -> str:
        """Overrule a resource's refusal, once; returns what was accepted, in one line. DriverError: nothing was."""
        driver = self._drivers[spec]
        if not isinstance(driver, Accepts):
            raise DriverError(f"there is never anything to accept of {spec.name}")
        return await driver.accept(by)

    def _stirred(self, event: Stirred) -> None:
        """What changes while a step looks for the last time may not be in what it sees: it is told again after that."""
        key = (event.instance, event.resource)
        if key in self._last_looks:
            self._last_looks[key] = True
        self._report(event)

    async def _last_look(self, spec: ResourceSpec, driver: Driver) -> tuple[Observation, bool]:
        """What a step came to, and whether that has changed since it was looked at."""
        key = (spec.instance, spec.name)
        self._last_looks[key] = False
        try:
            seen = await _look(driver, LOOK_TIMEOUT)
        finally:
            stirred = self._last_looks.pop(key)
        return seen, stirred

    def _start(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task

    def _end_look(self, spec: ResourceSpec) -> None:
        """Nobody waits any more for the look at this resource, if there is one."""
        if (look := self._awaited.pop(spec, None)) is not None:
            look.cancel()

    async def _observe(self, effect: Observe) -> None:
        async with self._room:
            with log.bound(instance=effect.instance, resource=effect.resource):
                driver = self._drivers.get(effect.spec) or _stray(effect.spec)
                seen = await _look(driver, effect.timeout) if driver is not None else _UNKNOWABLE
        self._report(ResourceObserved(instance=effect.instance, resource=effect.resource, look=effect.look, seen=seen))

    async def _adopted(self, leftover: Leftover, step: int) -> None:
        names = {"instance": leftover.mark.instance, "resource": leftover.mark.resource}
        with log.bound(**names):
            _log.warning(
                "an earlier daemon's step still runs; it is awaited", pids=[tool.pid for tool in leftover.tools]
            )
            ended = await leftover.end()
            outcome, reason = (
                (Outcome.DONE, "") if ended else (Outcome.TIMED_OUT, "it outlived its daemon and deadline")
            )
            _log.info("an earlier daemon's step ended", outcome=outcome.value)
        seen = Observation(level=Level.UNKNOWN, detail="not looked at since an earlier daemon's step ended")
        self._report(StepEnded(**names, step=step, outcome=outcome, reason=reason, seen=seen))

    async def _step(self, effect: RunStep, driver: Driver) -> None:
        """Answer exactly once, whatever goes wrong: a step without an end is never tried again."""
        names = {"instance": effect.instance, "resource": effect.resource}
        try:
            outcome, reason, seen, stirred = await self._stepped(effect, driver)
        except Exception as error:
            _log.exception("a step broke off; this is a bug of failoverd", **names)
            outcome, reason, stirred = Outcome.FAILED, f"internal error: {error!r}", False
            seen = Observation(level=Level.UNKNOWN, detail=reason)
        self._report(StepEnded(**names, step=effect.step, outcome=outcome, reason=reason, seen=seen))
        if stirred:
            self._report(Stirred(**names))

    async def _stepped(self, effect: RunStep, driver: Driver) -> tuple[Outcome, str, Observation, bool]:
        """How the step ended, why, what was seen then, and whether that has changed since."""
        names = {"instance": effect.instance, "resource": effect.resource}
        flight = Flight(**names, verb=effect.verb, deadline=time.monotonic() + effect.timeout)
        with log.bound(transition=effect.transition, **names), command.recording() as commands:
            started = time.time()
            self._store.step_started(
                effect.transition, resource=effect.resource, verb=effect.verb.value, started=started
            )
            with command.marked(flight):
                outcome, reason, alarm = await _run(effect, driver)
            if outcome is not Outcome.HUNG:
                flight.over()
            ended = time.time()
            seen, stirred = await self._last_look(effect.spec, driver)
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
        return outcome, reason, seen, stirred


def _stray(spec: ResourceSpec) -> Driver | None:
    """The driver of what is in no configuration any more; None where this release has none that takes its options."""
    try:
        return driver_of(spec) if spec.options is not None else None
    except Exception as error:
        _log.warning("its driver does not take its options any more", reason=repr(error))
        return None


def driver_of(spec: ResourceSpec) -> Driver:
    """A driver for the resource. Raises what it raises where it does not take its options."""
    return drivers.find(spec.driver).make(spec.options, spec)


def drivers_of(config: Config) -> Mapping[ResourceSpec, Driver]:
    """The driver of each resource, as `driver_of` has it."""
    return {spec: driver_of(spec) for instance in config.instances.values() for spec in instance.resources.values()}


async def _run(effect: RunStep, driver: Driver) -> tuple[Outcome, str, str | None]:
    """How the verb ended, why (empty when all is well), and an alarm or None."""
    act = driver.activate if effect.verb is Verb.ACTIVATE else driver.deactivate
    try:
        async with asyncio.timeout(effect.timeout):
            return Outcome.DONE, "", await act()
    except TimeoutError:
        return Outcome.TIMED_OUT, f"{effect.verb.value} did not end within {effect.timeout:g} s", None
    except DriverError as error:
        return next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), error.reason, None
    except Exception as error:
        _log.exception("a driver failed in a way that it should not; this is a bug of failoverd")
        return Outcome.FAILED, f"internal error: {error!r}", None


async def _look(driver: Driver, timeout: float) -> Observation:
    """What the driver sees; UNKNOWN when that takes longer than `timeout` seconds, or fails."""
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
