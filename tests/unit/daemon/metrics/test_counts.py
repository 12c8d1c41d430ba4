"""What is counted, from the effects and answers as the core and the executor have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core.effects import Alarm, AlarmKind, RunStep, TransitionEnded
from failoverd.core.effects import TransitionStarted as Started
from failoverd.core.events import StepEnded
from failoverd.core.model import Agenda, InstanceState, State
from failoverd.core.resource import Observation, ResourceState
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec
from failoverd.core.words import Level, Outcome, Phase, Target, TransitionResult, Verb
from failoverd.daemon.metrics.counts import Counts

WEB = ResourceSpec(instance="VI_1", name="web", driver="unit")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counts(clock: Clock) -> Counts:
    return Counts(clock)


def state(*names: str, phase: Phase = Phase.STANDBY) -> State:
    instances = {
        name: InstanceState(
            spec=InstanceSpec(name=name),
            since=0.0,
            next_check=0.0,
            vips={},
            resources={"web": ResourceState(spec=WEB, since=0.0)},
            phase=phase,
        )
        for name in names
    }
    return State(config=Config(), instances=instances, agenda=Agenda(touched=names))


def ended(step: int, outcome: Outcome = Outcome.DONE, level: Level = Level.ACTIVE) -> StepEnded:
    seen = Observation(level=level)
    return StepEnded(instance="VI_1", resource="web", step=step, outcome=outcome, reason="", seen=seen)


def run(step: int) -> RunStep:
    return RunStep(spec=WEB, verb=Verb.ACTIVATE, step=step, timeout=1.0, transition=1)


@pytest.mark.parametrize(
    ("result", "durations"),
    [(TransitionResult.ACTIVE, 1), (TransitionResult.PARTIAL, 0), (TransitionResult.OVERTAKEN, 0)],
)
def test_a_transition_has_a_duration_where_it_reached_its_target(
    counts: Counts, clock: Clock, result: TransitionResult, durations: int
) -> None:
    counts.report(Started(transition=7, instance="VI_1", target=Target.ACTIVE, cause=""))
    clock.now += 2.0
    counts.report(TransitionEnded(transition=7, instance="VI_1", result=result, reason=""))
    assert counts.transitions == {("VI_1", "active", result.value): 1}
    found = counts.transition_seconds
    assert sum(sum(each.counts) for each in found.values()) == durations
    assert sum(each.sum for each in found.values()) == 2.0 * durations


def test_steps_that_overlap_have_their_own_durations(counts: Counts, clock: Clock) -> None:
    counts.step(run(1))
    clock.now += 1.0
    counts.step(run(2))
    clock.now += 1.0
    counts.answer(ended(1))
    counts.answer(ended(2, Outcome.FAILED))
    assert counts.steps == {("VI_1", "web"): {("activate", "done"): 1, ("activate", "failed"): 1}}
    assert counts.step_seconds["unit", "activate"].sum == 2.0


def test_a_step_of_an_earlier_daemon_is_not_counted(counts: Counts) -> None:
    counts.answer(ended(5))
    assert counts.steps == {}


def test_a_refusal_counts_once_for_as_long_as_it_lasts(counts: Counts) -> None:
    standby, refused = state("VI_1"), state("VI_1", phase=Phase.REFUSED)
    for before, now in ((standby, refused), (refused, refused), (refused, standby), (standby, refused)):
        counts.change(before, now)
    assert counts.refusals == {"VI_1": 2}


def test_alarms_are_counted_by_their_code(counts: Counts) -> None:
    for kind in (AlarmKind.DRIFT, AlarmKind.DRIFT, AlarmKind.DOUBLE_MASTER):
        counts.report(Alarm(instance="VI_1", kind=kind, text=""))
    assert counts.alarms == {("VI_1", "drift"): 2, ("VI_1", "double-master"): 1}


def test_what_is_not_followed_any_more_is_forgotten(counts: Counts) -> None:
    both = state("VI_1", "VI_2", phase=Phase.REFUSED)
    counts.change(state(), both)
    for number, name in enumerate(("VI_1", "VI_2")):
        counts.report(Alarm(instance=name, kind=AlarmKind.DRIFT, text=""))
        counts.report(Started(transition=number, instance=name, target=Target.STANDBY, cause=""))
        counts.report(TransitionEnded(transition=number, instance=name, result=TransitionResult.STANDBY, reason=""))
        counts.report(Started(transition=number, instance=name, target=Target.ACTIVE, cause=""))
    counts.step(run(1))
    counts.answer(ended(1))
    counts.change(both, replace(state("VI_2"), config=Config(parallel=1)))
    counts.report(TransitionEnded(transition=0, instance="VI_1", result=TransitionResult.OVERTAKEN, reason=""))
    kept = (counts.transitions, counts.transition_seconds, counts.alarms, counts.steps)
    assert {key[0] for each in kept for key in each} | set(counts.refusals) == {"VI_2"}
