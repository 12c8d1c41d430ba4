"""The faults in the history: by the causes that the core writes, and by the ends of transitions and steps."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from failoverd.core import rivals
from failoverd.core.effects import TransitionStarted
from failoverd.core.events import LowerPriorityAdvert, PeerReported, VipsSeen, VrrpStateReported
from failoverd.core.knowledge import PeerWord
from failoverd.core.requests import HandoverWanted
from failoverd.core.spec import Heartbeat
from failoverd.core.words import Keepalived, Level, Phase, VrrpState
from failoverd.daemon.history import sql
from failoverd.daemon.history.faults import faults, kind
from tests.unit.core.world import VIP, World, config, resource


def node(state: VrrpState = VrrpState.MASTER) -> World:
    """A settled node, some time after keepalived reported its state."""
    world = World(config=config(resource("web")))
    world.see_keepalived(Keepalived.RUNNING)
    world.say(state)
    world.settle()
    while world.now < world.instance.vrrp_since + rivals.CROSSING_S:
        world.tick()
        world.settle()
    world.log.clear()
    return world


def cause(world: World) -> str:
    """Of the first transition since `node`."""
    world.settle()
    return next(effect.cause for effect in world.log if isinstance(effect, TransitionStarted))


def master() -> World:
    world = node(VrrpState.BACKUP)
    world.say(VrrpState.MASTER)
    return world


def said(state: VrrpState) -> World:
    world = node()
    world.say(state)
    return world


def keepalived(condition: Keepalived) -> World:
    world = node()
    world.see_keepalived(condition)
    return world


def vip_removed() -> World:
    world = node()
    world.move_vip(VIP, present=False)
    while world.tick():
        if world.now >= world.instance.vip_deadline:
            return world
    raise AssertionError


def robbed() -> World:
    world = node()
    world.vips[VIP] = False
    world.send(VipsSeen(present={VIP: False}, removers={VIP: "systemd-networkd"}))
    world.say(VrrpState.BACKUP)
    return world


def rival() -> World:
    world = node()
    world.send(LowerPriorityAdvert(instance="VI_1"))
    return world


def rival_by_its_word() -> World:
    world, others = node(), ("right",)
    spec = replace(world.instance.spec, others=others)
    world.reload(replace(world.config, instances={"VI_1": spec}, heartbeat=Heartbeat(node="left", peers=others)))
    world.settle()
    world.log.clear()
    for _ in range(7):
        word = PeerWord(at=world.now, vrrp=VrrpState.MASTER, phase=Phase.ACTIVE)
        world.send(PeerReported(peer="right", at=world.now, words={"VI_1": word}, whole=True))
        world.now += 1.0
    return world


def drift() -> World:
    world = node()
    world.actual["VI_1", "web"] = Level.STANDBY
    while not world.looks:
        world.tick()
    return world


def missed() -> World:
    world = node(VrrpState.BACKUP)
    world.move_vip(VIP, present=True)
    words = world.instance.words
    world.send(VrrpStateReported(instance="VI_1", words=words, dbus=VrrpState.MASTER, stored=VrrpState.BACKUP))
    return world


def restarted() -> World:
    world = node()
    world.words["VI_1"] = VrrpState.MASTER
    world.start()
    world.answer(world.questions[0])
    return world


def handed_over() -> World:
    world = node()
    world.settle()
    world.send(HandoverWanted(instance="VI_1", by="root", id="left.1", until=math.inf))
    return world


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (handed_over, "handover"),
        (master, "master"),
        (lambda: said(VrrpState.BACKUP), "backup"),
        (lambda: said(VrrpState.FAULT), "fault"),
        (lambda: said(VrrpState.STOP), "stop"),
        (lambda: keepalived(Keepalived.GONE), "keepalived-died"),
        (lambda: keepalived(Keepalived.STOPPED), "keepalived-frozen"),
        (vip_removed, "vip-removed"),
        (robbed, "vip-removed"),
        (rival, "double-master"),
        (rival_by_its_word, "double-master"),
        (drift, "drift"),
        (missed, "event-missed"),
        (restarted, "failoverd-started"),
    ],
)
def test_the_causes_of_the_core_are_recognised(made: Callable[[], World], expected: str) -> None:
    found = cause(made())
    assert kind(found) == expected, found


@pytest.mark.parametrize(
    "cause", ["reset by root", "the configuration was loaded", "periodic check", "web had given up, and is retried"]
)
def test_what_an_operator_or_failoverd_itself_began_is_no_fault(cause: str) -> None:
    assert kind(cause) is None


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sql.connect(tmp_path / "history.db")) as made:
        sql.prepare(made)
        yield made


def keep(
    db: sqlite3.Connection, number: int, cause: str, outcome: str, *, seconds: float = 1.0, instance: str = "VI_1"
) -> None:
    at = 1000.0 * number
    sql.insert_transition(db, (number, instance, "active", cause, at))
    sql.end_transition(db, number, (outcome, "", at + seconds))


def step(db: sqlite3.Connection, after: float, seconds: float, outcome: str, name: str = "web") -> None:
    """A step of transition 1."""
    start = 1000.0 + after
    sql.end_step(db, (1, name, "activate", start), (start + seconds, outcome, "", ""))


def found(db: sqlite3.Connection) -> dict[str, Any]:
    return {each["kind"]: each for each in faults(db)["faults"]}


def test_an_empty_history(db: sqlite3.Connection) -> None:
    assert faults(db) == {"transitions": 0, "since": None, "faults": []}


def test_a_kind_has_its_results_times_and_its_last_transition(db: sqlite3.Connection) -> None:
    for number, seconds in enumerate((1.0, 3.0, 2.0), start=1):
        keep(db, number, "keepalived reported MASTER", "active", seconds=seconds)
    keep(db, 4, "keepalived reported MASTER", "overtaken", seconds=99)
    keep(db, 5, "keepalived reported MASTER", "failed", seconds=8)
    seen = found(db)["master"]
    assert seen["results"] == {"active": 3, "overtaken": 1, "failed": 1}
    assert seen["time"] == {"samples": 4, "median": 2.5, "p95": 8.0}
    assert (seen["last"]["transition"], seen["last"]["result"]) == (5, "failed")


def test_a_change_after_a_refusal_is_no_drift(db: sqlite3.Connection) -> None:
    keep(db, 1, "keepalived reported MASTER", "refused")
    keep(db, 2, "disk was observed standby: UpToDate", "active")
    assert set(found(db)) == {"master", "refused"}
    keep(db, 3, "web was observed standby: not running", "active")
    assert found(db)["drift"]["results"] == {"active": 1}
    keep(db, 4, "web was observed standby", "active", instance="VI_2")
    assert found(db)["drift"]["results"] == {"active": 1}


def test_a_step_that_failed_is_ended_by_the_next_success(db: sqlite3.Connection) -> None:
    keep(db, 1, "reset by root", "active")
    step(db, 0, 2, "timed-out")
    step(db, 0, 1, "done", "disk")
    step(db, 3, 1.5, "done")
    step(db, 5, 1, "hung")
    seen = found(db)
    assert seen["step-timed-out"]["results"] == {"done": 1}
    assert seen["step-timed-out"]["time"]["median"] == 4.5
    assert (seen["step-hung"]["results"], seen["step-hung"]["time"]) == ({"given up": 1}, None)


def test_a_transition_that_runs_or_was_interrupted(db: sqlite3.Connection) -> None:
    sql.insert_transition(db, (1, "VI_1", "active", "keepalived reported MASTER", 1.0))
    assert found(db) == {}
    sql.prepare(db)
    assert found(db)["interrupted"]["results"] == {"interrupted": 1}
    assert found(db)["interrupted"]["time"] is None
