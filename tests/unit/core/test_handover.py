"""A handover: the resources first, then mastership; and on any failure the node that served goes on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from failoverd.core import guards
from failoverd.core.effects import RunStep
from failoverd.core.events import Event, Stopping
from failoverd.core.model import Standby
from failoverd.core.requests import (
    AsideEnded,
    AsideWanted,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
    MaintenanceBegun,
    OnlineWanted,
    StandbyWanted,
)
from failoverd.core.spec import Config
from failoverd.core.words import Level, Outcome, Phase, Verb, VrrpState
from tests.unit.core.test_machine import CHAIN, DISK, GUEST, active
from tests.unit.core.world import World, config, resource


def begun(*, preempt: bool = True, attended: float | None = None) -> World:
    """A guest on its disk, both active, and the operator has asked. `attended`: until then; None: without end."""
    world = active(resource("disk"), resource("guest", "disk"))
    spec = replace(world.config.instances["VI_1"], preempt=preempt)
    world.reload(replace(world.config, instances={"VI_1": spec}))
    world.settle()
    world.log.clear()
    world.send(
        HandoverWanted(instance="VI_1", by="root", id="left.1", until=math.inf if attended is None else attended)
    )
    return world


def competes(world: World) -> bool:
    return "VI_1" not in world.released


def steps(world: World) -> list[tuple[str, Verb]]:
    return [(e.resource, e.verb) for e in world.log if isinstance(e, RunStep)]


@pytest.mark.parametrize("preempt", [True, False])
def test_mastership_moves_when_all_is_at_standby_and_not_before(preempt: bool) -> None:
    world = begun(preempt=preempt)
    assert world.instance.phase is Phase.DEMOTING
    for key in (GUEST, DISK):
        assert competes(world)
        while key not in world.steps:
            world.end_look(next(iter(world.looks)))
        world.end_step(key)
    assert not competes(world)
    assert steps(world) == [("guest", Verb.DEACTIVATE), ("disk", Verb.DEACTIVATE)]
    assert world.instance.phase is Phase.STANDBY
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert not competes(world)
    assert "does not compete" in world.instance.alarm
    world.send(HandoverConfirmed(instance="VI_1", id="left.1", by="root"))
    assert world.instance.handover is None
    assert competes(world) is not preempt, "where nodes preempt, it would take mastership back"
    assert world.wishes == ({"VI_1": Standby(by="root", at=world.now)} if preempt else {})
    assert len(steps(world)) == 2


@pytest.mark.parametrize(("preempt", "limit"), [(False, guards.MASTERSHIP_RELEASE_S), (True, 60.0 + 2 * 93.0)])
def test_a_handover_that_nobody_verifies_ends_by_itself(preempt: bool, limit: float) -> None:
    """failoverctl was killed, or no other node could be elected: where there is no MASTER, this node serves."""
    world = begun(preempt=preempt)
    world.settle()
    given = world.now
    world.say(VrrpState.FAULT)
    world.settle()
    while not competes(world):
        assert world.tick()
        world.settle()
    assert world.now == given + limit
    assert not world.wishes
    assert not world.instance.alarm


def test_a_node_that_is_killed_after_the_release_activates_nothing_at_once() -> None:
    world = begun()
    world.settle()
    world.start()
    world.words["VI_1"] = VrrpState.MASTER
    released = world.now
    while world.instance.phase is not Phase.ACTIVE:
        if not world.steps and not world.looks and not world.questions:
            assert world.tick()
        world.settle()
    assert world.now >= released + guards.MASTERSHIP_RELEASE_S
    assert not world.wishes


def test_an_instance_that_a_reload_removes_and_another_adds_activates_nothing_at_once() -> None:
    world = begun()
    world.settle()
    released, configured = world.now, world.config
    world.reload(Config(instances={}))
    assert competes(world), "nothing else would ever take it back"
    world.reload(configured)
    assert not competes(world)
    world.words["VI_1"] = VrrpState.MASTER
    while world.instance.phase is not Phase.ACTIVE:
        if not world.steps and not world.looks and not world.questions:
            assert world.tick()
        world.settle()
    assert world.now >= released + guards.MASTERSHIP_RELEASE_S
    assert competes(world)


def test_a_handover_that_had_released_nothing_ends_when_the_instance_is_removed() -> None:
    world = begun()
    configured = world.config
    world.reload(Config(instances={}))
    world.reload(configured)
    assert world.instance.handover is None


@pytest.mark.parametrize("event", [Stopping(), MaintenanceBegun(by="root", until=math.inf)])
def test_an_ending_daemon_and_one_in_maintenance_leave_it_as_it_is(event: Event) -> None:
    world = begun()
    world.settle()
    world.send(event)
    for _ in range(20):
        if not world.tick():
            break
    assert not competes(world)


def test_the_operator_may_change_their_mind_until_then() -> None:
    world = begun()
    world.end_step(GUEST)
    world.send(HandoverCancelled(instance="VI_1", id="left.1", cause="root cancelled the handover"))
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert world.actual == {DISK: Level.ACTIVE, GUEST: Level.ACTIVE}
    assert competes(world)


def test_and_not_after() -> None:
    world = begun()
    world.settle()
    assert not competes(world)
    world.send(HandoverCancelled(instance="VI_1", id="left.1", cause="root cancelled the handover"))
    assert not competes(world)
    assert world.instance.handover is not None


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT])
def test_what_cannot_be_stopped_ends_it_and_the_node_goes_on(outcome: Outcome) -> None:
    world = begun()
    while world.instance.handover is not None:
        if GUEST in world.steps:
            world.end_step(GUEST, outcome, works=False)
        else:
            assert world.tick()
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert competes(world)
    assert "the handover failed" in world.instance.cause


def test_where_no_other_node_takes_over_this_one_goes_on() -> None:
    world = begun()
    world.settle()
    given = world.now
    while world.instance.handover is not None:
        assert world.tick()
        assert world.now <= given + guards.MASTERSHIP_RELEASE_S
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert competes(world)


def test_an_operator_may_end_it_before_that() -> None:
    world = begun()
    world.settle()
    world.send(OnlineWanted(instance="VI_1", cause="root lets it be MASTER again"))
    assert competes(world)


def test_an_operators_own_standby_outlives_that() -> None:
    world = begun()
    world.send(StandbyWanted(instance="VI_1", by="admin"))
    world.settle()
    while world.instance.handover is not None:
        assert world.tick()
    assert not competes(world)


def test_when_keepalived_moves_by_itself_meanwhile_the_node_follows() -> None:
    world = begun()
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert world.instance.handover is None
    assert competes(world)


def test_a_restart_in_the_middle_ends_it_and_the_node_goes_on() -> None:
    world = begun()
    world.end_step(GUEST)
    world.start()
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert world.actual == {DISK: Level.ACTIVE, GUEST: Level.ACTIVE}


def test_a_standby_has_nothing_to_hand_over() -> None:
    world = World(config=config(*CHAIN))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.send(HandoverWanted(instance="VI_1", by="root", id="left.1", until=math.inf))
    assert world.instance.handover is None
    assert competes(world)


# ---------------------------------------------------------------- attended


def test_mastership_is_not_released_while_nobody_sees_a_node_that_can_take_over() -> None:
    world = begun(attended=999.0)
    world.settle()
    assert world.actual == {DISK: Level.STANDBY, GUEST: Level.STANDBY}
    assert competes(world)
    assert world.instance.phase is Phase.STANDBY
    world.send(HandoverAttended(instance="VI_1", id="left.2", until=math.inf))
    assert competes(world), "that is another one's"
    world.send(HandoverAttended(instance="VI_1", id="left.1", until=world.now + 1.0))
    assert not competes(world)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_handover_that_nobody_attends_any_more_ends_and_the_node_goes_on(stopped: bool) -> None:
    """failoverctl was killed, or its terminal hangs; it does not matter how far the stop is."""
    world = begun(attended=1000.5)
    if stopped:
        world.now = 1001.0
        world.settle()
    while world.instance.handover is not None:
        assert world.tick()
    assert world.now == 1000.5 + guards.UNATTENDED_S
    assert "does not attend the handover any more" in world.instance.cause
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert world.tracks == [], "mastership was here all the time"


def test_where_no_other_node_will_be_active_it_competes_at_once_when_told() -> None:
    world = begun()
    world.settle()
    world.say(VrrpState.FAULT)
    world.settle()
    cause = "center is MASTER and does not serve"
    world.send(HandoverCancelled(instance="VI_1", id="left.2", cause=cause, released=True))
    assert not competes(world), "that is another one's"
    world.send(HandoverCancelled(instance="VI_1", id="left.1", cause=cause, released=True))
    assert competes(world)
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


@pytest.mark.parametrize("preempt", [True, False])
def test_a_node_that_was_started_again_is_kept_in_standby_all_the_same(preempt: bool) -> None:
    world = begun(preempt=preempt)
    world.settle()
    world.say(VrrpState.FAULT)
    world.start()
    world.settle()
    world.send(HandoverConfirmed(instance="VI_1", id="left.1", by="root"))
    assert list(world.wishes) == (["VI_1"] if preempt else [])


def test_a_node_that_is_master_again_is_not() -> None:
    world = begun()
    world.settle()
    world.send(HandoverCancelled(instance="VI_1", id="left.1", cause="center is gone", released=True))
    world.settle()
    world.send(HandoverConfirmed(instance="VI_1", id="left.1", by="root"))
    assert not world.wishes


# ---------------------------------------------------------------- aside


def aside(*, until: float = math.inf) -> World:
    world = World(config=config(*CHAIN))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.send(AsideWanted(instance="VI_1", id="left.1", until=until))
    return world


def test_a_node_that_is_aside_is_not_elected_and_that_is_no_wish() -> None:
    world = aside()
    assert not competes(world)
    assert not world.wishes
    assert "aside for the handover left.1" in world.instance.reason
    assert not world.instance.alarm
    world.send(AsideEnded(instance="VI_1", id="left.1"))
    assert competes(world)
    assert "aside" not in world.instance.reason


def test_it_ends_by_itself() -> None:
    world = aside(until=1015.0)
    world.send(AsideWanted(instance="VI_1", id="left.1", until=1020.0))
    while not competes(world):
        assert world.tick()
    assert world.now == 1020.0


def test_another_handover_neither_ends_nor_prolongs_it() -> None:
    world = aside(until=1015.0)
    world.send(AsideWanted(instance="VI_1", id="right.1", until=math.inf))
    world.send(AsideEnded(instance="VI_1", id="right.1"))
    assert not competes(world)
    while not competes(world):
        assert world.tick()
    assert world.now == 1015.0


def test_an_operators_own_standby_outlives_it() -> None:
    world = aside()
    world.send(StandbyWanted(instance="VI_1", by="admin"))
    world.send(AsideEnded(instance="VI_1", id="left.1"))
    assert not competes(world)
    assert world.wishes["VI_1"].by == "admin"
    world.send(OnlineWanted(instance="VI_1", cause="admin lets it be MASTER again"))
    assert competes(world)


def test_a_standby_that_ends_leaves_it_aside() -> None:
    world = aside()
    world.send(OnlineWanted(instance="VI_1", cause="admin lets it be MASTER again"))
    assert not competes(world)


def test_in_maintenance_it_ends_as_well() -> None:
    world = aside(until=1015.0)
    world.send(MaintenanceBegun(by="root", until=math.inf))
    while not competes(world):
        assert world.tick()
    assert world.now == 1015.0
