"""Alerts are given to a real command: in order, again where it failed, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.effects import Alarm, AlarmKind
from failoverd.core.model import Agenda, InstanceState, State
from failoverd.core.spec import Config, InstanceSpec
from failoverd.core.words import Phase
from failoverd.daemon.alerts import sender
from failoverd.daemon.alerts.sender import MAX_WAITING, Alerts
from failoverd.daemon.config.keys import AlertOptions
from failoverd.records import records
from failoverd.trouble import TroubleKind, Troubles

#: Keeps what it gets, and ends as the file `fate` has it.
COMMAND = """
fate=$(cat "$1/fate")
cat >"$1/new.$$" && mv "$1/new.$$" "$1/got.$(date +%s%N)"
eval "$fate"
"""


class Pager:
    """The alerts of a daemon, and what their command got."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fate("exit 0")
        self.alerts = Alerts(lambda: "left", interval=0.0, retry=0.001)
        self.turn_on()

    def turn_on(self, **options: Any) -> None:
        command = ("sh", "-c", COMMAND, "pager", str(self.directory))
        self.alerts.configure(AlertOptions(**{"command": command, **options}))

    def fate(self, script: str) -> None:
        """What the command does after it has read."""
        draft = self.directory / "draft"
        draft.write_text(script)
        draft.rename(self.directory / "fate")

    def alarm(self, instance: str = "VI_1", kind: AlarmKind = AlarmKind.FAILED, text: str = "it failed") -> None:
        self.alerts.alarm(Alarm(instance=instance, kind=kind, text=text), lasts=True)

    @property
    def got(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted(self.directory.glob("got.*"))]

    async def gets(self, number: int) -> list[dict[str, Any]]:
        """What it got, once it is so many."""
        await until(lambda: len(self.got) >= number)
        assert len(self.got) == number
        return self.got


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path) -> None:
    records.move(tmp_path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator and the end wait for a command that a busy machine is slow to run."""
    monkeypatch.setattr(sender, "TEST_TIMEOUT_S", 60.0)
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT_S", 60.0)


@pytest.fixture
async def pager(tmp_path: Path) -> AsyncIterator[Pager]:
    made = Pager(tmp_path)
    yield made
    await made.alerts.close()


def state(*, alarm: str, name: str = "VI_1", config: Config | None = None, phase: Phase = Phase.FAILED) -> State:
    instance = InstanceState(
        spec=InstanceSpec(name=name), since=0.0, next_check=0.0, vips={}, resources={}, phase=phase, alarm=alarm
    )
    return State(config=config or Config(), instances={name: instance}, agenda=Agenda(touched=(name,)))


async def test_alarms_arrive_with_greater_and_greater_numbers(pager: Pager) -> None:
    for instance in ("VI_1", "VI_2", "VI_3"):
        pager.alarm(instance)
    got = await pager.gets(3)
    assert [each["instance"] for each in got] == ["VI_1", "VI_2", "VI_3"]
    assert sorted({each["id"] for each in got}) == [each["id"] for each in got]
    assert {each["node"] for each in got} == {"left"}


async def test_nothing_runs_until_it_is_configured() -> None:
    alerts = Alerts(lambda: "left")
    alerts.alarm(Alarm(instance="VI_1", kind=AlarmKind.FAILED, text=""), lasts=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert alerts.command is None
    await alerts.close()


async def test_the_end_of_an_alarm_is_an_alert_too(pager: Pager) -> None:
    holds, over = state(alarm="it failed"), state(alarm="")
    pager.alerts.change(over, holds)
    pager.alarm()
    await pager.gets(1)
    pager.alerts.change(holds, holds)
    pager.alerts.change(holds, over)
    begun, ended = await pager.gets(2)
    assert (ended["code"], ended["begin"]) == (begun["code"], begun["begin"])
    assert ended["end"] is not None
    assert ended["id"] > begun["id"]
    pager.alerts.change(holds, over)
    pager.alarm("VI_2")
    assert [each["instance"] for each in await pager.gets(3)] == ["VI_1", "VI_1", "VI_2"]


async def test_an_alarm_that_does_not_last_has_no_end(pager: Pager) -> None:
    pager.alerts.alarm(Alarm(instance="VI_1", kind=AlarmKind.DRIFT, text="it changed"), lasts=False)
    pager.alerts.change(state(alarm="x"), state(alarm=""))
    await pager.gets(1)
    await until(lambda: pager.alerts._sending is not None and pager.alerts._sending.done())
    assert len(pager.got) == 1


async def test_a_reload_that_removes_the_instance_ends_its_alarm(pager: Pager) -> None:
    pager.alarm()
    await pager.gets(1)
    holds, without = state(alarm="it failed"), state(alarm="", name="VI_2", config=Config(parallel=1))
    pager.alerts.change(holds, without)
    begun, ended = await pager.gets(2)
    assert (ended["instance"], ended["code"], ended["begin"]) == ("VI_1", "failed", begun["begin"])
    assert ended["end"] is not None
    assert pager.alerts._standing == {}


async def test_another_alarm_ends_the_one_that_it_replaces(pager: Pager) -> None:
    pager.alarm(kind=AlarmKind.REFUSED)
    await pager.gets(1)
    pager.alarm(kind=AlarmKind.FAILED)
    got = await pager.gets(3)
    assert sorted((each["code"], each["end"] is None) for each in got[1:]) == [("failed", True), ("refused", False)]
    pager.alerts.change(state(alarm="it failed"), state(alarm=""))
    assert (await pager.gets(4))[3]["code"] == "failed"


@pytest.mark.parametrize(
    ("phase", "alarm", "over"),
    [
        (Phase.UNKNOWN, "", False),
        (Phase.PROMOTING, "", False),
        (Phase.STANDBY, "", True),
        (Phase.FAILED, "it failed", False),
    ],
)
async def test_the_next_daemon_ends_the_alarm_when_it_knows_the_state(
    pager: Pager, tmp_path: Path, phase: Phase, alarm: str, over: bool
) -> None:
    pager.alarm()
    [begun] = await pager.gets(1)
    (tmp_path / "next").mkdir()
    following = Pager(tmp_path / "next")
    following.alerts.recall()
    unknown = state(alarm="", phase=Phase.UNKNOWN)
    following.alerts.change(State(config=Config(), instances={}), unknown)
    following.alerts.change(unknown, state(alarm=alarm, phase=phase))
    following.alarm("VI_2")
    await until(lambda: any(each["instance"] == "VI_2" for each in following.got))
    ended = [each for each in following.got if each["instance"] == "VI_1"]
    assert [(each["code"], each["begin"], each["end"] is not None) for each in ended] == (
        [("failed", begun["begin"], True)] if over else []
    )
    await following.alerts.close()


async def test_an_alarm_that_the_next_daemon_gives_again_began_with_the_first(pager: Pager, tmp_path: Path) -> None:
    pager.alarm()
    [begun] = await pager.gets(1)
    (tmp_path / "next").mkdir()
    following = Pager(tmp_path / "next")
    following.alerts.recall()
    following.alarm()
    await following.gets(1)
    following.alerts.change(state(alarm="it failed"), state(alarm=""))
    ended = (await following.gets(2))[1]
    assert (ended["begin"], ended["end"] is not None) == (begun["begin"], True)
    await following.alerts.close()
    third = Alerts(lambda: "left")
    third.recall()
    assert third._standing == {}


async def test_a_failure_is_a_trouble_and_repeated_until_it_is_accepted(pager: Pager, troubles: Troubles) -> None:
    pager.fate("echo first; echo 'no route to host' >&2; exit 7")
    pager.alarm()
    await until(lambda: bool(troubles.standing) and len(pager.got) > 2)
    [trouble] = troubles.standing
    assert trouble.kind is TroubleKind.ALERT_COMMAND
    assert trouble.text == (
        "the alert command failed (sh: exit status 7: no route to host), so nobody gets alarms; "
        "run: failoverctl alert test"
    )
    pager.fate("exit 0")
    await until(lambda: not troubles.standing)
    assert len({each["id"] for each in pager.got}) == 1


@pytest.mark.parametrize(
    ("fate", "timeout", "reason"),
    [
        ("kill -9 $$", 60.0, "killed by signal 9"),
        ("sleep 60", 1.0, "timed out after 1 s, killed"),
        ("echo out; exit 1", 60.0, "out"),
    ],
)
async def test_every_bad_end_has_its_reason(
    pager: Pager, troubles: Troubles, fate: str, timeout: float, reason: str
) -> None:
    pager.turn_on(timeout=timeout)
    pager.fate(fate)
    pager.alarm()
    await until(lambda: bool(troubles.standing))
    assert reason in troubles.standing[0].text


async def test_a_program_that_is_missing_is_a_trouble(pager: Pager, troubles: Troubles) -> None:
    pager.turn_on(command=("/nowhere/page",))
    pager.alarm()
    await until(lambda: bool(troubles.standing))
    assert "/nowhere/page" in troubles.standing[0].text


async def test_the_attempts_end(pager: Pager) -> None:
    pager.alerts._waiting._attempts = 2
    pager.fate("exit 1")
    pager.alarm()
    await until(lambda: pager.alerts._sending is not None and pager.alerts._sending.done())
    assert len(pager.got) == 2
    pager.fate("exit 0")
    pager.alarm("VI_2")
    assert [(each["instance"], each["left_out"]) for each in (await pager.gets(3))[2:]] == [("VI_2", 1)]


async def test_a_flood_is_summed_up(pager: Pager) -> None:
    gate = pager.directory / "gate"
    os.mkfifo(gate)
    pager.fate(f"read word <{gate}")
    pager.alarm("first")
    await pager.gets(1)
    for number in range(1000):
        pager.alarm(f"VI_{number}")
    pager.fate("exit 0")
    gate.write_text("go\n")
    got = await pager.gets(1 + MAX_WAITING)
    assert [each["left_out"] for each in got] == [0, 1000 - MAX_WAITING, *[0] * (MAX_WAITING - 1)]
    pager.alarm("last")
    assert (await pager.gets(2 + MAX_WAITING))[-1]["left_out"] == 0


async def test_a_new_alert_does_not_wait_for_the_retry_of_an_old_one(
    pager: Pager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pause(_seconds: float, end: asyncio.Event) -> None:
        if end is pager.alerts._new:
            await end.wait()

    monkeypatch.setattr(sender, "_pause", pause)
    pager.fate("exit 1")
    pager.alarm()
    await pager.gets(1)
    pager.fate("exit 0")
    pager.alarm("VI_2", AlarmKind.DRIFT)
    assert [each["instance"] for each in await pager.gets(3)] == ["VI_1", "VI_2", "VI_1"]


async def test_a_reload_that_takes_the_command_away_drops_what_waits(pager: Pager, troubles: Troubles) -> None:
    pager.fate("exit 1")
    pager.alarm()
    await until(lambda: bool(troubles.standing))
    pager.alerts.configure(AlertOptions())
    assert not troubles.standing
    await until(lambda: pager.alerts._sending is not None and pager.alerts._sending.done())
    assert pager.alerts._waiting.take() is None


async def test_a_reload_that_changes_nothing_hides_no_failure(pager: Pager, troubles: Troubles) -> None:
    gate = pager.directory / "gate"
    os.mkfifo(gate)
    pager.fate(f"read word <{gate}; exit 1")
    pager.alarm()
    await pager.gets(1)
    pager.turn_on()
    gate.write_text("go\n")
    await until(lambda: bool(troubles.standing))
    pager.fate("exit 0")
    gate.unlink()


@pytest.mark.usefixtures("patient")
async def test_a_test_is_sent_at_once_and_shows_how_it_ended(pager: Pager, troubles: Troubles) -> None:
    sent = await pager.alerts.test("alice")
    assert sent is not None
    assert (sent.reason, pager.got[0]["code"]) == ("", "test")
    pager.fate("echo 'bad token' >&2; exit 1")
    sent = await pager.alerts.test("alice")
    assert sent is not None
    assert sent.reason == "sh: exit status 1: bad token"
    assert [each.kind for each in troubles.standing] == [TroubleKind.ALERT_COMMAND]


async def test_a_test_that_takes_long_is_not_waited_for(pager: Pager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "TEST_TIMEOUT_S", 0.01)
    gate = pager.directory / "gate"
    os.mkfifo(gate)
    pager.fate(f"read word <{gate}")
    assert await pager.alerts.test("alice") is None
    await pager.gets(1)
    assert await pager.alerts.test("bob") is None
    assert len(pager.got) == 1, "one test at a time"
    gate.write_text("go\n")


@pytest.mark.usefixtures("patient")
async def test_the_end_sends_what_waits(pager: Pager) -> None:
    pager.alerts._interval = 3600.0
    pager.alarm()
    await pager.gets(1)
    pager.alarm("VI_2")
    await pager.alerts.close()
    assert [each["instance"] for each in pager.got] == ["VI_1", "VI_2"]


async def test_the_end_does_not_wait_for_a_command_that_hangs(pager: Pager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "CLOSE_TIMEOUT_S", 0.01)
    pager.fate("exec sleep 3600")
    pager.alarm()
    await pager.gets(1)
    await pager.alerts.close()
    assert pager.alerts._sending is not None
    assert pager.alerts._sending.done()


def test_the_numbers_grow_when_the_clock_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 5_000_000)
    alerts = Alerts(lambda: "left")
    assert [alerts._number() for _ in range(3)] == [5, 6, 7]
