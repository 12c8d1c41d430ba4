"""What is counted since the start, from the core's effects and the executor's answers. It must not decide anything."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from failoverd import alarms
from failoverd.core.effects import Alarm, RunStep, TransitionEnded, TransitionStarted
from failoverd.core.events import ResourceChanged, ResourceObserved, StepEnded, ToolEnded
from failoverd.core.model import State
from failoverd.core.words import Outcome, Phase

#: The upper bounds of every histogram, in seconds.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_Key = TypeVar("_Key")


class Histogram:
    """Durations in seconds, counted by bucket."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Counts:
    """The counters and histograms, each by its labels; `steps` by resource first. `clock`: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        self.transition_seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self.steps: defaultdict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
        self.step_seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self.refusals: Counter[str] = Counter()
        self.alarms: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._transitions: dict[int, tuple[TransitionStarted, float]] = {}
        self._steps: dict[int, tuple[RunStep, float]] = {}

    def step(self, effect: RunStep) -> None:
        """A step was started."""
        self._steps[effect.step] = effect, self._clock()

    def report(self, effect: TransitionStarted | TransitionEnded | Alarm) -> None:
        """A transition began or ended, or there is an alarm."""
        match effect:
            case TransitionStarted():
                self._transitions[effect.transition] = effect, self._clock()
            case TransitionEnded(transition=number) if number in self._transitions:
                begun, at = self._transitions.pop(number)
                target, result = begun.target.value, effect.result.value
                self.transitions[effect.instance, target, result] += 1
                if result == target:
                    self.transition_seconds[effect.instance, target].add(self._clock() - at)
            case Alarm():
                self.alarms[effect.instance, alarms.ALARMS[effect.kind].code] += 1

    def answer(self, event: StepEnded | ResourceObserved | ResourceChanged | ToolEnded) -> None:
        """The executor has answered the core. A step of an earlier daemon does not count."""
        if isinstance(event, StepEnded) and event.step in self._steps:
            effect, at = self._steps.pop(event.step)
            verb, outcome = effect.verb.value, event.outcome.value
            self.steps[effect.instance, effect.resource][verb, outcome] += 1
            if event.outcome is Outcome.DONE:
                self.step_seconds[effect.spec.driver, verb].add(self._clock() - at)

    def change(self, before: State, now: State) -> None:
        """The core's state has changed. An instance that is not followed any more is forgotten."""
        for name in now.agenda.touched:
            if now.instances[name].phase is Phase.REFUSED:
                self.refusals[name] += name not in before.instances or before.instances[name].phase is not Phase.REFUSED
        if now.config is not before.config:
            self._forget(now)

    def _forget(self, now: State) -> None:
        names = now.instances.keys()
        resources = {(name, resource) for name, instance in now.instances.items() for resource in instance.resources}
        _keep(self.transitions, lambda key: key[0] in names)
        _keep(self.transition_seconds, lambda key: key[0] in names)
        _keep(self.alarms, lambda key: key[0] in names)
        _keep(self.refusals, lambda name: name in names)
        _keep(self.steps, lambda key: key in resources)
        _keep(self._transitions, lambda number: self._transitions[number][0].instance in names)


def _keep(counted: dict[_Key, Any], wanted: Callable[[_Key], bool]) -> None:
    """Remove the keys that are not wanted."""
    for key in [key for key in counted if not wanted(key)]:
        del counted[key]
