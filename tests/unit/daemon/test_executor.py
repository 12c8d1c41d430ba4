"""From effects to drivers and back: one answer for each effect that is still wanted, whatever a driver does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.core.effects import Observe, RunStep
from failoverd.core.events import ResourceChanged, ResourceObserved, StepEnded, ToolEnded
from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Outcome, Verb
from failoverd.daemon import executor
from failoverd.daemon.executor import Executor
from failoverd.daemon.history.store import Store
from failoverd.ports.errors import DriverError, Hung, InUse, NotStarted, Refused, TimedOut
from tests.unit.daemon.running_daemon import PATIENCE

Answer = StepEnded | ResourceObserved | ResourceChanged | ToolEnded


class Scripted:
    """A driver of one resource: its verbs do what `act` does, its looks last until `gate` is open."""

    def __init__(self) -> None:
        self.act: Callable[[], Any] = list
        self.gate = asyncio.Event()
        self.gate.set()
        self.looking = 0
        self.seen = Observation(level=Level.STANDBY)

    async def observe(self) -> Observation:
        self.looking += 1
        try:
            await self.gate.wait()
        finally:
            self.looking -= 1
        return self.seen

    async def activate(self) -> str | None:
        self.act()
        return None

    deactivate = activate

    def commands(self, verb: Verb) -> tuple[str, ...]:
        raise AssertionError(verb)


class Bench:
    """An executor with resources, and what it reported."""

    def __init__(self, directory: Path) -> None:
        self.answers: list[Answer] = []
        self.drivers = {name: Scripted() for name in ("web", "vpn", "dns")}
        self.executor = Executor(self.answers.append, Store(directory))
        self.specs = {name: ResourceSpec(instance="VI_1", name=name, driver="exec") for name in self.drivers}
        self.executor.configure({self.specs[name]: driver for name, driver in self.drivers.items()})

    def step(self, number: int, resource: str = "web") -> None:
        self.executor.perform(
            RunStep(spec=self.specs[resource], verb=Verb.DEACTIVATE, step=number, timeout=10, transition=1)
        )

    def look(self, number: int, resource: str = "web") -> None:
        self.executor.perform(Observe(spec=self.specs[resource], look=number, timeout=10))

    @property
    def looking(self) -> int:
        return sum(driver.looking for driver in self.drivers.values())

    async def answered(self, count: int) -> list[Answer]:
        async with asyncio.timeout(30):
            while len(self.answers) < count:
                await asyncio.sleep(0.001)
        return self.answers


async def settled() -> None:
    """Until every task has come as far as it does without anybody's help."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.executor.close()


class Listening(Scripted):
    """The same, and it listens to what other nodes say. Its activation waits for that."""

    def __init__(self) -> None:
        super().__init__()
        self.vouch: Callable[[], Mapping[str, float]] = dict
        self.serve: Callable[[], Mapping[str, float]] = dict
        self.heard_something = asyncio.Event()

    def listen(self, vouch: Callable[[], Mapping[str, float]], serve: Callable[[], Mapping[str, float]]) -> None:
        self.vouch, self.serve = vouch, serve

    def heard(self) -> None:
        self.heard_something.set()

    async def activate(self) -> str | None:
        await self.heard_something.wait()
        return None


async def test_what_other_nodes_say_reaches_an_activation_that_waits(tmp_path: Path) -> None:
    answers: list[Answer] = []
    vouched = {("VI_1", "disk"): {"left": 7.0}}
    serving = {("VI_1", "idle"): {"left": 8.0}}
    executor = Executor(
        answers.append, Store(tmp_path), lambda *names: vouched.get(names, {}), lambda *names: serving.get(names, {})
    )
    spec, other = (ResourceSpec(instance="VI_1", name=name, driver="exec") for name in ("disk", "idle"))
    drivers = {spec: Listening(), other: Listening()}
    executor.configure(drivers)
    assert (drivers[spec].vouch(), drivers[other].vouch()) == ({"left": 7.0}, {})
    assert (drivers[spec].serve(), drivers[other].serve()) == ({}, {"left": 8.0})
    executor.perform(RunStep(spec=spec, verb=Verb.ACTIVATE, step=1, timeout=PATIENCE, transition=1))
    await settled()
    assert answers == []
    executor.heard()
    async with asyncio.timeout(PATIENCE):
        while not answers:
            await asyncio.sleep(0.001)
    assert drivers[other].heard_something.is_set()
    await executor.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DriverError, Outcome.FAILED),
        (TimedOut, Outcome.TIMED_OUT),
        (Hung, Outcome.HUNG),
        (Refused, Outcome.REFUSED),
        (InUse, Outcome.IN_USE),
        (NotStarted, Outcome.NOT_STARTED),
        (ZeroDivisionError, Outcome.FAILED),
    ],
)
async def test_each_error_of_a_driver_has_its_outcome(bench: Bench, error: type[Exception], outcome: Outcome) -> None:
    def act() -> None:
        raise error("why")

    bench.drivers["web"].act = act
    bench.step(1)
    (answer,) = await bench.answered(1)
    assert isinstance(answer, StepEnded)
    assert (answer.outcome, "why" in answer.reason, answer.seen.level) == (outcome, True, Level.STANDBY)


async def test_the_end_of_a_tool_that_hung_is_told(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(executor, "HUNG_CHECK_INTERVAL_S", 0.01)
    gone = asyncio.Event()

    def act() -> None:
        raise Hung("it hangs", gone.is_set)

    bench.drivers["web"].act = act
    bench.step(1)
    await bench.answered(1)
    gone.set()
    _, told = await bench.answered(2)
    assert told == ToolEnded(instance="VI_1", resource="web")


async def test_of_several_tools_that_hang_the_last_one_is_told(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(executor, "HUNG_CHECK_INTERVAL_S", 0.01)
    gone = [asyncio.Event(), asyncio.Event()]
    hanging = iter(gone)

    def act() -> None:
        raise Hung("it hangs", next(hanging).is_set)

    bench.drivers["web"].act = act
    for number in (1, 2):
        bench.step(number)
        await bench.answered(number)
    with capture_logs() as lines:
        gone[0].set()
        while not any(line["event"] == "a hung tool has ended" for line in lines):
            await asyncio.sleep(0.001)
    await settled()
    assert not [answer for answer in bench.answers if isinstance(answer, ToolEnded)]
    gone[1].set()
    assert isinstance((await bench.answered(3))[-1], ToolEnded)


@pytest.mark.parametrize("broken", ["step_started", "step_ended"])
async def test_a_step_has_an_end_though_something_around_it_breaks(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, broken: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.executor._store, broken, fails)
    bench.step(1)
    (answer,) = await bench.answered(1)
    assert isinstance(answer, StepEnded)
    assert (answer.outcome, answer.seen.level) == (Outcome.FAILED, Level.UNKNOWN)


@pytest.mark.parametrize("during", ["the step", "its last look"])
async def test_what_changes_during_a_steps_last_look_is_told_after_it(bench: Bench, during: str) -> None:
    """What changed before is in what the look sees."""
    web = bench.drivers["web"]
    if during == "the step":
        web.act = lambda: bench.executor._resource_changed(ResourceChanged(instance="VI_1", resource="web"))
    web.gate.clear()
    bench.step(1)
    async with asyncio.timeout(30):
        while not web.looking:
            await asyncio.sleep(0.001)
    if during == "its last look":
        bench.executor._resource_changed(ResourceChanged(instance="VI_1", resource="web"))
        bench.executor._resource_changed(ResourceChanged(instance="VI_1", resource="vpn"))
    bench.answers.clear()
    web.gate.set()
    answers = await bench.answered(1)
    await settled()
    expected = [StepEnded] if during == "the step" else [StepEnded, ResourceChanged]
    assert [type(answer) for answer in answers] == expected
    assert {answer.resource for answer in answers} == {"web"}


@pytest.mark.parametrize("void_by", ["look", "step"])
async def test_a_look_that_has_become_void_is_ended(bench: Bench, void_by: str) -> None:
    web = bench.drivers["web"]
    web.gate.clear()
    bench.look(1)
    await settled()
    assert web.looking == 1
    getattr(bench, void_by)(2)
    await settled()
    assert web.looking == 1, "only the new one"
    web.gate.set()
    (answer,) = await bench.answered(1)
    assert getattr(answer, void_by) == 2


async def test_looks_in_vain_are_one_line_and_so_is_their_end(bench: Bench) -> None:
    told = []
    for number, level in enumerate([Level.STANDBY, Level.UNKNOWN, Level.UNKNOWN, Level.ACTIVE, Level.ACTIVE], 1):
        bench.drivers["web"].seen = Observation(level=level, detail=f"look {number}")
        with capture_logs() as lines:
            bench.look(number)
            await bench.answered(number)
        told += [(line["event"], line["log_level"], line.get("reason")) for line in lines]
    assert told == [
        ("cannot observe the resource", "warning", "look 2"),
        ("the resource can be observed again", "info", None),
    ]


async def test_a_look_at_what_is_no_longer_configured_is_ended(bench: Bench) -> None:
    bench.drivers["web"].gate.clear()
    bench.look(1)
    await settled()
    bench.executor.configure({})
    await settled()
    assert bench.looking == 0


async def test_only_so_many_looks_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(executor, "MAX_CONCURRENT_CHECKS", 2)
    bench = Bench(tmp_path)
    for number, (name, driver) in enumerate(bench.drivers.items()):
        driver.gate.clear()
        bench.look(number, name)
    await settled()
    assert bench.looking == 2
    bench.step(9)  # its own look waits for nobody
    bench.drivers["web"].gate.set()
    await bench.answered(1)
    for driver in bench.drivers.values():
        driver.gate.set()
    answers = await bench.answered(3)
    assert {type(answer) for answer in answers} == {StepEnded, ResourceObserved}
    await bench.executor.close()
