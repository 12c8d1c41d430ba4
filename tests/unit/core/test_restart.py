"""A daemon that is killed and started again goes on where it was: a start has no rules of its own."""

from __future__ import annotations

import pytest

from failoverd.core.effects import RunStep
from failoverd.core.events import VrrpStateReported
from failoverd.core.spec import Vip
from failoverd.core.words import Keepalived, Level, Phase, VrrpState
from tests.unit.core.test_machine import CHAIN, DISK, GUEST, ROUTE, active
from tests.unit.core.world import VIP, World, config


@pytest.mark.parametrize("vips", [(VIP,), ()])
@pytest.mark.parametrize("vip_stays", [True, False])
def test_after_keepalived_has_died_a_restart_goes_on_with_the_demotion(vips: tuple[Vip, ...], vip_stays: bool) -> None:
    world = active(*CHAIN, vips=vips)
    world.see_keepalived(Keepalived.GONE)
    for vip in vips:
        world.move_vip(vip, present=vip_stays)
    world.end_step(ROUTE)
    world.start()
    world.settle()
    assert set(world.actual.values()) == {Level.STANDBY}
    assert world.instance.phase is (Phase.FAILED if vips and vip_stays else Phase.STANDBY)
    assert "keepalived is gone" in world.instance.alarm


def test_also_where_the_next_keepalived_runs_and_has_said_nothing() -> None:
    world = active(*CHAIN, vips=())
    world.see_keepalived(Keepalived.GONE)
    world.end_step(ROUTE)
    world.see_keepalived(Keepalived.RUNNING)
    world.start()
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert set(world.actual.values()) == {Level.STANDBY}
    world.say(VrrpState.MASTER)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_an_answer_that_was_asked_for_before_keepalived_died_is_void() -> None:
    world = active(*CHAIN)
    world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=VrrpState.MASTER, stored=None))
    asked = world.instance.words
    world.see_keepalived(Keepalived.GONE)
    world.see_keepalived(Keepalived.RUNNING)
    world.send(VrrpStateReported(instance="VI_1", words=asked, dbus=VrrpState.MASTER, stored=None))
    world.settle()
    assert world.instance.phase is Phase.STANDBY


def test_a_backup_whose_vip_was_left_is_finished_after_a_restart() -> None:
    world = active(*CHAIN)
    world.say(VrrpState.BACKUP, vip=True)
    world.end_step(ROUTE)
    world.start()
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert set(world.actual.values()) == {Level.STANDBY}


def test_a_master_whose_vip_was_deleted_has_its_time_after_a_restart_and_no_more() -> None:
    world = active(*CHAIN)
    world.move_vip(VIP, present=False)
    world.start()
    for question in list(world.questions):
        world.answer(question)
    assert not world.steps, "the VIP has its time to come"
    world.settle()
    assert world.instance.phase is Phase.REFUSED
    assert set(world.actual.values()) == {Level.STANDBY}
    world.move_vip(VIP, present=True)
    world.settle()
    assert world.instance.phase is Phase.ACTIVE


def test_a_vip_that_cannot_be_seen_after_a_restart_undoes_nothing() -> None:
    world = active(*CHAIN)
    world.vips[VIP] = None
    world.start()
    for _ in range(10):
        world.settle()
        world.tick()
    assert set(world.actual.values()) == {Level.ACTIVE}
    assert world.instance.alarm.startswith("cannot see whether 192.0.2.1/32 is on eth0")


def test_what_a_boot_decided_is_finished_after_a_restart() -> None:
    world = World(config=config(*CHAIN))
    world.actual |= {DISK: Level.ACTIVE, GUEST: Level.ACTIVE}
    question = world.questions.pop()
    world.send(VrrpStateReported(instance="VI_1", words=question.words, dbus=None, stored=None, booted=True))
    while world.looks:
        world.end_look(next(iter(world.looks)))
    assert list(world.steps) == [GUEST]
    world.end_step(GUEST)
    world.start()
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert set(world.actual.values()) == {Level.STANDBY}


def test_where_nothing_was_ever_said_it_is_watched_and_nothing_is_done() -> None:
    world = World(config=config(*CHAIN), keepalived={"VI_1": Keepalived.RUNNING})
    world.actual |= {DISK: Level.ACTIVE}
    world.settle()
    world.start()
    world.settle()
    assert world.instance.phase is Phase.UNKNOWN
    assert not any(isinstance(e, RunStep) for e in world.log)
