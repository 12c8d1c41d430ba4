"""Tools that a killed daemon left behind: which are believed to be ours, and what is ended of them."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.words import Verb
from failoverd.daemon import orphans
from failoverd.daemon.orphans import Flight
from failoverd.records import Records

NOBODY = 65534

#: Starts a process with `mark` in its environment, by default as the leader of a process group of its own.
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    made = Records(tmp_path)
    monkeypatch.setattr(orphans, "records", made)
    return made


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def one(mark: str, *argv: str, **keys: Any) -> subprocess.Popen[bytes]:
        keys = {"process_group": 0, **keys}
        environment = {"PATH": os.environ["PATH"], "FAILOVERD_STEP": mark}
        started.append(subprocess.Popen(argv or ("sleep", "60"), env=environment, **keys))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.wait()


def flight(deadline: float = 60.0, resource: str = "web") -> Flight:
    things, until = frozenset({f"the domain {resource}"}), time.monotonic() + deadline
    return Flight(instance="VI_1", resource=resource, things=things, verb=Verb.ACTIVATE, deadline=until)


def found() -> list[tuple[str, list[int]]]:
    """The resources that are worked on, and by whom."""
    return [(it.mark.resource, [tool.pid for tool in it.tools]) for it in orphans.find()]


def test_a_tool_on_record_is_found(start: Start) -> None:
    mark, born = flight().tool()
    tool = start(mark)
    born(tool.pid)
    assert found() == [("web", [tool.pid])]
    tool.kill()
    tool.wait()
    assert found() == []


def test_a_tool_that_ended_before_it_was_on_record_is_no_trouble(start: Start, records: Records) -> None:
    mark, born = flight().tool()
    tool = start(mark, "true")
    tool.wait()
    born(tool.pid)
    assert found() == []
    assert records.names("*") == []


def test_a_tool_that_was_started_in_the_moment_of_the_kill_is_found(start: Start) -> None:
    begun = flight()
    first, born = begun.tool()
    second, _ = begun.tool()
    born(start(first, "true").pid)
    tool = start(second)
    start(second)  # what it has left behind in a process group of its own
    assert found() == [("web", [tool.pid])]


def test_a_long_step_has_a_short_record(start: Start, records: Records) -> None:
    begun = flight()
    for _ in range(3 * orphans.MAX_RECORDED_TOOLS):
        mark, born = begun.tool()
        born(os.getpid())
    tool = start(mark)
    born(tool.pid)
    start(mark)  # what it has left behind in a process group of its own
    (record,) = records.names("*")
    assert len((records.directory / record).read_bytes()) < 5000
    assert tool.pid in found()[0][1]
    assert len(found()[0][1]) <= 2  # this process is taken for one


def test_steps_on_two_resources_and_one_that_hung_before(start: Start) -> None:
    tools = []
    for resource, deadline in (("web", -5.0), ("web", 60.0), ("vpn", 60.0)):
        mark, born = flight(deadline, resource).tool()
        tools.append(start(mark))
        born(tools[-1].pid)
    assert sorted((name, sorted(pids)) for name, pids in found()) == [
        ("vpn", [tools[2].pid]),
        ("web", sorted(tool.pid for tool in tools[:2])),
    ]
    assert all(it.deadline > time.monotonic() + 10 for it in orphans.find())
    assert {it.things for it in orphans.find()} == {frozenset({"the domain web"}), frozenset({"the domain vpn"})}


def test_a_step_that_is_over_is_not_remembered(start: Start, records: Records) -> None:
    begun = flight()
    begun.over()
    mark, born = begun.tool()
    born(start(mark).pid)
    begun.over()
    assert (found(), records.names("*")) == ([], [])


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "\udcff\udcfe{",
        "1/0",
        "{}",
        json.dumps({"runtime_dir": "/run/failoverd", "instance": "VI_1", "resource": "web", "verb": "rm -rf",
                    "deadline": "soon", "session": 1}),
    ],
)  # fmt: skip
def test_what_anybody_puts_into_an_environment_is_not_believed(start: Start, mark: str) -> None:
    start(mark)
    assert found() == []
    flight().tool()  # nor when there are steps
    assert found() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_tool_that_runs_as_another_user_is_one(start: Start) -> None:
    mark, _ = flight().tool()
    tool = start(mark, user=NOBODY)
    assert found() == [("web", [tool.pid])]


@pytest.mark.parametrize("keys", [{"process_group": None}, {"process_group": None, "start_new_session": True}])
def test_what_a_tool_made_is_no_tool(start: Start, keys: dict[str, Any]) -> None:
    mark, _ = flight().tool()
    start(mark, **keys)
    assert found() == []


def test_a_pid_that_came_round_again_is_another(start: Start, records: Records) -> None:
    _, born = flight().tool()
    other = start("")
    born(other.pid)
    (record,) = records.names("*")
    said = records.read(record, dict)
    assert said is not None
    said["tools"][0][1] -= 1
    records.write(record, said)
    assert found() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"verb": "reboot"},
        {"verb": ["activate"]},
        {"instance": 7},
        {"deadline": "year 30000"},
        {"deadline": float("nan")},
        {"tools": [1]},
        {"tools": [["1", 2]]},
        {"tools": [[1, 2, 3]]},
        {"tools": 7},
        {"unborn": ["0"]},
        {"count": "many"},
        {"session": None},
    ],
)
def test_a_record_that_says_something_else_is_removed(start: Start, records: Records, wrong: dict[str, Any]) -> None:
    mark, born = flight().tool()
    born(start(mark).pid)
    (record,) = records.names("*")
    records.write(record, {**(records.read(record, dict) or {}), **wrong})
    assert (found(), records.names("*")) == ([], [])


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"boot": "another"}', "\0" * 100])
def test_a_record_that_is_garbage_is_removed(records: Records, text: str) -> None:
    flight().tool()
    (record,) = records.names("*")
    (records.directory / record).write_text(text)
    assert (found(), records.names("*")) == ([], [])


def test_no_tool_is_awaited_for_ever(start: Start) -> None:
    mark, born = flight(1e12).tool()
    born(start(mark).pid)
    (leftover,) = orphans.find()
    assert leftover.deadline <= time.monotonic() + orphans.MAX_WAIT_S


async def test_at_its_deadline_the_tool_is_ended_and_not_what_it_left_running(start: Start, records: Records) -> None:
    mark, born = flight(0.1).tool()
    script = "set -m; sleep 60 & echo $!; set +m; sleep 60"
    tool = start(mark, "bash", "-c", script, stdout=subprocess.PIPE)
    assert tool.stdout is not None
    child = os.pidfd_open(int(tool.stdout.readline()))
    born(tool.pid)
    (leftover,) = orphans.find()
    assert not await leftover.end()
    assert tool.wait() == -signal.SIGTERM
    assert select.select([child], [], [], 0)[0] == []
    signal.pidfd_send_signal(child, signal.SIGKILL)
    os.close(child)
    tool.stdout.close()
    assert records.names("*") == []


async def test_a_tool_that_ends_by_itself_is_not_ended(start: Start) -> None:
    mark, born = flight().tool()
    tool = start(mark, "cat", stdin=subprocess.PIPE)
    born(tool.pid)
    (leftover,) = orphans.find()
    ending = asyncio.create_task(leftover.end())
    await asyncio.sleep(0)
    assert tool.stdin is not None
    tool.stdin.close()
    assert await ending
    assert tool.wait() == 0


async def test_a_tool_that_does_not_end_stays_on_record(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "LADDER", ((signal.SIGWINCH, 0.05),))
    mark, born = flight(0.0).tool()
    tool = start(mark)
    born(tool.pid)
    (leftover,) = orphans.find()
    assert not await leftover.end()
    assert found() == [("web", [tool.pid])]


async def test_nobody_is_signalled_by_a_number_whose_process_has_ended(start: Start) -> None:
    mark, born = flight().tool()
    tool = start(mark)
    born(tool.pid)
    (leftover,) = orphans.find()
    tool.kill()
    tool.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        leftover.tools[0].kill(number)
    assert await leftover.end()
