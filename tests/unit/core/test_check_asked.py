"""`failoverctl reconcile`: everything is checked, and nothing that has given up is retried."""

from __future__ import annotations

from failoverd.core.requests import CheckAsked
from failoverd.core.words import Level, OnFailure, Outcome, Phase, VrrpState
from tests.unit.core.world import World, config, resource

DISK, GUEST = ("VI_1", "disk"), ("VI_1", "guest")


def check(world: World) -> None:
    world.send(CheckAsked(instance="VI_1", cause="root wants everything checked"))


def active() -> World:
    world = World(config=config(resource("disk"), resource("guest", on_failure=OnFailure.CONTINUE, retries=0)))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.say(VrrpState.MASTER)
    return world


def test_every_resource_is_checked_and_keepalived_asked_and_a_healthy_instance_stays_as_it_is() -> None:
    world = active()
    world.settle()
    check(world)
    assert set(world.looks) == {DISK, GUEST}
    assert [question.instance for question in world.questions] == ["VI_1"]
    assert world.instance.phase is Phase.ACTIVE
    assert not world.steps


def test_a_check_in_flight_may_have_observed_too_early() -> None:
    world = active()
    world.settle()
    check(world)
    first = world.looks[DISK].look
    check(world)
    assert world.looks[DISK].look != first


def test_a_wrong_level_is_repaired() -> None:
    world = active()
    world.settle()
    world.actual[DISK] = Level.STANDBY
    check(world)
    world.end_look(DISK)
    assert set(world.steps) == {DISK}


def test_a_resource_that_has_given_up_is_not_retried() -> None:
    world = active()
    while world.looks:
        world.end_look(next(iter(world.looks)))
    world.end_step(GUEST, Outcome.FAILED, works=False)
    world.end_step(DISK)
    while world.looks:
        world.end_look(next(iter(world.looks)))
    assert world.instance.resources["guest"].given_up
    check(world)
    while world.looks:
        world.end_look(next(iter(world.looks)))
    assert world.instance.resources["guest"].given_up
    assert not world.steps
