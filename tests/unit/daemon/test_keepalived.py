"""Real processes called keepalived, which live, freeze and die."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from failoverd.core.model import Keepalived
from failoverd.daemon.keepalived import KeepalivedWatch
from tests.lab.waiting import wait_for

pytestmark = pytest.mark.usefixtures("own_network")


def called_so(process: subprocess.Popen[bytes]) -> None:
    """Wait until the kernel has the new name, which it sets a moment after the program was started."""
    comm = Path(f"/proc/{process.pid}/comm")
    wait_for("it is called keepalived", comm.read_text, until=lambda name: name == "keepalived\n", within=10)


class Processes:
    """Starts processes that are called keepalived."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "keepalived"
        shutil.copy("/bin/sleep", self.program)
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([self.program, "1000"])
        self.running.append(process)
        called_so(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in list(made.running):
        made.kill(process)


class Told:
    """A watch, and all that it told."""

    def __init__(self, memory: Path) -> None:
        self.all: list[Keepalived] = []
        self.news = asyncio.Event()
        self.watch = KeepalivedWatch(memory, self._changed)

    def _changed(self, condition: Keepalived) -> None:
        self.all.append(condition)
        self.news.set()

    async def next(self) -> Keepalived:
        async with asyncio.timeout(10):
            await self.news.wait()
        self.news.clear()
        return self.all[-1]


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    made = Told(tmp_path / "keepalived.pids")
    yield made
    made.watch.close()


async def test_a_keepalived_that_was_never_seen_is_not_gone(told: Told) -> None:
    told.watch.look()
    assert told.all == []
    assert told.watch.condition is None


async def test_it_is_gone_when_the_last_of_its_processes_has_died(told: Told, processes: Processes) -> None:
    parent, child = processes.start(), processes.start()
    told.watch.look()
    assert await told.next() is Keepalived.RUNNING
    processes.kill(child)
    processes.kill(parent)
    assert await told.next() is Keepalived.GONE
    processes.start()
    told.watch.look()
    assert await told.next() is Keepalived.RUNNING


async def test_a_frozen_one_is_told_apart(told: Told, processes: Processes) -> None:
    process = processes.start()
    told.watch.look()
    process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(10):
        while told.watch.condition is not Keepalived.STOPPED:
            told.watch.look()
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while told.watch.condition is not Keepalived.RUNNING:
            told.watch.look()
            await asyncio.sleep(0.01)
    assert Keepalived.GONE not in told.all


async def test_a_restarted_daemon_knows_which_one_is_gone(told: Told, processes: Processes, tmp_path: Path) -> None:
    process = processes.start()
    told.watch.look()
    told.watch.close()
    processes.kill(process)
    again = Told(tmp_path / "keepalived.pids")
    again.watch.look()
    assert again.all == [Keepalived.GONE]
    again.watch.close()


async def test_another_one_in_its_place_is_gone_first_then_running(
    told: Told, processes: Processes, tmp_path: Path
) -> None:
    process = processes.start()
    told.watch.look()
    told.watch.close()
    processes.kill(process)
    processes.start()
    again = Told(tmp_path / "keepalived.pids")
    again.watch.look()
    assert again.all == [Keepalived.GONE, Keepalived.RUNNING]
    again.watch.close()


async def test_one_in_another_network_is_not_ours(told: Told, processes: Processes) -> None:
    outside = subprocess.Popen(["unshare", "--net", processes.program, "1000"])
    processes.running.append(outside)
    called_so(outside)
    told.watch.look()
    assert told.all == []


async def test_a_memory_that_cannot_be_used_is_no_obstacle(processes: Processes, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text("not pids\n")
    for memory in (garbage, tmp_path / "missing" / "pids"):
        told = Told(memory)
        process = processes.start()
        told.watch.look()
        assert await told.next() is Keepalived.RUNNING
        told.watch.close()
        processes.kill(process)
