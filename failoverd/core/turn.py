"""One call of `advance` in the making: the state so far, and the effects asked for."""

from __future__ import annotations

from dataclasses import replace

from failoverd.core import planner
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
from failoverd.core.model import Ending, InstanceState, Look, ResourceState, State, Step, Target

#: Seconds that one look at a resource may take.
LOOK_TIMEOUT = 10.0
#: Seconds after its deadline that a step or a look may still report: it is killed, then looked at once more.
LATE = 15.0


class Turn:
    """One call of `advance`: the state so far, and the effects. Lives no longer than the call.

    `cause`: what happened, in a person's words. `drift`: it is that a resource was seen elsewhere than it was left.
    """

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.effects: list[Effect] = []
        self.cause = ""
        self.drift = False

    def put(self, name: str, instance: InstanceState) -> None:
        self.state = replace(self.state, instances={**self.state.instances, name: instance})

    def _number(self) -> int:
        number = self.state.next_step
        self.state = replace(self.state, next_step=number + 1)
        return number

    def look(self, instance: InstanceState, name: str, resource: ResourceState) -> ResourceState:
        """Ask for an observation, unless one is on its way or a step will bring it."""
        if resource.look is not None or resource.step is not None:
            return resource
        number = self._number()
        self.effects.append(Observe(instance=instance.spec.name, resource=name, look=number, timeout=LOOK_TIMEOUT))
        return replace(resource, look=Look(id=number, deadline=self.now + LOOK_TIMEOUT + LATE))

    def step(self, instance: InstanceState, name: str, resource: ResourceState, towards: Target) -> ResourceState:
        """Start a step; an answer to an earlier look is void from here on."""
        assert instance.transition is not None
        number, verb = self._number(), planner.VERB[towards]
        timeout = resource.spec.deadline(verb)
        self.effects.append(
            RunStep(
                instance=instance.spec.name,
                resource=name,
                verb=verb,
                step=number,
                timeout=timeout,
                transition=instance.transition,
            )
        )
        step = Step(id=number, verb=verb, deadline=self.now + timeout + LATE)
        return replace(resource, step=step, look=None, confirmed=False)

    def begin(self, instance: InstanceState, target: Target, cause: str) -> InstanceState:
        """Open a transition; one that is open has been overtaken."""
        if instance.transition is not None:
            self.end(instance, Ending.OVERTAKEN, cause)
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
