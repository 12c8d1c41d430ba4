"""Two MASTERs at once: recorded on both sides until somebody knows, and not recorded where all is as it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core.events import (
    Alarm,
    Event,
    Matter,
    Reasserted,
    Reloaded,
    RivalsNoted,
    TransitionEnded,
    TransitionStarted,
    VipsSeen,
    VrrpChanged,
)
from failoverd.core.model import Rival
from failoverd.core.spec import Vip
from failoverd.core.words import Ending, Phase, Target, VrrpState
from tests.unit.core.world import VIP, World, config, resource

MASTER, BACKUP, FAULT = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT


def serving(*vips: Vip, preempt: bool = True) -> World:
    """A MASTER for a minute."""
    plain = config(resource("disk"), vips=vips)
    spec = replace(plain.instances["VI_1"], preempt=preempt)
    world = World(config=replace(plain, instances={"VI_1": spec}))
    world.say(MASTER)
    world.settle()
    world.now += 60
    return world


def hear(world: World) -> None:
    """keepalived hears the other one."""
    world.send(Reasserted(instance="VI_1"))
    world.settle()


def alarms(world: World) -> list[str]:
    return [e.text for e in world.log if isinstance(e, Alarm) and e.matter is Matter.DOUBLE_MASTER]


def test_the_one_that_stays_records_that_it_heard_another() -> None:
    world = serving()
    world.log.clear()
    hear(world)
    first = world.now
    (started,) = [e for e in world.log if isinstance(e, TransitionStarted)]
    (ended,) = [e for e in world.log if isinstance(e, TransitionEnded)]
    assert (started.target, started.cause) == (Target.ACTIVE, "keepalived heard another MASTER beside this one")
    assert ended.ending is Ending.ACTIVE
    world.now += 30
    hear(world)
    assert world.instance.rivals == (Rival(since=first, until=world.now, gave_way=False),)
    assert world.instance.phase is Phase.ACTIVE
    assert world.instance.alarm.startswith(
        "was not the only MASTER: see what both did, then failoverctl acknowledge VI_1"
    )
    assert len(alarms(world)) == 1, "an alarm for the whole of it"
    world.now += 600
    hear(world)
    assert len(world.instance.rivals) == 2
    world.send(RivalsNoted(instance="VI_1"))
    assert (world.instance.rivals, world.instance.alarm) == ((), "")


def test_who_has_just_taken_mastership_may_hear_the_one_that_gives_way() -> None:
    world = serving()
    world.say(BACKUP)
    world.settle()
    world.say(MASTER)
    hear(world)
    assert world.instance.rivals == ()
    world.now += 3
    hear(world)
    assert len(world.instance.rivals) == 1, "but not for long"


def test_a_standby_hears_nobody() -> None:
    world = serving()
    world.say(BACKUP)
    world.settle()
    world.now += 60
    hear(world)
    assert world.instance.rivals == ()


def test_the_one_that_gives_way_records_it_where_nobody_may_take_mastership() -> None:
    world = serving(preempt=False)
    since = world.instance.vrrp_since
    world.log.clear()
    world.say(BACKUP)
    world.settle()
    assert world.instance.rivals == (Rival(since=since, until=world.now, gave_way=True),)
    (started,) = [e for e in world.log if isinstance(e, TransitionStarted)]
    assert started.cause == "keepalived said BACKUP; this node was MASTER for 60 s beside another"
    assert world.instance.phase is Phase.STANDBY
    assert alarms(world) == ["was MASTER for 60 s beside another: see what both did, then failoverctl acknowledge VI_1"]


@pytest.mark.parametrize(
    ("words", "straight"),
    [([FAULT, BACKUP], True), ([VrrpState.STOP, BACKUP], True), ([FAULT], True), ([BACKUP], False)],
)
def test_what_may_have_another_reason_is_not_recorded(words: list[VrrpState], straight: bool) -> None:
    world = serving(preempt=False)
    for word in words:
        world.send(VrrpChanged(instance="VI_1", state=word, straight=straight))
        world.settle()
    assert world.instance.rivals == ()


def test_an_election_may_have_two_for_a_moment() -> None:
    world = serving(preempt=False)
    world.say(FAULT)
    world.say(MASTER)
    world.now += 1
    world.say(BACKUP)
    world.settle()
    assert world.instance.rivals == ()


def test_where_a_higher_priority_takes_mastership_giving_way_is_as_it_should_be() -> None:
    world = serving()
    world.say(BACKUP)
    world.settle()
    assert (world.instance.rivals, world.instance.alarm) == ((), "")


@pytest.mark.parametrize("keepalived_first", [True, False])
def test_a_master_that_somebody_robbed_of_its_vip_was_alone(keepalived_first: bool) -> None:
    world = serving(VIP, preempt=False)
    robbed = VipsSeen(present={VIP: False}, removers={VIP: "ip (process 312)"})
    events: list[Event] = [robbed, VrrpChanged(instance="VI_1", state=BACKUP)]
    world.vips[VIP] = False
    for event in reversed(events) if keepalived_first else events:
        world.send(event)
    world.settle()
    assert world.instance.rivals == ()
    assert world.instance.cause == "keepalived said BACKUP after 192.0.2.1/32 was removed from eth0 by ip (process 312)"


def test_only_the_newest_are_remembered() -> None:
    world = serving()
    for _ in range(20):
        world.now += 100
        hear(world)
    assert len(world.instance.rivals) == 8


def test_a_restarted_daemon_remembers_it() -> None:
    world = serving()
    hear(world)
    known = world.instance.rivals
    world.start()
    world.settle()
    assert world.instance.rivals == known
    assert "not the only MASTER" in world.instance.alarm
    world.send(RivalsNoted(instance="VI_1"))
    world.send(Reloaded(config=world.config))
    assert world.instance.rivals == (), "once"
