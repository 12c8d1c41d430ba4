"""Real processes that are taken for keepalived, which live, freeze and die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from failoverd.core.words import Keepalived
from failoverd.daemon.keepalived.watch import KeepalivedWatch
from failoverd.osutil import processes
from failoverd.records import records
from failoverd.trouble import troubles
from tests.lab.waiting import wait_for
from tests.unit.daemon.keepaliveds import Fakes

pytestmark = pytest.mark.usefixtures("own_network")

RUNNING, STOPPED, GONE = Keepalived.RUNNING, Keepalived.STOPPED, Keepalived.GONE


class Told:
    """A watch of VI_1 and VI_2, and all that it told of each."""

    def __init__(self, directory: Path) -> None:
        self.all: dict[str, list[Keepalived]] = {"VI_1": [], "VI_2": []}
        self.fifo = directory / "keepalived.fifo"
        if not self.fifo.exists():
            os.mkfifo(self.fifo, 0o600)
        self.news = asyncio.Event()
        records.move(directory)
        self.watch = KeepalivedWatch(self.fifo, self._changed)
        self.watch.follow(self.all)

    def _changed(self, instances: frozenset[str], condition: Keepalived) -> None:
        for name in instances:
            self.all[name].append(condition)
        self.news.set()

    async def until(self, name: str, *conditions: Keepalived) -> None:
        """Wait until this is all that was told of the instance."""
        async with asyncio.timeout(60):
            while self.all[name] != list(conditions):
                self.news.clear()
                await self.news.wait()

    def last(self) -> tuple[Keepalived | None, Keepalived | None]:
        """Of VI_1, and of VI_2."""
        return self.watch.conditions.get("VI_1"), self.watch.conditions.get("VI_2")


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    made = Told(tmp_path)
    yield made
    made.watch.close()


# ---------------------------------------------------------------- one keepalived


async def test_who_may_have_spoken_before_we_looked(told: Told, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    monkeypatch.setattr(processes, "everyone", lambda: running)  # and not what else this machine runs
    began = processes.now()
    assert told.watch.lives("VI_1", 0), "no state is known yet"
    told.watch.look()
    assert not told.watch.lives("VI_1", None)
    assert not told.watch.lives("VI_1", 0)
    assert told.watch.lives("VI_1", processes.now() + 1), "it may have been started since"
    script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()
        running.append(other.pid)
        told.watch.look()
        assert told.last() == (None, None)
        assert told.watch.lives("VI_1", None), "somebody else speaks VRRP"
        assert told.watch.lives("VI_1", processes.started(other.pid))
        assert not told.watch.lives("VI_1", began - 1)
        other.kill()
    fake = fakes.start()
    running[:] = fake.pids
    told.watch.look()
    assert told.watch.lives("VI_1", None)
    assert told.watch.lives("VI_1", processes.started(fake.parent.pid))
    assert not told.watch.lives("VI_1", began - 1)


async def test_a_keepalived_that_was_never_seen_is_not_gone(told: Told) -> None:
    told.watch.look()
    assert told.all == {"VI_1": [], "VI_2": []}
    assert told.last() == (None, None)


async def test_it_is_gone_when_the_last_of_its_processes_has_died(told: Told, fakes: Fakes) -> None:
    fake = fakes.start()
    told.watch.look()
    assert told.last() == (RUNNING, RUNNING)
    os.kill(fake.child, signal.SIGKILL)
    fakes.kill(fake)
    await told.until("VI_1", RUNNING, GONE)
    await told.until("VI_2", RUNNING, GONE)
    fakes.start()
    told.watch.look()
    assert told.last() == (RUNNING, RUNNING)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A control group of the unified hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not roots or not os.access(roots[0], os.W_OK):
        pytest.skip("needs a cgroup v2 that may be written to")
    made = roots[0] / f"failoverd-test-{os.getpid()}"
    made.mkdir()
    yield made
    wait_for("nobody is in it", (made / "cgroup.procs").read_text, until=lambda pids: not pids, within=60)
    made.rmdir()


def _has(line: str, text: str) -> bool:
    return line in text


async def test_one_whose_control_group_is_frozen_is_told_apart(told: Told, cgroup: Path, fakes: Fakes) -> None:
    fake = fakes.start()
    for pid in fake.pids:
        (cgroup / "cgroup.procs").write_text(str(pid))
    events = cgroup / "cgroup.events"
    for frozen in ("1", "0"):
        told.watch.look()
        (cgroup / "cgroup.freeze").write_text(frozen)
        wait_for("it is done", events.read_text, until=partial(_has, f"frozen {frozen}"), within=60)
    told.watch.look()
    assert told.all["VI_1"] == [RUNNING, STOPPED, RUNNING]


async def test_a_frozen_one_is_told_apart(told: Told, fakes: Fakes) -> None:
    fake = fakes.start()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        told.watch.look()
        fake.signal(number)
        told.watch.look()
    assert told.all["VI_1"] == [RUNNING, STOPPED, RUNNING]


async def test_a_death_is_noticed_before_the_loop_tells_of_it(told: Told, fakes: Fakes) -> None:
    fake = fakes.start()
    told.watch.look()
    told.watch.notice()
    fakes.kill(fake)
    told.watch.notice()
    assert told.all["VI_1"] == [RUNNING, GONE]


async def test_who_is_started_while_it_looks_is_not_taken_for_the_dead_one(
    told: Told, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that is interrupted finds nobody though the next one runs; what that one's hooks say must count."""
    fake = fakes.start()
    told.watch.look()
    fakes.kill(fake)
    everyone = processes.everyone

    def interrupted() -> list[int]:
        listed = everyone()
        fakes.start()
        return listed

    monkeypatch.setattr(processes, "everyone", interrupted)
    told.watch.look()
    assert told.all["VI_1"] == [RUNNING, GONE]
    unseen = processes.look(fakes.running[0].parent.pid)
    assert unseen is not None
    assert told.watch.started("VI_1") <= unseen.started
    monkeypatch.undo()
    told.watch.look()
    assert told.last() == (RUNNING, RUNNING)
    assert told.watch.started("VI_1") == unseen.started


async def test_a_restarted_daemon_knows_which_one_is_gone(told: Told, fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes.start()
    told.watch.look()
    told.watch.close()
    fakes.kill(fake)
    again = Told(tmp_path)
    again.watch.look()
    assert again.all["VI_1"] == [GONE]
    again.watch.close()


async def test_another_one_in_its_place_is_gone_first_then_running(told: Told, fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes.start()
    told.watch.look()
    told.watch.close()
    fakes.kill(fake)
    fakes.start()
    again = Told(tmp_path)
    again.watch.look()
    assert again.all["VI_1"] == [GONE, RUNNING]
    again.watch.close()


async def test_a_memory_that_cannot_be_used_is_no_obstacle(fakes: Fakes, tmp_path: Path) -> None:
    fakes.start()
    nothing: dict[str, object] = {"kinds": [], "daemons": [], "speakers": {}}
    for garbage in ({}, nothing | {"daemons": [7]}, nothing | {"speakers": {"VI_1": [0]}}, nothing | {"kinds": 7}):
        records.move(tmp_path)
        records.write("keepalived", garbage)
        told = Told(tmp_path)
        told.watch.look()
        assert told.all["VI_1"] == [RUNNING]
        told.watch.close()


async def test_an_instance_that_a_reload_brings_is_told_of_at_once(told: Told, fakes: Fakes) -> None:
    fakes.start()
    told.watch.look()
    told.all["VI_3"] = []
    told.watch.follow(["VI_3"])
    assert told.all["VI_3"] == [RUNNING]
    assert set(told.watch.conditions) == {"VI_3"}


# ---------------------------------------------------------------- what a keepalived is


async def test_what_somebody_else_runs_under_its_name_is_none(told: Told, fakes: Fakes) -> None:
    fakes.start()
    told.watch.look()
    strangers = fakes.start(user="nobody")
    strangers.signal(signal.SIGSTOP)
    told.watch.look()
    assert told.last() == (RUNNING, RUNNING), "nobody's frozen one does not stop it"
    strangers.signal(signal.SIGCONT)
    fakes.kill(fakes.running[0])
    await told.until("VI_1", RUNNING, GONE)


@pytest.mark.parametrize("names", [{"process_name": "router"}, {"argv0": "-router"}], ids=str)
async def test_it_may_call_itself_as_it_likes(told: Told, fakes: Fakes, names: dict[str, str]) -> None:
    before = ["bash", "-c", f'exec -a {names["argv0"]} "$0" "$@"'] if "argv0" in names else []
    fake = fakes.start(before=before)
    if "process_name" in names:
        fake.do(f"echo {names['process_name']} >/proc/$$/comm; echo done")
        fake.line()
    told.watch.look()
    assert fake.pids == told.watch.pids
    fakes.kill(fake)
    await told.until("VI_1", RUNNING, GONE)


async def test_a_program_that_was_replaced_while_it_runs_is_still_the_same(told: Told, fakes: Fakes) -> None:
    fake = fakes.start()
    Path(fakes.program()).unlink()
    told.watch.look()
    assert fake.pids == told.watch.pids


async def test_what_it_starts_is_no_keepalived(told: Told, fakes: Fakes) -> None:
    fake = fakes.start()
    script = fake.script()
    told.watch.look()
    assert fake.pids == told.watch.pids
    told.watch.heard("VI_1", script)
    fakes.kill(fake)
    os.kill(script, 0)
    await told.until("VI_1", RUNNING, GONE)


async def test_one_in_another_network_is_ours_when_it_speaks_to_us(told: Told, fakes: Fakes) -> None:
    outside = fakes.start(before=["unshare", "--net"], fifo=told.fifo)
    told.watch.look()
    assert told.watch.pids == frozenset()
    told.watch.wrote(["VI_1"])
    await told.until("VI_1", RUNNING)
    assert told.watch.pids == outside.pids
    fakes.kill(outside)
    await told.until("VI_1", RUNNING, GONE)


async def test_what_only_has_the_fifo_open_is_none(told: Told, fakes: Fakes) -> None:
    fakes.start("logger", fifo=told.fifo)
    told.watch.wrote(["VI_1"])
    assert told.watch._searching is not None
    await told.watch._searching
    assert told.watch.pids == frozenset()
    (trouble,) = troubles.standing
    assert trouble.text.startswith("keepalived reports events, but failoverd finds none of its processes")
    fakes.start()
    told.watch.look()
    assert troubles.standing == ()


# ---------------------------------------------------------------- who speaks for whom


@pytest.mark.parametrize("told_by", ["hook", "wrapped hook", "dbus", "fifo"])
async def test_the_one_that_speaks_for_an_instance_counts_for_it(
    told: Told, fakes: Fakes, told_by: str, tmp_path: Path
) -> None:
    one, two = fakes.start(fifo=told.fifo if told_by == "fifo" else None), fakes.start()
    told.watch.look()
    match told_by:
        case "hook":
            told.watch.heard("VI_1", one.script())
        case "wrapped hook":
            one.do("sh -c 'sleep 1000 & echo $!; wait' &")
            one.scripts.append(int(one.line()))
            told.watch.heard("VI_1", one.scripts[-1])
        case "dbus":
            told.watch.owns("VI_1", one.child)
        case "fifo":
            told.watch.wrote(["VI_1"])
    told.watch.heard("VI_2", two.script())

    two.signal(signal.SIGSTOP)
    told.watch.look()
    assert told.last() == (RUNNING, STOPPED)
    two.signal(signal.SIGCONT)
    fakes.kill(one)
    await told.until("VI_1", RUNNING, GONE)
    told.watch.look()
    assert told.last() == (GONE, RUNNING), "the other one was there before, and did not come in its place"

    told.watch.close()
    again = Told(tmp_path)
    again.watch.look()
    assert again.last() == (GONE, RUNNING), "a restarted failoverd knows that too"
    fakes.start()
    again.watch.look()
    assert again.last() == (RUNNING, RUNNING)
    again.watch.close()


async def test_where_nothing_tells_all_count_together(told: Told, fakes: Fakes) -> None:
    one, two = fakes.start(fifo=told.fifo), fakes.start(fifo=told.fifo)
    told.watch.wrote(["VI_1"])
    for fake in (one, two):
        fake.signal(signal.SIGSTOP)
        told.watch.look()
        assert told.last() == (STOPPED, STOPPED)
        fake.signal(signal.SIGCONT)
    fakes.kill(one)
    told.watch.look()
    assert told.last() == (RUNNING, RUNNING)
    fakes.kill(two)
    told.watch.look()
    assert told.last() == (GONE, GONE)


async def test_an_instance_that_moves_to_another_keepalived_moves_with_its_word(told: Told, fakes: Fakes) -> None:
    one, two = fakes.start(), fakes.start()
    told.watch.look()
    told.watch.heard("VI_1", one.script())
    told.watch.heard("VI_1", two.script())
    fakes.kill(one)
    told.watch.look()
    assert told.last() == (RUNNING, RUNNING)
    fakes.kill(two)
    await told.until("VI_1", RUNNING, GONE)


async def test_one_that_takes_over_from_a_dead_one_is_known_by_its_word(told: Told, fakes: Fakes) -> None:
    one, two = fakes.start(), fakes.start()
    told.watch.look()
    told.watch.heard("VI_1", one.script())
    fakes.kill(one)
    await told.until("VI_1", RUNNING, GONE)
    told.watch.heard("VI_1", two.script())
    assert told.all["VI_1"] == [RUNNING, GONE, RUNNING]


async def test_who_runs_a_hook_by_hand_is_no_keepalived(told: Told, fakes: Fakes) -> None:
    fake = fakes.start()
    told.watch.look()
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        hook = int(shell.stdout.readline())
        told.watch.heard("VI_1", hook)
        os.kill(hook, signal.SIGKILL)
        shell.kill()
    assert told.watch.pids == fake.pids
    assert told.last() == (RUNNING, RUNNING)


async def test_what_nobody_follows_is_not_kept(told: Told, fakes: Fakes) -> None:
    fake = fakes.start(fifo=told.fifo)
    told.watch.look()
    hook = fake.script()
    told.watch.heard("VI_9", hook)
    told.watch.owns("VI_9", fake.child)
    told.watch.wrote(["VI_9"])
    assert "VI_9" not in told.watch.conditions
