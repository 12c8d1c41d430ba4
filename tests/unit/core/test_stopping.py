"""A daemon that ends: demotions are finished, nothing is activated, and mastership stays where it is."""

from __future__ import annotations

from failoverd.core.context import REPORT_GRACE_S
from failoverd.core.effects import RunStep
from failoverd.core.events import Stopping, Tick
from failoverd.core.spec import Config, InstanceSpec
from failoverd.core.words import Level, OnFailure, OnRefused, Outcome, Phase, VrrpState
from tests.unit.core.test_machine import DISK, GUEST, active, standby
from tests.unit.core.world import VIP, World, resource

RELEASING = {"on_failure": OnFailure.RELEASE, "on_refused": OnRefused.RELEASE}


def long_after(world: World) -> None:
    """All deadlines pass; what was under way has ended."""
    for key in tuple(world.steps):
        world.end_step(key)
    for _ in range(20):
        while world.looks:
            world.end_look(next(iter(world.looks)))
        world.tick()


def test_a_demotion_is_finished() -> None:
    world = active(resource("disk"), resource("guest", "disk"))
    world.say(VrrpState.BACKUP)
    world.send(Stopping())
    world.settle()
    assert world.instance.phase is Phase.STANDBY


def test_the_next_activation_is_neither_begun_nor_missed() -> None:
    """An instance that was half-way keeps what it has, and gives nothing away for what it has not."""
    world = standby(resource("disk", **RELEASING), resource("guest", "disk", **RELEASING))
    world.say(VrrpState.MASTER)
    world.send(Stopping())
    world.end_step(DISK)
    long_after(world)
    assert not world.steps
    assert (world.actual[DISK], world.actual[GUEST]) == (Level.ACTIVE, Level.STANDBY)
    assert world.instance.phase is Phase.PROMOTING
    assert not world.instance.released


def test_an_activation_that_fails_now_gives_nothing_away() -> None:
    world = standby(resource("disk", retries=0, **RELEASING))
    world.say(VrrpState.MASTER)
    world.send(Stopping())
    world.end_step(DISK, Outcome.FAILED, works=False)
    long_after(world)
    assert not world.instance.released


def test_one_that_never_comes_back_gives_nothing_away() -> None:
    world = standby(resource("disk", **RELEASING))
    world.say(VrrpState.MASTER)
    world.send(Stopping())
    world.now += world.steps[DISK].timeout + REPORT_GRACE_S
    world.send(Tick())
    assert world.instance.resources["disk"].overdue
    assert not world.instance.released


def test_a_vip_that_does_not_come_gives_nothing_away() -> None:
    instance = InstanceSpec(name="VI_1", vips=(VIP,), on_refused=OnRefused.RELEASE)
    world = World(config=Config(instances={"VI_1": instance}))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.say(VrrpState.MASTER, vip=False)
    world.send(Stopping())
    long_after(world)
    assert not world.instance.released


def test_mastership_is_not_taken_back() -> None:
    world = standby(resource("disk", retries=0, **RELEASING))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, Outcome.FAILED, works=False)
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.instance.released
    world.send(Stopping())
    long_after(world)
    assert world.instance.released


def test_who_waits_for_room_waits_no_longer() -> None:
    specs = {name: InstanceSpec(name=name, resources={"r": resource("r", instance=name)}) for name in ("VI_1", "VI_2")}
    world = World(config=Config(instances=specs, parallel=1))
    for name in specs:
        world.say(VrrpState.BACKUP, name)
    world.settle()
    for name in specs:
        world.say(VrrpState.MASTER, name)
    assert world.state.agenda.waiting
    world.send(Stopping())
    assert not world.state.agenda.waiting
    effects = world.end_step(("VI_1", "r"))
    assert not [effect for effect in effects if isinstance(effect, RunStep)]
