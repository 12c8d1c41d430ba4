"""Fencing: one of a node at a time, reported once to everyone who has asked, and in the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.effects import FencePeer
from failoverd.core.events import PeerFenced
from failoverd.core.spec import Fence
from failoverd.daemon.fencing import FOR_DRBD, Fencing
from failoverd.trouble import troubles
from tests.unit.fence_agents import ScriptedAgent

LONG = 60.0


class Desk:
    """Fencing, and all that it reports."""

    def __init__(self) -> None:
        self.events: list[PeerFenced] = []
        self.recorded: list[dict[str, Any]] = []
        self.barred: str | None = None
        store: Any = self  # which records nothing else
        self.fencing = Fencing(self.events.append, store, lambda _: self.barred)

    def record_event(self, **row: Any) -> None:
        self.recorded.append(row)

    async def until_reported(self, number: int = 1) -> list[PeerFenced]:
        async with asyncio.timeout(LONG):
            while len(self.events) < number:
                await asyncio.sleep(0.01)
        return self.events


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    async with asyncio.timeout(LONG):
        await made.fencing.close()


@pytest.fixture(autouse=True)
def no_troubles() -> Iterator[None]:
    yield
    for each in troubles.standing:
        troubles.end(each.kind, each.subject)


def waiting(folder: Path) -> str:
    """What an agent does that powers off when the file `go` appears."""
    return f'until [ -e {folder}/go ]; do sleep 0.05; done; echo off >"$state"'


async def test_the_end_is_reported_with_its_number_and_is_in_the_history(desk: Desk, tmp_path: Path) -> None:
    desk.fencing.configure({"right": Fence(agent=str(ScriptedAgent(tmp_path).path))}, "left")
    desk.fencing.perform(FencePeer(peer="right", fencing=7))
    (event,) = await desk.until_reported()
    assert (event.peer, event.fencing, event.off) == ("right", 7, True)
    assert "`status` says that it is off" in event.said
    (row,) = desk.recorded
    assert (row["kind"], row["name"], row["state"], row["source"]) == ("FENCING", "right", "off", event.said)
    assert desk.fencing.failures == {}


async def test_a_failure_is_reported_as_one(desk: Desk, tmp_path: Path) -> None:
    it = ScriptedAgent(tmp_path, off="exit 1")
    desk.fencing.configure({"right": Fence(agent=str(it.path))}, "left")
    desk.fencing.perform(FencePeer(peer="right", fencing=7))
    (event,) = await desk.until_reported()
    assert (event.off, desk.recorded[0]["state"]) == (False, "failed")
    assert desk.fencing.failures == {"right": event.said}
    it.path.write_text(it.path.read_text().replace("off) exit 1", 'off) echo off >"$state"'))
    desk.fencing.perform(FencePeer(peer="right", fencing=8))
    assert (await desk.until_reported(2))[1].off
    assert desk.fencing.failures == {}


async def test_it_is_called_off_if_it_is_not_needed_any_more_just_before_it_is_powered_off(
    desk: Desk, tmp_path: Path
) -> None:
    it = ScriptedAgent(tmp_path)
    desk.fencing.configure({"right": Fence(agent=str(it.path))}, "left")
    desk.fencing.perform(FencePeer(peer="right", fencing=7))
    desk.barred = "nothing here needs it any more"
    (event,) = await desk.until_reported()
    assert (event.off, event.called_off, event.said) == (False, True, "called off: nothing here needs it any more")
    assert "off" not in it.actions
    assert desk.recorded[0]["state"] == "called off"
    assert desk.fencing.failures == {}


@pytest.mark.parametrize(("lies", "reported"), [(False, [7]), (True, [FOR_DRBD, 7])])
async def test_one_fencing_of_a_node_runs_at_a_time(
    desk: Desk, tmp_path: Path, lies: bool, reported: list[int]
) -> None:
    it = ScriptedAgent(tmp_path, off=waiting(tmp_path) + '; echo on >"$state"' * lies)
    desk.fencing.configure({"right": Fence(agent=str(it.path))}, "left")
    desk.fencing.begin("right", FOR_DRBD, lambda: "the peer is back")
    desk.fencing.perform(FencePeer(peer="right", fencing=7))
    assert desk.fencing.runs("right")
    (tmp_path / "go").touch()
    events = await desk.until_reported(len(reported))
    assert sorted((event.fencing, event.off) for event in events) == [(number, not lies) for number in reported]
    assert it.actions.count("off") == 1
    assert len(desk.recorded) == 1
    assert not desk.fencing.runs("right")


async def test_another_configuration_does_not_end_it_and_neither_does_the_stop(desk: Desk, tmp_path: Path) -> None:
    it = ScriptedAgent(tmp_path, off=waiting(tmp_path))
    desk.fencing.configure({"right": Fence(agent=str(it.path))}, "left")
    desk.fencing.perform(FencePeer(peer="right", fencing=7))
    desk.fencing.configure({}, "left")
    closing = asyncio.create_task(desk.fencing.close())
    await asyncio.sleep(0)
    (tmp_path / "go").touch()
    async with asyncio.timeout(LONG):
        await closing
    assert [event.off for event in desk.events] == [True]


@pytest.mark.parametrize("name", ["left", "left.example.net", "center"])
async def test_this_node_and_those_without_a_table_are_never_fenced(desk: Desk, tmp_path: Path, name: str) -> None:
    it = ScriptedAgent(tmp_path)
    desk.fencing.configure({"left": Fence(agent=str(it.path))}, "left.example.net")
    desk.fencing.perform(FencePeer(peer=name, fencing=7))
    (event,) = await desk.until_reported()
    assert (event.off, event.said) == (False, f"there is no [fence.{name}]")
    assert it.actions == []


async def test_what_would_keep_it_from_working_is_a_trouble_at_once(desk: Desk, tmp_path: Path) -> None:
    agent = str(ScriptedAgent(tmp_path).path)
    wrong = {
        "left": Fence(agent=str(tmp_path / "absent")),
        "right": Fence(agent=agent, options={"plg": "7"}, secrets={"type": "absent"}),
        "center": Fence(agent=agent),
    }
    desk.fencing.configure(wrong, "left")
    async with asyncio.timeout(LONG):
        while not troubles.standing:
            await asyncio.sleep(0.01)
    (trouble,) = troubles.standing
    assert trouble.about == "fence-agent right"
    assert trouble.text.startswith("right cannot be fenced: the agent has no key `plg`, and would ignore it")
    assert "; the credential absent is missing; run: failoverctl doctor" in trouble.text
    desk.fencing.configure({"right": Fence(agent=agent)}, "left")
    async with asyncio.timeout(LONG):
        while troubles.standing:
            await asyncio.sleep(0.01)


async def test_it_starts_no_agent_while_an_earlier_one_hangs(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from failoverd.ports import fence
    from failoverd.ports.errors import Hung

    over = False
    hung = Hung("it does not end on SIGKILL", lambda: over)

    async def hangs(*_: object) -> fence.Report:
        return fence.Report(off=False, said=hung.reason, hung=hung)

    it = ScriptedAgent(tmp_path)
    desk.fencing.configure({"right": Fence(agent=str(it.path))}, "left")
    monkeypatch.setattr(fence, "power_off", hangs)
    desk.fencing.perform(FencePeer(peer="right", fencing=1))
    await desk.until_reported(1)
    monkeypatch.undo()
    desk.fencing.perform(FencePeer(peer="right", fencing=2))
    second = (await desk.until_reported(2))[1]
    assert (second.off, second.said) == (
        False,
        "an earlier run of its agent has not ended: it does not end on SIGKILL",
    )
    assert "off" not in it.actions
    over = True
    desk.fencing.perform(FencePeer(peer="right", fencing=3))
    assert (await desk.until_reported(3))[2].off
