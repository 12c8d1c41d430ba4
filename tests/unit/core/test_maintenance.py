"""`failoverctl maintenance`: no step starts, and everything that is held back is told."""

from __future__ import annotations

import math

import pytest

from failoverd.core.effects import Alarm, AlarmKind, TransitionStarted
from failoverd.core.events import Stopping
from failoverd.core.requests import MaintenanceBegun, MaintenanceEnded
from failoverd.core.words import Level, OnFailure, OnRefused, Outcome, Phase, Target, VrrpState
from tests.unit.core.world import VIP, World, config, resource

DISK, GUEST = ("VI_1", "disk"), ("VI_1", "guest")


def standby() -> World:
    world = World(config=config(resource("disk"), resource("guest", "disk")))
    world.say(VrrpState.BACKUP)
    world.settle()
    return world


def active() -> World:
    world = standby()
    world.say(VrrpState.MASTER)
    world.settle()
    return world


def begin(world: World, seconds: float = math.inf) -> None:
    world.send(MaintenanceBegun(by="root", until=world.now + seconds))


def end(world: World) -> None:
    world.send(MaintenanceEnded(cause="root has ended the maintenance"))


def look(world: World) -> None:
    while world.looks:
        world.end_look(next(iter(world.looks)))


def kinds(world: World) -> list[AlarmKind]:
    return [each.kind for each in world.log if isinstance(each, Alarm)]


def test_a_healthy_instance_stays_as_it_is_without_an_alarm() -> None:
    world = active()
    begin(world)
    world.settle()
    assert (world.instance.phase, world.instance.held_back, kinds(world)) == (Phase.ACTIVE, "", [])


def test_a_new_master_state_sets_the_target_and_starts_nothing() -> None:
    world = standby()
    begin(world)
    world.say(VrrpState.MASTER)
    look(world)
    assert (world.instance.target, world.instance.phase) == (Target.ACTIVE, Phase.PROMOTING)
    assert not world.steps
    assert world.instance.reason == (
        "maintenance: failoverd does not activate disk, guest; to let it act: failoverctl maintenance off"
    )
    assert world.instance.alarm == world.instance.reason
    assert kinds(world) == [AlarmKind.MAINTENANCE]


def test_a_lost_mastership_leaves_the_resources_active_and_says_the_risk() -> None:
    world = active()
    begin(world)
    world.say(VrrpState.BACKUP)
    look(world)
    assert (world.instance.target, world.instance.phase) == (Target.STANDBY, Phase.DEMOTING)
    assert not world.steps
    assert world.instance.held_back.startswith(
        "maintenance: failoverd does not deactivate guest, disk, and another node may be active; "
    )


def test_the_end_checks_everything_and_then_acts() -> None:
    world = standby()
    begin(world)
    world.say(VrrpState.MASTER)
    look(world)
    end(world)
    assert set(world.looks) == {DISK, GUEST}
    assert [question.instance for question in world.questions] == ["VI_1"] * len(world.questions)
    assert not world.instance.alarm
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert not world.instance.alarm


def test_what_an_operator_stopped_by_hand_is_started_at_the_end() -> None:
    world = active()
    begin(world)
    world.actual[GUEST] = Level.STANDBY
    while not world.looks:
        assert world.tick()
    look(world)
    assert "does not activate guest;" in world.instance.held_back
    assert not world.steps
    end(world)
    world.settle()
    assert world.actual[GUEST] is Level.ACTIVE
    assert [e.cause for e in world.log if isinstance(e, TransitionStarted)][-1] == "guest was observed standby"


def test_a_step_in_flight_ends_and_the_next_does_not_start() -> None:
    world = standby()
    world.say(VrrpState.MASTER)
    look(world)
    assert set(world.steps) == {DISK}
    begin(world)
    assert set(world.steps) == {DISK}
    world.end_step(DISK)
    look(world)
    assert not world.steps
    assert "does not activate guest;" in world.instance.held_back


def test_it_ends_by_itself_and_then_failoverd_acts() -> None:
    world = standby()
    begin(world, 7200.0)
    until = world.now + 7200.0
    world.say(VrrpState.MASTER)
    while world.state.maintenance is not None:
        assert world.tick()
        look(world)
        assert world.now < until or world.state.maintenance is None
    assert world.now == until
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_a_second_one_moves_the_end_and_keeps_the_beginning() -> None:
    world = standby()
    begin(world, 60.0)
    since = world.now
    world.now += 30
    begin(world, 60.0)
    assert world.state.maintenance is not None
    assert (world.state.maintenance.since, world.state.maintenance.until) == (since, since + 90)


def test_the_next_daemon_knows_it() -> None:
    world = active()
    begin(world)
    world.start()
    world.say(VrrpState.BACKUP)
    look(world)
    assert not world.steps


@pytest.mark.parametrize("on_refused", list(OnRefused))
def test_mastership_is_not_released(on_refused: OnRefused) -> None:
    world = World(config=config(resource("disk"), on_refused=on_refused))
    begin(world)
    world.say(VrrpState.MASTER, vip=False)
    for _ in range(10):
        world.tick()
        look(world)
    assert world.tracks == []


def test_mastership_is_not_taken_back() -> None:
    world = World(config=config(resource("disk", retries=0, on_failure=OnFailure.RELEASE), take_back_after=60.0))
    world.say(VrrpState.MASTER)
    look(world)
    world.end_step(DISK, Outcome.FAILED, works=False)
    world.say(VrrpState.FAULT)
    world.settle()
    begin(world)
    for _ in range(20):
        world.tick()
        look(world)
    assert world.tracks == [True]
    end(world)
    look(world)
    for _ in range(5):
        world.tick()
        look(world)
    assert world.tracks == [True, False]


def test_an_ending_daemon_starts_nothing_either() -> None:
    world = active()
    begin(world)
    world.move_vip(VIP, present=True)
    world.say(VrrpState.BACKUP)
    world.send(Stopping())
    look(world)
    assert not world.steps
