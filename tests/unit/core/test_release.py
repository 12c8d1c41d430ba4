"""Refusals, mastership given away and taken back, guests that end by themselves, and the last resort."""

from __future__ import annotations

import itertools
import math

import pytest

from failoverd.core.effects import Alarm, AlarmKind, RunStep, TransitionEnded
from failoverd.core.events import Reloaded, ResourceChanged, ResourceObserved, ToolEnded, VrrpChanged
from failoverd.core.guards import MASTERSHIP_RELEASE_S
from failoverd.core.requests import MaintenanceBegun, MaintenanceEnded, Reset
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, ResourceSpec, Restart
from failoverd.core.words import (
    Escalation,
    Level,
    OnFailure,
    OnRefused,
    Outcome,
    Phase,
    Target,
    TransitionResult,
    Verb,
    VrrpState,
)
from tests.unit.core.world import VIP, World, config, resource

DISK, GUEST = ("VI_1", "disk"), ("VI_1", "guest")


def master(*resources: ResourceSpec, settle: bool = True, take_back_after: float = 0) -> World:
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
    return world.tracks


def see(world: World, obstacle: str) -> None:
    """Something about the disk stirs, and that is what is in its way now."""
    world.obstacles[DISK] = obstacle
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    world.end_look(DISK)


# ---------------------------------------------------------------- refused


def test_a_refusal_is_not_tried_again_until_what_is_in_its_way_has_changed() -> None:
    world = master(resource("disk", retries=5), resource("guest", "disk"), settle=False)
    refuse(world)
    assert world.instance.phase is Phase.REFUSED
    assert world.instance.reason == "disk: it refused"
    assert [e.kind for e in world.log if isinstance(e, Alarm)] == [AlarmKind.REFUSED]
    see(world, "it is old")
    assert world.instance.phase is Phase.REFUSED, "nothing has changed"
    see(world, "")
    assert set(world.steps) == {DISK}
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_a_refusal_for_what_nobody_sees_is_tried_again_at_a_slow_pace() -> None:
    world = master(resource("disk", retries=5), settle=False)
    look(world)
    began = world.now
    times = []
    for _ in range(12):
        while DISK not in world.steps:
            assert world.instance.phase is Phase.REFUSED
            assert world.tick()
            look(world)
        times.append(world.now - began)
        world.end_step(DISK, Outcome.REFUSED, works=False)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (10.0, 300.0)


def test_what_another_node_has_is_awaited_for_as_long_as_that_one_may_take_to_stop_everything() -> None:
    disk = resource("disk", stop_timeout=30.0, on_refused=OnRefused.RELEASE)
    world = master(disk, resource("guest", "disk", stop_timeout=90.0), settle=False)
    look(world)
    began = world.now
    while True:
        world.now += 20.0
        world.end_step(DISK, Outcome.IN_USE, works=False)
        if world.now - began >= (30 + 10) + (90 + 10):
            break
        assert (tracks(world), world.instance.phase) == ([], Phase.PROMOTING)
        while DISK not in world.steps:
            assert world.tick()
            look(world)
    assert tracks(world) == [True]


@pytest.mark.parametrize("backoff", [0.0, 300.0])
def test_what_another_node_has_is_asked_for_again_soon_and_not_at_once(backoff: float) -> None:
    world = master(resource("disk", backoff=backoff), settle=False)
    look(world)
    before = world.now
    world.end_step(DISK, Outcome.IN_USE, works=False)
    assert not world.steps
    while DISK not in world.steps:
        assert world.tick()
        look(world)
    assert world.now == before + 1.0


def test_a_standby_may_take_mastership_back_though_another_node_has_what_it_was_refused() -> None:
    disk = resource("disk", stop_timeout=1.0, on_refused=OnRefused.RELEASE)
    world = master(disk, settle=False, take_back_after=60.0)
    look(world)
    world.now += 20.0
    world.end_step(DISK, Outcome.IN_USE, works=False)
    assert tracks(world) == [True]
    released = world.now
    world.say(VrrpState.FAULT)
    world.settle()
    while tracks(world) == [True]:
        assert world.tick()
        look(world)
    assert world.now == pytest.approx(released + 60.0, abs=1.0)


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


def test_what_may_go_on_when_its_obstacle_has_passed_has_not_drifted() -> None:
    world = master(resource("disk", on_failure=OnFailure.CONTINUE), resource("guest"), settle=False)
    refuse(world)
    world.settle()
    world.log.clear()
    see(world, "")
    world.settle()
    assert world.actual[DISK] is Level.ACTIVE
    assert not [e for e in world.log if isinstance(e, Alarm)]


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
    assert world.instance.alarm.startswith("mastership was released: disk: ")
    assert [e.kind for e in world.log if isinstance(e, Alarm)] == [AlarmKind.RELEASED]
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert "to take back mastership: failoverctl reset VI_1" in world.instance.reason
    assert [e.kind for e in world.log if isinstance(e, Alarm)] == [AlarmKind.RELEASED], "said once"


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


def test_a_restart_remembers_that_it_was_given_away_why_and_since_when() -> None:
    world = released(take_back_after=600.0)
    world.obstacles.clear()
    given = world.instance.released_at
    while world.released:
        assert world.now < given + 700
        world.now += 50.0
        world.start()
        assert world.instance.released in ("", "disk: it refused")
        world.settle()
        while world.released and world.now < given + 600 and world.tick():
            world.settle()
    assert world.now >= given + 600
    assert world.instance.releases == 1, "how often in a row"


def released(take_back_after: float = 0) -> World:
    options = {"on_refused": OnRefused.RELEASE}
    world = master(resource("disk", **options), settle=False, take_back_after=take_back_after)
    refuse(world)
    world.settle()
    world.say(VrrpState.FAULT)
    world.settle()
    assert (world.instance.phase, tracks(world)) == (Phase.STANDBY, [True])
    return world


def test_a_failure_stays_said_when_a_reset_meets_a_vip_that_cannot_be_seen() -> None:
    world = World(config=config(resource("disk")))
    world.say(VrrpState.MASTER)
    world.move_vip(VIP, present=None)
    while world.instance.phase is not Phase.FAILED:
        world.end_look(next(iter(world.looks))) if world.looks else world.tick()
    world.reload(world.config)  # the VIP has its time once more
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    assert world.instance.phase is Phase.FAILED
    assert "cannot see whether" in world.instance.alarm


def test_a_refusal_stays_said_when_maintenance_ends_while_a_vip_cannot_be_seen() -> None:
    world = World(config=config(resource("disk")))
    world.obstacles["VI_1", "disk"] = "the data is old"
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    world.send(MaintenanceBegun(by="root", until=math.inf))
    world.move_vip(VIP, present=None)
    world.send(MaintenanceEnded(cause="root has ended the maintenance"))
    assert world.instance.phase is Phase.REFUSED
    assert "cannot see whether" in world.instance.alarm


# ---------------------------------------------------------------- what ends by itself


def test_what_ends_by_itself_is_started_again_so_often_and_no_more() -> None:
    world = master(resource("guest", restart=Restart(max=3, within=600.0), on_failure=OnFailure.RELEASE))
    for _ in range(3):
        end(world)
        assert world.actual[GUEST] is Level.ACTIVE
    assert not tracks(world)
    world.actual[GUEST] = Level.FAILED
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
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
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
    world.end_look(GUEST, Level.UNKNOWN)
    assert not world.instance.resources["guest"].ended


def end(world: World) -> None:
    world.actual[GUEST] = Level.STANDBY
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
    world.settle()


# ---------------------------------------------------------------- what stirs


def test_what_stirs_while_it_is_looked_at_is_looked_at_again() -> None:
    world = master(resource("disk"))
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    first = world.looks[DISK]
    world.actual[DISK] = Level.STANDBY
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    assert world.looks[DISK].look != first.look
    stale = Observation(level=Level.ACTIVE)
    world.send(ResourceObserved(instance="VI_1", resource="disk", look=first.look, seen=stale))
    assert DISK in world.looks, "the first look may have been too early"
    world.settle()
    assert world.actual[DISK] is Level.ACTIVE


def test_what_stirs_all_the_time_is_seen_all_the_same() -> None:
    """Each look takes longer than it takes until the next change."""
    world = master(resource("disk"))
    world.actual[DISK] = Level.FAILED
    asked = set()
    for _ in range(100):
        world.send(ResourceChanged(instance="VI_1", resource="disk"))
        asked.add(world.looks[DISK].look)
        world.now += 0.2
    assert 1 < len(asked) < 100, "in the end one is waited for"
    world.end_look(DISK)
    assert world.instance.resources["disk"].seen.level is Level.FAILED
    assert DISK in world.looks or DISK in world.steps, "and it is looked at once more"


def test_what_stirs_while_a_step_runs_is_seen_at_its_end() -> None:
    world = master(resource("disk"), settle=False)
    look(world)
    assert DISK in world.steps
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    assert DISK not in world.looks


# ---------------------------------------------------------------- the last resort


@pytest.mark.parametrize("escalation", list(Escalation))
def test_what_cannot_be_stopped_escalates(escalation: Escalation) -> None:
    world = master(resource("guest", retries=1, escalation=escalation))
    world.say(VrrpState.BACKUP)
    fail_to_stop(world)
    assert world.instance.phase is Phase.FAILED
    assert [e.kind for e in world.log if isinstance(e, Alarm)] == [AlarmKind.ESCALATED]
    expected = ["guest cannot be stopped: it timed-out; observed active"] if escalation is Escalation.REBOOT else []
    assert reboots(world) == expected
    world.say(VrrpState.MASTER)
    assert not reboots(world), "it may be active now"
    world.say(VrrpState.BACKUP)
    assert not reboots(world), "and its stop is tried again first"


def test_what_ends_all_the_same_is_no_reason_to_reboot_any_more() -> None:
    world = master(resource("guest", retries=1, escalation=Escalation.REBOOT))
    world.say(VrrpState.BACKUP)
    fail_to_stop(world)
    assert reboots(world)
    world.actual[GUEST] = Level.STANDBY
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
    look(world)
    assert not reboots(world)
    assert world.instance.phase is Phase.STANDBY


@pytest.mark.parametrize("was", [Level.ACTIVE, Level.STANDBY])
def test_a_sound_standby_that_cannot_be_looked_at_is_not_rebooted(was: Level) -> None:
    world = World(config=config(resource("guest", retries=1, escalation=Escalation.REBOOT)))
    world.actual[GUEST] = was
    look(world)
    world.actual[GUEST] = Level.UNKNOWN
    world.say(VrrpState.BACKUP)
    fail_to_stop(world)
    assert world.instance.phase is Phase.FAILED
    assert bool(reboots(world)) is (was is Level.ACTIVE)


def test_what_an_earlier_daemon_saw_active_is_rebooted_for_too() -> None:
    world = master(resource("guest", retries=1, escalation=Escalation.REBOOT))
    maybe_active = world.maybe_active()
    assert maybe_active == {GUEST}
    world.actual[GUEST] = Level.UNKNOWN
    world.start()
    world.say(VrrpState.BACKUP)
    fail_to_stop(world)
    assert reboots(world)


def test_a_stop_that_was_done_and_cannot_be_seen_is_no_reason_to_reboot() -> None:
    world = master(resource("guest", retries=1, escalation=Escalation.REBOOT))
    world.say(VrrpState.BACKUP)
    for _ in range(2):
        while GUEST not in world.steps:
            look(world)
            if GUEST not in world.steps:
                assert world.tick()
        world.end_step(GUEST, Outcome.DONE, seen=Level.UNKNOWN)
    assert world.instance.phase is Phase.FAILED
    assert not reboots(world)


def test_a_reload_in_the_middle_of_a_stop_makes_nothing_active() -> None:
    world = World(config=config(resource("guest", retries=1, escalation=Escalation.REBOOT)))
    world.actual[GUEST] = Level.UNKNOWN
    world.say(VrrpState.BACKUP)
    look(world)
    world.send(Reloaded(config=world.config))
    fail_to_stop(world, Outcome.FAILED)
    assert not reboots(world)


def test_what_crashes_again_and_again_is_started_with_a_pause() -> None:
    world = master(resource("guest"))
    world.log.clear()
    began = world.now
    while world.now < began + 600:
        end(world)
        world.tick()
    starts = [e for e in world.log if isinstance(e, RunStep)]
    assert 10 < len(starts) < 40


def test_that_no_tool_can_be_started_is_no_reason_to_reboot() -> None:
    world = master(resource("guest", retries=1, escalation=Escalation.REBOOT))
    world.say(VrrpState.BACKUP)
    fail_to_stop(world, Outcome.NOT_STARTED)
    assert world.instance.phase is Phase.FAILED
    assert not reboots(world)


@pytest.mark.parametrize(("verb", "kind"), [(Verb.ACTIVATE, AlarmKind.FAILED), (Verb.DEACTIVATE, AlarmKind.ESCALATED)])
def test_a_step_that_never_comes_back_is_an_alarm_and_no_reason_to_reboot(verb: Verb, kind: AlarmKind) -> None:
    world = master(resource("guest", escalation=Escalation.REBOOT), settle=verb is Verb.DEACTIVATE)
    if verb is Verb.ACTIVATE:
        look(world)
    world.say(VrrpState.BACKUP)
    look(world)
    assert world.steps[GUEST].verb is verb
    while world.instance.phase is not Phase.FAILED:
        assert world.tick()
        look(world)
    assert not reboots(world)
    assert [e.kind for e in world.log if isinstance(e, Alarm)] == [kind]


def fail_to_stop(world: World, outcome: Outcome = Outcome.TIMED_OUT) -> None:
    """Every attempt to deactivate the guest fails."""
    for _ in range(2):
        while GUEST not in world.steps:
            look(world)
            if GUEST not in world.steps:
                assert world.tick()
        assert world.steps[GUEST].verb is Verb.DEACTIVATE
        assert not reboots(world), "not before every rung was tried"
        world.end_step(GUEST, outcome, works=False)


def test_an_activation_that_fails_is_no_reason_to_reboot() -> None:
    world = master(resource("guest", retries=0, escalation=Escalation.REBOOT), settle=False)
    look(world)
    world.end_step(GUEST, Outcome.FAILED, works=False)
    assert world.instance.direction is Target.ACTIVE
    assert not reboots(world)
    assert not [e for e in world.log if isinstance(e, RunStep) and e.verb is Verb.DEACTIVATE]


def reboots(world: World) -> list[str]:
    return list(filter(None, [world.instance.unstoppable]))


# ---------------------------------------------------------------- tried again, for as long as it is wanted


@pytest.mark.parametrize("word", [VrrpState.MASTER, VrrpState.BACKUP])
def test_what_has_given_up_is_tried_again_at_a_slow_and_slower_pace(word: VrrpState) -> None:
    world = master(resource("guest", retries=0), settle=word is not VrrpState.MASTER)
    if word is not VrrpState.MASTER:
        world.say(word)
    tried: list[float] = []
    until = world.now + 3600
    while world.now < until:
        if world.steps:
            tried.append(world.now)
            world.end_step(GUEST, Outcome.FAILED, works=False)
            assert world.instance.phase is Phase.FAILED
        look(world)
        if not world.steps:
            world.tick()
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tried)]
    assert pauses[:7] == [10, 20, 40, 80, 160, 300, 300]
    assert len([e for e in world.log if isinstance(e, Alarm)]) == 1, "said once"


def test_what_has_given_up_is_tried_again_when_something_about_it_has_changed() -> None:
    world = master(resource("guest", retries=0), settle=False)
    look(world)
    for _ in range(6):
        while GUEST not in world.steps:
            assert world.tick()
            look(world)
        world.end_step(GUEST, Outcome.FAILED, works=False)
    world.now += 20.0
    assert not world.steps
    world.actual[GUEST] = Level.FAILED
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
    look(world)
    assert GUEST in world.steps
    world.end_step(GUEST, Outcome.FAILED, works=False)
    world.actual[GUEST] = Level.STANDBY
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
    look(world)
    assert GUEST not in world.steps, "but not at once again and again"
    world.settle()
    assert world.instance.phase is Phase.FAILED
    while GUEST not in world.steps:
        assert world.tick()
        look(world)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_what_hangs_is_not_tried_again_before_its_tool_has_ended() -> None:
    world = master(resource("guest", retries=0), settle=False)
    look(world)
    world.end_step(GUEST, Outcome.HUNG, works=False)
    for _ in range(100):
        world.tick()
        look(world)
    assert not world.steps
    world.send(ToolEnded(instance="VI_1", resource="guest"))
    look(world)
    assert set(world.steps) == {GUEST}, "its tool is gone: nothing is at work on it any more"
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_what_a_tool_that_hung_came_to_is_looked_at_also_when_all_has_settled() -> None:
    world = master(resource("guest", retries=0), settle=False)
    look(world)
    world.end_step(GUEST, Outcome.HUNG, works=False)
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    world.actual[GUEST] = Level.ACTIVE
    world.send(ToolEnded(instance="VI_1", resource="guest"))
    assert GUEST in world.looks
    world.settle()
    assert world.actual[GUEST] is Level.STANDBY


# ---------------------------------------------------------------- keepalived does not let go, or nobody else serves


def test_where_keepalived_does_not_let_go_it_is_said_and_tried_again_here() -> None:
    world = master(resource("disk", retries=0, on_failure=OnFailure.RELEASE), settle=False)
    look(world)
    world.end_step(DISK, Outcome.FAILED, works=False)
    world.settle()
    assert tracks(world) == [True]
    given = world.instance.released_at
    while "track_file" not in world.instance.alarm:
        assert world.tick()
        look(world)
        assert world.now <= given + 2.0
    assert "/run/failoverd/track/VI_1" in world.instance.reason
    while not world.steps:
        assert world.tick()
        look(world)
    assert world.now == given + 10.0
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert world.instance.phase is Phase.FAILED
    assert tracks(world) == [True], "another node may still take over"
    while world.released:
        assert world.tick()
        world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert tracks(world) == [True, False]


def test_where_keepalived_does_not_let_go_what_can_be_served_is_served() -> None:
    world = master(resource("disk", on_refused=OnRefused.RELEASE), resource("guest"), settle=False)
    refuse(world)
    for _ in range(20):
        world.settle()
        world.tick()
    assert world.actual[GUEST] is Level.ACTIVE
    assert tracks(world) == [True]
    assert "disk: it refused" in world.instance.alarm
    assert len([e for e in world.log if isinstance(e, Alarm) and e.kind is AlarmKind.RELEASED]) <= 3, (
        "and not at each look"
    )
    world.say(VrrpState.FAULT)
    world.settle()
    assert set(world.actual.values()) == {Level.STANDBY}


def test_what_may_fail_has_no_say_in_taking_back() -> None:
    options = {"on_failure": OnFailure.RELEASE, "retries": 0}
    may_fail = resource("disk", on_failure=OnFailure.CONTINUE)
    world = master(may_fail, resource("guest", **options), settle=False, take_back_after=60.0)
    world.obstacles[DISK] = "split brain"
    look(world)
    world.end_step(GUEST, Outcome.FAILED, works=False)
    world.settle()
    world.say(VrrpState.FAULT)
    world.settle()
    for _ in range(20):
        world.tick()
        world.settle()
    assert tracks(world) == [True, False]


@pytest.mark.parametrize("outcome", [Outcome.NOT_STARTED, Outcome.FAILED])
@pytest.mark.parametrize("level", [Level.UNKNOWN, Level.FAILED])
def test_what_failoverd_lacks_is_no_reason_to_give_up_what_is_active(level: Level, outcome: Outcome) -> None:
    world = master(resource("guest", retries=1, on_failure=OnFailure.RELEASE))
    world.actual[GUEST] = level
    world.send(ResourceChanged(instance="VI_1", resource="guest"))
    look(world)
    for _ in range(2):
        while GUEST not in world.steps:
            assert world.tick()
            look(world)
        world.end_step(GUEST, outcome, works=False)
    failed = outcome is Outcome.FAILED and level is Level.FAILED
    assert tracks(world) == ([True] if failed else [])


def test_the_cores_own_deadline_gives_nothing_away() -> None:
    world = master(resource("guest", on_failure=OnFailure.RELEASE), settle=False)
    look(world)
    while world.instance.phase is not Phase.FAILED:
        assert world.tick()
        look(world)
    assert not tracks(world)


def test_who_fails_again_and_again_leaves_it_to_the_others_for_longer_each_time() -> None:
    world = master(resource("disk", retries=0, on_failure=OnFailure.RELEASE), settle=False, take_back_after=60.0)
    away: list[float] = []
    for _ in range(9):
        look(world)
        world.end_step(DISK, Outcome.FAILED, works=False)
        given = world.now
        world.settle()
        world.say(VrrpState.FAULT)
        world.settle()
        while world.released:
            assert world.tick()
            look(world)
        away.append(round(world.now - given))
        world.say(VrrpState.BACKUP)
        world.settle()
        world.say(VrrpState.MASTER)
    assert away == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_what_gives_it_away_has_a_say_in_taking_back_also_where_the_others_go_on() -> None:
    disk = resource("disk", on_refused=OnRefused.RELEASE, on_failure=OnFailure.CONTINUE)
    world = master(disk, resource("guest"), settle=False, take_back_after=60.0)
    refuse(world)
    assert tracks(world) == [True]
    for _ in range(20):  # keepalived does not let go
        world.settle()
        assert world.tick()
    assert tracks(world) == [True]
    assert world.actual[GUEST] is Level.ACTIVE, "what can be served is served"
    world.say(VrrpState.FAULT)
    for _ in range(20):
        world.settle()
        assert world.tick()
    assert tracks(world) == [True], "it would be refused again"
    see(world, "")
    while world.released:
        world.settle()
        assert world.tick()


def test_who_serves_all_the_same_takes_it_back_at_once_but_not_again_and_again() -> None:
    world = master(resource("guest", retries=0, on_failure=OnFailure.RELEASE), take_back_after=60.0)
    away: list[float] = []
    for _ in range(4):
        world.actual[GUEST] = Level.FAILED
        world.send(ResourceChanged(instance="VI_1", resource="guest"))
        look(world)
        world.end_step(GUEST, Outcome.FAILED, works=False)
        given = world.now
        while world.released:
            assert world.tick()
            world.settle()
        away.append(round(world.now - given))
    assert away == [10, 120, 240, 480]


def test_what_was_given_away_is_no_transition_that_was_overtaken() -> None:
    world = master(resource("disk", retries=0, on_failure=OnFailure.RELEASE), resource("guest"), settle=False)
    all_but(world, DISK)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert GUEST in world.steps, "it is being undone"
    world.say(VrrpState.FAULT)
    endings = [(e.result, e.reason) for e in world.log if isinstance(e, TransitionEnded)]
    assert endings[-1] == (TransitionResult.RELEASED, "disk: it failed; observed standby")


@pytest.mark.parametrize("on_refused", list(OnRefused))
def test_a_master_whose_vip_does_not_come_gives_it_away_where_it_says_so(on_refused: OnRefused) -> None:
    world = World(config=config(resource("disk"), on_refused=on_refused))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.say(VrrpState.MASTER, vip=False)
    world.settle()
    assert tracks(world) == ([True] if on_refused is OnRefused.RELEASE else [])
    assert world.instance.phase is Phase.REFUSED
    assert "192.0.2.1/32 is not on eth0" in world.instance.alarm


def test_that_a_vip_cannot_be_seen_is_no_reason_to_give_mastership_away() -> None:
    world = World(config=config(resource("disk"), on_refused=OnRefused.RELEASE))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.move_vip(VIP, present=None)
    world.send(VrrpChanged(instance="VI_1", state=VrrpState.MASTER))
    for _ in range(10):
        world.tick()
        world.settle()
    assert not tracks(world)


def test_what_is_no_longer_followed_is_not_given_away_any_more_also_when_it_comes_back() -> None:
    world = released()
    world.start()
    assert world.instance.released, "an earlier daemon did it"
    configured = world.config
    world.reload(Config(instances={}))
    assert not world.released
    world.now += MASTERSHIP_RELEASE_S
    world.reload(configured)
    assert not world.instance.released


def test_what_is_configured_again_at_once_is_still_released() -> None:
    world = released()
    known = world.instance
    configured = world.config
    world.reload(Config(instances={}))
    world.now += MASTERSHIP_RELEASE_S - 1
    world.reload(configured)
    assert (world.instance.released, world.instance.released_at) == (known.released, known.released_at)
    assert (world.instance.releases, world.released) == (1, {"VI_1"})
    world.reload(configured)
    assert world.instance.released, "another reload changes nothing"


# ---------------------------------------------------------------- active without what may fail


def test_active_without_what_may_fail_is_partial_and_says_so() -> None:
    world = master(resource("disk", retries=0, on_failure=OnFailure.CONTINUE), resource("guest"), settle=False)
    all_but(world, DISK)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert world.instance.phase is Phase.ACTIVE
    assert world.instance.degraded == ("disk",)
    assert [e.result for e in world.log if isinstance(e, TransitionEnded)][-1] is TransitionResult.PARTIAL
    assert [e.kind for e in world.log if isinstance(e, Alarm)] == [AlarmKind.PARTIAL]
    while world.instance.degraded:
        assert world.tick()
        world.settle()
    assert [e.result for e in world.log if isinstance(e, TransitionEnded)][-1] is TransitionResult.ACTIVE
    assert not world.instance.alarm
