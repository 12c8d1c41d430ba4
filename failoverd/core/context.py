"""One call of `advance`: the state that it changes, and the effects that it collects."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

from failoverd.core import agenda, clearance, planner, votes
from failoverd.core.effects import (
    Alarm,
    AlarmKind,
    Effect,
    Observe,
    ProbeVips,
    QueryVrrpState,
    RunStep,
    TransitionEnded,
    TransitionStarted,
)
from failoverd.core.model import Agenda, InstanceState, State
from failoverd.core.resource import Look, ResourceState, Step
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Clearance, Standing, Target, TransitionResult

#: Seconds that one check of a resource may take.
CHECK_TIMEOUT_S = 10.0
#: Seconds after its deadline in which a step or a check may still report: its tool is killed, then a check follows.
REPORT_GRACE_S = 15.0


class AdvanceContext:
    """The state so far, and the effects. A context serves one call of `advance`.

    `voters`: the instances about which the witnesses are asked; `doubtful`: those that wait for other nodes. `cause`:
    the event of the instance that `take` returned, in a person's words. `drift`: in this event, a resource has drifted
    from the target.
    """

    def __init__(self, state: State, now: float) -> None:
        self._instances = dict(state.instances)
        self._running = state.agenda.running
        self._waiting = list(state.agenda.waiting)
        self._phases = dict(state.agenda.phases)
        self.voters = state.agenda.voters
        self.doubtful = state.agenda.doubtful
        self._causes: dict[str, tuple[str, bool]] = {}  # of every instance that an event concerned
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
        """Return an instance; `cause` and `drift` are its own from here on."""
        self.cause, self.drift = self._causes.get(name, ("", False))
        return self._instances[name]

    def put(self, name: str, instance: InstanceState) -> None:
        """Store the changed instance, with `cause` and `drift`."""
        self._causes[name] = self.cause, self.drift
        self._forget(self._instances.get(name))
        self._instances[name] = instance
        self._running += agenda.running(instance)
        self._phases[instance.phase] += 1
        if (instance.standing is not Standing.IDLE) is not (name in self.voters):
            self.voters ^= {name}
        if (instance.clearance in (Clearance.AWAITED, Clearance.MISSING)) is not (name in self.doubtful):
            self.doubtful ^= {name}
        if instance.crowded:
            insort(self._waiting, agenda.urgency(instance))

    def touch(self) -> None:
        """Let this call reconcile every instance."""
        for name in self._instances:
            self.put(name, self.take(name))

    def clear(self) -> Mapping[str, InstanceState]:
        """Remove all instances, and return them."""
        before = dict(self._instances)
        for instance in before.values():
            self._forget(instance)
        self._instances.clear()
        self._causes.clear()
        self.voters = self.doubtful = frozenset()
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
        """The instances to reconcile, most urgent first: those touched, and those that may have room for a step now."""
        touched = (agenda.urgency(self._instances[name]) for name in self._causes)
        waiting = (each for each in self._waiting if each[2] not in self._causes)
        return [name for _, _, name in sorted([*touched, *islice(waiting, self.room)])]

    def ended(self) -> State:
        """The state at the end of the call."""
        new = {name: agenda.due(self._instances[name], self.state, self.now) for name in self._causes}
        due = {**self.state.agenda.due, **new}
        strays = (stray.due for stray in self.state.strays.values())
        end = math.inf if self.state.maintenance is None else self.state.maintenance.until
        known = Agenda(
            due=due,
            next=min(
                min(due.values(), default=math.inf),
                min(strays, default=math.inf),
                end,
                votes.due(self.state, self.voters),
                clearance.fencing_due(self.state, wanted=bool(self.doubtful), now=self.now),
            ),
            running=self._running,
            waiting=tuple(self._waiting),
            phases=self._phases,
            voters=self.voters,
            doubtful=self.doubtful,
            touched=tuple(self._causes),
        )
        return replace(self.state, agenda=known)

    def number(self) -> int:
        """A number that nothing on this node has had."""
        number = self.state.next_step
        self.state = replace(self.state, next_step=number + 1)
        return number

    def look(self, resource: ResourceState) -> ResourceState:
        """Start a check, unless one is in flight or a step will end with one."""
        if resource.look is not None or resource.step is not None:
            return resource
        return replace(resource, look=self.observe(resource.spec))

    def observe(self, spec: ResourceSpec) -> Look:
        """Start a check."""
        number = self.number()
        self.effects.append(Observe(spec=spec, look=number, timeout=CHECK_TIMEOUT_S))
        return Look(id=number, deadline=self.now + CHECK_TIMEOUT_S + REPORT_GRACE_S, asked=self.now)

    def step(self, instance: InstanceState, resource: ResourceState, towards: Target) -> ResourceState:
        """Start a step; the answer to an earlier check does not count from here on."""
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
            deadline=self.now + timeout + REPORT_GRACE_S,
            of=(instance.spec.name, resource.spec.name),
            things=resource.spec.things,
            maybe_active=resource.maybe_active,
        )
        maybe_active = resource.maybe_active or towards is Target.ACTIVE
        return replace(resource, step=step, look=None, confirmed=False, maybe_active=maybe_active)

    def begin(self, instance: InstanceState, target: Target, cause: str) -> InstanceState:
        """Open a transition; one that is open ends: RELEASED if mastership was released, else OVERTAKEN."""
        if instance.transition is not None:
            result = TransitionResult.RELEASED if instance.released else TransitionResult.OVERTAKEN
            self.end(instance, result, instance.released or cause)
        number = self.state.next_transition
        self.state = replace(self.state, next_transition=number + 1)
        name = instance.spec.name
        self.effects.append(TransitionStarted(transition=number, instance=name, target=target, cause=cause))
        return replace(instance, transition=number, cause=cause)

    def end(self, instance: InstanceState, result: TransitionResult, reason: str) -> InstanceState:
        assert instance.transition is not None
        self.effects.append(
            TransitionEnded(transition=instance.transition, instance=instance.spec.name, result=result, reason=reason)
        )
        return replace(instance, transition=None)

    def alarm(self, instance: InstanceState, kind: AlarmKind, text: str) -> None:
        self.effects.append(Alarm(instance=instance.spec.name, kind=kind, text=text))

    def probe(self, instance: InstanceState) -> None:
        self.effects.append(ProbeVips(instance=instance.spec.name))

    def ask(self, instance: InstanceState) -> None:
        self.effects.append(QueryVrrpState(instance=instance.spec.name, words=instance.words))
