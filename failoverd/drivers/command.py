"""The door to processes: the only place that has one started, waited for, and ended.

What this must not do: use a shell, understand what a tool says, or try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Protocol

from failoverd.drivers import DriverError, TimedOut
from failoverd.drivers.process import WORDS, Completed, Process

__all__ = ["LONGEST", "MARK", "Completed", "first_line", "follow", "last_line", "marked", "note", "recording", "run"]

#: Bytes of standard output that are read. DRBD 9 tells of 1,000 resources on three nodes in 1 MB.
LONGEST = 16 * 1024 * 1024

#: Characters of a line that are worth showing.
_LINE = 4096

#: What systemd tells failoverd and nobody else.
PRIVATE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})

_recorder: ContextVar[list[str] | None] = ContextVar("recorder", default=None)
_marks: ContextVar[Marks | None] = ContextVar("marks", default=None)

#: The environment variable that says for which step a process runs; the next daemon finds it there.
MARK = "FAILOVERD_STEP"


class Marks(Protocol):
    """Who wants to know what processes are started."""

    def tool(self) -> tuple[str, Callable[[int], None]]:
        """What the next one has in the variable MARK, and what is to be called with its pid as soon as it runs."""
        ...


@contextlib.contextmanager
def recording() -> Iterator[list[str]]:
    """Collect, pasteable and in order, what this task and those started in it run. The innermost collects."""
    texts: list[str] = []
    token = _recorder.set(texts)
    try:
        yield texts
    finally:
        _recorder.reset(token)


@contextlib.contextmanager
def marked(marks: Marks) -> Iterator[None]:
    """Have `marks` told of every process that this task starts."""
    token = _marks.set(marks)
    try:
        yield
    finally:
        _marks.reset(token)


def note(text: str) -> None:
    """Put the pasteable equivalent of something that was done without a process into the record."""
    texts = _recorder.get()
    if texts is not None:
        texts.append(text)


def first_line(text: str) -> str:
    """The first line that says something, or the empty string; of a long one its beginning."""
    return next(iter(text.lstrip()[:_LINE].splitlines()), "").strip()


def last_line(text: str) -> str:
    """The last line that says something, or the empty string; of a long one its end."""
    return next(reversed(text.rstrip()[-_LINE:].splitlines()), "").strip()


async def run(
    argv: Sequence[str], *, timeout: float | None = None, input: bytes | None = None, whole: bool = True
) -> Completed:
    """Run `argv` and wait until it ended, at most `timeout` seconds (None: until the caller cancels).

    `whole`: that its output is to be understood, so that one over LONGEST is an error; else what is left out is said in
    it. Raises DriverError then and when it cannot be started (NotStarted where that is our own failure), TimedOut when
    it had to be ended, Hung when it could not be, or when its start hangs.
    A caller that cancels gets its CancelledError when the process is gone, at most two seconds later, or Hung.
    """
    text = shlex.join(argv)
    note(text)
    process = _process(argv, input, LONGEST if whole else WORDS)
    done = await _awaited(process, timeout)
    if done is None:
        raise TimedOut(f"{text}: no end within {timeout:g} s, killed")
    if whole and process.stdout.left_out:
        raise DriverError(f"{text}: its output is {process.stdout.said} bytes long, and at most {LONGEST} are read")
    return done


async def follow(argv: Sequence[str], hear: Callable[[bytes], None]) -> Completed:
    """Run `argv`, which goes on by itself, until it ends or the caller cancels; both as in `run`.

    `hear` takes what it says on standard output as it comes, and must neither wait nor raise.
    """
    done = await _awaited(_process(argv, None, WORDS, hear), None)
    assert done is not None
    return done


async def _awaited(process: Process, timeout: float | None) -> Completed | None:
    """What became of it; None when it had to be ended. It is gone then, or Hung."""
    try:
        ended = await process.wait(timeout)
    except asyncio.CancelledError:
        await process.end()
        raise
    if not ended:
        await process.end()
        return None
    return process.completed()


def _process(
    argv: Sequence[str], given: bytes | None, most: int, hear: Callable[[bytes], None] | None = None
) -> Process:
    environment = {key: value for key, value in os.environ.items() if key not in PRIVATE} | {"LC_ALL": "C"}
    marks, born = _marks.get(), None
    if marks is not None:
        environment[MARK], born = marks.tool()
    return Process(argv, environment, given, most, hear=hear, born=born)
