"""What each resource of a transition waits for."""

from __future__ import annotations

from failoverd.core.waits import Wait, waits
from failoverd.core.words import Outcome, Verb, VrrpState, WaitFor
from tests.unit.core.world import VIP, World, config, resource

DISK, GUEST, PREFIX = ("VI_1", "disk"), ("VI_1", "guest"), ("VI_1", "prefix")


def standby(parallel: int = 128) -> World:
    world = World(config=config(resource("disk"), resource("guest", "disk"), resource("prefix"), parallel=parallel))
    world.say(VrrpState.BACKUP)
    world.settle()
    return world


def found(world: World) -> dict[str, Wait]:
    return waits(world.instance, world.now)


def checked(world: World) -> None:
    while world.looks:
        world.end_look(next(iter(world.looks)))


def test_a_settled_instance_waits_for_nothing() -> None:
    assert found(standby()) == {}


def test_first_for_the_checks_then_for_the_resources_that_it_needs() -> None:
    world = World(config=config(resource("disk"), resource("guest", "disk")))
    world.say(VrrpState.MASTER)
    assert set(found(world).values()) == {Wait(WaitFor.CHECK)}
    checked(world)
    assert found(world) == {"guest": Wait(WaitFor.RESOURCE, ("disk",))}
    world.end_step(DISK)
    assert found(world) == {}
    assert world.steps[GUEST].verb is Verb.ACTIVATE


def test_towards_standby_a_disk_waits_for_its_guest() -> None:
    world = standby()
    world.say(VrrpState.MASTER)
    world.settle()
    world.say(VrrpState.BACKUP)
    checked(world)
    assert found(world) == {"disk": Wait(WaitFor.RESOURCE, ("guest",))}


def test_for_a_vip_that_is_not_here_yet() -> None:
    world = standby()
    world.say(VrrpState.MASTER, vip=False)
    assert set(found(world)) == {"disk", "guest", "prefix"}
    assert set(found(world).values()) == {Wait(WaitFor.VIP)}
    world.move_vip(VIP, present=True)
    checked(world)
    assert set(found(world)) == {"guest"}


def test_for_a_retry_and_for_nothing_after_the_last() -> None:
    world = standby()
    world.say(VrrpState.MASTER)
    checked(world)
    for _ in range(2):
        world.end_step(DISK, Outcome.FAILED, works=False)
        assert found(world)["disk"] == Wait(WaitFor.RETRY)
        while DISK not in world.steps:
            world.tick()
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert found(world) == {}


def test_for_room_on_the_node() -> None:
    world = standby(parallel=1)
    world.say(VrrpState.MASTER)
    checked(world)
    assert found(world)["prefix"] == Wait(WaitFor.ROOM)
