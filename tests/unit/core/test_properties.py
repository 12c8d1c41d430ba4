"""Arbitrary interleavings of events, outcomes, time-outs and restarts: the invariants hold after every step."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from failoverd.core.events import Acknowledged, Reasserted, RivalsNoted, Stopping
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec, Vip
from failoverd.core.words import Keepalived, Level, OnFailure, Outcome, Phase, Target, VrrpState
from tests.unit.core.world import World

WORDS = st.sampled_from(list(VrrpState))
VIPS = (Vip(address="192.0.2.1/32", interface="eth0"), Vip(address="2001:db8::1/128", interface="eth0"))


@st.composite
def resources(draw: st.DrawFn, instance: str) -> dict[str, ResourceSpec]:
    made: dict[str, ResourceSpec] = {}
    for name in "abcde"[: draw(st.integers(0, 5))]:
        needs = draw(st.frozensets(st.sampled_from(sorted(made)))) if made else frozenset()
        made[name] = ResourceSpec(
            instance=instance,
            name=name,
            driver="exec",
            needs=needs,
            retries=draw(st.integers(0, 2)),
            on_failure=draw(st.sampled_from(OnFailure)),
        )
    return made


@st.composite
def configs(draw: st.DrawFn) -> Config:
    instances = {
        name: InstanceSpec(
            name=name,
            vips=draw(st.sampled_from([(), VIPS[:1], VIPS])),
            preempt=draw(st.booleans()),
            resources=draw(resources(name)),
        )
        for name in ["VI_1", "VI_2"][: draw(st.integers(1, 2))]
    }
    return Config(instances=instances, parallel=draw(st.sampled_from([1, 2, 128])))


class Node(RuleBasedStateMachine):
    world: World
    whole: Config
    stopped_with: dict[str, str]

    @initialize(config=configs(), dbus=st.booleans())
    def begin(self, config: Config, dbus: bool) -> None:
        self.whole = config
        self.world = World(config=config, dbus=dbus)

    @rule(data=st.data(), word=WORDS, vip=st.sampled_from([None, None, None, True, False]))
    def keepalived_says(self, data: st.DataObject, word: VrrpState, vip: bool | None) -> None:
        self.world.say(word, data.draw(st.sampled_from(sorted(self.world.config.instances))), vip=vip)

    @rule(data=st.data())
    def lower_priority_heard(self, data: st.DataObject) -> None:
        self.world.send(Reasserted(instance=data.draw(st.sampled_from(sorted(self.world.config.instances)))))

    @rule(data=st.data())
    def somebody_acknowledges(self, data: st.DataObject) -> None:
        self.world.send(RivalsNoted(instance=data.draw(st.sampled_from(sorted(self.world.config.instances)))))

    @precondition(lambda self: self.world.vips)
    @rule(data=st.data(), present=st.sampled_from([True, False, None]))
    def vip_moves_by_itself(self, data: st.DataObject, present: bool | None) -> None:
        vip = data.draw(st.sampled_from(list(self.world.vips)))
        self.world.move_vip(vip, present=present)

    @rule(data=st.data(), condition=st.sampled_from(Keepalived))
    def keepalived_is(self, data: st.DataObject, condition: Keepalived) -> None:
        names = data.draw(st.sets(st.sampled_from(sorted(self.world.config.instances)), min_size=1))
        changed = {name for name in names if self.world.keepalived.get(name) is not condition}
        if changed:
            self.world.see_keepalived(condition, *changed)

    @precondition(lambda self: self.world.steps)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(Outcome),
        works=st.booleans(),
        seen=st.sampled_from([None, None, *Level]),
    )
    def step_ends(self, data: st.DataObject, outcome: Outcome, works: bool, seen: Level | None) -> None:
        key = data.draw(st.sampled_from(list(self.world.steps)))
        self.world.end_step(key, outcome, works=works, seen=seen)

    @precondition(lambda self: self.world.steps)
    @rule(data=st.data())
    def step_succeeds(self, data: st.DataObject) -> None:
        self.world.end_step(data.draw(st.sampled_from(list(self.world.steps))))

    @precondition(lambda self: self.world.looks)
    @rule(data=st.data(), seen=st.sampled_from([None, None, None, *Level]))
    def look_ends(self, data: st.DataObject, seen: Level | None) -> None:
        self.world.end_look(data.draw(st.sampled_from(list(self.world.looks))), seen)

    @precondition(lambda self: self.world.stray_looks)
    @rule(data=st.data(), seen=st.sampled_from([None, None, None, Level.UNKNOWN]))
    def stray_look_ends(self, data: st.DataObject, seen: Level | None) -> None:
        self.world.end_stray_look(data.draw(st.sampled_from(list(self.world.stray_looks))), seen)

    @precondition(lambda self: self.world.state.strays)
    @rule(data=st.data())
    def operator_knows(self, data: st.DataObject) -> None:
        """What is on top is their own affair from now on."""
        name = data.draw(st.sampled_from(sorted({s.spec.instance for s in self.world.state.strays.values()})))
        self.world.dropped = {key: spec for key, spec in self.world.dropped.items() if key[0] != name}
        self.world.send(Acknowledged(instance=name))

    @precondition(lambda self: self.world.questions)
    @rule(data=st.data())
    def truth_is_told(self, data: st.DataObject) -> None:
        self.world.answer(data.draw(st.sampled_from(self.world.questions)))

    @precondition(lambda self: self.world.actual)
    @rule(data=st.data(), level=st.sampled_from([Level.ACTIVE, Level.STANDBY, Level.FAILED]))
    def resource_drifts(self, data: st.DataObject, level: Level) -> None:
        self.world.actual[data.draw(st.sampled_from(sorted(self.world.actual)))] = level

    @rule()
    def time_passes(self) -> None:
        self.world.tick()

    @rule()
    def daemon_is_killed_and_started(self) -> None:
        self.world.start()

    @rule()
    def daemon_is_told_to_stop(self) -> None:
        self.stopped_with = {name: i.released for name, i in self.world.state.instances.items()}
        self.world.send(Stopping())

    @invariant()
    def an_ending_daemon_leaves_mastership_where_it_is(self) -> None:
        if self.world.state.stopping:
            assert self.stopped_with == {name: i.released for name, i in self.world.state.instances.items()}

    @precondition(lambda self: not self.world.state.stopping)
    @rule(data=st.data())
    def configuration_is_reloaded(self, data: st.DataObject) -> None:
        """Some resources of the first configuration, each with all that it needs; an instance may be left out."""
        instances = {}
        for name, spec in self.whole.instances.items():
            if name == "VI_1" or data.draw(st.booleans()):
                top = data.draw(st.frozensets(st.sampled_from(sorted(spec.resources)))) if spec.resources else ()
                kept = {r: each for r, each in spec.resources.items() if r in below(spec, top)}
                instances[name] = replace(spec, resources=kept)
        self.world.reload(replace(self.whole, instances=instances))

    @precondition(lambda self: not self.world.state.stopping)
    @rule()
    def everything_settles(self) -> None:
        self.world.settle()
        self.judge(self.world)

    @precondition(lambda self: not self.world.state.stopping)
    @rule()
    def a_crash_ends_in_the_same_place(self) -> None:
        """I6: settle as if nothing happened, and settle after a crash: the same phase, and the same levels."""
        lived, crashed = copy.deepcopy(self.world), copy.deepcopy(self.world)
        lived.settle()
        crashed.start()
        crashed.settle()
        for name, instance in lived.state.instances.items():
            other = crashed.state.instances[name]
            gave_up = any(r.given_up for r in instance.resources.values())
            if gave_up or instance.released or self.world.state.instances[name].released:
                continue  # a restart renews hope, and what was given away is tried again at a pace of its own
            if None in instance.vips.values() and instance.target is Target.ACTIVE:
                continue  # a restart forgets what was seen of a VIP before netlink fell silent, and undoes nothing
            assert other.phase is instance.phase

    def judge(self, world: World) -> None:
        """What a settled node looks like."""
        for name, instance in world.state.instances.items():
            levels = {r: world.told.get((name, r)) for r in instance.resources}
            refused_by_a_driver = instance.phase is Phase.REFUSED and instance.direction is Target.ACTIVE
            if instance.phase in (Phase.STANDBY, Phase.REFUSED) and not refused_by_a_driver:
                assert all(level is Level.STANDBY for level in levels.values()), levels
            if refused_by_a_driver:
                assert any(state.refused for state in instance.resources.values())
                assert instance.alarm, "a refusal is said aloud"
            if instance.phase is Phase.ACTIVE:
                assert instance.vrrp is VrrpState.MASTER
                lost = {r for r, state in instance.resources.items() if state.given_up}
                assert all(
                    level is Level.ACTIVE for r, level in levels.items() if r not in lost | blocked(instance.spec, lost)
                )
            if instance.phase is Phase.FAILED:
                assert instance.alarm, "a failure is said aloud"
            if instance.target is Target.STANDBY and instance.phase is not Phase.FAILED:
                assert instance.phase is Phase.STANDBY


def below(spec: InstanceSpec, names: Iterable[str]) -> set[str]:
    """These, and all that they need."""
    found: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        found.add(name)
        left |= spec.resources[name].needs - found
    return found


def blocked(spec: InstanceSpec, lost: set[str]) -> set[str]:
    """Those that need a lost one, near or far."""
    found = set(lost)
    for name, r in spec.resources.items():  # made in the order of their needs
        if r.needs & found:
            found.add(name)
    return found


#: When something is found, making it small takes longer than a test may.
pytestmark = pytest.mark.timeout(600)
Node.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestNode = Node.TestCase
