"""The stories of the transition table, told one by one; the interleavings are in test_properties.py."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from failoverd.core import events, machine, outcomes, requests
from failoverd.core.effects import Alarm, AlarmKind, Observe, RunStep, TransitionEnded, TransitionStarted
from failoverd.core.events import LowerPriorityAdvert, Reloaded, StepEnded, Tick, VrrpChanged, VrrpStateReported
from failoverd.core.requests import Reset
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, InstanceSpec, Vip
from failoverd.core.words import (
    Drift,
    Keepalived,
    Level,
    OnFailure,
    Outcome,
    Phase,
    Target,
    TransitionResult,
    Verb,
    VrrpState,
)
from tests.unit.core.world import VIP, World, config, resource

DISK, GUEST, ROUTE = ("VI_1", "disk"), ("VI_1", "guest"), ("VI_1", "route")
CHAIN = (resource("disk"), resource("guest", "disk"), resource("route", "guest"))


def standby(*resources: object, **options: object) -> World:
    """A node that has settled as standby."""
    world = World(config=config(*resources, **options))  # type: ignore[arg-type]
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    return world


def active(*resources: object, **options: object) -> World:
    world = standby(*resources, **options)
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    return world


def running(world: World) -> list[tuple[str, Verb]]:
    return [(name, step.verb) for (_, name), step in world.steps.items()]


NOWHERE = {"instance": "VI_1", "resource": "gone"}
NOBODY = {"instance": "VI_GONE", "resource": "bird"}
UP = Observation(level=Level.ACTIVE)


@pytest.mark.parametrize(
    "event",
    [
        events.VrrpChanged(instance="VI_GONE", state=VrrpState.MASTER),
        events.LowerPriorityAdvert(instance="VI_GONE"),
        events.VrrpStateReported(instance="VI_GONE", words=0, dbus=VrrpState.MASTER, stored=None),
        events.VipsSeen(present={Vip(address="192.0.2.99", interface="eth9"): True}),
        events.KeepalivedSeen(instances=frozenset({"VI_GONE"}), condition=Keepalived.GONE),
        requests.Reset(instance="VI_GONE", cause="an operator"),
        requests.Acknowledged(instance="VI_GONE"),
        requests.RivalsNoted(instance="VI_GONE"),
        events.VipElsewhere(instance="VI_GONE", vip=VIP, station="02:00:00:00:00:02"),
        *(events.ResourceObserved(**names, look=1, seen=UP) for names in (NOWHERE, NOBODY)),
        *(events.StepEnded(**names, step=1, outcome=Outcome.DONE, reason="", seen=UP) for names in (NOWHERE, NOBODY)),
        *(events.ResourceChanged(**names) for names in (NOWHERE, NOBODY)),
        *(events.ToolEnded(**names) for names in (NOWHERE, NOBODY)),
        events.Tick(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_is_not_configured_concerns_no_instance(event: events.Event) -> None:
    world = active(*CHAIN)
    state, effects = machine.advance(world.state, event, world.now)
    assert (state.agenda.touched, state.instances, effects) == ((), world.state.instances, ())


def test_promotion_follows_needs_and_demotion_is_its_mirror() -> None:
    world = standby(*CHAIN)
    world.log.clear()
    world.say(VrrpState.MASTER)
    world.settle()
    world.say(VrrpState.BACKUP)
    world.settle()
    steps = [(e.verb, e.resource) for e in world.log if isinstance(e, RunStep)]
    assert steps == [
        (Verb.ACTIVATE, "disk"),
        (Verb.ACTIVATE, "guest"),
        (Verb.ACTIVATE, "route"),
        (Verb.DEACTIVATE, "route"),
        (Verb.DEACTIVATE, "guest"),
        (Verb.DEACTIVATE, "disk"),
    ]


def test_independent_resources_move_in_parallel() -> None:
    world = standby(*(resource(f"r{n}") for n in range(100)))
    world.say(VrrpState.MASTER)
    assert len(world.steps) == 100


def test_the_node_runs_no_more_steps_than_it_is_told() -> None:
    world = standby(*(resource(f"r{n}") for n in range(10)), parallel=3)
    world.say(VrrpState.MASTER)
    assert len(world.steps) == 3
    world.end_step(next(iter(world.steps)))
    assert len(world.steps) == 3
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


@pytest.mark.parametrize("word", [w for w in VrrpState if w is not VrrpState.MASTER])
def test_every_other_word_asks_for_standby(word: VrrpState) -> None:
    world = active(*CHAIN)
    world.say(word)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert set(world.actual.values()) == {Level.STANDBY}


def test_backup_in_the_middle_of_a_promotion_awaits_the_step_and_undoes_it() -> None:
    world = standby(*CHAIN)
    world.say(VrrpState.MASTER)
    world.end_step(DISK)
    assert running(world) == [("guest", Verb.ACTIVATE)]
    world.say(VrrpState.BACKUP)
    assert running(world) == [("guest", Verb.ACTIVATE)], "neither killed nor overlapped"
    world.end_look(ROUTE)  # it was never touched; it is confirmed before what it needs may go
    world.end_step(GUEST)
    assert running(world) == [("guest", Verb.DEACTIVATE)]
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    endings = [e.result for e in world.log if isinstance(e, TransitionEnded)]
    assert endings[-2:] == [TransitionResult.OVERTAKEN, TransitionResult.STANDBY]


def test_fifty_flaps_end_where_the_last_word_says() -> None:
    world = standby(*CHAIN)
    for _ in range(50):
        world.say(VrrpState.MASTER)
        world.say(VrrpState.BACKUP)
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert set(world.actual.values()) == {Level.ACTIVE}


def test_a_failed_step_is_tried_again_later_and_then_given_up() -> None:
    world = standby(resource("disk", retries=2, backoff=1.0))
    world.say(VrrpState.MASTER)
    starts = [world.now]
    for _ in range(2):
        world.end_step(DISK, Outcome.FAILED, works=False)
        assert not world.steps
        assert world.instance.phase is Phase.PROMOTING
        assert "it failed" in world.instance.reason
        while not world.steps:
            assert world.tick()
        starts.append(world.now)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert world.instance.phase is Phase.FAILED
    assert world.instance.alarm == "disk: it failed; observed standby"
    assert [after - before for before, after in itertools.pairwise(starts)] == [1.0, 2.0]


def test_a_failure_stops_the_others_or_does_not() -> None:
    for choice, expected, phase in (
        (OnFailure.STOP, Level.STANDBY, Phase.FAILED),
        (OnFailure.CONTINUE, Level.ACTIVE, Phase.ACTIVE),
    ):
        world = standby(resource("web", retries=0, on_failure=choice), *CHAIN)
        world.say(VrrpState.MASTER)
        world.end_step(("VI_1", "web"), Outcome.FAILED, works=False)
        world.settle()
        assert world.actual[ROUTE] is expected
        assert world.instance.phase is phase
        assert world.instance.alarm.startswith("web: it failed")


def test_what_was_observed_is_believed_not_the_outcome() -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, Outcome.TIMED_OUT)
    assert world.instance.phase is Phase.ACTIVE
    world.say(VrrpState.BACKUP)
    world.end_step(DISK, Outcome.DONE, works=False)
    assert world.instance.phase is Phase.DEMOTING


def test_an_unknown_level_is_neither_up_nor_down() -> None:
    world = standby(resource("disk", retries=0), resource("guest", "disk", retries=0))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, seen=Level.UNKNOWN)
    assert running(world) == []
    assert world.instance.phase is Phase.FAILED, "not up: what needs it does not start"
    world.say(VrrpState.BACKUP)
    world.end_look(GUEST)
    assert running(world) == [("disk", Verb.DEACTIVATE)], "not down: it is stopped"


def test_a_hung_tool_is_not_tried_again() -> None:
    world = standby(resource("disk", retries=5))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, Outcome.HUNG, works=False)
    assert world.instance.phase is Phase.FAILED


def test_a_step_that_never_comes_back_does_not_keep_the_node_from_settling() -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER)
    while world.instance.phase is Phase.PROMOTING:
        assert world.tick()
    assert world.instance.phase is Phase.FAILED
    assert "did not end by its deadline" in world.instance.alarm
    world.say(VrrpState.BACKUP)
    assert running(world) == [("disk", Verb.ACTIVATE)], "nothing is started on top of it"
    world.end_step(DISK)
    assert running(world) == [("disk", Verb.DEACTIVATE)]


def test_what_was_given_up_for_an_activation_is_stopped_when_that_comes_back_late() -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER)
    world.say(VrrpState.BACKUP)
    while world.instance.phase is Phase.DEMOTING:
        assert world.tick()
    assert "its activate step did not end by its deadline" in world.instance.alarm
    world.end_step(DISK)
    assert running(world) == [("disk", Verb.DEACTIVATE)]


def test_an_answer_that_nobody_asked_for_is_our_bug_and_changes_nothing() -> None:
    world = standby(resource("disk"))
    before = world.state
    event = StepEnded(
        instance="VI_1",
        resource="disk",
        step=999,
        outcome=Outcome.DONE,
        reason="",
        seen=Observation(level=Level.ACTIVE),
    )
    with pytest.raises(outcomes.IllegalEvent):
        machine.advance(before, event, world.now)
    assert world.state is before


# ---------------------------------------------------------------- the VIP


def test_master_waits_for_the_vip_and_is_refused_without() -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER, vip=False)
    assert world.instance.phase is Phase.PROMOTING
    assert world.instance.reason == "waiting: 192.0.2.1/32 is not on eth0"
    assert not world.steps
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert world.instance.alarm == "MASTER, but 192.0.2.1/32 is not on eth0"
    world.move_vip(VIP, present=True)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_a_vip_that_goes_has_time_to_come_back() -> None:
    world = active(resource("disk"))
    world.move_vip(VIP, present=False)
    assert world.instance.phase is Phase.ACTIVE
    world.move_vip(VIP, present=True)
    assert world.instance.phase is Phase.ACTIVE
    world.move_vip(VIP, present=False)
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert world.actual[DISK] is Level.STANDBY


def test_a_vip_that_cannot_be_seen_promotes_nothing_and_undoes_nothing() -> None:
    world = standby(resource("disk"))
    world.move_vip(VIP, present=None)
    world.send(VrrpChanged(instance="VI_1", state=VrrpState.MASTER))
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert world.instance.alarm.startswith("MASTER, but cannot see whether 192.0.2.1/32 is on eth0")

    world = active(resource("disk"))
    world.move_vip(VIP, present=None)
    assert not world.instance.alarm
    while not world.instance.alarm:
        assert world.tick()
    assert world.instance.phase is Phase.ACTIVE
    assert not world.steps
    world.move_vip(VIP, present=False)
    world.settle()
    assert world.instance.phase is Phase.REFUSED


def test_what_drifts_while_the_vip_cannot_be_seen_is_not_called_active() -> None:
    world = active(resource("disk"))
    world.move_vip(VIP, present=None)
    world.actual[DISK] = Level.STANDBY
    world.send(Reset(instance="VI_1", cause="root asked for a reset"))
    while world.looks:
        world.end_look(next(iter(world.looks)))
    assert world.instance.phase is Phase.PROMOTING
    assert not world.steps  # nothing is promoted where the VIP cannot be seen
    while not world.instance.alarm:
        assert world.tick()
    assert world.instance.phase is Phase.FAILED
    world.move_vip(VIP, present=True)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert world.actual[DISK] is Level.ACTIVE


def test_a_vip_that_stays_after_backup_is_said_aloud() -> None:
    world = active(resource("disk"))
    world.say(VrrpState.BACKUP, vip=True)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    while not world.instance.alarm:
        assert world.tick()
    assert world.instance.alarm == "BACKUP, but 192.0.2.1/32 is still on eth0"


def test_an_instance_without_vips_is_believed_at_once() -> None:
    world = standby(resource("disk"), vips=())
    world.say(VrrpState.MASTER)
    assert running(world) == [("disk", Verb.ACTIVATE)]


# ---------------------------------------------------------------- keepalived itself


def test_a_keepalived_that_was_killed_leaves_a_fault_and_no_active_resource() -> None:
    world = active(*CHAIN)
    world.see_keepalived(Keepalived.GONE)
    world.settle()
    assert world.instance.phase is Phase.FAILED
    assert "keepalived is gone and 192.0.2.1/32 is still on eth0" in world.instance.alarm
    assert set(world.actual.values()) == {Level.STANDBY}
    world.see_keepalived(Keepalived.RUNNING)
    world.settle()
    assert world.instance.phase is Phase.STANDBY, "the dead one's word does not bind the new one"
    assert world.instance.vrrp is None
    assert not world.instance.alarm
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.instance.phase is Phase.STANDBY


def test_a_frozen_keepalived_is_refused_until_it_goes_on() -> None:
    world = active(resource("disk"))
    for condition, phase in ((Keepalived.STOPPED, Phase.REFUSED), (Keepalived.RUNNING, Phase.ACTIVE)):
        world.see_keepalived(condition)
        world.settle()
        assert world.instance.phase is phase


def test_a_keepalived_that_speaks_for_another_instance_is_nothing_to_this_one() -> None:
    one = config(resource("disk"))
    other = InstanceSpec(name="VI_2", resources={"web": resource("web", instance="VI_2")})
    world = World(config=replace(one, instances={**one.instances, "VI_2": other}))
    for name in world.config.instances:
        world.say(VrrpState.MASTER, name)
    world.settle()
    for condition in (Keepalived.STOPPED, Keepalived.RUNNING, Keepalived.GONE):
        before = world.instance
        world.see_keepalived(condition, "VI_2")
        world.settle()
        assert world.instance == before
    assert world.actual == {("VI_1", "disk"): Level.ACTIVE, ("VI_2", "web"): Level.STANDBY}


def test_a_reassertion_verifies_everything() -> None:
    world = active(*CHAIN)
    world.actual[GUEST] = Level.STANDBY
    world.send(LowerPriorityAdvert(instance="VI_1"))
    assert set(world.looks) == {DISK, GUEST, ROUTE}
    world.settle()
    assert world.actual[GUEST] is Level.ACTIVE


# ---------------------------------------------------------------- truth at start, drift, reload


@pytest.mark.parametrize(
    ("dbus", "stored", "vip", "phase"),
    [
        (VrrpState.MASTER, None, True, Phase.ACTIVE),
        (VrrpState.MASTER, VrrpState.BACKUP, True, Phase.ACTIVE),
        (VrrpState.MASTER, None, False, Phase.REFUSED),
        (VrrpState.BACKUP, VrrpState.MASTER, False, Phase.STANDBY),
        (VrrpState.BACKUP, VrrpState.MASTER, True, Phase.STANDBY),
        (None, VrrpState.MASTER, True, Phase.ACTIVE),
        (None, VrrpState.MASTER, False, Phase.REFUSED),
        (None, VrrpState.BACKUP, False, Phase.STANDBY),
        (None, VrrpState.BACKUP, True, Phase.STANDBY),
        (None, None, True, Phase.UNKNOWN),
        (None, None, False, Phase.UNKNOWN),
    ],
)
def test_the_truth_at_start(dbus: VrrpState | None, stored: VrrpState | None, vip: bool, phase: Phase) -> None:
    world = World(config=config(resource("disk")), vips={VIP: vip})
    world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=dbus, stored=stored))
    world.questions.clear()
    world.settle()
    assert world.instance.phase is phase
    if phase is Phase.UNKNOWN:
        assert ("keepalived has reported nothing" if vip else "waiting for an event") in world.instance.reason
        assert not any(isinstance(e, RunStep) for e in world.log), "it watches and does nothing"


@pytest.mark.parametrize(
    ("booted", "vip", "phase"),
    [
        (True, False, Phase.STANDBY),
        (False, False, Phase.UNKNOWN),  # a mere restart
        (True, True, Phase.UNKNOWN),
        (True, None, Phase.UNKNOWN),  # not seen is not absent
    ],
)
def test_a_boot_without_a_word_and_without_the_vip_is_a_standby(booted: bool, vip: bool | None, phase: Phase) -> None:
    world = World(config=config(*CHAIN), vips={VIP: vip})
    world.actual[DISK] = world.actual[GUEST] = Level.ACTIVE  # something else started them at boot
    world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=None, stored=None, booted=booted))
    world.questions.clear()
    world.settle()
    assert world.instance.phase is phase
    stopped = [e.resource for e in world.log if isinstance(e, RunStep) and e.verb is Verb.DEACTIVATE]
    assert stopped == (["guest", "disk"] if phase is Phase.STANDBY else [])
    if phase is Phase.STANDBY:
        assert "booted" in world.instance.reason
        world.say(VrrpState.MASTER)
        world.settle()
        assert world.instance.phase is Phase.ACTIVE, "keepalived's first word goes before"


def test_a_boot_without_vips_has_nothing_to_go_by() -> None:
    world = World(config=config(resource("disk"), vips=()))
    world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=None, stored=None, booted=True))
    world.questions.clear()
    world.settle()
    assert world.instance.phase is Phase.UNKNOWN


@pytest.mark.parametrize("known", [True, False], ids=["active", "unknown"])
def test_a_doubt_is_an_alarm_for_as_long_as_it_stands(known: bool) -> None:
    world = active(resource("disk")) if known else World(config=config(resource("disk")))
    phase = world.instance.phase
    for _ in range(2):
        told = VrrpStateReported(
            instance="VI_1", words=world.instance.words, dbus=None, stored=None, said="it has VI_X", doubt="no VI_1"
        )
        world.send(told)
    assert (world.instance.phase, world.instance.alarm) == (phase, "no VI_1")
    assert [e.text for e in world.log if isinstance(e, Alarm)] == ["no VI_1"]
    assert ("it has VI_X" in world.instance.reason) is not known
    world.send(VrrpStateReported(instance="VI_1", words=-1, dbus=None, stored=None))
    assert world.instance.alarm == ""
    assert world.instance.phase is phase


def test_an_instance_that_keepalived_has_no_more_is_a_standby() -> None:
    world = active(*CHAIN)
    told = VrrpStateReported(
        instance="VI_1",
        words=world.instance.words,
        dbus=VrrpState.DELETED,
        stored=None,
        said="it is gone",
        doubt="gone",
    )
    world.send(told)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert set(world.actual.values()) == {Level.STANDBY}


def test_a_reset_tries_again_what_has_given_up() -> None:
    world = standby(resource("disk", retries=0), resource("guest", "disk"))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, Outcome.FAILED, works=False)
    world.settle()
    assert world.instance.phase is Phase.FAILED
    world.send(Reset(instance="VI_1", cause="alice asked for a reset"))
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert [e.cause for e in world.log if isinstance(e, TransitionStarted)][-1] == "alice asked for a reset"


def test_a_reset_of_what_is_well_only_looks() -> None:
    world = active(*CHAIN)
    world.log.clear()
    world.send(Reset(instance="VI_1", cause="alice asked for a reset"))
    assert set(world.looks) == {DISK, GUEST, ROUTE}
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert not any(isinstance(e, RunStep | TransitionStarted) for e in world.log)


def test_a_reset_does_not_overrule_a_guard() -> None:
    world = active(*CHAIN)
    world.see_keepalived(Keepalived.GONE)
    world.settle()
    world.send(Reset(instance="VI_1", cause="alice asked for a reset"))
    world.settle()
    assert set(world.actual.values()) == {Level.STANDBY}


# ---------------------------------------------------------------- what an alarm is about


def matters(world: World) -> list[AlarmKind]:
    return [e.kind for e in world.log if isinstance(e, Alarm)]


def test_an_alarm_says_whether_it_is_a_failure_or_an_escalation() -> None:
    world = standby(resource("disk", retries=0))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert matters(world) == [AlarmKind.FAILED]
    world = active(resource("disk", retries=0))
    world.say(VrrpState.BACKUP)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert matters(world) == [AlarmKind.ESCALATED]


def test_an_alarm_says_that_mastership_was_refused() -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER, vip=False)
    while world.instance.phase is not Phase.REFUSED:
        assert world.tick()
        world.settle()
    assert matters(world) == [AlarmKind.REFUSED]


def test_an_alarm_says_that_a_resource_has_drifted() -> None:
    world = active(*CHAIN)
    world.actual[ROUTE] = Level.STANDBY
    world.log.clear()
    while not world.looks:
        assert world.tick()
    world.settle()
    assert matters(world) == [AlarmKind.DRIFT]


def test_an_alarm_says_that_a_dead_keepalived_left_its_vip() -> None:
    world = active(resource("disk"))
    world.see_keepalived(Keepalived.GONE)
    world.settle()
    assert matters(world) == [AlarmKind.DOUBLE_MASTER]


def test_an_answer_older_than_the_last_word_is_void() -> None:
    world = standby(resource("disk"))
    asked = world.instance.words
    world.say(VrrpState.MASTER)
    world.send(VrrpStateReported(instance="VI_1", words=asked, dbus=VrrpState.BACKUP, stored=None))
    assert world.instance.target is Target.ACTIVE
    world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=VrrpState.BACKUP, stored=None))
    assert world.instance.target is Target.STANDBY


def test_drift_is_seen_and_mended() -> None:
    world = active(*CHAIN)
    world.actual[ROUTE] = Level.STANDBY
    world.log.clear()
    while not world.looks:
        assert world.tick()
    world.settle()
    assert world.actual[ROUTE] is Level.ACTIVE
    causes = [e.cause for e in world.log if isinstance(e, TransitionStarted)]
    assert causes == ["route was observed standby"]


def test_a_resource_is_looked_at_at_an_interval_of_its_own() -> None:
    world = active(resource("disk"), resource("often", check_interval=7.0), resource("seldom", check_interval=100.0))
    began, looks = world.now, dict[str, list[float]]()
    world.log.clear()
    while world.now < began + 205:
        world.settle()
        for effect in world.log:
            if isinstance(effect, Observe):
                looks.setdefault(effect.resource, []).append(world.now - began)
        world.log.clear()
        assert world.tick()
    gaps = {name: {late - early for early, late in itertools.pairwise(times)} for name, times in looks.items()}
    assert gaps == {"disk": {30.0}, "often": {7.0}, "seldom": {100.0}}


def looked_at(world: World) -> World:
    """It is looked at once more, and what comes of that has settled."""
    while not world.looks:
        assert world.tick()
    world.settle()
    return world


@pytest.mark.parametrize("level", [Level.STANDBY, Level.FAILED, Level.UNKNOWN])
@pytest.mark.parametrize("on_failure", OnFailure)
def test_drift_that_is_only_reported_is_left_so(level: Level, on_failure: OnFailure) -> None:
    """Two nodes that are MASTER do not take an address from each other every 30 s for ever."""
    world = active(resource("disk"), resource("claim", drift=Drift.REPORT, on_failure=on_failure))
    world.log.clear()
    world.actual["VI_1", "claim"] = level
    for _ in range(20):
        looked_at(world)
    assert matters(world) == [AlarmKind.DRIFT]
    assert not [effect for effect in world.log if isinstance(effect, RunStep | TransitionStarted)]
    assert (world.instance.phase, world.instance.degraded) == (Phase.ACTIVE, ("claim",))
    assert world.instance.reason == (
        f'claim: it is {level.value}, and stays so (drift = "report"); to activate it: failoverctl reset VI_1'
    )
    world.actual["VI_1", "claim"] = Level.ACTIVE
    looked_at(world)
    assert (world.instance.phase, world.instance.alarm, world.instance.degraded) == (Phase.ACTIVE, "", ())


def test_drift_of_a_standby_that_is_only_reported_is_left_so() -> None:
    """An outage of who is asked for it has nobody act at once."""
    world = standby(resource("claim", drift=Drift.REPORT))
    world.log.clear()
    world.actual["VI_1", "claim"] = Level.UNKNOWN
    for _ in range(20):
        looked_at(world)
    assert matters(world) == [AlarmKind.DRIFT]
    assert not [effect for effect in world.log if isinstance(effect, RunStep)]
    assert world.instance.phase is Phase.FAILED
    world.actual["VI_1", "claim"] = Level.STANDBY
    looked_at(world)
    assert (world.instance.phase, world.instance.alarm) == (Phase.STANDBY, "")


@pytest.mark.parametrize(
    "event", [VrrpChanged(instance="VI_1", state=VrrpState.MASTER), Reset(instance="VI_1", cause="me")]
)
def test_drift_that_is_only_reported_is_mended_when_somebody_says_so(event: events.Event) -> None:
    world = active(resource("claim", drift=Drift.REPORT))
    world.actual["VI_1", "claim"] = Level.STANDBY
    looked_at(world)
    world.send(LowerPriorityAdvert(instance="VI_1"))  # which two MASTERs do all the time
    world.send(events.ToolEnded(instance="VI_1", resource="claim"))
    looked_at(world)
    assert world.actual["VI_1", "claim"] is Level.STANDBY
    world.send(event)
    world.settle()
    assert world.actual["VI_1", "claim"] is Level.ACTIVE
    assert (world.instance.phase, world.instance.degraded) == (Phase.ACTIVE, ())
    assert "claim" not in world.instance.alarm


@pytest.mark.parametrize("word", [VrrpState.MASTER, VrrpState.BACKUP])
def test_what_was_not_left_so_is_no_drift(word: VrrpState) -> None:
    """Its step failed, and comes to something late: then keepalived says that it should be otherwise."""
    other = VrrpState.BACKUP if word is VrrpState.MASTER else VrrpState.MASTER
    world = World(config=config(resource("claim", drift=Drift.REPORT, retries=0)))
    world.say(word)
    world.settle()
    world.say(other)
    for key in list(world.looks):
        world.end_look(key)
    world.end_step(("VI_1", "claim"), Outcome.TIMED_OUT, works=False)
    wanted = world.actual["VI_1", "claim"]
    world.actual["VI_1", "claim"] = Level.ACTIVE if wanted is Level.STANDBY else Level.STANDBY
    world.say(word)
    world.settle()
    assert world.actual["VI_1", "claim"] is wanted
    assert world.instance.phase is (Phase.ACTIVE if word is VrrpState.MASTER else Phase.STANDBY)


def test_what_has_drifted_unseen_is_mended_when_somebody_says_so() -> None:
    world = active(resource("claim", drift=Drift.REPORT))
    world.actual["VI_1", "claim"] = Level.STANDBY
    world.send(Reset(instance="VI_1", cause="me"))
    world.settle()
    assert world.actual["VI_1", "claim"] is Level.ACTIVE


def test_a_look_that_never_comes_back_is_drift_too() -> None:
    world = active(resource("claim", drift=Drift.REPORT))
    while not world.looks:
        assert world.tick()
    world.now += 3600
    world.send(Tick())
    assert not world.steps
    assert "stays so" in world.instance.reason


def test_a_crash_in_the_middle_of_a_promotion_ends_as_if_there_had_been_none() -> None:
    for done in range(4):
        world = standby(*CHAIN)
        world.say(VrrpState.MASTER)
        for _ in range(done):
            world.end_step(next(iter(world.steps)))
        world.start()
        world.settle()
        assert world.instance.phase is Phase.ACTIVE
        assert set(world.actual.values()) == {Level.ACTIVE}


def test_a_daemon_that_has_just_started_looks_before_it_acts() -> None:
    world = active(*CHAIN)
    world.start()
    world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=None, stored=VrrpState.MASTER))
    assert not world.steps
    world.log.clear()
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert not any(isinstance(e, RunStep) for e in world.log), "a restart changes no resource"


def test_a_reload_looks_at_everything_and_renews_hope() -> None:
    world = standby(resource("disk", retries=0))
    world.say(VrrpState.MASTER)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert world.instance.phase is Phase.FAILED
    world.send(Reloaded(config=world.config))
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_a_reload_may_add_and_remove() -> None:
    world = active(*CHAIN)
    smaller = config(resource("disk"), resource("extra"))
    world.actual["VI_1", "extra"] = Level.STANDBY
    world.send(Reloaded(config=smaller))
    world.config = smaller
    world.looks = {key: look for key, look in world.looks.items() if key[1] in ("disk", "extra")}
    world.settle()
    assert set(world.instance.resources) == {"disk", "extra"}
    assert world.actual["VI_1", "extra"] is Level.ACTIVE
    world.send(Reloaded(config=Config(instances={})))
    assert not world.state.instances


def test_the_answer_for_what_was_removed_has_it_looked_at() -> None:
    world = standby(*CHAIN)
    world.say(VrrpState.MASTER)
    step = world.steps[DISK]
    world.steps.clear()
    world.send(Reloaded(config=replace(world.config, instances={})))
    event = StepEnded(
        instance="VI_1",
        resource="disk",
        step=step.step,
        outcome=Outcome.DONE,
        reason="",
        seen=Observation(level=Level.ACTIVE),
    )
    assert [type(effect) for effect in world.send(event)] == [Observe]


def test_drift_that_is_found_while_others_are_looked_at_is_no_failure() -> None:
    """After a reload the disk is seen active before anything is known of the guest, which needs it."""
    world = standby(resource("disk"), resource("guest", "disk"))
    world.send(Reloaded(config=world.config))
    world.actual[DISK] = Level.ACTIVE
    world.log.clear()
    world.end_look(DISK)
    assert world.instance.phase is Phase.DEMOTING
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert [effect.kind for effect in world.log if isinstance(effect, Alarm)] == [AlarmKind.DRIFT]


def test_an_answer_asked_for_an_instance_of_the_same_name_is_void() -> None:
    """It was taken out of the configuration and put back: nothing that is on its way for the one is for the other."""
    world = World(config=config(resource("disk"), vips=()))
    (asked, *_) = world.questions
    world.reload(Config(instances={}))
    world.reload(config(resource("disk"), vips=()))
    world.send(VrrpStateReported(instance="VI_1", words=asked.words, dbus=VrrpState.MASTER, stored=None))
    assert world.instance.vrrp is None
