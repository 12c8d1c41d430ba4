"""``failoverctl why``: the explanation of each situation, from the core's state to the page.

The expected pages are the files in ``why/``. WRITE_PAGES=1 in the environment writes them: read the difference before
you commit it.
"""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.events import (
    LowerPriorityAdvert,
    PeerReported,
    ResourceChanged,
    StepEnded,
    Tick,
    VipElsewhere,
    VipsSeen,
    VrrpStateReported,
)
from failoverd.core.knowledge import PeerWord
from failoverd.core.ordering import Verdict
from failoverd.core.requests import MaintenanceBegun, StandbyWanted
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, Fence, Heartbeat, Quorum
from failoverd.core.words import Drift, Health, Keepalived, Level, OnFailure, Outcome, Phase, VrrpState
from failoverd.ctl import page_rich, verbs
from failoverd.ctl.page import Page, plain
from failoverd.ctl.verbs import Request
from failoverd.daemon import status
from failoverd.daemon import why as facts
from failoverd.daemon.intake import ReportedEvent
from tests.unit.core.world import VIP, World, config, resource

PAGES = Path(__file__).parent / "why"

#: The core's time is seconds since the boot; the machine booted at midnight.
BOOT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC).timestamp()

STALE = (
    "replication from the Primary (right) is down since 02:40:10: this copy lacks what was written since; reconnect "
    "them, or run: failoverctl accept VI_1 disk"
)


def site(**options: Any) -> Config:
    """A disk, a guest on it, and a prefix."""
    return config(
        resource("disk", **options.pop("disk", {})),
        resource("guest", "disk", **options.pop("guest", {})),
        resource("prefix"),
        **options,
    )


def master(made: Config | None = None) -> World:
    """MASTER has just been reported, by FIFO."""
    world = World(config=made or site())
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.BACKUP)
    world.settle()
    world.now += 60
    world.say(VrrpState.MASTER)
    while world.looks:
        world.end_look(next(iter(world.looks)))
    return world


def active() -> World:
    world = master()
    world.settle()
    world.now += 5
    return world


def standby() -> World:
    world = World(config=site())
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.BACKUP)
    world.settle()
    world.now += 5
    return world


def later(world: World, seconds: float) -> World:
    """Let time pass, with every deadline on the way."""
    until = world.now + seconds
    while world.state.agenda.next <= until and world.tick():
        while world.looks:
            world.end_look(next(iter(world.looks)))
    world.now = until
    return world


def fail(
    world: World, name: str, outcome: Outcome = Outcome.FAILED, reason: str = "drbdadm primary web: exit 17"
) -> World:
    step = world.steps.pop(("VI_1", name))
    world.told["VI_1", name] = Level.STANDBY
    obstacle = reason if outcome is Outcome.REFUSED else ""
    seen = Observation(level=Level.STANDBY, detail="Secondary", obstacle=obstacle)
    if obstacle:
        world.obstacles["VI_1", name] = obstacle
    world.send(StepEnded(instance="VI_1", resource=name, step=step.step, outcome=outcome, reason=reason, seen=seen))
    return world


# ---------------------------------------------------------------- the situations


def an_active_node() -> World:
    return active()


def a_standby() -> World:
    return standby()


def steps_run() -> World:
    return later(master(), 2)


def a_retry_is_pending() -> World:
    return later(fail(later(master(), 2), "disk"), 0.2)


def refused_without_the_vip() -> World:
    world = World(config=site())
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.MASTER, vip=False)
    return later(world, 8)


def waits_for_the_vip() -> World:
    world = World(config=site())
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.MASTER, vip=False)
    return later(world, 2)


def netlink_does_not_answer() -> World:
    world = World(config=site())
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.MASTER, vip=False)
    world.move_vip(VIP, present=None)
    return later(world, 2)


def keepalived_is_frozen() -> World:
    world = active()
    world.see_keepalived(Keepalived.STOPPED)
    world.settle()
    return later(world, 3)


def keepalived_is_gone() -> World:
    world = active()
    world.see_keepalived(Keepalived.GONE)
    world.move_vip(VIP, present=False)
    world.settle()
    return later(world, 3)


def keepalived_left_its_vip() -> World:
    world = active()
    world.see_keepalived(Keepalived.GONE)
    world.settle()
    return later(world, 3)


def a_vip_after_backup() -> World:
    world = standby()
    world.move_vip(VIP, present=True)
    return later(world, 8)


def a_vip_after_backup_for_a_moment() -> World:
    world = standby()
    world.move_vip(VIP, present=True)
    return later(world, 2)


def a_vip_after_stop() -> World:
    world = standby()
    world.say(VrrpState.STOP)
    world.move_vip(VIP, present=True)
    return later(world, 8)


def a_vip_before_any_report() -> World:
    world = World(config=site())
    world.see_keepalived(Keepalived.RUNNING)
    world.move_vip(VIP, present=True)
    world.answer(world.questions[0])
    return later(world, 8)


def nothing_is_known() -> World:
    world = World(config=site())
    world.answer(world.questions[0])
    return later(world, 8)


def fault() -> World:
    world = standby()
    world.say(VrrpState.FAULT)
    world.settle()
    return later(world, 2)


def no_interface() -> World:
    world = fault()
    world.send(VipsSeen(present={VIP: False}, instead={VIP: "is not here: there is no interface eth0"}))
    return later(world, 2)


def keepalived_was_stopped() -> World:
    world = standby()
    world.say(VrrpState.STOP)
    world.settle()
    return later(world, 2)


def deleted() -> World:
    world = standby()
    world.say(VrrpState.DELETED)
    world.settle()
    return later(world, 2)


def booted(keepalived: Keepalived | None) -> World:
    world = World(config=site())
    if keepalived is not None:
        world.see_keepalived(keepalived)
    words = world.instance.words
    world.send(VrrpStateReported(instance="VI_1", words=words, dbus=None, stored=None, booted=True))
    world.settle()
    return later(world, 2)


def booted_without_keepalived() -> World:
    return booted(None)


def booted_with_a_silent_keepalived() -> World:
    return booted(Keepalived.RUNNING)


def stale_data() -> World:
    world = fail(later(master(), 2), "disk", Outcome.REFUSED, STALE)
    world.end_step(("VI_1", "prefix"))
    return later(world, 3)


def a_standby_with_stale_data() -> World:
    world = standby()
    world.obstacles["VI_1", "disk"] = STALE
    return later(world, 40)


def another_node_has_the_disk() -> World:
    return later(fail(later(master(), 2), "disk", Outcome.IN_USE, "right is still Primary"), 0.5)


def failed() -> World:
    world = master()
    for _ in range(3):
        later(fail(later(world, 1), "disk"), 0)
        while ("VI_1", "disk") not in world.steps and world.instance.resources["disk"].attempts < 3:
            world.tick()
            while world.looks:
                world.end_look(next(iter(world.looks)))
    world.end_step(("VI_1", "prefix"))
    return later(world, 2)


def active_without_the_disk() -> World:
    world = master(site(disk={"on_failure": OnFailure.CONTINUE, "retries": 0}))
    fail(world, "disk")
    world.end_step(("VI_1", "prefix"))
    return later(world, 2)


def hung() -> World:
    world = master(site(disk={"retries": 0}))
    fail(world, "disk", Outcome.HUNG, "drbdadm primary web does not end by SIGKILL (process 812)")
    world.end_step(("VI_1", "prefix"))
    return later(world, 2)


def a_stop_fails() -> World:
    world = active()
    world.say(VrrpState.BACKUP)
    while world.looks:
        world.end_look(next(iter(world.looks)))
    step = world.steps.pop(("VI_1", "guest"))
    world.told["VI_1", "guest"] = Level.ACTIVE
    reason = "xl destroy web: exit 1"
    seen = Observation(level=Level.ACTIVE, detail="running")
    world.send(
        StepEnded(instance="VI_1", resource="guest", step=step.step, outcome=Outcome.FAILED, reason=reason, seen=seen)
    )
    return later(world, 0.3)


def released() -> World:
    disk = {"on_failure": OnFailure.RELEASE, "retries": 0}
    world = fail(master(site(disk=disk, take_back_after=60.0)), "disk")
    world.say(VrrpState.BACKUP)
    world.settle()
    return later(world, 20)


def released_until_an_operator_takes_it_back() -> World:
    world = fail(master(site(disk={"on_failure": OnFailure.RELEASE, "retries": 0})), "disk")
    world.say(VrrpState.BACKUP)
    world.settle()
    return later(world, 20)


def released_in_vain() -> World:
    disk = {"on_failure": OnFailure.RELEASE, "retries": 0}
    world = fail(master(site(disk=disk, take_back_after=60.0)), "disk")
    return later(world, 5)


def unfit() -> World:
    world = World(config=site(health=Health.TRACK))
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.BACKUP)
    world.settle()
    world.obstacles["VI_1", "disk"] = "the data here is Outdated"
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    world.settle()
    return later(world, 31)


def unfit_a_moment_longer() -> World:
    world = unfit()
    world.obstacles.clear()
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    world.settle()
    return later(world, 1)


def drifted() -> World:
    world = master(site(guest={"drift": Drift.REPORT}))
    world.settle()
    world.actual["VI_1", "guest"] = Level.STANDBY
    return later(world, 31)


def a_step_is_overdue() -> World:
    return later(master(), 60)


def a_step_of_the_previous_configuration() -> World:
    world = later(master(), 2)
    world.reload(config(resource("disk", options="another"), resource("guest", "disk"), resource("prefix")))
    return later(world, 1)


def a_resource_of_other_nodes_only() -> World:
    made = config(resource("prefix"))
    spec = replace(made.instances["VI_1"], elsewhere={"guest": ("right", "center")})
    world = master(replace(made, instances={"VI_1": spec}))
    world.settle()
    return world


def no_resource_here() -> World:
    return master(config())


def a_resource_cannot_be_observed() -> World:
    world = standby()
    while not world.looks:
        world.tick()
    for key in list(world.looks):
        world.end_look(key, Level.UNKNOWN if key[1] == "guest" else None)
    return later(world, 1)


def another_program_removed_the_vip() -> World:
    world = active()
    world.vips[VIP] = False
    world.send(VipsSeen(present={VIP: False}, removers={VIP: "systemd-networkd (process 311)"}))
    world.say(VrrpState.BACKUP)
    world.settle()
    return later(world, 2)


def no_room() -> World:
    return later(master(site(parallel=1)), 1)


def rivals() -> World:
    world = active()
    world.send(LowerPriorityAdvert(instance="VI_1"))
    world.settle()
    return later(world, 2)


def another_station() -> World:
    world = active()
    world.send(VipElsewhere(instance="VI_1", vip=VIP, station="02:00:00:00:00:02"))
    world.settle()
    return later(world, 2)


def another_node_says_that_it_is_master() -> World:
    made = site()
    spec = replace(made.instances["VI_1"], others=("right",))
    heartbeat = Heartbeat(node="left", peers=("right",))
    world = master(replace(made, instances={"VI_1": spec}, heartbeat=heartbeat))
    world.settle()
    for _ in range(7):
        word = PeerWord(at=world.now, vrrp=VrrpState.MASTER, phase=Phase.ACTIVE)
        world.send(PeerReported(peer="right", at=world.now, words={"VI_1": word}, whole=True))
        later(world, 1)
        world.settle()
    return world


def a_stray() -> World:
    world = active()
    world.reload(config(resource("disk"), resource("prefix")))
    world.end_stray_look(("VI_1", "guest"))
    world.settle()
    return later(world, 2)


def a_stray_needs_the_disk() -> World:
    world = a_stray()
    world.say(VrrpState.BACKUP)
    world.settle()
    return later(world, 2)


def kept_in_standby() -> World:
    world = standby()
    world.send(StandbyWanted(instance="VI_1", by="root"))
    world.say(VrrpState.FAULT)
    world.settle()
    return later(world, 2)


def standby_in_vain() -> World:
    world = active()
    world.send(StandbyWanted(instance="VI_1", by="root"))
    world.settle()
    return later(world, 5)


def held_back_by_maintenance() -> World:
    world = active()
    world.send(MaintenanceBegun(by="root", until=world.now + 7200))
    world.say(VrrpState.BACKUP)
    world.settle()
    return later(world, 2)


def restarted() -> World:
    world = active()
    world.words["VI_1"] = VrrpState.MASTER
    world.start()
    world.answer(world.questions[0])
    world.settle()
    return later(world, 2)


def corrected_by_d_bus() -> World:
    world = standby()
    world.move_vip(VIP, present=True)
    words = world.instance.words
    world.words["VI_1"] = VrrpState.MASTER
    world.send(VrrpStateReported(instance="VI_1", words=words, dbus=VrrpState.MASTER, stored=None))
    world.settle()
    return later(world, 2)


ROUTER = "icmp://192.0.2.254"


def witnessed() -> World:
    """One witness decides; keepalived has just reported MASTER."""
    return master(site(quorum=Quorum(witnesses=(ROUTER,), need=1)))


def waits_for_the_witnesses() -> World:
    return witnessed()


def the_witnesses_do_not_agree() -> World:
    world = witnessed()
    world.granted[ROUTER] = None
    world.vote()
    return world


def beside(word: PeerWord | None) -> World:
    """keepalived has reported MASTER, and `right` could be fenced; after 4 s its last word is this one."""
    made = site()
    spec = replace(made.instances["VI_1"], others=("right",))
    heartbeat, fences = Heartbeat(node="left", peers=("right",)), {"right": Fence(agent="/usr/sbin/fence_ipmilan")}
    world = World(replace(made, instances={"VI_1": spec}, heartbeat=heartbeat, fences=fences))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.send(PeerReported(peer="right", at=world.now, whole=True))
    world.say(VrrpState.MASTER)
    world.now += 4.0
    words = {} if word is None else {"VI_1": replace(word, at=world.now)}
    world.send(PeerReported(peer="right", at=world.now, words=words, whole=True) if words else Tick())
    return world


def waits_for_another_node() -> World:
    return beside(PeerWord(at=0.0, phase=Phase.DEMOTING))


def another_node_serves() -> World:
    world = beside(PeerWord(at=0.0, phase=Phase.ACTIVE))
    while world.looks:
        world.end_look(next(iter(world.looks)))
    return world


def another_node_is_fenced() -> World:
    return beside(None)


def another_node_cannot_be_fenced() -> World:
    world = beside(None)
    world.end_fencing(next(iter(world.fencings)), off=False)
    while world.looks:
        world.end_look(next(iter(world.looks)))
    return world


def alone() -> World:
    world = witnessed()
    world.vote()
    world.settle()
    world.granted[ROUTER] = None
    while world.instance.alone_at is None:
        world.vote() if world.asked else world.tick()
    world.settle()
    return world


def alone_in_fault() -> World:
    world = alone()
    world.say(VrrpState.FAULT)
    world.settle()
    return world


SITUATIONS: tuple[Callable[[], World], ...] = (
    an_active_node,
    a_standby,
    steps_run,
    a_retry_is_pending,
    refused_without_the_vip,
    waits_for_the_vip,
    netlink_does_not_answer,
    keepalived_is_frozen,
    keepalived_is_gone,
    keepalived_left_its_vip,
    a_vip_after_backup,
    a_vip_after_backup_for_a_moment,
    a_vip_after_stop,
    a_vip_before_any_report,
    nothing_is_known,
    fault,
    no_interface,
    keepalived_was_stopped,
    deleted,
    booted_without_keepalived,
    booted_with_a_silent_keepalived,
    stale_data,
    a_standby_with_stale_data,
    another_node_has_the_disk,
    failed,
    active_without_the_disk,
    hung,
    a_stop_fails,
    released,
    released_until_an_operator_takes_it_back,
    released_in_vain,
    unfit,
    unfit_a_moment_longer,
    waits_for_the_witnesses,
    the_witnesses_do_not_agree,
    waits_for_another_node,
    another_node_serves,
    another_node_is_fenced,
    another_node_cannot_be_fenced,
    alone,
    alone_in_fault,
    drifted,
    a_step_is_overdue,
    a_step_of_the_previous_configuration,
    a_resource_of_other_nodes_only,
    no_resource_here,
    a_resource_cannot_be_observed,
    another_program_removed_the_vip,
    no_room,
    rivals,
    another_station,
    another_node_says_that_it_is_master,
    a_stray,
    a_stray_needs_the_disk,
    kept_in_standby,
    standby_in_vain,
    held_back_by_maintenance,
    restarted,
    corrected_by_d_bus,
)


def answer(world: World, source: str = "fifo") -> dict[str, Any]:
    """The daemon's answer to `why`."""

    def wall(at: float) -> float:
        return BOOT + at

    told = status.status(world.state, node="left", events={}, troubles=(), wall=wall)
    for name, instance in world.state.instances.items():
        state = instance.vrrp.value if instance.vrrp is not None else ""
        event = ReportedEvent("INSTANCE", name, state, source, Verdict.ACCEPTED, wall(instance.vrrp_since))
        told["instances"][name]["why"] = facts.why(instance, event, world.now, wall)
    return told


def page(told: dict[str, Any], world: World) -> Page:
    action = verbs.declared("why")["why"].action
    assert isinstance(action, Request)
    return action.page(told, Namespace(instance=None), datetime.fromtimestamp(BOOT + world.now, tz=UTC))


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: str(each.__name__))
def test_each_situation_is_explained(situation: Callable[[], World]) -> None:
    world = situation()
    text = plain(page(answer(world), world))
    file = PAGES / f"{situation.__name__}.txt"
    if os.environ.get("WRITE_PAGES"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("source", ["hook", "spool", "fifo"])
def test_the_source_of_the_event_is_named(source: str) -> None:
    world = active()
    said = {"hook": "keepalived's hook reported MASTER at", "spool": "read it in the spool", "fifo": "in its FIFO at"}
    assert said[source] in plain(page(answer(world, source), world))


def test_a_guard_of_a_later_daemon_is_shown_in_its_own_words() -> None:
    world = active()
    told = answer(world)
    told["instances"]["VI_1"]["why"]["guards"] = [{"guard": "new", "text": "the moon is full: failoverctl wait"}]
    assert "! VI_1  refused   the moon is full: failoverctl wait.\n" in plain(page(told, world))


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_wraps_sentences_and_no_command(width: int) -> None:
    world = keepalived_left_its_vip()
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", page_rich.draw(page(answer(world), world), width))
    lines = [line.rstrip() for line in drawn.splitlines()]
    assert max(map(len, lines)) <= width
    assert "      ip address del 192.0.2.1/32 dev eth0" in lines
    pipe = plain(page(answer(world), world))
    assert " ".join(lines).split() == re.sub(r"(?m)^[! ] (VI_1  )?", "", pipe).split()


def test_an_odd_name_is_quoted_in_a_command() -> None:
    world = released()
    told = answer(world)
    told["instances"] = {"VI 1; reboot": told["instances"]["VI_1"]}
    assert "failoverctl reset 'VI 1; reboot'  # take it back now\n" in plain(page(told, world))


def test_a_node_without_instances_is_told_what_to_do() -> None:
    world = World(config=Config())
    assert plain(page(answer(world), world)) == (
        "  no instance is configured; edit failoverd.toml, then: systemctl reload failoverd\n"
    )


def test_what_another_node_has_said_is_explained() -> None:
    world = active()
    word = {"word": "2026-11-21T03:14:59+00:00", "vrrp_state": "BACKUP", "phase": "standby", "rests": True}
    told = answer(world) | {"heartbeat": {"peers": {"right": {"instances": {"VI_1": word}}, "third": {}}}}
    text = plain(page(told, world))
    said = "By the heartbeat right has said: BACKUP, standby, everything at standby; it was so at 03:14:59"
    assert f"  VI_1  word      {said}" in text
    assert "third" not in text
