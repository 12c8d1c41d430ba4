"""A guest that goes on dying, because a dead connection of DRBD's holds its memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from failoverd.core.words import Level
from failoverd.drivers.xen import dying, events
from failoverd.drivers.xen.guest import Guest
from failoverd.ports import command, graceful_stop
from failoverd.ports.drbd import wire
from failoverd.ports.errors import DriverError
from tests.unit.drivers.scripted import until, watching
from tests.unit.drivers.xen.conftest import ON_DRBD, Clock, quick
from tests.unit.drivers.xen.xens import FakeXen, table
from tests.unit.ports.drbd.drbdsetups import NINE

SHOWN = (NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text()
LOOK = "ss -Htan state fin-wait-1 src 10.10.0.1 dst 10.10.0.{0} ( sport = :{1} or dport = :{1} )"
DEAD = LOOK.format(2, 7788)
CURE = DEAD.replace("ss ", "ss -K ")
PASTE = CURE.replace("( ", "'( ").replace(" )", " )'")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dying, "DYING_GRACE_S", 0.05)
    monkeypatch.setattr(graceful_stop, "FORCED_STOP_S", 20.0)
    monkeypatch.setattr(wire, "TOOL_TIMEOUT_S", 60.0)


@pytest.fixture
def node(fake: FakeXen, cfg: str) -> FakeXen:
    """web runs on two DRBD resources, of which vpn has a dead connection to right."""
    fake.forget(f"xl -N create {cfg}")
    fake.answer(f"xl -N create {cfg}", ON_DRBD)
    fake.drbd(NINE / "all-three-resources")
    fake.answer("drbdsetup show vpn", SHOWN)
    fake.answer("drbdsetup show web", SHOWN.replace(":7788", ":7789"))
    for host in (2, 3):
        for port in (7788, 7789):
            fake.script(LOOK.format(host, port), "")
    fake.forget(DEAD)
    fake.script(DEAD, "echo '0      5001   10.10.0.1:55014 10.10.0.2:7788'")
    fake.show(table("running"))
    return fake


async def test_a_stop_lets_it_go(node: FakeXen, cfg: str) -> None:
    web = quick(cfg, stop_timeout=100.0)
    await web.observe()
    node.answer("xl shutdown -F web", then=table("dying"))
    node.answer(CURE, "0      5001   10.10.0.1:55014 10.10.0.2:7788", then=table("absent"))
    with command.recording() as texts:
        await web.deactivate()
    assert node.deeds == ["xl shutdown -F web", CURE]
    assert PASTE in texts, "it is in the history"


async def test_a_start_lets_what_is_left_of_the_last_one_go(node: FakeXen, cfg: str) -> None:
    web = quick(cfg, timeout=200.0)
    await web.observe()
    node.show(table("dying"))
    node.answer(CURE, then=table("absent"))
    node.answer(f"xl create {cfg}", then=table("running"))
    await web.activate()
    assert node.deeds == [CURE, f"xl create {cfg}"]


async def test_a_look_names_the_cause_and_both_remedies_and_ends_nothing(node: FakeXen, cfg: str) -> None:
    web = quick(cfg)
    await web.observe()
    node.show(table("dying"))
    async with asyncio.timeout(60):
        while "DRBD" not in (seen := await web.observe()).detail:
            assert (seen.level, seen.detail) == (Level.FAILED, "dying (domain 7)")
    assert seen.detail == (
        "dying (domain 7); a dead connection of DRBD resource vpn to 10.10.0.2 holds memory of the guest: "
        f"`{PASTE}` frees it, and 'options drbd disable_sendpage=1' in /etc/modprobe.d/drbd-xen.conf prevents it"
    )
    assert node.deeds == []


async def test_one_that_is_not_let_go_is_named_in_the_reason(node: FakeXen, cfg: str, clock: Clock) -> None:
    web = quick(cfg, stop_timeout=600)
    await web.observe()
    node.show(table("dying"))
    node.transcript("xl destroy 7", "destroy")
    node.answer(CURE, stderr="SOCK_DESTROY answers: Operation not supported")
    looks = node.told.count("xl list -v")
    clock.steps += [
        lambda: node.told.count("xl list -v") >= looks + 2,
        lambda: {"xl destroy 7", CURE} <= set(node.deeds),
    ]
    with pytest.raises(DriverError, match=r"not gone: dying \(domain 7\); a dead connection of DRBD resource vpn to "):
        await web.deactivate()


@pytest.mark.parametrize("command", [DEAD, "drbdsetup show vpn", "drbdsetup status --json vpn"])
async def test_what_cannot_be_told_is_not_ended(node: FakeXen, cfg: str, command: str) -> None:
    web = quick(cfg, stop_timeout=100.0)
    await web.observe()
    node.forget(command)
    node.script(command, "echo trouble >&2; exit 1")
    node.answer("xl shutdown -F web", then=table("dying"))
    stopping = asyncio.create_task(web.deactivate())
    await until(lambda: node.told.count(command) > 1)
    node.show(table("absent"))
    await stopping
    assert node.deeds == ["xl shutdown -F web"]


async def test_a_look_that_cannot_tell_says_so(node: FakeXen, cfg: str) -> None:
    web = quick(cfg)
    await web.observe()
    node.show(table("dying"))
    node.forget("drbdsetup show vpn")
    node.script("drbdsetup show vpn", "echo trouble >&2; exit 20")
    async with asyncio.timeout(60):
        while (detail := (await web.observe()).detail) == "dying (domain 7)":
            pass
    assert detail.endswith("cannot check for a dead connection of DRBD that holds it (drbdsetup show vpn: trouble)")


async def test_one_that_just_dies_is_not_asked_why(node: FakeXen, cfg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dying, "DYING_GRACE_S", 60.0)
    web = quick(cfg, stop_timeout=20.0)
    await web.observe()
    node.answer("xl shutdown -F web", then=table("dying"))
    stopping = asyncio.create_task(web.deactivate())
    looks = node.told.count("xl list -v")
    await until(lambda: node.told.count("xl list -v") > looks + 3)
    node.show(table("absent"))
    await stopping
    assert not [line for line in node.told if line.startswith("ss")]


async def test_its_end_is_noticed_though_nobody_tells(
    node: FakeXen, cfg: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(events, "DYING_CHECK_INTERVAL_S", 0.05)
    web = quick(cfg)
    node.script("xenstore-watch @introduceDomain @releaseDomain", f"exec sleep 600 >{tmp_path}/log")
    async with watching(events.watch) as changed:
        await web.observe()
        node.show(table("dying"))
        for _ in range(3):  # as long as it is seen dying
            await until_told_again(web, changed)
        node.show(table("absent"))
        assert (await web.observe()).level is Level.STANDBY
        await asyncio.sleep(0.1)
        assert changed == [cfg] * 3


async def until_told_again(web: Guest, changed: list[str | None]) -> None:
    told = len(changed)
    await web.observe()
    await until(lambda: len(changed) > told)
