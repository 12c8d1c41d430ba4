"""Two MASTERs at once: recorded on both sides until somebody knows, and not recorded where all is as it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core import machine, rivals
from failoverd.core.effects import (
    Alarm,
    AlarmKind,
    Observe,
    ProbeVips,
    QueryVrrpState,
    TransitionEnded,
    TransitionStarted,
)
from failoverd.core.events import (
    Event,
    LowerPriorityAdvert,
    PeerReported,
    Reloaded,
    Stopping,
    Tick,
    VipElsewhere,
    VipsSeen,
    VrrpChanged,
)
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import Rival
from failoverd.core.requests import RivalsNoted
from failoverd.core.spec import Config, Heartbeat, Vip
from failoverd.core.words import Clearance, Phase, Target, TransitionResult, VrrpState
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
    world.send(LowerPriorityAdvert(instance="VI_1"))
    world.settle()


def alarms(world: World) -> list[str]:
    return [e.text for e in world.log if isinstance(e, Alarm) and e.kind is AlarmKind.DOUBLE_MASTER]


def test_the_one_that_stays_records_that_it_heard_another() -> None:
    world = serving()
    world.log.clear()
    hear(world)
    first = world.now
    (started,) = [e for e in world.log if isinstance(e, TransitionStarted)]
    (ended,) = [e for e in world.log if isinstance(e, TransitionEnded)]
    assert (started.target, started.cause) == (Target.ACTIVE, "keepalived received an advert of another MASTER")
    assert ended.result is TransitionResult.ACTIVE
    world.now += 30
    hear(world)
    assert world.instance.rivals == (Rival(since=first, until=world.now, gave_way=False),)
    assert world.instance.phase is Phase.ACTIVE
    assert world.instance.alarm.startswith(
        "another node was MASTER at the same time: "
        "compare failoverctl history on both, then failoverctl acknowledge VI_1"
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
    assert (
        started.cause == "keepalived reported BACKUP; this node was MASTER for 60 s while another node was MASTER too"
    )
    assert world.instance.phase is Phase.STANDBY
    (alarm,) = alarms(world)
    assert alarm == (
        "this node was MASTER for 60 s while another node was MASTER too: "
        "compare failoverctl history on both, then failoverctl acknowledge VI_1"
    )


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
    assert (
        world.instance.cause
        == "keepalived reported BACKUP after 192.0.2.1/32 was removed from eth0 by ip (process 312)"
    )


def probes(world: World) -> int:
    return sum(isinstance(each, ProbeVips) for each in world.log)


def ticks(world: World, until: float) -> None:
    """Let time pass, and answer everything."""
    world.send(Tick())
    world.settle()
    while (at := machine.next_deadline(world.state)) is not None and at <= until:
        world.tick()
        world.settle()
    world.now = until


def test_a_new_master_asks_the_other_stations_once_after_the_election() -> None:
    world = World(config=config(resource("disk"), check_interval=300.0))
    world.say(MASTER)
    since = world.now
    world.settle()
    ticks(world, since + 2.9)
    assert probes(world) == 0
    ticks(world, since + 3)
    assert probes(world) == 1
    ticks(world, since + 100)
    assert probes(world) == 1, "once"
    world.say(MASTER)
    ticks(world, since + 200)
    assert probes(world) == 1, "it is no new one"


def test_who_is_master_no_more_asks_nobody() -> None:
    world = World(config=config(resource("disk"), check_interval=300.0))
    world.say(MASTER)
    world.settle()
    world.say(BACKUP)
    world.settle()
    ticks(world, world.now + 1000)
    hear(world)
    assert probes(world) == 0


def test_a_master_asks_the_other_stations_at_each_periodic_check() -> None:
    world = serving()
    ticks(world, world.now)
    world.log.clear()
    ticks(world, world.now + 3 * world.config.check_interval)
    assert probes(world) == 3


def test_a_master_asks_the_other_stations_when_it_hears_another() -> None:
    world = serving()
    ticks(world, world.now)
    world.log.clear()
    hear(world)
    assert probes(world) == 1
    world.send(LowerPriorityAdvert(instance="VI_1", rival=False))
    assert probes(world) == 1, "keepalived reported more than failoverd could follow"


def test_a_daemon_that_ends_asks_nobody() -> None:
    world = serving()
    ticks(world, world.now)
    world.send(Stopping())
    world.log.clear()
    ticks(world, world.now + 3 * world.config.check_interval)
    assert probes(world) == 0


def elsewhere(world: World, station: str = "02:00:00:00:00:02", address: str = "192.0.2.1/32") -> None:
    """Another station answers for a VIP."""
    world.send(VipElsewhere(instance="VI_1", vip=Vip(address=address, interface="eth0"), station=station))
    world.settle()


FOUND = "another station (02:00:00:00:00:02) has 192.0.2.1 too"


def test_another_station_with_the_vip_is_a_rival() -> None:
    world = serving(VIP)
    ticks(world, world.now)
    world.log.clear()
    elsewhere(world)
    first = world.now
    (started,) = [e for e in world.log if isinstance(e, TransitionStarted)]
    assert (started.target, started.cause) == (Target.ACTIVE, FOUND)
    assert any(isinstance(each, QueryVrrpState) for each in world.log), "everything is checked again"
    assert any(isinstance(each, Observe) for each in world.log)
    (text,) = alarms(world)
    assert text == f"{FOUND}: compare failoverctl history on both, then failoverctl acknowledge VI_1"
    ticks(world, world.now + world.config.check_interval)
    elsewhere(world, "02:00:00:00:00:03", "192.0.2.9/32")
    found = Rival(since=first, until=world.now, gave_way=False, station="02:00:00:00:00:02", address="192.0.2.1")
    assert world.instance.rivals == (found,)
    assert world.instance.phase is Phase.ACTIVE, "it is an alarm only"
    assert len(alarms(world)) == 1, "an alarm for the whole of it"
    world.send(RivalsNoted(instance="VI_1"))
    assert (world.instance.rivals, world.instance.alarm) == ((), "")


def test_a_station_that_stays_is_one_rival_however_rare_the_checks() -> None:
    plain = config(resource("disk"), check_interval=600.0)
    world = World(config=plain)
    world.say(MASTER)
    world.settle()
    for _ in range(3):
        ticks(world, world.now + 600)
        elsewhere(world)
    assert len(world.instance.rivals) == 1


def test_the_station_of_a_rival_that_was_heard_is_recorded_with_it() -> None:
    world = serving(VIP)
    ticks(world, world.now)
    hear(world)
    elsewhere(world)
    hear(world)
    (rival,) = world.instance.rivals
    assert (rival.station, rival.address) == ("02:00:00:00:00:02", "192.0.2.1")


@pytest.mark.parametrize("word", [BACKUP, FAULT, VrrpState.STOP])
def test_a_station_that_has_the_vip_beside_a_standby_is_as_it_should_be(word: VrrpState) -> None:
    world = serving(VIP)
    world.say(word)
    world.settle()
    ticks(world, world.now + 60)
    world.log.clear()
    elsewhere(world)
    assert world.instance.rivals == ()
    assert [each for each in world.log if isinstance(each, Alarm | QueryVrrpState)] == []


def test_a_station_that_has_the_vip_in_an_election_may_give_way() -> None:
    world = serving(VIP)
    world.say(BACKUP)
    world.settle()
    world.say(MASTER)
    elsewhere(world)
    assert world.instance.rivals == ()


PEERS = ("right", "third")
BOTH = PeerWord(at=0.0, vrrp=MASTER, target=Target.ACTIVE, phase=Phase.ACTIVE)
GOES = PeerWord(at=0.0, vrrp=BACKUP, target=Target.STANDBY, phase=Phase.DEMOTING)
SAID = "right said by the heartbeat that it was MASTER too"
ACKNOWLEDGE = "compare failoverctl history on both, then failoverctl acknowledge VI_1"


def in_touch() -> World:
    """A MASTER for a minute that hears other nodes."""
    plain = config(resource("disk"))
    spec = replace(plain.instances["VI_1"], others=PEERS)
    world = World(replace(plain, instances={"VI_1": spec}, heartbeat=Heartbeat(node="left", peers=PEERS)))
    world.say(MASTER)
    world.settle()
    listen(world, 60, None)
    world.log.clear()
    return world


def listen(world: World, seconds: int, word: PeerWord | None, peer: str = "right", *, repeated: bool = True) -> None:
    """`peer` says this, and confirms it each second; None: it says nothing. `repeated`: the whole word each time."""
    for second in range(seconds):
        if word is not None:
            words = {"VI_1": replace(word, at=world.now)} if repeated or not second else {}
            world.send(PeerReported(peer=peer, at=world.now, words=words, whole=True))
        ticks(world, world.now + 1)


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.PROMOTING])
def test_another_node_that_says_that_it_is_master_too_is_a_rival(phase: Phase, repeated: bool) -> None:
    world = in_touch()
    word, first = replace(BOTH, phase=phase), world.now + rivals.SAID_AFTER_S
    listen(world, 70, word, repeated=repeated)
    (rival,) = world.instance.rivals
    assert (rival.since, rival.peer, rival.station, rival.gave_way) == (first, "right", "", False)
    assert rival.until >= first + 60, "it lasts for as long as the other one says it"
    assert alarms(world) == [f"{SAID}: {ACKNOWLEDGE}"], "an alarm for the whole of it"
    (started,) = [e for e in world.log if isinstance(e, TransitionStarted)]
    assert (started.target, started.cause) == (Target.ACTIVE, SAID)
    assert world.instance.phase is Phase.ACTIVE
    listen(world, 70, GOES)
    assert world.instance.rivals == (rival,), "it says something else"
    listen(world, 10, BOTH)
    assert len(world.instance.rivals) == 2
    world.send(RivalsNoted(instance="VI_1"))
    assert (world.instance.rivals, world.instance.alarm) == ((), "")


def test_at_the_first_word_of_a_rival_everything_is_checked_and_the_other_stations_are_asked() -> None:
    world = in_touch()
    listen(world, 6, BOTH)
    assert probes(world) == 1
    assert any(isinstance(each, QueryVrrpState) for each in world.log)
    assert any(isinstance(each, Observe) for each in world.log)
    world.log.clear()
    listen(world, 20, BOTH)
    assert probes(world) <= 1, "the periodic check is enough from then on"


def test_the_old_master_that_hears_the_new_one_first_records_nothing() -> None:
    """The word of the new one is here before keepalived's own report is."""
    world = in_touch()
    listen(world, 5, BOTH)
    world.say(BACKUP)
    world.settle()
    listen(world, 100, BOTH)
    assert world.instance.rivals == ()


def test_the_new_master_that_hears_the_old_one_give_way_records_nothing() -> None:
    world = in_touch()
    world.say(BACKUP)
    world.settle()
    listen(world, 100, BOTH)
    world.say(MASTER)
    world.settle()
    listen(world, 5, BOTH)
    listen(world, 60, GOES)
    assert world.instance.rivals == ()


@pytest.mark.parametrize("late", [False, True])
def test_the_last_word_of_a_dead_master_is_no_sign_whenever_it_comes(late: bool) -> None:
    world = in_touch()
    world.say(BACKUP)
    world.settle()
    listen(world, 100, BOTH)
    spoken = world.now
    world.say(MASTER)
    world.settle()
    listen(world, 2 if late else 60, None)
    if late:  # it was on the way
        ticks(world, world.now + 8)
        world.send(PeerReported(peer="right", at=spoken, words={"VI_1": replace(BOTH, at=spoken)}, whole=True))
        world.send(PeerReported(peer="third", at=world.now, whole=True))
    assert world.instance.rivals == ()


def test_a_node_that_was_silent_may_say_for_a_moment_that_it_is_still_master() -> None:
    """A machine that stood still goes on: its keepalived gives way at once."""
    world = in_touch()
    world.say(BACKUP)
    world.settle()
    listen(world, 10, BOTH)
    world.say(MASTER)
    world.settle()
    listen(world, 60, None)
    listen(world, 4, BOTH)
    listen(world, 60, GOES)
    assert world.instance.rivals == ()


def test_an_old_word_that_comes_after_a_silence_is_no_new_sign() -> None:
    world = in_touch()
    listen(world, 10, BOTH)
    known, old = world.instance.rivals, world.now - 5
    listen(world, 20, None)
    world.send(PeerReported(peer="right", at=old, words={"VI_1": replace(BOTH, at=old)}, whole=True))
    assert world.instance.rivals == known != ()


@pytest.mark.parametrize(
    "word",
    [
        replace(BOTH, vrrp=BACKUP),
        replace(BOTH, phase=Phase.REFUSED),
        replace(BOTH, phase=Phase.PROMOTING, clearance=Clearance.AWAITED),
    ],
)
def test_another_node_that_does_not_serve_as_master_is_none(word: PeerWord) -> None:
    world = in_touch()
    listen(world, 60, word)
    assert world.instance.rivals == ()


def test_a_node_that_the_instance_does_not_have_is_none() -> None:
    world = in_touch()
    spec = replace(world.instance.spec, others=("third",))
    world.reload(replace(world.config, instances={"VI_1": spec}))
    world.settle()
    listen(world, 60, BOTH)
    assert world.instance.rivals == ()


def test_the_word_names_the_rival_that_another_sign_has_found() -> None:
    world = in_touch()
    listen(world, 4, BOTH)
    hear(world)
    elsewhere(world)
    listen(world, 20, BOTH)
    (rival,) = world.instance.rivals
    assert (rival.station, rival.peer) == ("02:00:00:00:00:02", "right")
    assert alarms(world)[-1].startswith(f"{FOUND}, and {SAID}: ")


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
    world.log.clear()
    world.start()
    assert world.instance.phase is Phase.UNKNOWN
    assert [each.kind for each in world.log if isinstance(each, Alarm)] == [AlarmKind.DOUBLE_MASTER]
    world.settle()
    assert world.instance.rivals == known
    assert "another node was MASTER at the same time" in world.instance.alarm
    world.send(RivalsNoted(instance="VI_1"))
    world.send(Reloaded(config=world.config))
    assert world.instance.rivals == (), "once"


@pytest.mark.parametrize("restart", [False, True])
def test_it_is_remembered_while_the_instance_is_not_configured(restart: bool) -> None:
    world = serving()
    hear(world)
    known, configured = world.instance.rivals, world.config
    world.reload(Config(instances={}))
    if restart:
        world.start()
    world.reload(configured)
    assert world.instance.rivals == known
    world.send(RivalsNoted(instance="VI_1"))
    world.reload(Config(instances={}))
    world.reload(configured)
    assert world.instance.rivals == (), "once"
