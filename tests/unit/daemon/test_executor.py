"""From effects to drivers and back: one answer for each effect that is still wanted, whatever a driver does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.events import ResourceObserved, RunStep, StepEnded, Stirred
from failoverd.core.model import Level, Observation, Outcome, Verb
from failoverd.daemon.executor import Executor
from failoverd.daemon.store import Store
from failoverd.drivers import DriverError, Hung, NotStarted, Refused, TimedOut

Answer = StepEnded | ResourceObserved | Stirred


class Scripted:
    """A driver of one resource: its verbs do what `act` does, its looks what `look` does."""

    def __init__(self) -> None:
        self.act: Callable[[], Any] = list
        self.level = Level.STANDBY

    async def observe(self) -> Observation:
        return Observation(level=self.level)

    async def activate(self) -> str | None:
        self.act()
        return None

    deactivate = activate

    def commands(self, verb: Verb) -> tuple[str, ...]:
        raise AssertionError(verb)


class Bench:
    """An executor with one resource, and what it reported."""

    def __init__(self, directory: Path) -> None:
        self.answers: list[Answer] = []
        self.driver = Scripted()
        self.executor = Executor(self.answers.append, Store(directory), directory)
        self.executor._drivers = {("VI_1", "web"): self.driver}

    def step(self, number: int = 1) -> None:
        self.executor.perform(
            RunStep(instance="VI_1", resource="web", verb=Verb.DEACTIVATE, step=number, timeout=10, transition=1)
        )

    async def ended(self) -> list[Answer]:
        await self.executor.close()
        return self.answers


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DriverError, Outcome.FAILED),
        (TimedOut, Outcome.TIMED_OUT),
        (Hung, Outcome.HUNG),
        (Refused, Outcome.REFUSED),
        (NotStarted, Outcome.NOT_STARTED),
        (ZeroDivisionError, Outcome.FAILED),
    ],
)
async def test_each_error_of_a_driver_has_its_outcome(bench: Bench, error: type[Exception], outcome: Outcome) -> None:
    def act() -> None:
        raise error("why")

    bench.driver.act = act
    bench.step()
    (answer,) = await bench.ended()
    assert isinstance(answer, StepEnded)
    assert (answer.outcome, "why" in answer.reason, answer.seen.level) == (outcome, True, Level.STANDBY)
