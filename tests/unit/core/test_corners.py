"""Corners that a reader of the core found: each of these once went wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core import machine
from failoverd.core.context import REPORT_GRACE_S
from failoverd.core.effects import Alarm, Observe, RunStep, TransitionStarted
from failoverd.core.events import (
    LowerPriorityAdvert,
    Reloaded,
    ResourceObserved,
    StepEnded,
    Tick,
    VipsSeen,
    VrrpChanged,
)
from failoverd.core.model import State
from failoverd.core.resource import Observation, Step
from failoverd.core.spec import Config, InstanceSpec
from failoverd.core.words import Keepalived, Level, OnFailure, Outcome, Phase, Target, Verb, VrrpState
from tests.unit.core.test_machine import CHAIN, DISK, GUEST, ROUTE, active, running, standby
from tests.unit.core.world import VIP, World, config, resource

WEB = ("VI_1", "web")


def alarms(world: World) -> list[str]:
    return [e.text for e in world.log if isinstance(e, Alarm)]


# ---------------------------------------------------------------- keepalived's life


def causes(world: World) -> list[str]:
    return [e.cause for e in world.log if isinstance(e, TransitionStarted)]


def test_that_somebody_else_removed_the_vip_is_why_keepalived_said_backup() -> None:
    world = active(*CHAIN)
    world.vips[VIP] = False
    world.send(VipsSeen(present={VIP: False}, removers={VIP: "systemd-network (process 312)"}))
    world.say(VrrpState.BACKUP)
    assert causes(world)[-1] == (
        f"keepalived reported BACKUP after {VIP.address} was removed from {VIP.interface} "
        "by systemd-network (process 312)"
    )
    world.settle()
    world.say(VrrpState.MASTER, vip=True)
    world.settle()
    world.say(VrrpState.BACKUP, vip=False)
    assert causes(world)[-1] == "keepalived reported BACKUP"


def test_that_somebody_else_removed_the_vip_may_be_seen_after_keepalived_said_backup() -> None:
    world = active(*CHAIN)
    world.say(VrrpState.BACKUP, vip=True)
    world.vips[VIP] = False
    world.send(VipsSeen(present={VIP: False}, removers={VIP: "ip (process 312)"}))
    because = f"keepalived reported BACKUP after {VIP.address} was removed from {VIP.interface} by ip (process 312)"
    assert causes(world)[-1] == because
    world.settle()
    world.check()
    assert world.instance.phase is Phase.STANDBY
    assert causes(world)[-1] == because


def test_a_vip_that_came_back_was_not_why_keepalived_said_backup() -> None:
    world = active(*CHAIN)
    world.send(VipsSeen(present={VIP: False}, removers={VIP: "ip (process 312)"}))
    world.send(VipsSeen(present={VIP: True}))
    world.say(VrrpState.BACKUP, vip=False)
    assert causes(world)[-1] == "keepalived reported BACKUP"


def test_where_a_vip_is_instead_is_why_mastership_is_refused_for_as_long_as_it_is_there() -> None:
    world = active(*CHAIN)
    world.vips[VIP] = False
    world.send(VipsSeen(present={VIP: False}, instead={VIP: "is on vrrp.51, not on eth0"}))
    assert world.instance.reason == f"waiting: {VIP.address} is on vrrp.51, not on eth0"
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert alarms(world)[-1] == f"MASTER, but {VIP.address} is on vrrp.51, not on eth0"
    world.send(VipsSeen(present={VIP: False}, instead={VIP: "is not usable on eth0"}))
    assert alarms(world)[-1] == f"MASTER, but {VIP.address} is not usable on eth0"
    world.send(VipsSeen(present={VIP: False}))
    assert alarms(world)[-1] == f"MASTER, but {VIP.address} is not on {VIP.interface}"
    world.say(VrrpState.MASTER, vip=True)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert not world.instance.instead


def test_the_last_event_of_a_dead_keepalived_is_no_word_of_the_next_one() -> None:
    world = active(*CHAIN)
    world.see_keepalived(Keepalived.GONE)
    world.settle()
    world.see_keepalived(Keepalived.RUNNING)
    for question in list(world.questions):
        world.answer(question)
    assert world.instance.target is Target.STANDBY
    assert not world.steps


def test_a_demotion_for_a_dead_keepalived_is_not_abandoned_when_it_crashes_again_and_again() -> None:
    world = active(*CHAIN)
    world.see_keepalived(Keepalived.GONE)
    world.end_step(ROUTE)
    world.see_keepalived(Keepalived.RUNNING)
    world.see_keepalived(Keepalived.GONE)
    world.words.clear()
    world.settle()
    assert set(world.actual.values()) == {Level.STANDBY}
    assert world.instance.phase is Phase.FAILED, "the VIP is still here"


def test_a_vip_left_behind_is_a_fault_also_when_nothing_else_is_known() -> None:
    world = World(config=config(*CHAIN), vips={VIP: True}, keepalived={"VI_1": Keepalived.GONE})
    world.actual = dict.fromkeys(world.actual, Level.ACTIVE)
    world.words["VI_1"] = VrrpState.BACKUP
    world.settle()
    assert world.instance.phase is Phase.FAILED
    assert set(world.actual.values()) == {Level.STANDBY}


# ---------------------------------------------------------------- re-assertions, hope and alarms


def test_lower_priority_adverts_do_not_renew_hope_for_ever() -> None:
    world = standby(resource("disk", retries=2, backoff=1.0))
    world.say(VrrpState.MASTER)
    steps = 0
    for _ in range(100):
        while world.steps:
            steps += 1
            world.end_step(DISK, Outcome.FAILED, works=False)
        world.now += 1.0
        world.send(Tick())
        world.send(LowerPriorityAdvert(instance="VI_1"))
        for key in list(world.looks):
            world.end_look(key)
    assert world.instance.phase is Phase.FAILED
    assert steps == 3 + len(("after 10 s", "after 20 s more", "after 40 s more"))


def test_lower_priority_adverts_do_not_flood_the_history() -> None:
    world = active(*CHAIN)
    world.log.clear()
    for _ in range(100):
        world.now += 0.1
        world.send(LowerPriorityAdvert(instance="VI_1"))
        assert world.instance.phase is Phase.ACTIVE
        for key in list(world.looks):
            world.end_look(key)
    told = [e.cause for e in world.log if isinstance(e, TransitionStarted)]
    assert told == ["keepalived received an advert of another MASTER"]


def test_the_next_word_renews_hope_also_when_it_asks_for_the_same() -> None:
    world = active(resource("disk", retries=0))
    world.say(VrrpState.BACKUP)
    world.end_step(DISK, Outcome.FAILED, works=False)
    assert world.instance.phase is Phase.FAILED
    world.say(VrrpState.FAULT)
    world.settle()
    assert world.actual[DISK] is Level.STANDBY


def test_a_failure_is_forgotten_with_its_direction() -> None:
    world = standby(resource("disk"), resource("guest", "disk", retries=0, on_failure=OnFailure.CONTINUE))
    world.say(VrrpState.MASTER)
    world.end_step(DISK)
    world.end_step(GUEST, Outcome.FAILED, works=False)
    assert "it failed" in world.instance.reason
    world.say(VrrpState.BACKUP)
    assert "it failed" not in world.instance.reason


def test_an_alarm_that_a_look_sees_is_given_once() -> None:
    world = active(resource("disk"))
    for _ in range(2):
        while not world.looks:
            world.tick()
        look = world.looks.pop(DISK)
        seen = Observation(level=Level.ACTIVE, alarm="split brain")
        world.send(ResourceObserved(instance="VI_1", resource="disk", look=look.look, seen=seen))
    assert alarms(world) == ["disk: split brain"]


def test_a_vip_that_blinks_neither_repeats_an_alarm_nor_hides_a_failure() -> None:
    for choice, phase in ((OnFailure.CONTINUE, Phase.ACTIVE), (OnFailure.STOP, Phase.FAILED)):
        world = standby(resource("web", retries=0, on_failure=choice))
        world.say(VrrpState.MASTER)
        world.end_step(WEB, Outcome.FAILED, works=False)
        assert world.instance.phase is phase
        world.log.clear()
        for present in (False, True, False, True):
            world.move_vip(VIP, present=present)
            assert world.instance.phase is phase
        assert not alarms(world)


def test_a_reload_does_not_repeat_an_alarm() -> None:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER, vip=False)
    world.settle()
    world.log.clear()
    world.send(Reloaded(config=world.config))
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert not alarms(world)


# ---------------------------------------------------------------- a VIP that cannot be seen


def test_an_unseen_vip_undoes_nothing_that_is_active_while_another_has_failed() -> None:
    world = standby(resource("web", retries=0), resource("disk"))
    world.say(VrrpState.MASTER)
    world.end_step(DISK)
    world.end_step(WEB, Outcome.FAILED, works=False)
    world.move_vip(VIP, present=None)
    for _ in range(10):
        world.tick()
        world.settle()
    assert world.actual[DISK] is Level.ACTIVE
    assert world.instance.phase is Phase.FAILED


def test_an_unseen_vip_does_not_hide_drift() -> None:
    world = active(resource("disk"), resource("web"))
    world.move_vip(VIP, present=None)
    world.actual[WEB] = Level.STANDBY
    for _ in range(10):
        world.tick()
        world.settle()
    assert world.actual[DISK] is Level.ACTIVE
    assert world.instance.phase is Phase.FAILED
    world.move_vip(VIP, present=True)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE
    assert world.actual[WEB] is Level.ACTIVE


# ---------------------------------------------------------------- time


def test_an_event_just_after_a_deadline_does_not_swallow_it() -> None:
    world = active(resource("disk"))
    world.now = world.instance.next_check + 0.01
    world.send(VipsSeen(present={VIP: True}))
    assert world.looks, "the check that was due is made"


def test_there_is_always_a_next_deadline() -> None:
    world = active(resource("disk"))
    world.now = world.instance.next_check - 0.0001
    world.send(VipsSeen(present={VIP: True}))
    assert machine.next_deadline(world.state) == world.instance.next_check


# ---------------------------------------------------------------- reload while steps run


def promoting() -> tuple[World, RunStep]:
    world = standby(resource("disk"))
    world.say(VrrpState.MASTER)
    assert running(world)
    return world, world.steps[DISK]


@pytest.mark.parametrize("changed", [{"driver": "unit"}, {"options": "base2"}])
def test_a_step_outlives_a_reload_and_what_it_saw_does_not(changed: dict[str, str]) -> None:
    """What the earlier driver saw, or the same with other options, says nothing of what is there now."""
    world, step = promoting()
    new = replace(resource("disk"), **changed)  # type: ignore[arg-type]
    assert not [e for e in world.send(Reloaded(config=config(new))) if isinstance(e, RunStep | Observe)]
    world.actual[DISK] = Level.STANDBY
    effects = world.end_step(DISK, works=False, seen=Level.ACTIVE)
    assert new in [e.spec for e in effects if isinstance(e, Observe)]
    assert world.instance.phase is Phase.PROMOTING
    effects = world.end_look(DISK)
    assert [e.spec for e in effects if isinstance(e, RunStep)] == [new]
    assert step.spec != new


def test_what_is_active_by_another_name_is_not_active() -> None:
    """An option was changed: what was seen of `base1` is not believed of `base2`, which is activated first."""
    world = active(resource("disk", options="base1"), resource("guest", "disk", options="guest1"))
    new = config(resource("disk", options="base2"), resource("guest", "disk", options="guest2"))
    world.send(Reloaded(config=new))
    assert not world.steps
    world.actual = dict.fromkeys(world.actual, Level.STANDBY)
    world.end_look(("VI_1", "guest"))
    assert not world.steps
    world.end_look(DISK)
    assert [step.spec.options for step in world.steps.values()] == ["base2"]
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_an_earlier_daemons_step_says_nothing_but_that_something_ran() -> None:
    state = State(
        config=Config(), instances={}, orphans={DISK: Step(id=1, verb=Verb.ACTIVATE, deadline=9e9)}, next_step=2
    )
    state, _ = machine.advance(state, Reloaded(config=config(resource("disk"))), 0.0)
    unknown = Observation(level=Level.UNKNOWN)
    ended = StepEnded(instance="VI_1", resource="disk", step=1, outcome=Outcome.DONE, reason="", seen=unknown)
    _, effects = machine.advance(state, ended, 1.0)
    assert [type(e) for e in effects] == [Observe]


def test_a_step_outlives_its_resource_and_is_met_again() -> None:
    world, step = promoting()
    state, _ = machine.advance(world.state, Reloaded(config=config()), world.now)
    state, effects = machine.advance(state, Reloaded(config=world.config), world.now)
    assert not [e for e in effects if isinstance(e, RunStep)]
    known = state.instances["VI_1"].resources["disk"].step
    assert known is not None
    assert known.id == step.step


@pytest.mark.parametrize("new", [("VI_1", "vm"), ("VI_2", "guest"), ("VI_2", "vm")])
def test_a_step_goes_on_under_another_name(new: tuple[str, str]) -> None:
    """The domain is the same: nothing else is started on it before the step has ended, which tells its first name."""
    domain = frozenset({"the domain web"})
    world = standby(resource("guest", moves=domain), vips=())
    world.say(VrrpState.MASTER)
    step = world.steps[GUEST]
    spec = resource(new[1], instance=new[0], moves=domain)
    renamed = Config(instances={new[0]: InstanceSpec(name=new[0], resources={new[1]: spec})})
    state, effects = machine.advance(world.state, Reloaded(config=renamed), world.now)
    state, more = machine.advance(state, VrrpChanged(instance=new[0], state=VrrpState.MASTER), world.now)
    assert not [e for e in (*effects, *more) if isinstance(e, RunStep | Observe)]
    state, _ = machine.advance(state, Reloaded(config=renamed), world.now)
    seen = Observation(level=Level.ACTIVE)
    ended = StepEnded(instance="VI_1", resource="guest", step=step.step, outcome=Outcome.DONE, reason="", seen=seen)
    state, effects = machine.advance(state, ended, world.now)
    assert [e.spec for e in effects if isinstance(e, Observe)] == [spec]
    assert state.instances[new[0]].resources[new[1]].step is None
    assert not state.orphans
    assert not state.lent


def test_where_two_names_are_swapped_both_steps_are_awaited_by_both() -> None:
    """One began under its name, the other one runs on what it moves now."""
    web, mail = frozenset({"the domain web"}), frozenset({"the domain mail"})
    world = active(resource("a", options="web", moves=web), resource("b", options="mail", moves=mail), vips=())
    world.say(VrrpState.BACKUP)
    a, b = ("VI_1", "a"), ("VI_1", "b")
    assert {*world.steps} == {a, b}
    swapped = config(resource("a", options="mail", moves=mail), resource("b", options="web", moves=web), vips=())
    world.config = swapped
    world.send(Reloaded(config=swapped))
    world.send(VrrpChanged(instance="VI_1", state=VrrpState.MASTER))
    ended = StepEnded(
        instance="VI_1", resource="a", step=world.steps.pop(a).step, outcome=Outcome.DONE, reason="",
        seen=Observation(level=Level.STANDBY),
    )  # fmt: skip
    state, effects = machine.advance(world.state, ended, world.now)
    assert not [e for e in effects if isinstance(e, RunStep | Observe)]
    state, _ = machine.advance(state, Reloaded(config=swapped), world.now)
    last = replace(ended, resource="b", step=world.steps.pop(b).step)
    state, effects = machine.advance(state, last, world.now)
    assert {e.resource for e in effects if isinstance(e, Observe)} == {"a", "b"}
    assert not state.lent
    assert not any(r.step or r.others or r.confirmed for r in state.instances["VI_1"].resources.values())


def test_an_earlier_daemons_step_is_known_by_what_it_moves() -> None:
    """A reload had renamed it before that daemon was killed."""
    domain = frozenset({"the domain web"})
    begun = Step(id=1, verb=Verb.ACTIVATE, deadline=9e9, of=WEB, things=domain)
    state = State(config=Config(), instances={}, orphans={WEB: begun}, next_step=2)
    spec = resource("web1", moves=domain)
    new = Config(instances={"VI_1": InstanceSpec(name="VI_1", resources={"web1": spec})})
    state, _ = machine.advance(state, Reloaded(config=new), 0.0)
    state, effects = machine.advance(state, VrrpChanged(instance="VI_1", state=VrrpState.MASTER), 0.0)
    assert not [e for e in effects if isinstance(e, RunStep | Observe)]
    unknown = Observation(level=Level.UNKNOWN)
    ended = StepEnded(instance="VI_1", resource="web", step=1, outcome=Outcome.DONE, reason="", seen=unknown)
    _, effects = machine.advance(state, ended, 1.0)
    assert [e.spec for e in effects if isinstance(e, Observe | RunStep)] == [spec]


def test_a_step_that_is_met_again_too_late_is_overdue() -> None:
    """Nobody waited for it while its resource was not configured."""
    world, step = promoting()
    whole = world.config
    world.reload(config())
    world.now += step.timeout + REPORT_GRACE_S
    world.reload(whole)
    assert world.instance.resources["disk"].overdue
    assert world.instance.phase is Phase.FAILED


def test_the_answer_to_a_look_before_a_reload_is_void() -> None:
    world = active(resource("disk"))
    while not world.looks:
        world.tick()
    before = world.looks[DISK]
    world.send(Reloaded(config=world.config))
    now = world.instance.resources["disk"].look
    assert now is not None
    assert now.id != before.look


# ---------------------------------------------------------------- several instances


def test_room_is_given_first_to_what_must_become_standby() -> None:
    def instance(name: str, *names: str) -> InstanceSpec:
        return InstanceSpec(name=name, resources={n: resource(n, instance=name) for n in names})

    both = {"VI_1": instance("VI_1", "a", "b", "c"), "VI_2": instance("VI_2", "x")}
    world = World(config=Config(instances=both, parallel=1))
    for name in both:
        world.say(VrrpState.BACKUP, name)
    world.settle()
    world.say(VrrpState.MASTER, "VI_2")
    world.settle()
    world.say(VrrpState.MASTER, "VI_1")
    world.say(VrrpState.BACKUP, "VI_2")
    world.end_step(next(iter(world.steps)))
    assert list(world.steps) == [("VI_2", "x")]
