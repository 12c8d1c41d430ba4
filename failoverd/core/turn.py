"""One call of `advance` in the making: the state so far, and the effects asked for."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

from failoverd.core import agenda, planner
from failoverd.core.events import (
    Alarm,
    Effect,
    FindTruth,
    Matter,
    Observe,
    RunStep,
    TransitionEnded,
    TransitionStarted,
)
from failoverd.core.model import Agenda, InstanceState, Look, ResourceState, State, Step
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Ending, Target

#: Seconds that one look at a resource may take.
LOOK_TIMEOUT = 10.0
#: Seconds after its deadline that a step or a look may still report: it is killed, then looked at once more.
LATE = 15.0


class Turn:
    """One call of `advance`: the state so far, and the effects. Lives no longer than the call.

    `cause`: what happened to the instance in hand, in a person's words. `drift`: it is that a resource was seen
    elsewhere than it was left.
    """

    def __init__(self, state: State, now: float) -> None:
        self._instances = dict(state.instances)
        self._running = state.agenda.running
        self._waiting = list(state.agenda.waiting)
        self._phases = dict(state.agenda.phases)
        self._causes: dict[str, tuple[str, bool]] = {}  # of every instance to which something happened
        self.state = replace(state, instances=self._instances)
        self.now = now
        self.effects: list[Effect] = []
        self.cause = ""
        self.drift = False

    @property
    def room(self) -> int:
        """How many more steps may be started."""
        return max(0, self.state.config.parallel - self._running)

    def take(self, name: str) -> InstanceState:
        """Take an instance in hand."""
        self.cause, self.drift = self._causes.get(name, ("", False))
        return self._instances[name]

    def put(self, name: str, instance: InstanceState) -> None:
        """Put it back, changed."""
        self._causes[name] = self.cause, self.drift
        self._forget(self._instances.get(name))
        self._instances[name] = instance
        self._running += agenda.running(instance)
        self._phases[instance.phase] += 1
        if instance.crowded:
            insort(self._waiting, agenda.urgency(instance))

    def touch(self) -> None:
        """What has happened may concern every instance."""
        for name in self._instances:
            self.put(name, self.take(name))

    def clear(self) -> Mapping[str, InstanceState]:
        """Begin without any instance; returns those that there were."""
        before = dict(self._instances)
        for instance in before.values():
            self._forget(instance)
        self._instances.clear()
        self._causes.clear()
        self.state = replace(self.state, agenda=Agenda())
        return before

    def _forget(self, instance: InstanceState | None) -> None:
        if instance is None:
            return
        self._running -= agenda.running(instance)
        self._phases[instance.phase] -= 1
        if instance.crowded:
            self._waiting.remove(agenda.urgency(instance))

    def urgent(self) -> list[str]:
        """Who is to be settled: what was touched, and who waits and may have room now; the most urgent first."""
        touched = (agenda.urgency(self._instances[name]) for name in self._causes)
        waiting = (each for each in self._waiting if each[2] not in self._causes)
        return [name for _, _, name in sorted([*touched, *islice(waiting, self.room)])]

    def ended(self) -> State:
        """The state after all."""
        new = {name: agenda.due(self._instances[name], self.now) for name in self._causes}
        due = {**self.state.agenda.due, **new}
        strays = (stray.due for stray in self.state.strays.values())
        known = Agenda(
            due=due,
            next=min(min(due.values(), default=math.inf), min(strays, default=math.inf)),
            running=self._running,
            waiting=tuple(self._waiting),
            phases=self._phases,
            touched=tuple(self._causes),
        )
        return replace(self.state, agenda=known)

    def number(self) -> int:
        """One that nothing on this node has had."""
        number = self.state.next_step
        self.state = replace(self.state, next_step=number + 1)
        return number

    def look(self, resource: ResourceState) -> ResourceState:
        """Ask for an observation, unless one is on its way or a step will bring it."""
        if resource.look is not None or resource.step is not None:
            return resource
        return replace(resource, look=self.observe(resource.spec))

    def observe(self, spec: ResourceSpec) -> Look:
        """Ask for an observation."""
        number = self.number()
        self.effects.append(Observe(spec=spec, look=number, timeout=LOOK_TIMEOUT))
        return Look(id=number, deadline=self.now + LOOK_TIMEOUT + LATE)

    def step(self, instance: InstanceState, resource: ResourceState, towards: Target) -> ResourceState:
        """Start a step; an answer to an earlier look is void from here on."""
        assert instance.transition is not None
        number, verb = self.number(), planner.VERB[towards]
        timeout = resource.spec.deadline(verb)
        self.effects.append(
            RunStep(
                spec=resource.spec,
                verb=verb,
                step=number,
                timeout=timeout,
                transition=instance.transition,
            )
        )
        step = Step(
            id=number,
            verb=verb,
            deadline=self.now + timeout + LATE,
            of=(instance.spec.name, resource.spec.name),
            maybe_active=resource.maybe_active,
        )
        maybe_active = resource.maybe_active or towards is Target.ACTIVE
        return replace(resource, step=step, look=None, confirmed=False, maybe_active=maybe_active)

    def begin(self, instance: InstanceState, target: Target, cause: str) -> InstanceState:
        """Open a transition; one that is open has been overtaken."""
        if instance.transition is not None:
            ending = Ending.RELEASED if instance.released else Ending.OVERTAKEN
            self.end(instance, ending, instance.released or cause)
        number = self.state.next_transition
        self.state = replace(self.state, next_transition=number + 1)
        name = instance.spec.name
        self.effects.append(TransitionStarted(transition=number, instance=name, target=target, cause=cause))
        return replace(instance, transition=number, cause=cause)

    def end(self, instance: InstanceState, ending: Ending, reason: str) -> InstanceState:
        assert instance.transition is not None
        self.effects.append(
            TransitionEnded(transition=instance.transition, instance=instance.spec.name, ending=ending, reason=reason)
        )
        return replace(instance, transition=None)

    def alarm(self, instance: InstanceState, matter: Matter, text: str) -> None:
        self.effects.append(Alarm(instance=instance.spec.name, matter=matter, text=text))

    def ask(self, instance: InstanceState) -> None:
        self.effects.append(FindTruth(instance=instance.spec.name, words=instance.words))
