"""All figures of one state, and that the loop goes on while they are collected."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.core.effects import RunStep, TransitionEnded, TransitionStarted
from failoverd.core.events import StepEnded
from failoverd.core.knowledge import Peer
from failoverd.core.model import InstanceState, Maintenance, Rival, Standby, State, Stray
from failoverd.core.resource import Observation, ResourceState
from failoverd.core.spec import Config, Heartbeat, InstanceSpec, ResourceSpec, Vip
from failoverd.core.words import Keepalived, Level, Outcome, Phase, Target, TransitionResult, Verb, VrrpState
from failoverd.daemon.history.store import Store
from failoverd.daemon.metrics.collect import INSTANCES_AT_ONCE, collect
from failoverd.daemon.metrics.counts import Counts
from failoverd.daemon.metrics.families import FAMILIES
from failoverd.trouble import TroubleKind, Troubles
from tests.unit.daemon.metrics.parsed import Parsed

HERE, AWAY, HIDDEN = (Vip(address=f"192.0.2.{number}/24", interface="eth0") for number in range(1, 4))
SPEC = ResourceSpec(instance="VI_1", name="web", driver="unit")
WEB = ResourceState(spec=SPEC, since=0.0, seen=Observation(level=Level.FAILED, alarm="look", obstacle="no disk"))
INSTANCE = InstanceState(
    spec=InstanceSpec(name="VI_1"),
    since=0.0,
    next_check=0.0,
    vips={HERE: True, AWAY: False, HIDDEN: None},
    resources={"web": WEB},
    vrrp=VrrpState.BACKUP,
    keepalived=Keepalived.STOPPED,
    target=Target.STANDBY,
    phase=Phase.STANDBY,
    alarm="the reason",
    released="the disk failed",
    rivals=(Rival(since=1.0, until=2.0, gave_way=True),),
)
STRAYS = [
    Stray(spec=replace(SPEC, instance=name), seen=WEB.seen, since=0.0, needs=frozenset(), said=said)
    for name, said in (("VI_1", True), ("VI_9", True), ("VI_8", False))
]
STATE = State(
    config=Config(heartbeat=Heartbeat(node="left", peers=("right", "third"))),
    instances={"VI_1": INSTANCE},
    peers={"right": Peer(at=1.0)},
    strays={frozenset({stray.spec.instance}): stray for stray in STRAYS},
)


async def text(state: State, directory: Path, counts: Counts | None = None) -> bytes:
    events = {("hook", "stale"): 3}
    return await collect(
        state, counts or Counts(), Store(directory), node="left", events=events, rejected=4, overflows=5
    )


async def collected(state: State, directory: Path) -> Parsed:
    found = Parsed(await text(state, directory))
    found.held_against_the_declarations()
    return found


async def test_every_layer_is_there(tmp_path: Path, troubles: Troubles) -> None:
    troubles.begin(TroubleKind.RECORD, "full", subject="a", directory="/run")
    troubles.begin(TroubleKind.RECORD, "full", subject="b", directory="/run")
    found = await collected(STATE, tmp_path)
    its = {"vrrp_instance": "VI_1"}
    assert found.value("instance_phase", **its, phase="standby") == 1
    assert found.value("instance_vrrp_state", **its, state="BACKUP") == 1
    assert found.value("instance_keepalived", **its, condition="stopped") == 1
    assert [found.value("instance_target", **its, target=word) for word in ("active", "standby")] == [0, 1]
    assert found.value("instance_alarm", **its) == 1
    assert found.value("instance_released", **its) == 1
    assert found.value("instance_rivals", **its) == 1
    assert found.of("instance_strays") == {
        frozenset({("vrrp_instance", "VI_1")}): 1,
        frozenset({("vrrp_instance", "VI_9")}): 1,
    }
    assert {dict(labels)["address"]: value for labels, value in found.of("vip_present").items()} == {
        HERE.address: 1,
        AWAY.address: 0,
    }
    assert found.value("resource_level", **its, resource="web", driver="unit", level="failed") == 1
    assert found.value("resource_alarm", **its, resource="web") == 1
    assert found.value("resource_obstacle", **its, resource="web") == 1
    assert found.of("resource_last_observation_timestamp_seconds") == {}
    assert found.value("instance_standby", **its) == 0
    assert found.value("events_total", source="hook", verdict="stale") == 3
    assert found.value("events_rejected_total") == 4
    assert found.value("fifo_overflows_total") == 5
    assert found.value("troubles", code="record") == 2
    assert found.value("troubles", code="spool") == 0


async def test_an_instance_of_which_nothing_is_known(tmp_path: Path) -> None:
    unknown = replace(INSTANCE, vrrp=None, keepalived=None, target=None, phase=Phase.UNKNOWN, alarm="", released="")
    found = await collected(replace(STATE, instances={"VI_1": unknown}), tmp_path)
    for name in ("instance_vrrp_state", "instance_keepalived", "instance_target"):
        assert set(found.of(name).values()) == {0}
    assert found.value("instance_phase", vrrp_instance="VI_1", phase="unknown") == 1
    assert found.value("instance_alarm", vrrp_instance="VI_1") == 0


async def test_a_standby_that_keepalived_would_not_make_master(tmp_path: Path) -> None:
    fault = replace(INSTANCE, vrrp=VrrpState.FAULT, released="", vips={})
    found = await collected(replace(STATE, instances={"VI_1": fault}), tmp_path)
    assert found.value("instance_obstacle", vrrp_instance="VI_1") == 1


async def test_the_time_of_an_observation_is_a_time_of_the_day(tmp_path: Path) -> None:
    web = replace(WEB, observed=asyncio.get_running_loop().time() - 5.0)
    wish = Standby(by="alice", at=0.0)
    instance = replace(INSTANCE, resources={"web": web}, standby=wish)
    found = await collected(replace(STATE, instances={"VI_1": instance}), tmp_path)
    at = found.value("resource_last_observation_timestamp_seconds", vrrp_instance="VI_1", resource="web")
    assert found.value("exposition_timestamp_seconds") - at == pytest.approx(5.0, abs=1.0)
    assert found.value("instance_standby", vrrp_instance="VI_1") == 1


@pytest.mark.parametrize("maintenance", [None, Maintenance(by="alice", since=0.0, until=1.0)])
async def test_maintenance_is_of_the_node(tmp_path: Path, maintenance: Maintenance | None) -> None:
    found = await collected(replace(STATE, maintenance=maintenance), tmp_path)
    assert found.value("maintenance") == (maintenance is not None)


async def test_a_node_that_was_never_heard_has_no_time(tmp_path: Path) -> None:
    heard = time.time() - asyncio.get_running_loop().time() + 1.0
    found = await collected(STATE, tmp_path)
    assert abs(found.value("peer_last_word_timestamp_seconds", peer="right") - heard) < 60
    assert b'peer="third"' not in await text(STATE, tmp_path)


async def test_a_degraded_instance(tmp_path: Path) -> None:
    active = replace(INSTANCE, phase=Phase.ACTIVE)
    found = await collected(replace(STATE, instances={"VI_1": active}), tmp_path)
    assert found.value("instance_degraded_resources", vrrp_instance="VI_1") == 1


async def test_no_family_is_declared_and_never_given(tmp_path: Path) -> None:
    counts = Counts()
    counts.report(TransitionStarted(transition=1, instance="VI_1", target=Target.ACTIVE, cause=""))
    counts.report(TransitionEnded(transition=1, instance="VI_1", result=TransitionResult.ACTIVE, reason=""))
    counts.step(RunStep(spec=SPEC, verb=Verb.ACTIVATE, step=1, timeout=1.0, transition=1))
    counts.answer(StepEnded(instance="VI_1", resource="web", step=1, outcome=Outcome.DONE, reason="", seen=WEB.seen))
    instances = {"VI_1": replace(INSTANCE, resources={"web": replace(WEB, observed=0.0)})}
    found = (await text(replace(STATE, instances=instances), tmp_path, counts)).decode()
    assert re.findall(r"^# TYPE (\w+) ", found, re.MULTILINE) == [family.name for family in FAMILIES]


async def test_nothing_is_configured(tmp_path: Path) -> None:
    found = await collected(State(config=Config(), instances={}), tmp_path)
    names = {name for name, _ in found.samples}
    assert {"failoverd_build_info", "failoverd_troubles", "failoverd_events_total"} <= names
    assert not {name for name in names if name.startswith(("failoverd_instance", "failoverd_resource"))}


async def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    instances = {f"VI_{number}": INSTANCE for number in range(10 * INSTANCES_AT_ONCE)}
    collecting = asyncio.create_task(text(replace(STATE, instances=instances), tmp_path))
    turns = 0
    while not collecting.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


def test_no_module_of_it_is_imported_before_it_is_configured() -> None:
    program = "import sys, failoverd.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = {name.removeprefix("failoverd.daemon.metrics.") for name in done.stdout.split()}
    assert {"counts", "exporter"} <= found
    assert found.isdisjoint({"collect", "exposition", "families", "scrapes", "textfile"})
