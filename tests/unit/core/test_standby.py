"""`failoverctl standby` and `online`: an operator's wish by the track file, which only an operator ends."""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.core.effects import Alarm, AlarmKind
from failoverd.core.events import WishesFound
from failoverd.core.guards import TRACK_FILE_READ_S, cannot_take_over
from failoverd.core.model import Maintenance, Standby
from failoverd.core.requests import OnlineWanted, Reset, StandbyWanted, Together
from failoverd.core.spec import Config
from failoverd.core.words import OnFailure, Outcome, Phase, VrrpState
from tests.unit.core.world import World, config, resource


def active() -> World:
    world = World(config=config(resource("disk")))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.say(VrrpState.MASTER)
    world.settle()
    return world


def standby(world: World) -> None:
    world.send(StandbyWanted(instance="VI_1", by="root"))


def online(world: World) -> None:
    world.send(OnlineWanted(instance="VI_1", cause="root has ended the standby"))


def kinds(world: World) -> list[AlarmKind]:
    return [each.kind for each in world.log if isinstance(each, Alarm)]


def test_keepalived_lets_go_first_and_the_resources_follow() -> None:
    world = active()
    standby(world)
    assert world.tracks == [True]
    assert (world.instance.phase, dict(world.steps)) == (Phase.ACTIVE, {}), "nothing is stopped before keepalived says"
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert world.instance.reason == (
        "kept in standby by root, so another node must be MASTER; to end it: failoverctl online VI_1"
    )
    assert set(kinds(world)) == {AlarmKind.STANDBY}


def test_a_fault_is_what_was_asked_for() -> None:
    world = active()
    world.say(VrrpState.FAULT)
    world.settle()
    assert "keepalived reports FAULT" in str(cannot_take_over(world.instance))
    standby(world)
    assert cannot_take_over(world.instance) is None
    world.say(VrrpState.STOP)
    world.settle()
    assert "keepalived was stopped" in str(cannot_take_over(world.instance))


def test_neither_time_nor_a_reset_ends_it() -> None:
    world = active()
    standby(world)
    world.say(VrrpState.FAULT)
    world.settle()
    for _ in range(100):
        world.tick()
        world.settle()
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    world.settle()
    assert world.tracks == [True]
    online(world)
    world.settle()
    assert world.tracks == [True, False]
    assert world.instance.phase is Phase.STANDBY
    assert not world.instance.alarm


def test_the_next_daemon_knows_it() -> None:
    world = active()
    standby(world)
    world.say(VrrpState.FAULT)
    world.settle()
    world.log.clear()
    world.start()
    assert (world.instance.phase, kinds(world)) == (Phase.UNKNOWN, [AlarmKind.STANDBY])
    world.settle()
    assert world.instance.standby is not None
    assert world.released == {"VI_1"}


def test_an_instance_that_is_configured_again_is_still_kept_in_standby() -> None:
    world = active()
    standby(world)
    whole = world.config
    world.reload(Config(instances={}))
    world.reload(whole)
    assert world.instance.standby is not None
    assert world.released == {"VI_1"}
    online(world)
    world.reload(Config(instances={}))
    world.reload(whole)
    assert world.instance.standby is None


def test_an_operator_may_end_it_while_the_instance_is_not_configured() -> None:
    world = active()
    standby(world)
    configured = world.config
    world.reload(Config(instances={}))
    assert list(world.wishes) == ["VI_1"]
    world.send(OnlineWanted(instance="VI_1", cause="root ends it"))
    assert not world.wishes
    world.reload(configured)
    assert world.instance.standby is None


def test_a_keepalived_that_stays_master_leaves_the_node_active_and_that_is_told() -> None:
    world = active()
    standby(world)
    until = world.now + TRACK_FILE_READ_S
    while world.now < until:
        assert world.tick()
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert "standby (by root) has no effect: keepalived still reports MASTER" in world.instance.alarm
    assert kinds(world)[-1] is AlarmKind.STANDBY


def test_a_release_and_a_wish_end_each_for_itself() -> None:
    world = World(config=config(resource("disk", retries=0, on_failure=OnFailure.RELEASE)))
    world.say(VrrpState.MASTER)
    standby(world)
    while world.looks:
        world.end_look(next(iter(world.looks)))
    world.end_step(("VI_1", "disk"), Outcome.FAILED, works=False)
    assert world.instance.released
    world.say(VrrpState.FAULT)
    world.settle()
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    assert not world.instance.released
    assert world.tracks == [True], "it is kept in standby"


def test_a_second_wish_keeps_the_first_time_and_name() -> None:
    world = active()
    standby(world)
    first = world.instance.standby
    world.now += 60
    world.send(StandbyWanted(instance="VI_1", by="jim"))
    assert world.instance.standby == first


def test_wishes_that_are_found_after_the_start_are_kept() -> None:
    world = active()
    found = {"VI_1": Standby(by="jim", at=1.0), "VI_9": Standby(by="jim", at=1.0)}
    world.send(WishesFound(standby=found, maintenance=None))
    assert world.tracks == [True]
    assert (world.instance.standby, world.state.standby) == (found["VI_1"], {"VI_9": found["VI_9"]})


def test_a_newer_wish_wins_over_one_that_is_found_after_the_start() -> None:
    world = active()
    standby(world)
    newer = world.instance.standby
    world.send(WishesFound(standby={"VI_1": Standby(by="jim", at=1.0)}, maintenance=None))
    assert world.instance.standby is newer


def test_maintenance_that_is_found_after_the_start_holds_steps_back() -> None:
    world = active()
    world.send(WishesFound(standby={}, maintenance=Maintenance(by="jim", since=1.0, until=math.inf)))
    world.say(VrrpState.BACKUP)
    world.settle()
    assert (world.state.maintenance is not None, dict(world.steps)) == (True, {})


def test_what_is_wanted_of_many_instances_is_one_event() -> None:
    spec = config(resource("disk")).instances["VI_1"]
    world = World(config=Config(instances={"VI_1": spec, "VI_2": replace(spec, name="VI_2", resources={})}))
    wanted = tuple(StandbyWanted(instance=name, by="root") for name in ("VI_1", "VI_2", "VI_9"))
    world.send(Together(events=wanted))
    assert world.state.agenda.touched == ("VI_1", "VI_2")
    assert all(instance.standby for instance in world.state.instances.values())
