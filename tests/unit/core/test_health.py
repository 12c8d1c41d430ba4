"""``health = "track"``: a standby that could not be activated does not compete for mastership."""

from __future__ import annotations

import math
from typing import Any

import pytest

from failoverd.core import machine
from failoverd.core.effects import Alarm, AlarmKind
from failoverd.core.events import ResourceChanged
from failoverd.core.planner import FIT_AFTER_S, LONGEST_PAUSE_S, UNFIT_AFTER_S
from failoverd.core.requests import Reset
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Health, Level, OnFailure, OnRefused, Phase, VrrpState
from tests.unit.core.test_machine import DISK
from tests.unit.core.world import World, config, resource


def standby(*resources: ResourceSpec, health: Health = Health.TRACK) -> World:
    world = World(config=config(*resources or (resource("disk"),), health=health))
    world.say(VrrpState.BACKUP)
    world.settle()
    return world


def see(world: World, obstacle: str) -> None:
    """A change is noticed: the obstacle is there, or with an empty one it has passed."""
    world.obstacles[DISK] = obstacle
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    world.settle()


def wait(world: World, seconds: float) -> None:
    until = world.now + seconds
    while (machine.next_deadline(world.state) or math.inf) <= until:
        world.tick()
        world.settle()
    world.now = until


def competes(world: World) -> bool:
    return "VI_1" not in world.released


def unfit(world: World) -> None:
    see(world, "the data is old")
    wait(world, UNFIT_AFTER_S)
    assert not competes(world)


def test_a_lasting_obstacle_ends_the_competition_and_is_said() -> None:
    world = standby()
    see(world, "the data is old")
    began = world.now
    while competes(world):
        assert world.now < began + UNFIT_AFTER_S
        assert world.tick()
        world.settle()
    assert world.now == began + UNFIT_AFTER_S
    (alarm,) = [e for e in world.log if isinstance(e, Alarm)]
    assert alarm.kind is AlarmKind.UNFIT
    assert "does not compete for mastership: disk: the data is old" in alarm.text
    assert world.instance.phase is Phase.STANDBY


def test_one_that_never_could_be_activated_does_not_compete_from_the_first_look_on() -> None:
    """After a boot with old data: if the active node fails now, another standby must be elected."""
    world = World(config=config(resource("disk"), health=Health.TRACK))
    world.obstacles[DISK] = "the data is old"
    began = world.now
    world.say(VrrpState.BACKUP)
    world.settle()
    assert not competes(world)
    assert world.now == began
    see(world, "")
    wait(world, FIT_AFTER_S)
    assert competes(world)
    see(world, "the Primary was lost; it may still run")
    assert competes(world), "from now on it may be the loss of the active node"


def test_an_operator_has_one_compete_that_never_could() -> None:
    world = World(config=config(resource("disk"), health=Health.TRACK))
    world.obstacles[DISK] = "the data is old"
    world.say(VrrpState.BACKUP)
    world.settle()
    world.send(Reset(instance="VI_1", cause="reset by root"))
    world.settle()
    assert competes(world)
    wait(world, UNFIT_AFTER_S)
    assert not competes(world)


def test_one_that_was_active_may_be_hindered_for_a_moment() -> None:
    world = World(config=config(resource("disk"), health=Health.TRACK))
    world.say(VrrpState.MASTER)
    world.settle()
    world.obstacles[DISK] = "the other node has not connected yet"
    world.say(VrrpState.BACKUP)
    world.settle()
    assert competes(world)


def test_an_obstacle_of_a_moment_is_none() -> None:
    """The loss of the active node may look like one, until keepalived reports MASTER."""
    world = standby()
    for _ in range(5):
        see(world, "the Primary was lost; it may still run")
        wait(world, UNFIT_AFTER_S / 2)
        see(world, "")
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert not world.tracks


def test_without_an_obstacle_it_competes_again() -> None:
    world = standby()
    unfit(world)
    see(world, "")
    passed = world.now
    while not competes(world):
        assert world.now < passed + FIT_AFTER_S
        assert world.tick()
        world.settle()
    assert world.now == passed + FIT_AFTER_S
    assert not world.instance.alarm


def test_as_long_as_the_obstacle_lasts_it_does_not() -> None:
    world = standby()
    unfit(world)
    wait(world, 24 * 3600)
    assert not competes(world)


def test_each_change_of_mind_takes_longer_up_to_a_limit() -> None:
    world = standby()
    delays = []
    for _ in range(8):
        unfit(world)
        see(world, "")
        passed = world.now
        while not competes(world):
            assert world.tick()
            world.settle()
        delays.append(world.now - passed)
    assert delays == [min(FIT_AFTER_S * 2**n, LONGEST_PAUSE_S) for n in range(8)]


def test_an_operator_has_it_compete_at_once_and_the_time_begins_again() -> None:
    world = standby()
    unfit(world)
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    assert competes(world)
    world.settle()
    wait(world, UNFIT_AFTER_S - 1)
    assert competes(world)
    wait(world, 2)
    assert not competes(world)


def test_when_keepalived_has_no_other_it_is_activated_all_the_same_and_refused_by_its_driver() -> None:
    world = standby()
    unfit(world)
    world.say(VrrpState.MASTER)
    world.settle()
    wait(world, 60)
    assert world.instance.phase is Phase.REFUSED
    world.obstacles.clear()
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert competes(world)


def test_a_restart_forgets_neither_that_nor_why() -> None:
    world = standby()
    unfit(world)
    world.start()
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.instance.released == "disk: the data is old"
    see(world, "")
    wait(world, 2 * FIT_AFTER_S)
    assert competes(world)


@pytest.mark.parametrize(
    ("health", "options", "counts"),
    [
        (Health.REPORT, {}, False),
        (Health.TRACK, {"on_failure": OnFailure.CONTINUE}, False),
        (Health.TRACK, {"on_failure": OnFailure.CONTINUE, "on_refused": OnRefused.RELEASE}, True),
    ],
)
def test_it_is_for_those_who_ask_and_for_resources_that_matter(
    health: Health, options: dict[str, Any], counts: bool
) -> None:
    world = standby(resource("disk", **options), health=health)
    see(world, "the data is old")
    wait(world, 10 * UNFIT_AFTER_S)
    assert competes(world) is not counts


def test_a_master_that_is_refused_is_another_matter() -> None:
    world = standby()
    world.obstacles[DISK] = "the data is old"
    world.say(VrrpState.MASTER)
    world.settle()
    wait(world, 10 * UNFIT_AFTER_S)
    assert world.instance.phase is Phase.REFUSED
    assert competes(world)
    assert world.actual[DISK] is Level.STANDBY
