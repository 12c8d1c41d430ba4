"""An event settles only those instances that it concerns; that nothing is missed is checked in every step of World."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from failoverd.core import machine
from failoverd.core.context import CHECK_TIMEOUT_S, REPORT_GRACE_S, AdvanceContext
from failoverd.core.effects import Alarm, AlarmKind, TransitionStarted
from failoverd.core.events import ResourceChanged, VrrpChanged
from failoverd.core.model import InstanceState
from failoverd.core.reconcile import reconcile
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec
from failoverd.core.words import Level, Phase, VrrpState
from tests.unit.core.world import World


def node(instances: int, *, resources: int = 2, parallel: int = 128) -> World:
    """Standbys in a row, each with a chain of resources."""
    return World(config=Config(instances=dict(map(chain(resources), range(instances))), parallel=parallel))


def chain(resources: int) -> Callable[[int], tuple[str, InstanceSpec]]:
    def make(number: int) -> tuple[str, InstanceSpec]:
        name = f"VI_{number}"
        needs = [frozenset[str](), *(frozenset({f"r{before}"}) for before in range(resources))]
        specs = {
            f"r{n}": ResourceSpec(instance=name, name=f"r{n}", driver="exec", needs=needs[n]) for n in range(resources)
        }
        return name, InstanceSpec(name=name, resources=specs)

    return make


def everybody_becomes(world: World, word: VrrpState) -> None:
    for name in world.config.instances:
        world.say(word, name)
    world.settle()


def test_an_event_settles_only_whom_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    world = node(40)
    everybody_becomes(world, VrrpState.BACKUP)
    settled: list[str] = []

    def counting(context: AdvanceContext, instance: InstanceState) -> InstanceState:
        settled.append(instance.spec.name)
        return reconcile(context, instance)

    monkeypatch.setattr(machine, "reconcile", counting)
    state, _ = machine.advance(world.state, VrrpChanged(instance="VI_7", state=VrrpState.MASTER), world.now)
    assert settled == ["VI_7"]
    assert state.instances["VI_7"].phase is Phase.PROMOTING


def test_without_room_everybody_is_served_in_turn() -> None:
    world = node(9, parallel=2)
    everybody_becomes(world, VrrpState.BACKUP)
    everybody_becomes(world, VrrpState.MASTER)
    assert {instance.phase for instance in world.state.instances.values()} == {Phase.ACTIVE}
    assert world.state.agenda.running == 0
    assert world.state.agenda.waiting == ()


def test_who_must_become_standby_has_room_first() -> None:
    world = node(3, resources=1, parallel=1)
    everybody_becomes(world, VrrpState.BACKUP)
    for name in ("VI_0", "VI_1"):
        world.say(VrrpState.MASTER, name)
    world.end_step(("VI_0", "r0"))
    world.say(VrrpState.MASTER, "VI_2")
    assert list(world.steps) == [("VI_1", "r0")]
    world.say(VrrpState.BACKUP, "VI_0")
    assert [name for _, _, name in world.state.agenda.waiting] == ["VI_0", "VI_2"]
    world.end_step(("VI_1", "r0"))
    assert list(world.steps) == [("VI_0", "r0")]


def test_one_instances_event_is_not_the_cause_of_anothers_transition() -> None:
    """Both happen in one call: a look at VI_0 is overdue, and VI_1 is seen elsewhere than it was left."""
    world = node(2, resources=1)
    everybody_becomes(world, VrrpState.BACKUP)
    while not world.looks:
        world.tick()
    world.now += REPORT_GRACE_S
    world.end_look(("VI_1", "r0"))
    world.send(ResourceChanged(instance="VI_1", resource="r0"))
    world.actual["VI_1", "r0"] = Level.ACTIVE
    world.log.clear()
    world.now += CHECK_TIMEOUT_S
    world.end_look(("VI_1", "r0"))
    started = {e.instance: e.cause for e in world.log if isinstance(e, TransitionStarted)}
    assert started == {"VI_0": "the check of r0 timed out", "VI_1": "r0 was observed active"}
    assert [e.instance for e in world.log if isinstance(e, Alarm) and e.kind is AlarmKind.DRIFT] == ["VI_1"]
