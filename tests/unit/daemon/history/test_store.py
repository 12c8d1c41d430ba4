"""History: what is written is read again, and no trouble with the disk reaches the caller (I10)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.daemon.history import link, process, sql
from failoverd.daemon.history.link import Launch
from failoverd.daemon.history.store import Store, StoreError
from failoverd.osutil import threads
from failoverd.ports import command, companion
from tests.unit.daemon.running_daemon import wait_for

NOON = 1_790_000_000.25


def thread(directory: Path, connect: process.Connect = sql.connect) -> Launch:
    """The process, as a thread of ours, so that its disk can be of a test's making."""

    async def launch(channel: socket.socket) -> None:
        def serve() -> None:
            with channel:
                process.serve(channel, directory / "history.db", connect)

        await threads.run(serve)

    return launch


def made(directory: Path, connect: process.Connect = sql.connect, **others: Any) -> Store:
    return Store(directory, launch=thread(directory, connect), **others)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(tmp_path, ahead=lambda: 0.0)
    made.start()
    yield made
    assert await made.close(deadline=60)


def transition(store: Store, number: int, *, ended: bool = True) -> None:
    store.transition_started(number, instance="VI_1", target="active", cause="MASTER by fifo", at=NOON + number)
    if ended:
        store.transition_ended(number, outcome="active", reason="", at=NOON + number + 1)


def event(store: Store, **changed: Any) -> None:
    told: dict[str, Any] = {"at": NOON, "boot_id": "b1", "kind": "INSTANCE", "name": "VI_1", "state": "MASTER"}
    store.record_event(**(told | {"source": "fifo", "verdict": "accepted"} | changed))


def stepped(
    store: Store, number: int, seconds: float, *, outcome: str = "done", verb: str = "activate", name: str = "web"
) -> None:
    """A step of the transition `number` that took so long."""
    store.step_ended(
        number,
        resource=name,
        verb=verb,
        started=NOON + number,
        ended=NOON + number + seconds,
        outcome=outcome,
        commands=(),
        detail="",
    )


async def test_the_durations_are_of_successful_steps_of_the_same_instance_and_verb(store: Store) -> None:
    for number in range(1, 43):
        transition(store, number)
    for number in range(1, 41):
        stepped(store, number, number / 10)
    stepped(store, 41, 99, outcome="failed")
    stepped(store, 42, 99, verb="deactivate")
    stepped(store, 1, 7, name="disk")
    store.transition_started(99, instance="VI_2", target="active", cause="x", at=NOON)
    stepped(store, 99, 99)
    found = await store.durations("VI_1", "activate")
    assert set(found) == {"web", "disk"}
    assert found["web"]["samples"] == 40
    assert (found["web"]["median"], found["web"]["p95"]) == (pytest.approx(2.05), pytest.approx(3.8))
    assert found["disk"] == {"samples": 1, "median": pytest.approx(7), "p95": pytest.approx(7)}
    assert await store.durations("VI_3", "activate") == {}


async def test_only_the_newest_steps_count_for_the_durations(store: Store) -> None:
    for number in range(sql.MAX_SAMPLES + 1):
        transition(store, number)
        stepped(store, number, 99 if number == 0 else 1)
    found = await store.durations("VI_1", "activate")
    assert found["web"] == {"samples": sql.MAX_SAMPLES, "median": pytest.approx(1), "p95": pytest.approx(1)}


async def test_a_wait_is_read_with_its_transition(store: Store) -> None:
    transition(store, 4)
    store.waited(4, resource="web", kind="resource", names=("disk", "net"), started=NOON + 4, ended=NOON + 5)
    transition(store, 5)
    found = await store.transition(4)
    assert found is not None
    (wait,) = found["waits"]
    assert (wait["resource"], wait["kind"], wait["names"]) == ("web", "resource", ["disk", "net"])
    lasted = datetime.fromisoformat(wait["ended"]) - datetime.fromisoformat(wait["started"])
    assert lasted.total_seconds() == 1
    other = await store.transition(5)
    assert other is not None
    assert other["waits"] == []


async def test_a_history_from_before_the_waits_gets_them(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db")) as db:
        db.executescript(f"{sql.SCHEMA} PRAGMA user_version = {sql.SCHEMA_VERSION};")
    store = Store(tmp_path)
    store.start()
    transition(store, 4)
    store.waited(4, resource="web", kind="room", names=(), started=NOON + 4, ended=NOON + 5)
    found = await store.transition(4)
    assert found is not None
    assert [wait["kind"] for wait in found["waits"]] == ["room"]
    assert await store.close(deadline=60)


async def test_a_transition_is_read_as_it_was_written(store: Store) -> None:
    store.transition_started(4, instance="VI_1", target="active", cause="MASTER by fifo", at=NOON)
    store.step_started(4, resource="web", verb="activate", started=NOON + 1)
    store.step_ended(
        4,
        resource="web",
        verb="activate",
        started=NOON + 1,
        ended=NOON + 3,
        outcome="done",
        commands=["xl create /etc/xen/web.cfg", "xl list web"],
        detail="running",
    )
    store.step_started(4, resource="vpn", verb="activate", started=NOON + 2)
    one = await store.transition(4)
    assert one is not None
    assert store_time(one["started"]) == NOON
    assert one["ended"] is None
    assert one["outcome"] is None
    web, vpn = one["steps"]
    assert (web["resource"], web["outcome"], web["detail"]) == ("web", "done", "running")
    assert web["command"] == "xl create /etc/xen/web.cfg\nxl list web"
    assert store_time(web["ended"]) == NOON + 3
    assert (vpn["resource"], vpn["ended"], vpn["outcome"], vpn["command"]) == ("vpn", None, None, "")
    store.transition_ended(4, outcome="failed", reason="vpn did not start", at=NOON + 5)
    (again,) = await store.history()
    assert (again["id"], again["outcome"], again["reason"]) == (4, "failed", "vpn did not start")
    assert await store.transition(5) is None


def store_time(stamp: str) -> float:
    at = datetime.fromisoformat(stamp)
    assert at.tzinfo is not None
    return at.timestamp()


async def test_a_clock_that_is_set_changes_no_duration(tmp_path: Path) -> None:
    clocks = iter([NOON, NOON - 365 * 86400])
    store = Store(tmp_path, ahead=lambda: next(clocks))
    store.start()
    told: dict[str, Any] = {"resource": "web", "verb": "activate", "started": 11.0}
    for number in (1, 2):
        store.transition_started(number, instance="VI_1", target="active", cause="MASTER by fifo", at=10.0)
        store.step_started(number, **told)
        store.step_ended(number, **told, ended=12.5, outcome="done", commands=[], detail="")
        store.transition_ended(number, outcome="active", reason="", at=13.0)
    after, before = await store.history()
    assert store_time(before["started"]) - store_time(after["started"]) == 365 * 86400
    for one in (before, after):
        (step,) = one["steps"]
        times = [store_time(each) for each in (one["started"], step["started"], step["ended"], one["ended"])]
        assert [at - times[0] for at in times] == [0.0, 1.0, 2.5, 3.0]
    assert await store.close(deadline=60)


async def test_newest_first_and_no_more_than_asked(store: Store) -> None:
    for number in range(1, 6):
        transition(store, number)
    assert [one["id"] for one in await store.history(3)] == [5, 4, 3]
    assert await store.history(0) == []
    assert await store.first_free_id() == 6


async def test_a_step_whose_start_was_lost_is_kept_whole(store: Store) -> None:
    store.transition_started(1, instance="VI_1", target="standby", cause="", at=NOON)
    store.step_ended(
        1, resource="r", verb="deactivate", started=NOON, ended=NOON, outcome="failed", commands=[], detail=""
    )
    (one,) = await store.history()
    assert [step["outcome"] for step in one["steps"]] == ["failed"]


async def test_events_are_kept_as_they_came(store: Store, tmp_path: Path) -> None:
    event(store, state="MASTER", at=NOON + 1)
    event(store, state="FAULT", verdict="stale")
    event(store, state="BACKUP", name="odd \udcff name")
    await store.history(1)
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db")) as db:
        found = db.execute("SELECT boot_id, name, state, verdict FROM events ORDER BY id").fetchall()
        assert found == [
            ("b1", "VI_1", "MASTER", "accepted"),
            ("b1", "VI_1", "FAULT", "stale"),
            ("b1", "odd \\udcff name", "BACKUP", "accepted"),
        ]
        assert db.execute("SELECT max(at) FROM events").fetchone() == (NOON + 1,)


async def test_what_was_open_when_the_daemon_died_is_interrupted(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.start()
    transition(first, 1)
    transition(first, 2, ended=False)
    first.step_started(2, resource="web", verb="activate", started=NOON)
    assert await first.close()
    second = Store(tmp_path)
    second.start()
    assert await second.first_free_id() == 3
    newest, oldest = await second.history()
    assert (newest["outcome"], newest["ended"], newest["steps"][0]["outcome"]) == ("interrupted", None, "interrupted")
    assert oldest["outcome"] == "active"
    assert await second.close()


async def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "KEPT_TRANSITIONS", 3)
    monkeypatch.setattr(sql, "KEPT_EVENTS", 5)
    for _ in range(2):
        store = made(tmp_path)
        store.start()
        first = await store.first_free_id()
        for number in range(first, first + 5):
            transition(store, number)
            store.step_started(number, resource="r", verb="activate", started=NOON)
            event(store)
        assert await store.close()
    store = made(tmp_path)
    store.start()
    assert [one["id"] for one in await store.history(50)] == [10, 9, 8]
    assert await store.close()
    with sqlite3.connect(tmp_path / "history.db") as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (5,)
        assert db.execute("SELECT count(*) FROM steps").fetchone() == (3,)
    db.close()


async def test_many_readers_at_once_while_another_program_reads(store: Store, tmp_path: Path) -> None:
    for number in range(1, 200):
        transition(store, number)
    await store.history(1)
    other = sqlite3.connect(tmp_path / "history.db")
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM transitions").fetchone() == (199,)
    transition(store, 200)
    found = await asyncio.gather(*(store.history(5, deadline=30) for _ in range(50)))
    assert all([one["id"] for one in each] == [200, 199, 198, 197, 196] for each in found)
    other.close()


async def test_a_corrupt_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    store = Store(tmp_path)
    with capture_logs() as logs:
        store.start()
        transition(store, 1)
        assert len(await store.history()) == 1
        assert await store.close()
    (aside,) = tmp_path.glob("history.db.corrupt-*Z")
    assert aside.read_bytes().startswith(b"this is no database")
    assert [line["event"] for line in logs] == ["history was corrupt; started a new one"]


async def test_a_file_that_is_damaged_inside_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start()
    for number in range(1, 400):
        transition(store, number)
    assert await store.close()
    path = tmp_path / "history.db"
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    path.write_bytes(damaged)
    store = Store(tmp_path)
    store.start()
    assert await store.history() == []
    transition(store, 1)
    assert len(await store.history()) == 1
    assert await store.close()
    assert len(list(tmp_path.glob("history.db.corrupt-*Z"))) == 1


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    for second in range(6):
        (tmp_path / "history.db").write_text(str(second))
        (tmp_path / "history.db-wal").touch()
        sql.set_aside(tmp_path / "history.db", NOON + second)
    kept = sorted(tmp_path.glob("*Z"))
    assert [path.read_text() for path in kept] == ["3", "4", "5"]
    assert len(list(tmp_path.iterdir())) == 6


async def test_history_of_a_newer_failoverd_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "history.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / "history.db").read_bytes()
    store = Store(tmp_path)
    with capture_logs() as logs:
        store.start()
        with pytest.raises(StoreError, match=r"newer failoverd has written the history \(schema 99"):
            await store.history()
        transition(store, 1)
        assert await store.first_free_id() > 1_600_000_000
        assert store.trouble is not None
        assert "upgrade failoverd" in store.trouble
        assert await store.close()
    assert store.dropped == 2
    assert [line["event"] for line in logs] == ["cannot write the history"]
    assert (tmp_path / "history.db").read_bytes() == before


class Gate:
    """A `connect` that hangs until it is opened, as a dead disk does."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, path: Path) -> sqlite3.Connection:
        self.reached.set()
        self.opened.wait(60)
        return sql.connect(path)


async def test_a_hung_disk_costs_entries_and_nothing_else(tmp_path: Path) -> None:
    gate = Gate()
    store = made(tmp_path, gate, queue=10)
    try:
        with capture_logs() as logs:
            store.start()
            assert await asyncio.to_thread(gate.reached.wait, 10)
            for number in range(1, 31):
                transition(store, number)
            assert store.dropped == 50
            assert store.trouble == link.QUEUE_FULL
            with pytest.raises(StoreError, match="slow or hangs"):
                await store.history()
            assert await store.first_free_id() > 1_600_000_000
            assert not await store.close(deadline=0.01)
        assert [line["event"] for line in logs] == ["cannot write the history"]
    finally:
        gate.opened.set()


async def test_a_disk_that_hangs_is_noticed_before_the_queue_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "STALL_TIMEOUT_S", 0.0)
    gate = Gate()
    store = made(tmp_path, gate)
    try:
        store.start()
        transition(store, 1)
        while store.trouble is None:
            await asyncio.sleep(0.001)
        assert "nothing was written for" in store.trouble
    finally:
        gate.opened.set()
    assert len(await store.history(deadline=30)) == 1
    assert store.trouble is None
    assert await store.close(deadline=60)


async def test_a_reader_gives_up_at_its_deadline_and_the_disk_comes_back(tmp_path: Path) -> None:
    gate = Gate()
    store = made(tmp_path, gate)
    try:
        store.start()
        transition(store, 1)
        with pytest.raises(StoreError, match=r"within 0\.01 s"):
            await store.history(deadline=0.01)
        before = int(time.time())
        assert await store.first_free_id(deadline=0.01) >= before
    finally:
        gate.opened.set()
    assert [one["id"] for one in await store.history(deadline=30)] == [1]
    assert store.dropped == 0
    assert await store.close(deadline=60)


async def test_a_queue_that_overflowed_recovers(tmp_path: Path) -> None:
    gate = Gate()
    store = made(tmp_path, gate, queue=3)
    try:
        store.start()
        for number in range(1, 6):
            transition(store, number, ended=False)
    finally:
        gate.opened.set()
    while store.trouble is not None:  # until what waited is written; nobody is told of it
        await asyncio.sleep(0)
    transition(store, 9)
    assert [one["id"] for one in await store.history(deadline=30)] == [9, 3, 2, 1]
    assert store.dropped == 2
    assert await store.close(deadline=60)


class FullDisk(sqlite3.Connection):
    """A connection whose disk is full while `full`."""

    full = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if FullDisk.full and sql.startswith(("INSERT", "UPDATE")):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *args)


async def test_a_full_disk_that_empties_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=FullDisk)

    store = made(tmp_path, connect)
    with capture_logs() as logs:
        store.start()
        transition(store, 1)
        assert len(await store.history()) == 1
        monkeypatch.setattr(FullDisk, "full", True)
        for number in range(2, 6):
            transition(store, number)
        assert [one["id"] for one in await store.history()] == [1]
        assert store.trouble == "cannot write the history: database or disk is full"
        assert store.dropped == 8
        monkeypatch.setattr(FullDisk, "full", False)
        transition(store, 7)
        assert [one["id"] for one in await store.history()] == [7, 1]
        assert store.trouble is None
        assert await store.close()
    assert [line["event"] for line in logs] == ["cannot write the history", "history is written again"]


async def test_an_entry_that_sqlite_cannot_take_costs_only_itself(store: Store) -> None:
    transition(store, 1)
    transition(store, 1 << 70)
    store.transition_started(2, instance="VI_1", target="active", cause="", at=float("nan"))  # which SQLite has not got
    transition(store, 3)
    assert [one["id"] for one in await store.history()] == [3, 1]
    assert store.dropped == 3


async def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "state")
    with capture_logs() as logs:
        store.start()
        transition(store, 1)
        with pytest.raises(StoreError, match="cannot open the history"):
            await store.history()
        assert await store.close()
    assert store.dropped == 2
    assert [line["event"] for line in logs] == ["cannot write the history"]


async def test_never_started_or_closed_it_still_takes_calls(tmp_path: Path) -> None:
    store = Store(tmp_path)
    transition(store, 1)
    assert await store.close()
    transition(store, 2)
    with pytest.raises(StoreError, match="closed"):
        await store.history()
    assert await store.first_free_id() > 1_600_000_000


PROGRAM = """
import asyncio, sys
from pathlib import Path
from failoverd.daemon.history.store import Store

async def main():
    store = Store(Path(sys.argv[1]))
    store.start()
    for number in range(1, 3001):
        store.transition_started(number, instance="x" * 500, target="active", cause="", at=1.0)
        if number % 100 == 0:
            await store.first_free_id(deadline=20)
    print("dropped" if store.dropped else "all written", store.trouble)
    print("closed", await store.close(deadline=20))

asyncio.run(main())
"""

MOUNTS: list[Callable[[Path], str]] = [
    lambda path: f"mount -t tmpfs -o size=256k none {path}",
    lambda path: f"mount -t tmpfs none {path} && mount -o remount,ro {path}",
]


@pytest.mark.parametrize("mount", MOUNTS, ids=["full", "read-only"])
def test_on_a_real_disk_that_takes_no_more(tmp_path: Path, mount: Callable[[Path], str]) -> None:
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], stdin=subprocess.DEVNULL, timeout=30, check=False).returncode:
        unshare = [unshare[0], "--mount"]
        if subprocess.run([*unshare, "true"], stdin=subprocess.DEVNULL, timeout=30, check=False).returncode:
            pytest.skip("no mount namespace can be had here")
    state = tmp_path / "state"
    state.mkdir()
    done = subprocess.run(
        [*unshare, "sh", "-ec", f'{mount(state)}; exec "$@"', "sh", sys.executable, "-c", PROGRAM, str(state)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert first.startswith("dropped cannot ")
    assert second == "closed True"


class DamagedDisk(sqlite3.Connection):
    """A connection that finds its file damaged, once, when it runs what begins with `at`."""

    at = ""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if DamagedDisk.at and sql.startswith(DamagedDisk.at):
            DamagedDisk.at = ""
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        return super().execute(sql, *args)


@pytest.mark.parametrize("at", ["INSERT", "SELECT id"])
async def test_damage_found_while_running_opens_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=DamagedDisk)

    monkeypatch.setattr(process, "OPEN_RETRY_INTERVAL_S", 0.0)
    store = made(tmp_path, connect)
    store.start()
    transition(store, 1)
    assert len(await store.history()) == 1
    monkeypatch.setattr(DamagedDisk, "at", at)
    transition(store, 2)
    answers = await asyncio.gather(store.history(), return_exceptions=True)
    assert isinstance(answers[0], StoreError) or at == "INSERT", "the entries may be in a batch before the query's"
    assert not DamagedDisk.at
    transition(store, 3)
    assert 3 in [one["id"] for one in await store.history()]
    assert store.trouble is None
    assert await store.close()


async def test_what_is_left_out_of_a_long_entry_is_said(store: Store) -> None:
    store.transition_started(1, instance="VI_1", target="standby", cause="c" * 10_000, at=NOON)
    commands = [f"xl shutdown {number}" for number in range(300)]
    store.step_ended(
        1, resource="r", verb="deactivate", started=NOON, ended=NOON, outcome="done", commands=commands, detail=""
    )
    (one,) = await store.history()
    assert one["cause"] == "c" * 8000 + " [2000 characters omitted]"
    assert one["steps"][0]["command"].splitlines()[-2:] == ["xl shutdown 199", "# and 100 more"]


def children(*, of: int) -> list[int]:
    """The processes of the history that a process started."""
    found = []
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == of and b"history.process" in (directory / "cmdline").read_bytes():
                found.append(int(directory.name))
    return found


async def test_a_process_that_is_killed_is_started_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "RESTART_DELAY_S", 0.0)
    transition(store, 1)
    assert len(await store.history()) == 1
    (pid,) = children(of=os.getpid())
    os.kill(pid, signal.SIGSTOP)
    transition(store, 2)
    while store._link._waiting:
        await asyncio.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    while store.dropped != 2:
        await asyncio.sleep(0.001)
    transition(store, 3)
    assert [one["id"] for one in await store.history(deadline=30)] == [3, 1]
    assert store.trouble is None


async def test_a_program_that_cannot_be_started_is_trouble(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store._link._launch = functools.partial(companion.run, ("/nowhere/python3",))
    store.start()
    with pytest.raises(StoreError, match=r"cannot start the history process: .*No such file"):
        await store.history(deadline=30)
    assert await store.first_free_id() > 1_600_000_000
    assert await store.close()


class AStep:
    """One in flight, which starts no tool."""

    def tool(self) -> tuple[str, Callable[[int], None]]:
        raise AssertionError


async def test_the_process_has_nothing_of_the_daemon_but_its_channel(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock, socket.socket(socket.AF_UNIX) as listening:
        os.set_inheritable(lock.fileno(), True)
        os.set_inheritable(listening.fileno(), True)
        store = Store(tmp_path)
        with command.marked(AStep()):
            store.start()
            assert await store.history(deadline=30) == []
    (pid,) = children(of=os.getpid())
    opened = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert str(tmp_path / "lock") not in opened
    assert sum(it.startswith("socket:") for it in opened) <= 2, "the channel, and our standard error if it is one"
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert command.MARK.encode() not in environment, "the next daemon must not take it for a tool"
    assert os.getpgid(pid) == pid, "a signal to our group is not for it"
    assert await store.close()


def test_a_daemon_that_is_killed_before_it_hears_an_answer_leaves_no_trouble(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    entry = [None, "insert_transition", [[1, "VI_1", "active", "", 1.0]]]
    ours.sendall(json.dumps(entry).encode() + b"\n")
    with theirs, ThreadPoolExecutor(1) as pool:
        served = pool.submit(process.serve, theirs, tmp_path / "history.db")
        assert select.select([ours], [], [], 30)[0]
        ours.close()
        served.result(30)
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db")) as db:
        assert db.execute("SELECT max(id) FROM transitions").fetchone() == (1,)


def test_the_process_ends_with_the_daemon(tmp_path: Path) -> None:
    program = PROGRAM.replace('print("closed"', "await asyncio.sleep(600)")
    program = program.replace(", await store.close(deadline=20))", "")
    daemon = subprocess.Popen([sys.executable, "-u", "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    assert daemon.stdout.readline().startswith(b"all written")
    (pid,) = children(of=daemon.pid)
    daemon.kill()
    daemon.wait(30)
    daemon.stdout.close()
    wait_for("it ends too", lambda: not Path(f"/proc/{pid}").exists())
    with sqlite3.connect(tmp_path / "history.db") as db:
        assert db.execute("SELECT max(id) FROM transitions").fetchone() == (3_000,)
    db.close()
