"""The intake from outside: real sockets, a real FIFO, the real hook, and every kind of nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from failoverd.core.ordering import Newest, Verdict
from failoverd.core.words import VrrpState
from failoverd.daemon import intake as intake_module
from failoverd.daemon.access import Peer
from failoverd.daemon.intake import Change, Intake, IntakeError, ReportedEvent, fifo, notify, readers, spool, strangers
from failoverd.daemon.intake.fifo import MAX_READ_BYTES
from failoverd.osutil import processes
from failoverd.osutil.inotify import OPEN, Inotify
from failoverd.records import Records, spare
from failoverd.trouble import Troubles
from tests.unit import full

HOOK = Path(__file__).parents[4] / "hooks" / "notify"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
MASTER, BACKUP, FAULT = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT
FOLLOWED = frozenset({"VI_1", "VI 2.x"})


def line(state: str, ticks: int, pid: int = 1, *, name: str = "VI_1", boot: str = BOOT) -> bytes:
    return f"1\t{boot}\t{ticks}\t{pid}\tINSTANCE\t{name}\t{state}\t100\n".encode()


class Node:
    """One runtime directory, and the intakes that live there one after another."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.admits: Callable[[int], bool] = lambda _uid: True
        self.changes: list[Change] = []
        self.told: list[ReportedEvent] = []
        self.heard = asyncio.Event()
        self.intake: Intake | None = None

    def start(
        self, listener: socket.socket | None = None, held: int | None = None, keepaliveds: Collection[int] = ()
    ) -> Intake:
        self.intake = Intake(
            self.runtime,
            Records(self.runtime),
            admits=self.lets,
            deliver=self.deliver,
            record=self.record,
            followed=FOLLOWED,
            listener=listener,
            held=held,
            keepaliveds=lambda: keepaliveds,
        )
        self.intake.start()
        return self.intake

    def stop(self) -> None:
        if self.intake:
            self.intake.close()
            self.intake = None

    def lets(self, uid: int) -> bool:
        return self.admits(uid)

    def deliver(self, changes: list[Change]) -> None:
        self.changes += changes

    def record(self, told: list[ReportedEvent]) -> None:
        self.told += told
        self.heard.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not reached():
                self.heard.clear()
                await self.heard.wait()

    async def until_told(self, count: int) -> None:
        await self.until(lambda: len(self.told) >= count)

    def states(self, name: str = "VI_1") -> list[VrrpState | None]:
        return [change.state for change in self.changes if change.name == name]

    def newest(self, name: str) -> Newest:
        assert self.intake
        newest = self.intake._classifier.ordering.newest(name)
        assert newest
        return newest

    def verdicts(self) -> list[Verdict]:
        return [told.verdict for told in self.told]

    def fifo(self, text: str | bytes) -> None:
        with open_fifo(self.runtime) as fd:
            data = text if isinstance(text, bytes) else text.encode()
            assert os.write(fd, data) == len(data)

    def spool(self, name: str, content: bytes) -> Path:
        path = self.runtime / "spool" / name
        draft = path.with_name("." + name)
        draft.write_bytes(content)
        return draft.rename(path)

    async def say(self, data: bytes) -> bytes:
        """What the daemon answers on the notify socket, until it hangs up."""
        reader, writer = await asyncio.open_unix_connection(self.runtime / "notify.sock")
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            try:
                return await asyncio.wait_for(reader.read(), 60)
            except ConnectionError:
                return b""
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def hook(self, *words: str) -> int:
        process = await asyncio.create_subprocess_exec(HOOK, "--runtime-dir", self.runtime, *words)
        return await process.wait()

    async def patient_hook(self, *words: str) -> int:
        """The hook, which waits for the answer until it comes: on a busy machine that may be after 0.3 s."""
        patient = self.runtime.with_name("patient-hook")
        text = HOOK.read_text()
        assert text.count("$ACK_SECONDS = 0.3;") == 1
        patient.write_text(text.replace("$ACK_SECONDS = 0.3;", "$ACK_SECONDS = 60;"))
        perl = text.splitlines()[0].removeprefix("#!").split()
        process = await asyncio.create_subprocess_exec(*perl, patient, "--runtime-dir", self.runtime, *words)
        return await process.wait()


@contextlib.contextmanager
def open_fifo(runtime: Path) -> Iterator[int]:
    fd = os.open(runtime / "keepalived.fifo", os.O_RDWR | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


async def eventually(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path / "run")
    yield made
    made.stop()
    for left in (spare(made.runtime), Records(made.runtime).spare):
        shutil.rmtree(left, ignore_errors=True)


@pytest.fixture
async def running(node: Node) -> Node:
    node.start()
    return node


def systemd_socket(runtime: Path) -> socket.socket:
    runtime.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime / "notify.sock"))
    listener.listen(64)
    return listener


# Events, from each source.


async def test_the_real_hook_is_heard(running: Node) -> None:
    assert await running.hook("INSTANCE", "VI 2.x", "MASTER", "150") == 0
    await running.until_told(1)
    assert running.states("VI 2.x") == [MASTER]
    told = running.told[0]  # on a busy machine the hook does not wait for the answer, and spools it as well
    assert (told.kind, told.state, told.source) == ("INSTANCE", "MASTER", "hook")


async def test_keepalived_s_fifo_is_heard(running: Node) -> None:
    running.fifo('GROUP "VI_1" BACKUP 0\nINSTANCE "VI 2.x" MASTER 150\n')
    await running.until_told(2)
    assert running.states("VI_1") == [BACKUP]
    assert running.states("VI 2.x") == [MASTER]


async def test_both_clocks_are_one(running: Node) -> None:
    running.fifo('INSTANCE "VI_1" BACKUP 150\n')
    await running.until_told(1)
    before = running.newest("VI_1").fifo
    await running.patient_hook("INSTANCE", "VI_1", "MASTER", "150")
    running.fifo('INSTANCE "VI_1" FAULT 150\n')
    await running.until_told(3)
    newest = running.newest("VI_1")
    assert before is not None
    assert newest.hook is not None
    assert newest.fifo is not None
    assert before <= newest.hook[0] <= newest.fifo <= before + 60 * os.sysconf("SC_CLK_TCK")


async def test_one_change_told_by_both_is_one_change(running: Node) -> None:
    running.fifo('INSTANCE "VI_1" MASTER 150\n')
    running.spool("1-1", line("MASTER", 1))
    await running.patient_hook("INSTANCE", "VI_1", "MASTER", "150")
    await running.until_told(3)
    assert running.states() == [MASTER]
    assert running.intake
    assert running.intake.counters == {"accepted": 1, "duplicate": 2, "stale": 0, "ignored": 0, "rejected": 0}


async def test_hooks_count_in_the_order_of_their_forks(running: Node) -> None:
    assert await running.say(line("MASTER", 300, 9)) == b"ok\n"
    assert await running.say(line("BACKUP", 200, 8)) == b"ok\n"
    assert await running.say(line("MASTER", 300, 9)) == b"ok\n"
    assert await running.say(line("FAULT", 300, 10)) == b"ok\n"
    assert running.states() == [MASTER, FAULT]
    assert running.verdicts() == [Verdict.ACCEPTED, Verdict.STALE, Verdict.DUPLICATE, Verdict.ACCEPTED]


async def test_the_fifo_is_read_before_a_hook_is_classified(running: Node) -> None:
    with socket.socket(socket.AF_UNIX) as hook:
        # Both wait when the loop looks next, whichever it looks at first.
        hook.connect(str(running.runtime / "notify.sock"))
        hook.sendall(line("BACKUP", 100))
        running.fifo('INSTANCE "VI_1" BACKUP 100\nINSTANCE "VI_1" MASTER 100\n')
        await running.until_told(3)
    assert [told.source for told in running.told] == ["fifo", "fifo", "hook"]
    assert running.states()[-1] is MASTER


async def test_reassertions_are_one_change_of_nothing_now_and_then(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "REASSERT_INTERVAL_S", 0.2)
    node.start()
    node.fifo('INSTANCE "VI_1" MASTER 150\n')
    await node.until_told(1)
    for _ in range(3):
        node.fifo('INSTANCE "VI_1" MASTER_RX_LOWER_PRI 150\n' * 100 + 'INSTANCE "VI 2.x" MASTER_RX_LOWER_PRI 150\n')
        await eventually(lambda: node.intake is not None and not node.intake._fifo_reads)
    node.spool("5-5", line("MASTER_RX_LOWER_PRI", 5))
    assert node.intake
    intake = node.intake
    await node.until(lambda: intake.counters["duplicate"] == 304)
    assert intake.counters_by_source["fifo", "duplicate"] in (303, 304)
    changes = [change for change in node.changes if change.name == "VI_1"]
    assert [(c.state, c.reassert, c.rival) for c in changes[:2]] == [(MASTER, False, False), (None, True, True)]
    assert 3 <= len(changes) <= 8, "the first, the last, and few between"
    assert changes[-1].source == "spool"
    assert len(node.told) < 20


async def test_priorities_and_unknown_words_are_kept_and_ignored(running: Node) -> None:
    words = ["BACKUP_PRIORITY", "MASTER_PRIORITY", "CONFUSED"]
    running.fifo("".join(f'INSTANCE "VI_1" {word} 105\n' for word in words))
    await running.until_told(3)
    assert [told.state for told in running.told] == words
    assert set(running.verdicts()) == {Verdict.IGNORED}
    assert running.changes == []


async def test_who_is_not_followed_is_ignored_until_a_reload_follows(running: Node) -> None:
    assert running.intake
    assert await running.say(line("MASTER", 100, name="VI_9")) == b"ok\n"
    assert running.changes == []
    assert running.intake.counters["ignored"] == 1
    running.intake.followed = FOLLOWED | {"VI_9"}
    assert running.intake.last("VI_9") is MASTER
    assert await running.say(line("BACKUP", 200, name="VI_9")) == b"ok\n"
    assert running.states("VI_9") == [BACKUP]


async def test_a_state_that_came_and_went_asks_to_verify(running: Node) -> None:
    running.fifo('INSTANCE "VI_1" MASTER 150\n')
    await running.until_told(1)
    running.fifo('INSTANCE "VI_1" BACKUP 150\nINSTANCE "VI_1" MASTER 150\n')
    await running.until_told(3)
    assert [(change.state, change.reassert) for change in running.changes] == [(MASTER, False), (MASTER, True)]
    assert not running.changes[-1].rival, "nobody heard another MASTER"


# Floods.


async def test_ten_thousand_lines_in_one_burst_are_one_change(running: Node) -> None:
    burst = 'INSTANCE "VI_1" MASTER 150\nINSTANCE "VI_1" BACKUP 150\n' * 5_000
    running.fifo(burst + 'INSTANCE "VI_1" FAULT 150\n')
    await running.until_told(10_001)
    assert [(change.state, change.reassert) for change in running.changes] == [(FAULT, True)]
    assert running.intake
    assert running.intake.counters["accepted"] == 10_001
    assert running.intake.counters_by_source["fifo", "accepted"] == 10_001


async def test_a_burst_that_fills_one_look_exactly(running: Node) -> None:
    lines, rest = divmod(MAX_READ_BYTES, len('INSTANCE "VI_1" MASTER 150\n'))
    running.fifo("x" * (rest - 1) + "\n" + 'INSTANCE "VI_1" MASTER 150\n' * lines)
    await running.until_told(lines)
    assert running.states() == [MASTER]


async def test_a_pipe_that_was_full_lets_hooks_speak_for_themselves(node: Node) -> None:
    node.start()
    node.fifo('INSTANCE "VI_1" MASTER 100\n')
    await node.until_told(1)
    with open_fifo(node.runtime) as fd:
        capacity = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        text = b'INSTANCE "VI_1" BACKUP 100\nINSTANCE "VI_1" MASTER 100\n'
        with contextlib.suppress(BlockingIOError):
            for _ in range(capacity // len(text) + 1):
                os.write(fd, text)
        # The line of this BACKUP found no room; its hook runs all the same.
        read = node.newest("VI_1").fifo
        assert read is not None
        forked = read + 1
        node.spool(f"{forked}-9", line("BACKUP", forked, 9))
    await node.until(lambda: any(told.source == "spool" for told in node.told))
    assert node.intake
    assert node.intake.last("VI_1") is BACKUP
    assert node.changes[-1].reassert
    assert len(node.changes) < 10
    assert node.intake.overflows


async def test_two_thousand_hooks_at_once_are_all_heard(running: Node) -> None:
    async def tell(number: int) -> bytes:
        return await running.say(line("MASTER" if number % 2 else "BACKUP", number // 10, number))

    answers: list[bytes] = []
    for first in range(0, 2_000, 200):
        answers += await asyncio.gather(*(tell(number) for number in range(first, first + 200)))
    assert answers == [b"ok\n"] * 2_000
    assert len(running.told) == 2_000
    assert running.states()[-1] is MASTER


# Nonsense on the notify socket.


@pytest.mark.parametrize("data", [b"\0" * 100 + b"\n", b"x" * 1_000_000, line("MASTER", 1)[:-1] * 90, b"\n", b"2\t\n"])
async def test_nonsense_is_counted_and_not_answered(running: Node, data: bytes) -> None:
    assert running.intake
    assert await running.say(data) == b""
    assert running.intake.counters["rejected"] == 1
    assert await running.say(line("MASTER", 1)) == b"ok\n"


async def test_half_a_line_and_the_rest_of_it_are_one_line(running: Node) -> None:
    reader, writer = await asyncio.open_unix_connection(running.runtime / "notify.sock")
    whole = line("MASTER", 1)
    for at in range(len(whole)):
        writer.write(whole[at : at + 1])
        await writer.drain()
    assert await asyncio.wait_for(reader.read(), 60) == b"ok\n"
    writer.close()
    await writer.wait_closed()


async def test_half_a_line_is_given_up_at_its_end_or_deadline(running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "LINE_TIMEOUT_S", 0.05)
    assert running.intake
    assert await running.say(line("MASTER", 1)[:20]) == b""
    assert await running.say(b"") == b""
    assert running.intake.counters["rejected"] == 2
    reader, writer = await asyncio.open_unix_connection(running.runtime / "notify.sock")
    writer.write(line("MASTER", 1)[:20])
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_thousand_silent_connections_cost_nothing(running: Node) -> None:
    assert running.intake
    silent = []
    try:
        for _ in range(1_000):
            each = socket.socket(socket.AF_UNIX)
            each.connect(str(running.runtime / "notify.sock"))
            silent.append(each)
        assert await running.say(line("MASTER", 1)) == b"ok\n"
        assert len(running.intake._notify._waiting) <= notify.MAX_WAITING
        assert running.intake.counters["rejected"] >= 1_000 - notify.MAX_WAITING
    finally:
        for each in silent:
            each.close()


async def test_the_log_says_a_thing_once(running: Node, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(50):
        await running.say(b"nonsense\n")
    assert capsys.readouterr().out.count("malformed event") <= 1


async def test_no_descriptor_left_is_waited_out(running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "ACCEPT_PAUSE_S", 0.01)
    assert running.intake
    with socket.socket(socket.AF_UNIX) as hook, socket.socket(socket.AF_UNIX) as spare:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = len(os.listdir("/proc/self/fd")) + 64  # noqa: PTH208 (it is not about paths)
        holes = [os.dup(spare.fileno()) for _ in range(highest)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(holes) + 1, hard))
            hook.connect(str(running.runtime / "notify.sock"))
            hook.sendall(line("MASTER", 1))
            await eventually(lambda: running.intake is not None and running.intake._notify._pause is not None)
            assert running.told == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in holes:
                os.close(fd)
        await running.until_told(1)
    assert running.states() == [MASTER]


# Nonsense in the FIFO and in the spool.


async def test_nonsense_in_the_fifo_is_passed_over(running: Node) -> None:
    running.fifo(b"\0\xff\n" + b"x" * 100_000)
    running.fifo(b'\nINSTANCE "VI_1" MAS')
    running.fifo(b"TER 150\n")
    await running.until_told(1)
    assert running.states() == [MASTER]
    assert running.intake
    assert running.intake.counters["rejected"] == 2


async def test_what_health_checks_say_of_lvs_is_ignored(running: Node) -> None:
    """As keepalived 2.2.7 writes it into a `notify_fifo`, which it shares with what VRRP says."""
    running.fifo("VS [192.0.2.1]:tcp:80 UP\nRS [192.0.2.9]:tcp:80 [192.0.2.1]:tcp:80 DOWN\n")
    running.fifo('VS FWM 7 UP\nVS nonsense\nINSTANCE "VI_1" MASTER 150\n')
    await running.until_told(1)
    assert running.intake
    assert running.intake.counters == {"accepted": 1, "duplicate": 0, "stale": 0, "ignored": 3, "rejected": 1}


async def test_the_spool_takes_events_only(running: Node, tmp_path: Path) -> None:
    spool = running.runtime / "spool"
    outside = tmp_path / "outside"
    outside.write_bytes(line("FAULT", 900))
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "link").rename(spool / "1-1")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory").rename(spool / "1-2")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo").rename(spool / "1-3")
    running.spool("1-4", b"x" * 1_000_000)
    running.spool("1-5", b"\xff\n")
    running.spool("1-6", line("FAULT", 900)[:-1])
    running.spool("garbage", line("BACKUP", 100, 1))
    running.spool("200-1", line("MASTER", 200, 1))
    await running.until_told(2)
    assert running.states()[-1] is MASTER
    assert running.intake
    assert running.intake.counters["rejected"] == 6
    assert list(spool.iterdir()) == []
    assert outside.exists()


async def test_an_earlier_boot_s_events_are_stale(node: Node) -> None:
    node.start()
    node.spool("900-1", line("MASTER", 900, boot="00000000-0000-0000-0000-000000000000"))
    await node.until_told(1)
    assert node.verdicts() == [Verdict.STALE]
    assert node.changes == []
    assert list((node.runtime / "spool").iterdir()) == []


async def test_a_spool_made_anew_is_watched(running: Node) -> None:
    (running.runtime / "spool").rmdir()
    await eventually((running.runtime / "spool").is_dir)
    running.spool("1-1", line("MASTER", 1))
    await running.until_told(1)
    assert running.states() == [MASTER]


async def test_more_files_than_one_turn_takes(node: Node) -> None:
    (node.runtime / "spool").mkdir(parents=True)
    for number in range(600):
        node.spool(f"{number}-1", line("MASTER" if number % 2 else "BACKUP", number))
    (node.runtime / "spool" / ".5-5").write_bytes(b"half")
    os.utime(node.runtime / "spool" / ".5-5", (0, 0))
    node.start()
    await node.until_told(600)
    assert set(node.verdicts()) == {Verdict.ACCEPTED}
    assert node.states()[-1] is MASTER
    assert len(node.changes) <= 600 // intake_module.MAX_SPOOLED_FILES_PER_TURN + 1
    assert list((node.runtime / "spool").iterdir()) == []


# Who else is there.


async def test_a_second_daemon_is_told_so(running: Node) -> None:
    second = Intake(running.runtime, Records(running.runtime), deliver=running.deliver)
    with pytest.raises(IntakeError, match="another failoverd, or systemd, already listens on this socket"):
        second.start()
    assert await running.say(line("MASTER", 1)) == b"ok\n"


async def test_a_dead_daemon_s_socket_is_replaced_and_systemd_s_is_not(node: Node) -> None:
    listener = systemd_socket(node.runtime)
    with pytest.raises(IntakeError, match="already listens on this socket"):
        node.start()
    node.stop()
    listener.close()
    assert (node.runtime / "notify.sock").is_socket()
    node.start()
    assert await node.say(line("MASTER", 1)) == b"ok\n"
    assert (node.runtime / "notify.sock").stat().st_mode & 0o777 == 0o666
    node.stop()
    assert not (node.runtime / "notify.sock").exists()


async def test_systemd_s_socket_is_adopted_and_left(node: Node) -> None:
    node.start(systemd_socket(node.runtime))
    assert await node.say(line("MASTER", 1)) == b"ok\n"
    node.stop()
    assert (node.runtime / "notify.sock").is_socket()


@pytest.mark.parametrize("what", ["keepalived.fifo", "spool"])
async def test_something_else_in_the_way_is_a_clear_error(node: Node, what: str) -> None:
    node.runtime.mkdir()
    (node.runtime / what).write_text("something else")
    with pytest.raises(IntakeError, match=what):
        node.start()
    (node.runtime / what).unlink()
    node.start()


async def test_keepalived_s_own_fifo_is_found(running: Node) -> None:
    path = running.runtime / "keepalived.fifo"
    running.fifo('INSTANCE "VI_1" BACKUP 100\n')
    path.unlink()
    os.mkfifo(path, 0o600)
    with open_fifo(running.runtime) as fd:
        os.write(fd, b'INSTANCE "VI_1" MASTER 100\n')
        await running.until_told(2)
    assert running.states()[-1] is MASTER
    path.unlink()
    await eventually(path.exists)
    running.fifo('INSTANCE "VI_1" FAULT 100\n')
    await running.until_told(3)
    assert running.states()[-1] is FAULT


async def test_a_fifo_that_was_removed_is_read_until_the_new_one_speaks(
    running: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = Troubles()
    monkeypatch.setattr(fifo, "troubles", troubles)
    with open_fifo(running.runtime) as keepalived:
        (running.runtime / "keepalived.fifo").unlink()
        await eventually((running.runtime / "keepalived.fifo").exists)
        os.write(keepalived, b'INSTANCE "VI_1" MASTER 100\n')
        await running.until_told(1)
        (trouble,) = troubles.standing
        assert trouble.text.endswith("systemctl reload keepalived")
        running.fifo('INSTANCE "VI_1" BACKUP 100\n')
        await running.until_told(2)
        assert troubles.standing == ()
    assert running.states() == [MASTER, BACKUP]


@pytest.mark.parametrize("removed", [False, True])
async def test_the_fifo_that_systemd_holds_is_read(node: Node, *, removed: bool) -> None:
    node.runtime.mkdir()
    os.mkfifo(node.runtime / "keepalived.fifo")
    with open_fifo(node.runtime) as keepalived:
        os.write(keepalived, b'INSTANCE "VI_1" MASTER 100\n')
        if removed:
            (node.runtime / "keepalived.fifo").unlink()
        node.start(held=os.dup(keepalived))
        await node.until_told(1)
        node.fifo('INSTANCE "VI_1" BACKUP 100\n')
        await node.until_told(2)
    assert node.states() == [MASTER, BACKUP]


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
async def test_a_second_reader_is_named_until_it_is_gone(
    node: Node, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    troubles = Troubles()
    monkeypatch.setattr(readers, "troubles", troubles)
    monkeypatch.setattr(readers, "CHECK_DELAY_S", 0.05)
    code = "import os, sys; sys.stdin.read(os.open(sys.argv[1], int(sys.argv[2]) | os.O_NONBLOCK))"
    argv = [sys.executable, "-c", code, str(node.runtime / "keepalived.fifo"), str(flags)]
    node.start()
    script = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.PIPE)
    await eventually(lambda: bool(troubles.standing))
    (trouble,) = troubles.standing
    assert f"(pid {script.pid}) also reads keepalived's FIFO" in trouble.text
    assert trouble.text.endswith(f"; run: systemctl reload keepalived && kill {script.pid}")
    script.kill()
    await script.wait()
    assert node.intake
    node.intake.check()
    await eventually(lambda: troubles.standing == ())


async def test_keepalived_is_no_second_reader(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = Troubles()
    looks: list[None] = []

    def found(_fifo: Path) -> list[int]:
        looks.append(None)
        return [1, os.getpid()]

    monkeypatch.setattr(readers, "troubles", troubles)
    monkeypatch.setattr(readers, "CHECK_DELAY_S", 0.01)
    monkeypatch.setattr(processes, "readers", found)
    node.start(keepaliveds={os.getpid()})
    await eventually(lambda: len(looks) >= 1)
    node.fifo('INSTANCE "VI_1" MASTER 100\n')  # it is opened for that
    await eventually(lambda: len(looks) >= 2)
    assert troubles.standing == ()


async def test_a_reader_that_comes_during_a_check_is_found_by_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[None] = []
    over = threading.Event()

    def found(_fifo: Path) -> list[int]:
        searches.append(None)
        assert over.wait(30)
        return []

    monkeypatch.setattr(readers, "CHECK_DELAY_S", 0.01)
    monkeypatch.setattr(processes, "readers", found)
    node.start()
    await eventually(lambda: len(searches) == 1)
    assert node.intake
    node.intake._readers.check()  # as when the FIFO is opened
    over.set()
    await eventually(lambda: len(searches) == 2)


@pytest.mark.parametrize(
    "place", ["keepalived.fifo file", "keepalived.fifo directory", "keepalived.fifo link", "spool file", "spool link"]
)
@pytest.mark.parametrize("noticed", ["at once", "at a check"])
async def test_something_else_in_a_place_is_lived_with_and_is_trouble_until_it_is_mended(
    running: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, noticed: str
) -> None:
    what, instead = place.split()
    troubles = Troubles()
    for module in (fifo, spool):
        monkeypatch.setattr(module, "troubles", troubles)
    assert running.intake
    at = running.runtime / what
    if noticed == "at a check":
        assert running.intake._lookout._inotify is not None
        asyncio.get_running_loop().remove_reader(running.intake._lookout._inotify.fd)
    at.rename(tmp_path / "away")
    match instead:
        case "file":
            at.write_text("something else")
        case "directory":
            at.mkdir()
        case "link":
            at.symlink_to(tmp_path / "away")
    if noticed == "at a check":
        running.intake.check()
    await eventually(lambda: bool(troubles.standing))
    (trouble,) = troubles.standing
    assert f"{at}: is not a " in trouble.text
    assert f"(rm -r {at}), so events " in trouble.text
    assert await running.say(line("MASTER", 1)) == b"ok\n"
    if at.is_dir() and not at.is_symlink():
        at.rmdir()
    else:
        at.unlink()
    if noticed == "at a check":
        running.intake.check()
    await eventually(lambda: not troubles.standing)
    assert at.exists()


async def test_a_user_who_may_not_report_is_rejected_and_named(running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = Troubles()
    monkeypatch.setattr(strangers, "troubles", troubles)
    running.admits = lambda _uid: False
    assert running.intake
    # It is left in the spool, which root could.
    assert await running.patient_hook("INSTANCE", "VI_1", "MASTER", "150") == 0
    await eventually(lambda: not list((running.runtime / "spool").iterdir()))
    for nonsense in (line("MASTER", 1, name="VI_9"), b"nonsense\n"):
        assert await running.say(nonsense) == b""
    await eventually(lambda: bool(troubles.standing))
    (trouble,) = troubles.standing
    assert trouble.about == "hook-user root"
    assert trouble.text.startswith("failoverd rejected VI_1 MASTER from user root (pid ")
    assert 'write script_user = "root" into [keepalived]' in trouble.text
    assert running.intake.counters["rejected"] == 4
    assert running.told == []


async def test_only_a_few_users_who_may_not_report_are_named_and_none_without_a_name(
    running: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have 65,536 subordinate uids, and the one that matters must still be seen."""
    troubles = Troubles()
    monkeypatch.setattr(strangers, "troubles", troubles)
    names = {1001: "anna", 1002: "keepalived_script", 1003: "carl", 1004: "dora"}
    monkeypatch.setattr(
        "failoverd.daemon.users.pwd.getpwuid", lambda uid: SimpleNamespace(pw_name=names[uid], pw_uid=uid)
    )
    assert running.intake
    rejected = running.intake._strangers
    with capture_logs() as logs:
        for uid in (*range(100_000, 100_150), *names, *names):
            for word in ("MASTER", "BACKUP"):
                peer = Peer(uid=uid, gids=frozenset(), pid=uid)
                rejected.reject_user(peer, line(word, 1).removesuffix(b"\n"), FOLLOWED)
                await eventually(lambda: not rejected._naming)
    shown = {each.about: each.text for each in troubles.standing}
    assert set(shown) == {"hook-users", "hook-user anna", "hook-user keepalived_script", "hook-user carl"}
    assert "failoverd rejected VI_1 MASTER from user anna (pid 1001)" in shown["hook-user anna"]
    assert "100 or more" in shown["hook-users"]
    assert "grep -rw script_user /etc/keepalived" in shown["hook-users"]
    assert [each["about"] for each in logs if each["event"] == "trouble"] == [
        *["hook-users"] * 3,
        *list(shown)[1:],
    ]


async def test_users_who_may_not_report_take_few_places(running: Node) -> None:
    running.admits = lambda _uid: False
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(running.runtime / "notify.sock"))
        assert running.intake
        notify_socket = running.intake._notify
        await eventually(lambda: running.intake is not None and running.intake.counters["rejected"] == 84)
        assert len(notify_socket._waiting) == len(notify_socket._strangers) == notify.MAX_WAITING_STRANGERS
        running.admits = lambda _uid: True
        assert await running.say(line("MASTER", 1)) == b"ok\n"


@pytest.mark.parametrize("through", ["socket", "spool"])
async def test_invalid_arguments_are_shown_and_counted_once(
    running: Node, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    troubles = Troubles()
    monkeypatch.setattr(strangers, "troubles", troubles)
    assert running.intake
    if through == "socket":
        assert await running.patient_hook("instance", "VI_1", "master", "150") == 64
    else:
        running.spool("5-5", b"!\t5\tinstance VI_1 master 150\n")
    await eventually(lambda: bool(troubles.standing))
    await eventually(lambda: not list((running.runtime / "spool").iterdir()))
    assert "with invalid arguments (" in troubles.standing[0].text
    assert "instance VI_1 master 150); expected INSTANCE|GROUP" in troubles.standing[0].text
    assert running.intake.counters["rejected"] == 1
    assert running.told == []


async def test_the_second_spool_is_heard(running: Node) -> None:
    second = spare(running.runtime)
    for number in range(2):
        (second / f".{number}-1").write_bytes(line("MASTER" if number else "BACKUP", number + 1))
        (second / f".{number}-1").rename(second / f"{number}-1")
        await running.until_told(number + 1)
        await eventually(lambda: not list(second.iterdir()))
        second.rmdir()  # and it is made anew
        await eventually(second.is_dir)
    assert running.states() == [BACKUP, MASTER]
    running.stop()
    assert not second.exists(), "who made it removes it"


async def test_a_second_spool_that_is_somebody_else_s_is_not_used(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = Troubles()
    monkeypatch.setattr(spool, "troubles", troubles)
    second = spare(node.runtime)
    second.mkdir()
    (second / "1-1").write_bytes(line("MASTER", 1))
    for path in (second / "1-1", second):
        os.chown(path, 65534, 65534)
    node.admits = lambda uid: uid == 0
    intake = node.start()
    await eventually(lambda: bool(troubles.standing))
    assert [each.about for each in troubles.standing] == ["second-spool"]
    assert f"belongs to another user (rm -r {second})" in troubles.standing[0].text
    assert await node.say(line("BACKUP", 5)) == b"ok\n"
    assert (second / "1-1").exists()
    os.chown(second, 0, 0)  # as systemd-tmpfiles would, or an older failoverd
    intake.check()
    assert troubles.standing == ()
    await eventually(lambda: intake.counters["rejected"] == 1)
    assert list(second.iterdir()) == []
    assert node.states() == [BACKUP]


async def test_the_script_user_s_second_spool_is_used(node: Node) -> None:
    second = spare(node.runtime)
    second.mkdir()
    (second / "1-1").write_bytes(line("MASTER", 1))
    for path in (second / "1-1", second):
        os.chown(path, 65534, 65534)
    node.admits = lambda uid: uid in (0, 65534)
    node.start()
    await node.until_told(1)
    assert node.states() == [MASTER]


async def test_a_file_of_who_may_not_tell_is_no_event(running: Node, tmp_path: Path) -> None:
    running.admits = lambda uid: uid == 0
    (tmp_path / "forged").write_bytes(line("MASTER", 1))
    os.chown(tmp_path / "forged", 65534, 65534)
    (tmp_path / "forged").rename(running.runtime / "spool" / "1-1")
    running.spool("2-1", line("BACKUP", 2))
    await running.until_told(1)
    assert running.states() == [BACKUP]
    assert running.intake
    assert running.intake.counters["rejected"] == 1


@pytest.mark.parametrize("through", ["socket", "spool"])
async def test_nobody_was_forked_later_than_now(running: Node, through: str) -> None:
    assert running.intake
    forged = line("MASTER", 999_999_999_999)
    if through == "socket":
        assert await running.say(forged) == b""
    else:
        running.spool("1-1", forged)
    await eventually(lambda: running.intake is not None and running.intake.counters["rejected"] == 1)
    assert await running.say(line("BACKUP", processes.now())) == b"ok\n"
    assert running.states() == [BACKUP]


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize("instead", ["link", "directory"])
async def test_nothing_is_removed_where_another_directory_is_in_a_spool_s_place(
    running: Node, tmp_path: Path, which: str, instead: str
) -> None:
    """What the owner of the second spool can do: root's daemon would read and remove what he has named."""
    place = running.runtime / "spool" if which == "first" else spare(running.runtime)
    moved, outside = tmp_path / "moved", place.parent / f"{running.runtime.parent.name}-outside"
    await eventually(lambda: running.intake is not None and running.intake._spools.intact())
    outside.mkdir()
    try:
        (outside / "shadow").write_bytes(b"x" * 5000)
        (place / ".1").write_bytes(b"")
        moved = place.rename(place.with_name(f"{place.name}-moved"))
        if instead == "link":
            place.symlink_to(outside)
        else:
            outside.rename(place)
        (moved / ".1").rename(moved / "shadow")
        for _ in range(20):
            await asyncio.sleep(0)
        assert (place / "shadow").exists()
    finally:
        for each in (outside, moved):
            shutil.rmtree(each, ignore_errors=True)
        if place.is_symlink():
            place.unlink()


# Restarts.


async def test_the_next_daemon_knows_what_this_one_acknowledged(node: Node) -> None:
    node.start()
    assert await node.say(line("MASTER", 300, 9)) == b"ok\n"
    node.stop()
    intake = node.start()
    assert intake.last("VI_1") is MASTER
    assert await node.say(line("BACKUP", 200, 8)) == b"ok\n"
    assert await node.say(line("MASTER", 300, 9)) == b"ok\n"
    assert node.states() == [MASTER]
    assert node.verdicts() == [Verdict.ACCEPTED, Verdict.STALE, Verdict.DUPLICATE]


async def test_a_hook_that_nobody_acknowledged_is_heard_once(node: Node) -> None:
    listener = systemd_socket(node.runtime)
    (node.runtime / "spool").mkdir()
    assert await node.hook("INSTANCE", "VI_1", "MASTER", "150") == 0
    # It waits twice now: in the kernel's queue, and in the spool.
    assert len(list((node.runtime / "spool").iterdir())) == 1
    node.start(listener)
    await node.until_told(2)
    assert sorted(told.source for told in node.told) == ["hook", "spool"]
    assert sorted(verdict.value for verdict in node.verdicts()) == ["accepted", "duplicate"]
    assert node.states() == [MASTER]


DAEMON = """
import asyncio, pathlib, sys
from failoverd.daemon.intake import Intake
from failoverd.records import Records
async def main():
    runtime = pathlib.Path(sys.argv[1])
    intake = Intake(runtime, Records(runtime), deliver=lambda changes: None, followed=frozenset({"VI_1"}))
    intake.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_kill_9_loses_nothing(node: Node) -> None:
    stdout = asyncio.subprocess.PIPE
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, node.runtime, stdout=stdout)
    assert daemon.stdout
    assert await daemon.stdout.readline() == b"ready\n"
    assert await node.hook("INSTANCE", "VI_1", "BACKUP", "150") == 0
    daemon.send_signal(signal.SIGSTOP)
    assert await node.hook("INSTANCE", "VI_1", "MASTER", "150") == 0
    daemon.kill()
    await daemon.wait()
    assert await node.hook("GROUP", "VI_1", "FAULT", "0") == 0
    intake = node.start()
    assert intake.last("VI_1") is BACKUP
    await node.until_told(2)
    assert node.states()[-1] is FAULT


async def test_what_cannot_be_recorded_is_not_acknowledged(node: Node) -> None:
    with full.tmpfs(node.runtime):
        node.start()
        assert await node.say(line("MASTER", 300, 9)) == b"ok\n"
        full.read_only(node.runtime)
        assert await node.say(line("BACKUP", 400, 10)) == b""
        full.read_only(node.runtime, is_so=False)
        node.spool("400-10", line("BACKUP", 400, 10))
        assert node.intake
        node.intake.check()
        await eventually(lambda: not list((node.runtime / "spool").iterdir()))
        assert node.states() == [MASTER, BACKUP]
        node.stop()
        assert node.start().last("VI_1") is BACKUP
        node.stop()


async def test_what_was_spooled_stays_there_until_it_is_recorded(node: Node) -> None:
    with full.tmpfs(node.runtime):
        node.start()
        await node.say(line("MASTER", 300, 9))
        spooled = node.spool("400-10", line("BACKUP", 400, 10))
        full.read_only(node.runtime)
        await node.until_told(2)
        assert spooled.exists()
        full.read_only(node.runtime, is_so=False)
        assert node.intake
        node.intake.check()
        await eventually(lambda: not spooled.exists())
        node.stop()


async def test_a_look_leaves_the_fifo_alone_that_is_there(running: Node) -> None:
    assert running.intake
    opened = Inotify()
    opened.watch_file(running.runtime / "keepalived.fifo", OPEN)
    running.intake.check()
    assert opened.read() == [], "each time it is opened, all processes of the machine are looked at"
    opened.close()


async def test_no_last_word_is_left_out_of_date(node: Node) -> None:
    names = [f"VI_{number:060}" for number in range(60)]
    with full.tmpfs(node.runtime):
        node.start()
        await node.say(line("MASTER", 300, 9))
        full.fill(node.runtime)
        for number, name in enumerate(names):  # until there is no room for all of them
            await node.say(line("BACKUP", 301 + number, 10, name=name))
        assert await node.say(line("BACKUP", 400, 10)) == b""
        node.stop()
        assert node.start().last("VI_1") is BACKUP, "it was kept in the other place"
        node.stop()


async def test_closing_twice_or_before_a_start_is_fine(node: Node) -> None:
    Intake(node.runtime, Records(node.runtime), deliver=node.deliver).close()
    intake = node.start()
    intake.close()
    intake.close()
