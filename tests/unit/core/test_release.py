"""Refusals, mastership given away and taken back, guests that end by themselves, and the last resort."""

from __future__ import annotations

import pytest

from failoverd.core.events import (
    Alarm,
    Matter,
    Reboot,
    Reset,
    ResourceObserved,
    RunStep,
    Stirred,
    Track,
)
from failoverd.core.model import (
    Escalation,
    Level,
    Observation,
    OnFailure,
    OnRefused,
    Outcome,
    Phase,
    ResourceSpec,
    Restart,
    Target,
    Verb,
    VrrpState,
)
from failoverd.core.planner import worst_case
from tests.unit.core.world import World, config, resource

DISK, GUEST = ("VI_1", "disk"), ("VI_1", "guest")


def master(*resources: ResourceSpec, settle: bool = True, take_back_after: float | None = None) -> World:
    """A node that keepalived has just made MASTER."""
    world = World(config=config(*resources, take_back_after=take_back_after))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.say(VrrpState.MASTER)
    if settle:
        world.settle()
    return world


def refuse(world: World) -> None:
    """The disk's activation is refused; everything else that is under way goes on."""
    world.obstacles[DISK] = "it is old"
    all_but(world, DISK)
    world.end_step(DISK)


def all_but(world: World, last: tuple[str, str]) -> None:
    """All that is under way ends well, but for the step on `last`, which is begun."""
    while world.looks or set(world.steps) - {last}:
        if world.looks:
            world.end_look(next(iter(world.looks)))
        else:
            world.end_step(next(iter(set(world.steps) - {last})))
    assert last in world.steps


def look(world: World) -> None:
    while world.looks:
        world.end_look(next(iter(world.looks)))


def tracks(world: World) -> list[bool]:
    return [e.release for e in world.log if isinstance(e, Track)]


def see(world: World, obstacle: str) -> None:
    """Something about the disk stirs, and that is what is in its way now."""
    world.obstacles[DISK] = obstacle
    world.send(Stirred(instance="VI_1", resource="disk"))
    world.end_look(DISK)


# ---------------------------------------------------------------- refused


def test_a_refusal_is_not_tried_again_until_what_is_in_its_way_has_changed() -> None:
    world = master(resource("disk", retries=5), resource("guest", "disk"), settle=False)
    refuse(world)
    assert world.instance.phase is Phase.REFUSED
    assert world.instance.reason == "disk: it refused"
    assert [e.matter for e in world.log if isinstance(e, Alarm)] == [Matter.REFUSED]
    see(world, "it is old")
    assert world.instance.phase is Phase.REFUSED, "nothing has changed"
    see(world, "")
    assert set(world.steps) == {DISK}
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_a_refusal_and_a_failure_are_a_failure() -> None:
    world = master(resource("disk"), resource("guest", retries=0), settle=False)
    world.obstacles[DISK] = "it is old"
    look(world)
    world.end_step(GUEST, Outcome.FAILED, works=False)
    world.end_step(DISK)
    assert world.instance.phase is Phase.FAILED


def test_the_others_go_on_where_it_says_so() -> None:
    world = master(resource("disk", on_failure=OnFailure.CONTINUE), resource("guest"), settle=False)
    refuse(world)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert world.actual[GUEST] is Level.ACTIVE
    assert "disk: it refused" in world.instance.alarm


def test_hope_is_renewed_by_the_next_word_and_by_an_operator() -> None:
    world = master(resource("disk"), settle=False)
    refuse(world)
    world.obstacles.clear()
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


# ---------------------------------------------------------------- given away, and taken back


@pytest.mark.parametrize(
    ("outcome", "options"),
    [
        (Outcome.REFUSED, {"on_refused": OnRefused.RELEASE}),
        (Outcome.FAILED, {"on_failure": OnFailure.RELEASE}),
    ],
)
def test_mastership_is_given_away_and_what_had_begun_is_undone(outcome: Outcome, options: dict[str, object]) -> None:
    world = master(resource("disk", retries=0, **options), resource("guest"), settle=False)
    all_but(world, DISK)
    assert world.actual[GUEST] is Level.ACTIVE
    world.end_step(DISK, outcome, works=False)
    world.settle()
    assert tracks(world) == [True]
    assert world.instance.phase is Phase.REFUSED, "keepalived has not let go yet"
    assert set(world.actual.values()) == {Level.STANDBY}
    assert world.instance.alarm.startswith("mastership was given away: disk: ")
    assert [e.matter for e in world.log if isinstance(e, Alarm)] == [Matter.RELEASED]
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert "failoverctl reset VI_1 takes it back" in world.instance.reason
    assert [e.matter for e in world.log if isinstance(e, Alarm)] == [Matter.RELEASED], "said once"


@pytest.mark.parametrize(
    ("outcome", "options"),
    [
        (Outcome.REFUSED, {"on_failure": OnFailure.RELEASE}),
        (Outcome.FAILED, {"on_refused": OnRefused.RELEASE}),
        (Outcome.FAILED, {"on_failure": OnFailure.CONTINUE}),
    ],
)
def test_it_is_kept_where_nobody_said_so(outcome: Outcome, options: dict[str, object]) -> None:
    world = master(resource("disk", retries=0, **options), settle=False)
    all_but(world, DISK)
    world.end_step(DISK, outcome, works=False)
    world.settle()
    assert not tracks(world)


def test_who_gave_it_away_does_not_take_it_by_itself_when_keepalived_offers_it() -> None:
    world = released()
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert world.actual[DISK] is Level.STANDBY
    assert tracks(world) == [True]


def test_an_operator_takes_it_back() -> None:
    world = released()
    world.obstacles.clear()
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    assert tracks(world) == [True, False]
    world.say(VrrpState.BACKUP)
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_without_a_configured_time_it_is_never_taken_back() -> None:
    world = released()
    for _ in range(500):
        assert world.tick()
        world.settle()
    assert tracks(world) == [True]


def test_after_the_configured_time_a_sound_standby_takes_it_back() -> None:
    world = released(take_back_after=600.0)
    given = world.instance.released_at
    see(world, "it is old")
    while world.now < given + 900:
        assert tracks(world) == [True], "what was in its way still is"
        assert world.tick()
        world.settle()
    see(world, "")
    while tracks(world) == [True]:
        assert world.now < given + 1000
        assert world.tick()
        world.settle()
    assert world.now >= given + 600


def test_a_restart_remembers_that_it_was_given_away() -> None:
    world = released()
    world.start()
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert "an earlier failoverd" in world.instance.reason


def released(take_back_after: float | None = None) -> World:
    options = {"on_refused": OnRefused.RELEASE}
    world = master(resource("disk", **options), settle=False, take_back_after=take_back_after)
    refuse(world)
    world.settle()
    world.say(VrrpState.FAULT)
    world.settle()
    assert (world.instance.phase, tracks(world)) == (Phase.STANDBY, [True])
    return world


# ---------------------------------------------------------------- what ends by itself


def test_what_ends_by_itself_is_started_again_so_often_and_no_more() -> None:
    world = master(resource("guest", restart=Restart(max=3, within=600.0), on_failure=OnFailure.RELEASE))
    for _ in range(3):
        end(world)
        assert world.actual[GUEST] is Level.ACTIVE
    assert not tracks(world)
    world.actual[GUEST] = Level.FAILED
    world.send(Stirred(instance="VI_1", resource="guest"))
    world.end_look(GUEST)
    assert tracks(world) == [True]
    assert "ended by itself 4 times within 600 s" in world.instance.released


def test_what_ends_now_and_then_is_started_for_ever() -> None:
    world = master(resource("guest", restart=Restart(max=2, within=600.0)))
    for _ in range(10):
        end(world)
        world.now += 301.0
    assert world.instance.phase is Phase.ACTIVE


def test_without_a_limit_it_is_started_for_ever() -> None:
    world = master(resource("guest"))
    for _ in range(20):
        end(world)
    assert world.instance.phase is Phase.ACTIVE


def test_what_cannot_be_seen_has_not_ended() -> None:
    world = master(resource("guest", restart=Restart(max=0, within=600.0)))
    world.send(Stirred(instance="VI_1", resource="guest"))
    world.end_look(GUEST, Level.UNKNOWN)
    assert not world.instance.resources["guest"].ended


def end(world: World) -> None:
    world.actual[GUEST] = Level.STANDBY
    world.send(Stirred(instance="VI_1", resource="guest"))
    world.settle()


# ---------------------------------------------------------------- what stirs


def test_what_stirs_while_it_is_looked_at_is_looked_at_again() -> None:
    world = master(resource("disk"))
    world.send(Stirred(instance="VI_1", resource="disk"))
    first = world.looks[DISK]
    world.actual[DISK] = Level.STANDBY
    world.send(Stirred(instance="VI_1", resource="disk"))
    assert world.looks[DISK].look != first.look
    stale = Observation(level=Level.ACTIVE)
    world.send(ResourceObserved(instance="VI_1", resource="disk", look=first.look, seen=stale))
    assert DISK in world.looks, "the first look may have been too early"
    world.settle()
    assert world.actual[DISK] is Level.ACTIVE


def test_what_stirs_while_a_step_runs_is_seen_at_its_end() -> None:
    world = master(resource("disk"), settle=False)
    look(world)
    assert DISK in world.steps
    world.send(Stirred(instance="VI_1", resource="disk"))
    assert DISK not in world.looks


# ---------------------------------------------------------------- the last resort


@pytest.mark.parametrize("escalation", list(Escalation))
def test_what_cannot_be_stopped_escalates_once(escalation: Escalation) -> None:
    world = master(resource("guest", retries=1, escalation=escalation))
    world.say(VrrpState.BACKUP)
    look(world)
    world.end_step(GUEST, Outcome.TIMED_OUT, works=False)
    assert not reboots(world), "not before every rung was tried"
    while GUEST not in world.steps:
        assert world.tick()
    world.end_step(GUEST, Outcome.TIMED_OUT, works=False)
    for _ in range(20):
        world.tick()
        look(world)
    assert world.instance.phase is Phase.FAILED
    expected = ["guest cannot be stopped: it timed-out; observed active"] if escalation is Escalation.REBOOT else []
    assert reboots(world) == expected


def test_a_step_that_never_comes_back_escalates_too() -> None:
    world = master(resource("guest", escalation=Escalation.REBOOT))
    world.say(VrrpState.BACKUP)
    look(world)
    give_up = world.now + worst_case(world.instance.resources["guest"].spec, Verb.DEACTIVATE) + 60
    while not reboots(world):
        assert world.now < give_up
        assert world.tick()
        look(world)


def test_an_activation_that_fails_is_no_reason_to_reboot() -> None:
    world = master(resource("guest", retries=0, escalation=Escalation.REBOOT), settle=False)
    look(world)
    world.end_step(GUEST, Outcome.FAILED, works=False)
    assert world.instance.direction is Target.ACTIVE
    assert not reboots(world)
    assert not [e for e in world.log if isinstance(e, RunStep) and e.verb is Verb.DEACTIVATE]


def reboots(world: World) -> list[str]:
    return [e.reason for e in world.log if isinstance(e, Reboot)]
