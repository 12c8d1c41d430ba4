"""What a reload drops while it is active: it is said, looked at, and not deprived of what it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core import machine, strays
from failoverd.core.context import CHECK_TIMEOUT_S, REPORT_GRACE_S
from failoverd.core.effects import Alarm, AlarmKind, Observe, RunStep
from failoverd.core.events import StepEnded, Tick
from failoverd.core.requests import Acknowledged
from failoverd.core.resource import Observation
from failoverd.core.spec import Config
from failoverd.core.words import Level, Outcome, Phase, VrrpState
from tests.unit.core.test_machine import CHAIN, DISK, GUEST, active, standby
from tests.unit.core.world import World, config, resource

NOBODY = Config(instances={})


def said(world: World) -> list[str]:
    return [e.text for e in world.log if isinstance(e, Alarm) and e.kind is AlarmKind.UNFOLLOWED]


def dropped() -> World:
    """MASTER: a disk, and a guest on it that the configuration has lost."""
    world = active(resource("disk"), resource("guest", "disk"))
    world.log.clear()
    world.reload(config(resource("disk")))
    return world


def test_what_is_active_and_dropped_is_said_at_once() -> None:
    world = dropped()
    (text,) = said(world)
    assert "guest is active, and no longer configured" in text
    assert "failoverctl reset VI_1" in text
    world.settle()
    assert said(world) == [text], "once"


def test_what_was_seen_at_standby_is_forgotten() -> None:
    world = standby(*CHAIN)
    world.reload(config(resource("disk")))
    assert not world.state.strays
    assert not said(world)


def test_what_it_needs_is_not_deactivated_under_it() -> None:
    world = dropped()
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.actual[DISK] is Level.ACTIVE
    assert world.instance.phase is Phase.FAILED
    assert "disk is not deactivated" in world.instance.alarm
    assert "guest needs it" in world.instance.alarm


def test_when_it_has_stopped_what_it_needed_is_deactivated() -> None:
    world = dropped()
    world.say(VrrpState.BACKUP)
    world.settle()
    world.actual[GUEST] = Level.STANDBY
    while not world.stray_looks:
        world.tick()
    world.settle()
    assert world.actual[DISK] is Level.STANDBY
    assert world.instance.phase is Phase.STANDBY
    assert not world.instance.alarm
    assert not world.state.strays


def test_an_operator_who_knows_of_it_has_the_rest_deactivated() -> None:
    world = dropped()
    world.say(VrrpState.BACKUP)
    world.settle()
    world.dropped.clear()
    world.send(Acknowledged(instance="VI_1"))
    world.settle()
    assert world.actual[DISK] is Level.STANDBY
    assert world.instance.phase is Phase.STANDBY


def test_what_is_configured_again_is_followed_again() -> None:
    world = dropped()
    world.reload(config(resource("disk"), resource("guest", "disk")))
    assert not world.state.strays
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.actual == dict.fromkeys(world.actual, Level.STANDBY)


def test_what_is_moved_by_another_resource_now_is_followed() -> None:
    """The domain is the same, whatever the resource is called."""
    world = active(resource("guest", moves=frozenset({"the domain web"})))
    world.reload(config(resource("web", moves=frozenset({"the domain web"}))))
    assert not world.state.strays


def test_what_is_moved_in_part_only_is_a_stray() -> None:
    """One of two interfaces was left out: whatever it has, it keeps."""
    world = active(resource("cost", options="both", moves=frozenset({"eth0", "eth1"})))
    world.reload(config(resource("cost", options="one", moves=frozenset({"eth0"}))))
    assert len(said(world)) == 1


def test_need_reaches_through_what_was_dropped_as_well() -> None:
    world = active(*CHAIN)
    world.reload(config(resource("disk")))
    world.settle()
    world.actual[GUEST] = Level.STANDBY
    while GUEST not in world.stray_looks:
        world.tick()
    world.settle()
    assert [stray.spec.name for stray in world.state.strays.values()] == ["route"]
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.actual[DISK] is Level.ACTIVE


def test_a_whole_instance_is_dropped() -> None:
    world = active(*CHAIN)
    world.reload(NOBODY)
    assert len(said(world)) == len(CHAIN)
    world.settle()
    world.send(Acknowledged(instance="VI_1"))
    assert not world.state.strays
    assert machine.next_deadline(world.state) is None


def test_other_options_that_mean_something_else_leave_a_stray() -> None:
    world = active(resource("disk", options="base1", moves=frozenset({"base1"})))
    world.reload(config(resource("disk", options="base2", moves=frozenset({"base2"}))))
    world.end_look(DISK, Level.STANDBY)
    (text,) = said(world)
    assert text.startswith("disk is active")
    assert [step.spec.options for step in world.steps.values()] == ["base2"]


@pytest.mark.parametrize("level", [Level.ACTIVE, Level.STANDBY])
def test_a_step_that_ends_after_its_resource_was_dropped(level: Level) -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER)
    step = world.steps.pop(DISK)
    world.reload(config())
    assert not world.stray_looks, "a look would see what the step has not done yet"
    world.send(
        StepEnded(
            instance="VI_1",
            resource="disk",
            step=step.step,
            outcome=Outcome.DONE,
            reason="",
            seen=Observation(level=level),
        )
    )
    world.end_stray_look(DISK, level)
    assert len(said(world)) == (level is Level.ACTIVE)
    assert len(world.state.strays) == (level is Level.ACTIVE)


@pytest.mark.parametrize("killed", [False, True])
def test_a_deactivation_that_outlives_its_resource_frees_what_it_needed(killed: bool) -> None:
    """The step goes on after the reload. A daemon that is killed loses it, and the next one starts no other."""
    world = active(resource("disk"), resource("guest", "disk"))
    world.say(VrrpState.BACKUP)
    assert list(world.steps) == [GUEST]
    world.reload(config(resource("disk")))
    if killed:
        world.start()
    world.settle()
    assert world.actual == dict.fromkeys((DISK, GUEST), Level.ACTIVE if killed else Level.STANDBY)
    assert world.instance.phase is (Phase.FAILED if killed else Phase.STANDBY)
    assert ("guest needs it" in world.instance.alarm) is killed


def test_what_cannot_be_seen_may_be_active() -> None:
    world = World(config=config(resource("disk")))
    world.reload(config())
    assert not said(world), "it is looked at first"
    world.end_stray_look(DISK, Level.UNKNOWN)
    (text,) = said(world)
    assert "may be active" in text


def test_a_look_that_never_comes_back_is_asked_for_again() -> None:
    world = dropped()
    world.stray_looks.clear()
    world.now += CHECK_TIMEOUT_S + REPORT_GRACE_S
    world.send(Tick())
    assert GUEST in world.stray_looks


def test_it_is_looked_at_for_as_long_as_it_lasts() -> None:
    world = dropped()
    world.settle()
    before = world.now
    while not world.stray_looks:
        world.tick()
    assert world.now - before <= strays.CHECK_INTERVAL_S


@pytest.mark.parametrize("level", [Level.ACTIVE, Level.STANDBY])
def test_a_restart_with_another_configuration_is_no_different(level: Level) -> None:
    world = active(resource("disk"), resource("guest", "disk"))
    world.actual[GUEST] = level
    world.config = config(resource("disk"))
    world.start()
    world.say(VrrpState.BACKUP)
    world.settle()
    assert bool(said(world)) == (level is Level.ACTIVE)
    assert (world.actual[DISK] is Level.ACTIVE) == (level is Level.ACTIVE)
    if level is Level.ACTIVE:
        world.start()
        assert world.state.strays, "and so is the restart after that"


def test_nobody_moves_it() -> None:
    world = dropped()
    world.log.clear()
    for word in (VrrpState.BACKUP, VrrpState.MASTER):
        world.say(word)
        world.settle()
    assert "guest" not in {e.resource for e in world.log if isinstance(e, RunStep)}


def test_it_is_looked_at_as_it_was_configured() -> None:
    old = resource("guest", "disk", options="old")
    world = active(resource("disk"), old)
    effects = world.reload(config(resource("disk"), replace(resource("web"), options="new")))
    assert old in [e.spec for e in effects if isinstance(e, Observe)]
