"""The door to processes, against real ones that behave badly."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from failoverd.ports import command, companion, process
from failoverd.ports.errors import DriverError, Hung, NotStarted, TimedOut

FOR_EVER = "while :; do sleep 0.1; done"


def child_that_ignores_term(told_pid: Path) -> str:
    """A script whose child tells its pid once it ignores SIGTERM."""
    return f"sh -c \"trap '' TERM; echo \\$\\$ > {told_pid}; {FOR_EVER}\" & wait"


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def gone(pid: int) -> None:
    # What was killed gives its pipes back a moment before it is a zombie: whoever awaited those may still see it.
    while alive(pid):
        await asyncio.sleep(0.01)


def tells(path: Path) -> bool:
    return path.exists() and bool(path.read_text().strip())


async def told(path: Path) -> int:
    while not tells(path):
        await asyncio.sleep(0.01)
    return int(path.read_text())


async def until_told(script: str, path: Path) -> asyncio.Task[command.Completed]:
    """The run of `script` with a deadline before which it wrote to `path`: on a busy machine, a later one."""
    timeout = 0.2
    while True:
        run = asyncio.create_task(command.run(["sh", "-c", script], timeout=timeout))
        while not (tells(path) or run.done()):
            await asyncio.sleep(0.01)
        if tells(path):
            return run
        with pytest.raises((TimedOut, Hung)):
            await run
        timeout *= 2


@pytest.fixture(autouse=True)
async def nothing_is_left_open() -> AsyncIterator[None]:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    yield
    async with asyncio.timeout(60):
        while count() > before:
            await asyncio.sleep(0.01)


async def test_output_and_status() -> None:
    done = await command.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


async def test_a_signal_is_a_negative_status() -> None:
    assert (await command.run(["sh", "-c", "kill -9 $$"])).returncode == -signal.SIGKILL


async def test_stdin_is_empty_or_what_was_given() -> None:
    assert (await command.run(["cat"])).stdout == ""
    assert (await command.run(["wc", "-c"], input=b"x" * 300_000)).stdout.strip() == "300000"


async def test_environment_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    done = await command.run(["env"])
    assert "LC_ALL=C\n" in done.stdout
    assert "NOTIFY_SOCKET" not in done.stdout


async def test_signals_are_as_a_program_expects_them() -> None:
    # Python itself ignores SIGPIPE; a tool that inherited that would go on writing into nothing.
    done = await command.run(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
    signals = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    glibc_own = 0x180000000  # signals 32 and 33, which posix_spawn itself sets to ignore
    assert [number & ~glibc_own for number in signals] == [0, 0]


async def test_own_process_group() -> None:
    done = await command.run(["sh", "-c", "ps -o pgid= -p $$; echo $$"])
    first, second = done.stdout.split()
    assert first == second


async def test_bytes_that_are_not_text_are_no_error() -> None:
    assert "\ufffd" in (await command.run(["printf", r"\377"])).stdout


async def test_an_output_of_a_large_site_is_whole() -> None:
    done = await command.run(["sh", "-c", "seq 500000; echo end"])
    assert (len(done.stdout), done.stdout[-5:]) == (3_388_899, "\nend\n")


async def test_output_that_is_too_long_is_an_error_that_says_so() -> None:
    argv = ["sh", "-c", "yes | head -c 20000000"]
    with pytest.raises(
        DriverError, match="head -c 20000000': its output has 20000000 bytes; the limit is 16777216 bytes"
    ):
        await command.run(argv)


async def test_words_that_are_too_many_say_what_is_left_out() -> None:
    script = "echo first; yes | head -c 5000000; echo last"
    done = await command.run(["sh", "-c", f"{script}; ({script}) >&2; exit 1"], whole=False)
    assert done.returncode == 1
    for said in (done.stdout, done.stderr):
        assert (command.first_line(said), command.last_line(said)) == ("first", "last")
        assert f"\n[{5_000_011 - process.TEXT_MAX_BYTES - 4096} bytes omitted]\n" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["/nowhere/tool"], "not found; install"), (["/etc/passwd"], "not executable"), (["no-such-tool"], "not found")],
)
async def test_what_cannot_be_started(argv: list[str], words: str) -> None:
    with pytest.raises(DriverError, match=words):
        await command.run(argv)


async def test_a_want_of_our_own_is_not_the_tools_failure() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(NotStarted, match="Too many open files"):
            await command.run(["true"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_hundred_at_once() -> None:
    done = await asyncio.gather(*(command.run(["sh", "-c", f"echo {n}"]) for n in range(100)))
    assert [int(one.stdout) for one in done] == list(range(100))


async def test_a_child_that_holds_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    done = await command.run(["sh", "-c", f"echo started; sleep 600 & echo $! > {told_pid}"])
    assert done.stdout == "started\n"
    child = await told(told_pid)
    assert alive(child)  # what a tool leaves running on purpose is left alone
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("stream", [1, 2])
async def test_a_child_that_writes_for_ever_goes_on_and_is_not_waited_for(tmp_path: Path, stream: int) -> None:
    """Neither SIGPIPE ends it, nor does it wait for somebody to read."""
    told_pid, wrote = tmp_path / "pid", tmp_path / "wrote"
    writing = f"while printf %010000d 7 >&{stream}; do echo >&3; done 3>{wrote}"
    done = await command.run(["bash", "-c", f"({writing}) & echo $! >{told_pid}"], whole=False)
    assert done.returncode == 0
    child = await told(told_pid)
    try:
        async with asyncio.timeout(30):
            while not wrote.exists():
                await asyncio.sleep(0.01)
            already = wrote.stat().st_size
            while wrote.stat().st_size < already + 100:
                await asyncio.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)


async def test_that_nobody_can_read_on_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(companion, "READER", ("/nonexistent/cat",))
    told_pid = tmp_path / "pid"
    with capture_logs() as lines:
        done = await command.run(["sh", "-c", f"echo started; sleep 600 & echo $! >{told_pid}"])
    assert done.stdout == "started\n"
    assert {line["event"] for line in lines if line["log_level"] == "warning"} == {
        "cannot read the output of a tool's background processes"
    }
    os.kill(await told(told_pid), signal.SIGKILL)


async def test_a_deadline_is_told() -> None:
    with pytest.raises(TimedOut, match=r"^sleep 600: timed out after 0\.3 s, killed$"):
        await command.run(["sleep", "600"], timeout=0.3)


async def test_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    run = await until_told(f"sleep 600 & echo $! > {told_pid}; wait", told_pid)
    with pytest.raises(TimedOut):
        await run
    await gone(await told(told_pid))


async def test_a_tool_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    run = await until_told(f"trap '' TERM; echo $$ > {told_pid}; {FOR_EVER}", told_pid)
    with pytest.raises(TimedOut):
        await run
    assert not alive(await told(told_pid))


async def test_a_child_that_ignores_sigterm_is_killed_too(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    run = await until_told(child_that_ignores_term(told_pid), told_pid)
    with pytest.raises(TimedOut):
        await run
    await gone(await told(told_pid))


async def test_a_daemon_with_our_pipe_in_a_group_of_its_own_is_no_hang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGKILL, 2.0)))
    told_pid = tmp_path / "pid"
    run = await until_told(f"setsid sh -c 'echo $$ > {told_pid}; exec sleep 600' & wait", told_pid)
    with pytest.raises(TimedOut):
        await run
    os.kill(await told(told_pid), signal.SIGKILL)


async def test_what_cannot_be_killed_is_hung_and_reaped_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # D state cannot be had on demand: a last rung that the tool survives looks the same from here.
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGWINCH, 0.05)))
    told_pid = tmp_path / "pid"
    run = await until_told(f"trap '' TERM; echo $$ > {told_pid}; {FOR_EVER}", told_pid)
    with pytest.raises(Hung, match="does not end on SIGKILL") as hung:
        await run
    pid = await told(told_pid)
    assert not hung.value.over()
    os.kill(pid, signal.SIGKILL)
    while not hung.value.over():
        await asyncio.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


async def test_a_child_that_cannot_be_killed_is_hung(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # drbdadm dies, drbdsetup stays in D state and holds the pipe.
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGWINCH, 0.05)))
    told_pid = tmp_path / "pid"
    run = await until_told(child_that_ignores_term(told_pid), told_pid)
    with pytest.raises(Hung) as hung:
        await run
    assert not hung.value.over()
    os.kill(await told(told_pid), signal.SIGKILL)
    while not hung.value.over():
        await asyncio.sleep(0.01)


async def test_cancelling_kills_the_group_and_is_cancellation(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    task = asyncio.create_task(command.run(["sh", "-c", f"sleep 600 & echo $! > {told_pid}; wait"]))
    child = await told(told_pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(child)


async def test_cancelling_twice_still_kills(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    task = asyncio.create_task(command.run(["sh", "-c", f"trap '' TERM; echo $$ > {told_pid}; {FOR_EVER}"]))
    child = await told(told_pid)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(child)
    while Path(f"/proc/{child}").exists():
        await asyncio.sleep(0.01)


async def test_cancelling_what_is_being_ended_waits_for_its_end(tmp_path: Path) -> None:
    told_pid, told_term = tmp_path / "pid", tmp_path / "term"
    script = f"trap 'echo 1 > {told_term}' TERM; echo $$ > {told_pid}; {FOR_EVER}"
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    task = await until_told(script, told_pid)
    child = await told(told_pid)
    await told(told_term)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{child}").exists()  # it is reaped, and once: nobody closed what was closed
    gc.collect()
    assert complaints == []


async def test_cancelling_what_cannot_be_killed_is_hung(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGWINCH, 0.05)))
    told_pid, born = tmp_path / "pid", asyncio.Event()
    with command.marked(SimpleNamespace(tool=lambda: ("a mark", lambda _pid: born.set()))):
        task = asyncio.create_task(command.run(["sh", "-c", f"trap '' TERM; echo $$ > {told_pid}; {FOR_EVER}"]))
    child = await told(told_pid)
    await born.wait()  # before that its start is ended, by SIGKILL, and not the process by the ladder
    task.cancel()
    with pytest.raises(Hung):
        await task
    os.kill(child, signal.SIGKILL)
    while Path(f"/proc/{child}").exists():
        await asyncio.sleep(0.01)


async def test_a_command_of_a_step_is_a_line_and_one_of_a_look_is_none() -> None:
    """Ten resources that are looked at every 30 s would else make 28,800 lines a day."""
    for argv in (["true"], ["/nonexistent"]):
        with capture_logs() as looked, contextlib.suppress(NotStarted):
            await command.run(argv)
        with capture_logs() as stepped, command.recording(), contextlib.suppress(NotStarted):
            await command.run(argv)
        assert [line["log_level"] for line in looked] == ["debug"]
        assert [line["log_level"] for line in stepped] == ["info" if argv == ["true"] else "warning"]


async def test_the_record_is_of_this_task_and_those_in_it() -> None:
    with command.recording() as outer:
        with command.recording() as inner:
            await asyncio.gather(command.run(["true", "a b"]), command.run(["true"]))
        command.note("birdc show status")
    command.note("nobody listens")
    assert sorted(inner) == ["true", "true 'a b'"]
    assert outer == ["birdc show status"]


async def test_a_stopped_process_ends_too(tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    run = await until_told(f"echo $$ > {told_pid}; kill -STOP $$", told_pid)
    with pytest.raises(TimedOut):
        await run
    await gone(await told(told_pid))


def test_the_line_that_matters() -> None:
    assert command.first_line("\n  one \ntwo\n") == "one"
    assert command.last_line("one\n two \n\n") == "two"
    assert command.first_line("") == command.last_line("\n") == ""
    assert command.last_line("x\n" * 10 + "y" * 10_000).strip("y") == ""
