"""A small world for the core: what the resources really are, and what is in flight.

It answers the core's effects when the test says so, and checks the invariants of DESIGN after every event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from failoverd.core import guards, machine, planner, strays
from failoverd.core.agenda import urgency
from failoverd.core.events import (
    Alarm,
    Effect,
    Event,
    FindTruth,
    KeepalivedSeen,
    Observe,
    Reloaded,
    ResourceObserved,
    RunStep,
    StepEnded,
    Tick,
    TransitionEnded,
    TransitionStarted,
    TruthTold,
    VipsSeen,
    VrrpChanged,
)
from failoverd.core.model import Agenda, InstanceState, Observation, Release, Rival, State
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec, Vip
from failoverd.core.words import Keepalived, Level, OnRefused, Outcome, Phase, Target, Verb, VrrpState

VIP = Vip(address="192.0.2.1/32", interface="eth0")
Key = tuple[str, str]


def resource(name: str, *needs: str, **options: Any) -> ResourceSpec:
    options.setdefault("instance", "VI_1")
    return ResourceSpec(name=name, driver="exec", needs=frozenset(needs), **options)


def config(
    *resources: ResourceSpec,
    vips: tuple[Vip, ...] = (VIP,),
    parallel: int = 128,
    take_back_after: float | None = None,
    on_refused: OnRefused = OnRefused.HOLD,
) -> Config:
    by_name = {r.name: r for r in resources}
    spec = InstanceSpec(
        name="VI_1", vips=vips, on_refused=on_refused, take_back_after=take_back_after, resources=by_name
    )
    return Config(instances={"VI_1": spec}, parallel=parallel)


def concerning_everybody(state: State) -> State:
    """The same state, in which every instance wants a Tick: `advance` settles them all, whatever the event."""
    instances = state.instances.values()
    agenda = Agenda(
        due=dict.fromkeys(state.instances, -math.inf),
        next=-math.inf,
        running=sum(r.step is not None and not r.step.overdue for i in instances for r in i.resources.values()),
        waiting=tuple(sorted(urgency(instance) for instance in instances if instance.crowded)),
        phases={phase: sum(instance.phase is phase for instance in instances) for phase in Phase},
    )
    return replace(state, agenda=agenda)


@dataclass
class World:
    """The node around the core. `told` is what the core was last told of a resource since its daemon started.

    `obstacles`: why a resource would refuse to be activated. `released`: what keepalived's track files say, `tracks`:
    what was written into them. `dropped`: what the daemon that runs has followed, and is no longer configured, though
    it may be active. `in_flight`: the steps that ran at the last reload, which may be more than there is room for.
    `words`: what is recorded of keepalived's last words; None: that no word binds.
    """

    config: Config
    now: float = 1000.0
    state: State = field(init=False)
    actual: dict[Key, Level] = field(default_factory=dict)
    steps: dict[Key, RunStep] = field(default_factory=dict)
    looks: dict[Key, Observe] = field(default_factory=dict)
    stray_looks: dict[Key, Observe] = field(default_factory=dict)
    questions: list[FindTruth] = field(default_factory=list)
    told: dict[Key, Level] = field(default_factory=dict)
    words: dict[str, VrrpState | None] = field(default_factory=dict)
    vips: dict[Vip, bool | None] = field(default_factory=dict)
    keepalived: dict[str, Keepalived] = field(default_factory=dict)
    dbus: bool = False
    obstacles: dict[Key, str] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    tracks: list[bool] = field(default_factory=list)
    dropped: dict[Key, ResourceSpec] = field(default_factory=dict)
    in_flight: set[int] = field(default_factory=set)
    rivals: dict[str, tuple[Rival, ...]] = field(default_factory=dict)
    open: dict[int, str] = field(default_factory=dict)
    log: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, spec in self.config.instances.items():
            for r in spec.resources:
                self.actual.setdefault((name, r), Level.STANDBY)
            for vip in spec.vips:
                self.vips.setdefault(vip, False)
        self.start()

    def start(self) -> None:
        """Start the daemon: everything that it knew is gone, everything that is in the world stays."""
        self.steps.clear()
        self.looks.clear()
        self.stray_looks.clear()
        self.questions.clear()
        self.told.clear()
        self.open.clear()
        left = strays.left(strays.possible(self.state), self.now) if hasattr(self, "state") else {}
        self.state = State(
            config=Config(),
            instances={},
            strays=left,
            released=self._releases(),
            rivals=self.rivals,
            maybe_active=self.maybe_active(),
        )
        self.send(Reloaded(config=self.config))
        self.dropped = {(s.spec.instance, s.spec.name): s.spec for s in self.state.strays.values()}
        for name, condition in self.keepalived.items():
            self.send(KeepalivedSeen(instances=frozenset((name,)), condition=condition))
        self.send(VipsSeen(present=dict(self.vips)))

    def _releases(self) -> dict[str, Release]:
        """The same, of mastership that was given away."""
        instances = self.state.instances.items() if hasattr(self, "state") else ()
        return {name: Release(why=i.released, at=i.released_at, times=i.releases) for name, i in instances}

    def maybe_active(self) -> frozenset[Key]:
        """What the daemon would leave to the next one."""
        if not hasattr(self, "state"):
            return frozenset()
        found = ((name, r, each) for name, i in self.state.instances.items() for r, each in i.resources.items())
        return frozenset((name, r) for name, r, each in found if each.maybe_active)

    def reload(self, config: Config) -> list[Effect]:
        """Read another configuration; what is not in it stays in the world, and what is new in it is told at once."""
        new = config.instances.keys() - self.config.instances.keys()
        self.config = config
        self.in_flight = {step.step for step in self.steps.values()}
        effects = self.send(Reloaded(config=config))
        self.dropped = {(s.spec.instance, s.spec.name): s.spec for s in self.state.strays.values()}
        for name in sorted(new & self.keepalived.keys()):
            effects += self.send(KeepalivedSeen(instances=frozenset((name,)), condition=self.keepalived[name]))
        return effects + self.send(VipsSeen(present=dict(self.vips)))

    @property
    def instance(self) -> InstanceState:
        return self.state.instances["VI_1"]

    def see_keepalived(self, condition: Keepalived, *names: str) -> list[Effect]:
        """The processes that speak for `names` (all, if none is given) change.

        A MASTER that died is forgotten by the intake as well.
        """
        concerned = frozenset(names or self.config.instances)
        self.keepalived |= dict.fromkeys(concerned, condition)
        if condition is Keepalived.GONE:
            dead = {name for name in concerned if self.words.get(name) is VrrpState.MASTER}
            self.words |= dict.fromkeys(dead)
        return self.send(KeepalivedSeen(instances=concerned, condition=condition))

    def send(self, event: Event) -> list[Effect]:
        slow = machine.advance(concerning_everybody(self.state), event, self.now)
        before = self.state.instances
        self.state, effects = machine.advance(self.state, event, self.now)
        changed = {name for name, instance in self.state.instances.items() if instance is not before.get(name)}
        assert changed == set(self.state.agenda.touched)
        assert (self.state, effects) == slow, "an instance was not settled that should have been"
        self.words |= {name: None for name, instance in self.state.instances.items() if instance.void}
        for name, instance in self.state.instances.items():
            if bool(instance.released) is not (name in self.released):
                self.tracks.append(bool(instance.released))
                (self.released.add if instance.released else self.released.remove)(name)
        self.released &= self.state.instances.keys()
        self.rivals = {name: instance.rivals for name, instance in self.state.instances.items() if instance.rivals}
        for effect in effects:
            self._take(effect)
        self.check()
        return list(effects)

    def _take(self, effect: Effect) -> None:
        self.log.append(effect)
        match effect:
            case RunStep():
                self._check_step(effect)
                self.steps[effect.instance, effect.resource] = effect
            case Observe():
                looks = self.looks if self._follows(effect.spec) else self.stray_looks
                looks[effect.instance, effect.resource] = effect
            case FindTruth():
                self.questions.append(effect)
            case TransitionStarted():
                assert effect.cause, "a transition has a cause"
                self.open[effect.transition] = effect.instance
            case TransitionEnded():
                del self.open[effect.transition]
            case Alarm():
                assert effect.text

    def _follows(self, spec: ResourceSpec) -> bool:
        instance = self.state.config.instances.get(spec.instance)
        return instance is not None and instance.resources.get(spec.name) == spec

    def _check_step(self, step: RunStep) -> None:
        key = (step.instance, step.resource)
        assert key not in self.steps, "I1: two steps on one resource"
        spec = self.state.config.instances[step.instance].resources
        towards = Target.ACTIVE if step.verb is Verb.ACTIVATE else Target.STANDBY
        for other in planner.before(spec, towards)[step.resource]:
            assert self.told[step.instance, other] is planner.GOAL[towards], f"I2: {step.resource} before {other}"
            assert (step.instance, other) not in self.steps, f"I2: {step.resource} while {other} moves"
        if step.verb is Verb.ACTIVATE:
            assert not self.state.stopping, "an activation while the daemon ends"
            assert self.state.instances[step.instance].vrrp is VrrpState.MASTER, "I3: activation without MASTER"
            assert all(self.vips[v] for v in self.state.instances[step.instance].spec.vips), "a VIP is not here"
            assert self.keepalived.get(step.instance) in (None, Keepalived.RUNNING), "I3: activation without keepalived"
            given = self.state.instances[step.instance].released_at
            away = step.instance in self.released and self.now < given + guards.LET_GO
            assert not away, "activation after mastership was given away"
        else:
            for key, dropped in self.dropped.items():
                on_top = dropped.instance == step.instance and step.resource in dropped.needs
                assert not (on_top and self.actual[key] is Level.ACTIVE), "what it is on is taken away"

    def check(self) -> None:
        """What holds after every event."""
        running = 0
        for name, instance in self.state.instances.items():
            owned = [t for t, owner in self.open.items() if owner == name]
            assert owned == ([] if instance.transition is None else [instance.transition])
            assert instance.phase.settled == (instance.transition is None)
            assert instance.reason, f"{instance.phase} without a reason"
            for r, resource_state in instance.resources.items():
                assert (resource_state.step is not None) == ((name, r) in self.steps)
                running += (name, r) in self.steps and self.steps[name, r].step not in self.in_flight
        assert running <= self.state.config.parallel or any(
            r.step and r.step.overdue for i in self.state.instances.values() for r in i.resources.values()
        )

    # ------------------------------------------------------------ answers

    def say(self, word: VrrpState, name: str = "VI_1", *, vip: bool | None = None) -> list[Effect]:
        """keepalived changes the state; the VIP moves first, as it does in the kernel, unless told otherwise.

        Who speaks lives: the service looks for its processes before it believes a word.
        """
        if self.keepalived.get(name) is Keepalived.GONE:
            self.see_keepalived(Keepalived.RUNNING, name)
        present = (word is VrrpState.MASTER) if vip is None else vip
        for address in self.config.instances[name].vips:
            if self.vips[address] is not present:
                self.move_vip(address, present=present)
        self.words[name] = word
        return self.send(VrrpChanged(instance=name, state=word))

    def move_vip(self, vip: Vip, *, present: bool | None) -> None:
        self.vips[vip] = present
        self.send(VipsSeen(present={vip: present}))

    def end_step(
        self, key: Key, outcome: Outcome = Outcome.DONE, *, works: bool = True, seen: Level | None = None
    ) -> list[Effect]:
        step = self.steps.pop(key)
        if outcome is Outcome.DONE and step.verb is Verb.ACTIVATE and self.obstacles.get(key):
            outcome, works = Outcome.REFUSED, False
        if works:
            self.actual[key] = Level.ACTIVE if step.verb is Verb.ACTIVATE else Level.STANDBY
        level = seen or self.actual[key]
        self.told[key] = level
        reason = "" if outcome is Outcome.DONE else f"it {outcome.value}"
        return self.send(
            StepEnded(
                instance=key[0],
                resource=key[1],
                step=step.step,
                outcome=outcome,
                reason=reason,
                seen=self._observation(key, level),
            )
        )

    def end_look(self, key: Key, seen: Level | None = None) -> list[Effect]:
        look = self.looks.pop(key)
        level = seen or self.actual[key]
        instance = self.state.instances.get(key[0])
        resource = instance.resources.get(key[1]) if instance is not None else None
        if resource is not None and resource.look is not None and resource.look.id == look.look:
            self.told[key] = level
        return self.send(
            ResourceObserved(instance=key[0], resource=key[1], look=look.look, seen=self._observation(key, level))
        )

    def end_stray_look(self, key: Key, seen: Level | None = None) -> list[Effect]:
        look = self.stray_looks.pop(key)
        observation = Observation(level=seen or self.actual[key])
        if observation.level is Level.STANDBY and key not in self.steps:
            self.dropped.pop(key, None)
        return self.send(ResourceObserved(instance=key[0], resource=key[1], look=look.look, seen=observation))

    def _observation(self, key: Key, level: Level) -> Observation:
        return Observation(level=level, obstacle=self.obstacles.get(key, ""))

    def answer(self, question: FindTruth) -> list[Effect]:
        self.questions.remove(question)
        name = question.instance
        word = self.words.get(name)
        dbus = word if self.dbus else None
        void = name in self.words and word is None
        return self.send(TruthTold(instance=name, words=question.words, dbus=dbus, stored=word, void=void))

    def tick(self) -> bool:
        """Let time pass to the next deadline; False when there is none."""
        at = machine.next_deadline(self.state)
        if at is None:
            return False
        assert at > self.now
        self.now = at
        self.send(Tick())
        return True

    def settle(self) -> None:
        """I5: answer everything honestly until every instance has settled; that takes bounded time."""
        for _ in range(2000):
            if self.looks:
                self.end_look(next(iter(self.looks)))
            elif self.stray_looks:
                self.end_stray_look(next(iter(self.stray_looks)))
            elif self.steps:
                self.end_step(next(iter(self.steps)))
            elif self.questions:
                self.answer(self.questions[0])
            elif all(i.phase.settled for i in self.state.instances.values()) and not self._waiting_for_vip():
                return
            else:
                assert self.tick(), "I5: not settled, and no deadline"
        raise AssertionError(f"I5: does not settle: {self.state}")

    def _waiting_for_vip(self) -> bool:
        return any(
            self.now < i.vip_deadline and i.target is Target.ACTIVE and False in i.vips.values()
            for i in self.state.instances.values()
        )
