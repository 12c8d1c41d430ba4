"""Starting programs on a disk that hangs: nobody else waits, and what was given up never runs."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from failoverd.ports import command, spawn
from failoverd.ports.errors import DriverError, Hung, TimedOut
from tests.unit.ports.disks import Disk, hanging


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The file that the tool on the disk writes a line into."""
    return tmp_path / "ran"


@pytest.fixture
def disk(tmp_path: Path, ran: Path) -> Iterator[Disk]:
    with hanging(tmp_path / "disk", f'#!/bin/sh\necho "$@" >> {ran}\n') as disk:
        yield disk


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGKILL, 0.05)))


async def all_born() -> None:
    """No start is under way any more."""
    async with asyncio.timeout(60):
        while spawn._threads._queues:
            await asyncio.sleep(0.01)


async def test_others_start_while_one_hangs(disk: Disk, ran: Path) -> None:
    slow = asyncio.create_task(command.run([str(disk.tool), "late", "but whole"]))
    await asyncio.to_thread(disk.asked)
    assert (await command.run(["echo", "others"])).stdout == "others\n"
    assert not slow.done()
    disk.answer()
    assert (await slow).returncode == 0
    assert ran.read_text() == "late but whole\n"


@pytest.mark.usefixtures("short")
async def test_a_start_that_hangs_is_named_when_its_time_is_up_and_never_runs(disk: Disk, ran: Path) -> None:
    task = asyncio.create_task(command.run([str(disk.tool), "given up"]))
    await asyncio.to_thread(disk.asked)
    task.cancel()
    with pytest.raises(Hung, match=rf"its start does not end; check the disk that {disk.tool} is on"):
        await task
    disk.answer()
    await all_born()
    await command.run([str(disk.tool), "again"])
    assert ran.read_text() == "again\n"


@pytest.mark.usefixtures("short")
async def test_starts_that_hang_do_not_pile_up(disk: Disk, ran: Path) -> None:
    before = spawn._threads._count
    first = asyncio.create_task(command.run([str(disk.tool)]))
    await asyncio.to_thread(disk.asked)
    for _ in range(20):
        with pytest.raises(Hung, match=f"not started, because an earlier start of {disk.tool} has not ended"):
            await command.run([str(disk.tool)], timeout=0.01)
    first.cancel()
    with pytest.raises(Hung, match="its start does not end"):
        await first
    assert spawn._threads._count <= before + 1
    assert [len(line) for line in spawn._threads._queues.values()] == [1]
    assert (await command.run(["echo", "others"])).stdout == "others\n"
    disk.answer()
    await all_born()
    assert not ran.exists()


async def test_what_waits_behind_a_start_that_hung_is_started(disk: Disk, ran: Path) -> None:
    tasks = [asyncio.create_task(command.run([str(disk.tool), str(number)])) for number in range(5)]
    await asyncio.to_thread(disk.asked)
    disk.answer()
    assert [(await task).returncode for task in tasks] == [0] * 5
    assert sorted(ran.read_text().split()) == ["0", "1", "2", "3", "4"]


async def test_a_start_that_can_still_be_killed_is_over_at_the_deadline(tmp_path: Path) -> None:
    # A disk whose server takes no question: who waits for it can be killed.
    with hanging(tmp_path / "disk", "") as disk:
        os.kill(disk.server, signal.SIGSTOP)
        with pytest.raises(TimedOut, match="timed out after"):
            await command.run([str(disk.tool)], timeout=0.1)
        os.kill(disk.server, signal.SIGCONT)
    await all_born()


@pytest.mark.usefixtures("short")
async def test_no_program_waits_for_ever_when_all_threads_hang(
    monkeypatch: pytest.MonkeyPatch, disk: Disk, tmp_path: Path
) -> None:
    threads = spawn._Threads()
    monkeypatch.setattr(spawn, "_threads", threads)
    monkeypatch.setattr(spawn, "MAX_THREADS", 1)
    slow = asyncio.create_task(command.run([str(disk.tool)]))
    await asyncio.to_thread(disk.asked)
    with pytest.raises(Hung, match="not started, because the starts of 1 other programs have not ended"):
        await command.run(["touch", str(tmp_path / "withdrawn")], timeout=0.1)
    later = asyncio.create_task(command.run(["touch", str(tmp_path / "later")]))
    await asyncio.sleep(0)
    disk.answer()
    assert [(await task).returncode for task in (slow, later)] == [0, 0]
    assert threads._count == 1
    assert not (tmp_path / "withdrawn").exists()


@pytest.mark.usefixtures("short")
async def test_a_start_that_waits_for_its_turn_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, finish, posix_spawn = threading.Event(), threading.Event(), spawn._posix_spawn

    def slow(*words: Any) -> int:
        begun.set()
        finish.wait()
        return posix_spawn(*words)

    monkeypatch.setattr(spawn, "_posix_spawn", slow)
    first = asyncio.create_task(command.run(["echo", "first"]))
    await asyncio.to_thread(begun.wait)
    with pytest.raises(Hung, match="not started, because an earlier start of echo has not ended"):
        await command.run(["echo", "second"], timeout=0.01)
    finish.set()
    assert (await first).stdout == "first\n"


async def test_without_a_thread_nothing_is_started_and_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(spawn, "_threads", spawn._Threads())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(DriverError, match="cannot start a thread"):
            await command.run(["true"])
    assert (await command.run(["true"])).returncode == 0


async def test_a_tool_without_a_pidfd_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def pidfd_open(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(DriverError, match="Too many open files"):
        await command.run(["sleep", "60"])
    (pid,) = started
    assert not Path(f"/proc/{pid}").exists()


async def test_a_tool_has_none_of_our_files(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        done = await command.run(["ls", "-l", "/proc/self/fd"])
    assert "lock" not in done.stdout


async def test_a_tool_may_have_as_many_descriptors_as_we_might_at_first() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        spawn.take_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        soon = "until [ $(ulimit -Sn) = 100 ]; do :; done; ulimit -Hn"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spawn, "_NOFILE_LIMITS", (100, before[1]))
            done = await command.run(["sh", "-c", soon], timeout=30)
        assert done.stdout == f"{before[1]}\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_word_with_a_nul_byte_is_an_error() -> None:
    with pytest.raises(DriverError, match="NUL"):
        await command.run(["echo", "a\0b"])


def test_a_tool_is_not_spared_when_memory_runs_out() -> None:
    # To be spared (a score below 0) is a privilege that not every machine for tests has: one above 0 shows the same.
    # What the tool has forked before anybody came to that is not spared either.
    script = (
        "import asyncio, pathlib\n"
        "from failoverd.ports import command, spawn\n"
        "pathlib.Path('/proc/self/oom_score_adj').write_text('100')\n"
        "spawn._OOM_PROTECTED, unprotect = True, spawn._unprotect\n"
        "def late(pid):\n"
        "    while not pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text():\n"
        "        pass\n"
        "    spawn._unprotect = unprotect\n"
        "    unprotect(pid)\n"
        "spawn._unprotect = late\n"
        "wait = 'until read score </proc/$BASHPID/oom_score_adj; test $score = 0; do :; done'\n"
        "asyncio.run(command.run(['bash', '-c', f'{{ {wait}; }} & {wait}; wait'], timeout=10))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
