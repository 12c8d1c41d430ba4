"""Following a program, with real ones."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from failoverd.ports import stream


async def gathered(lines: stream.Lines) -> tuple[list[str], str]:
    found: list[str] = []
    try:
        async with asyncio.timeout(60):
            while True:
                found += await lines.next()
    except stream.Ended as ended:
        return found, ended.reason


async def test_lines_and_the_end() -> None:
    async with stream.following(
        ["sh", "-c", "echo one; printf 'tw'; echo o; printf unfinished; echo why >&2; exit 3"]
    ) as lines:
        found, reason = await gathered(lines)
        assert found == ["one", "two"]
        assert reason.endswith("exit status 3: why")
        with pytest.raises(stream.Ended):  # and so it stays
            await lines.next()


async def test_what_cannot_be_started_has_ended() -> None:
    async with stream.following(["/nowhere/tool"]) as lines:
        assert await gathered(lines) == (
            [],
            "/nowhere/tool: not found; install it, or correct its path in the configuration",
        )


async def test_silence_is_an_empty_answer() -> None:
    async with stream.following(["sh", "-c", "echo one; exec sleep 600"]) as lines:
        assert await lines.next(10) == ["one"]
        assert await lines.next(0.05) == []


async def test_a_line_without_end_is_the_end() -> None:
    async with stream.following(["sh", "-c", "echo one; yes | tr -d '\\n'"]) as lines:
        found, reason = await gathered(lines)
    assert found == ["one"]
    assert reason.startswith("sh -c 'echo one; yes | tr -d '\"'\"'\\n'\"'\"'': ")
    assert reason.endswith(f": a line of its output is longer than {stream.LINE_MAX_BYTES} bytes")


async def test_leaving_ends_the_program(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    async with stream.following(["sh", "-c", f"echo $$ >{told}; echo here; sleep 600 & wait"]) as lines:
        assert await lines.next(10) == ["here"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


async def test_being_cancelled_ends_the_program(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    async def follow() -> None:
        async with stream.following(["sh", "-c", f"echo $$ >{told}; echo here; exec sleep 600"]) as lines:
            while True:
                await lines.next()

    task = asyncio.create_task(follow())
    async with asyncio.timeout(60):
        while not (told.exists() and told.read_text()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


async def test_a_program_that_cannot_be_killed_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGWINCH, 0.05)))
    told = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ >{told}; echo here; while :; do sleep 0.1; done"
    async with stream.following(["sh", "-c", script]) as lines:
        assert await lines.next(10) == ["here"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(told.read_text()), signal.SIGKILL)
    async with asyncio.timeout(60):
        while Path(f"/proc/{told.read_text().strip()}").exists():
            await asyncio.sleep(0.01)
