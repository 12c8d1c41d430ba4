"""A witness that a program of the operator asks."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from failoverd.ports.witness.exec import Exec
from tests.unit.ports.witness.stations import LONG, SHORT


@pytest.mark.parametrize(
    ("script", "granted", "said"),
    [
        ("echo the quorum disk is there; echo more", True, "the quorum disk is there"),
        ("exit 0", True, "exit status 0"),
        ("echo not there >&2; exit 3", None, "exit status 3: not there"),
        ("exit 1", None, "exit status 1"),
        ("kill -9 $$", None, f"ended by signal {signal.SIGKILL:d}"),
    ],
)
async def test_the_exit_status_is_the_answer(tmp_path: Path, script: str, granted: bool | None, said: str) -> None:
    answer = await Exec(program(tmp_path, script)).ask(LONG)
    assert (answer.granted, answer.said) == (granted, said)


async def test_a_program_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    answer = await Exec(str(tmp_path / "absent")).ask(LONG)
    assert answer.granted is None
    assert "absent" in answer.said


async def test_a_program_that_hangs_is_no_answer_and_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    # exec: the process that ignores SIGTERM is the one whose pid is written
    asked = Exec(program(tmp_path, f"trap '' TERM; echo $$ >{pid}; exec sleep 1000"))
    answer = await asked.ask(SHORT)
    assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")
    assert (await asked.ask(SHORT)).said == "the program has not ended since the last time"
    assert asked._run is not None
    await asyncio.wait({asked._run}, timeout=LONG)
    assert asked._run.done()
    if pid.exists():  # the machine may have been too slow even for the start
        assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    answer = await asked.ask(SHORT)
    assert answer.said == "no answer within 0.2 s"
    await asyncio.wait({asked._run}, timeout=LONG)


async def test_a_caller_that_cancels_ends_the_program(tmp_path: Path) -> None:
    started = tmp_path / "started"
    asked = Exec(program(tmp_path, f"echo $$ >{started}.new; mv {started}.new {started}; exec sleep 1000"))
    asking = asyncio.create_task(asked.ask(LONG))
    async with asyncio.timeout(LONG):
        while not started.exists():
            await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asked._run is not None
    await asyncio.wait({asked._run}, timeout=LONG)
    assert not Path(f"/proc/{started.read_text().strip()}").exists()


def program(folder: Path, script: str) -> str:
    path = folder / "witness"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
