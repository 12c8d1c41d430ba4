"""The port to processes: the only module that starts a tool, waits for it, and ends it.

It must not use a shell, parse a tool's output, or retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Protocol

from failoverd.ports import spawn
from failoverd.ports.errors import DriverError, TimedOut
from failoverd.ports.process import TEXT_MAX_BYTES, Completed, Process

__all__ = ["MARK", "Completed", "first_line", "follow", "last_line", "marked", "note", "recording", "run"]

#: The limit for output that is parsed. DRBD 9 writes 1 MB for 1,000 resources on three nodes.
_STDOUT_MAX_BYTES = 16 * 1024 * 1024

#: The limit for a line that is shown to a person.
_LINE_MAX_CHARS = 4096

_recorder: ContextVar[list[str] | None] = ContextVar("recorder", default=None)
_marks: ContextVar[Marks | None] = ContextVar("marks", default=None)

#: The environment variable that names the step of a process; the next daemon recognises orphans by it.
MARK = "FAILOVERD_STEP"


class Marks(Protocol):
    """The owner of the processes that a step starts."""

    def tool(self) -> tuple[str, Callable[[int], None]]:
        """The value of the variable MARK for the next process, and a function to call with its pid once it runs."""
        ...


@contextlib.contextmanager
def recording() -> Iterator[list[str]]:
    """Collect the commands that this task and its subtasks run, pasteable and in order. The innermost collects."""
    texts: list[str] = []
    token = _recorder.set(texts)
    try:
        yield texts
    finally:
        _recorder.reset(token)


@contextlib.contextmanager
def marked(marks: Marks) -> Iterator[None]:
    """Pass every process that this task starts to `marks`."""
    token = _marks.set(marks)
    try:
        yield
    finally:
        _marks.reset(token)


def note(text: str) -> None:
    """Add `text` to the commands that are collected: the pasteable equivalent of an action without a process."""
    texts = _recorder.get()
    if texts is not None:
        texts.append(text)


def first_line(text: str) -> str:
    """The first line that is not blank, or the empty string; of a long line, its beginning."""
    return next(iter(text.lstrip()[:_LINE_MAX_CHARS].splitlines()), "").strip()


def last_line(text: str) -> str:
    """The last line that is not blank, or the empty string; of a long line, its end."""
    return next(reversed(text.rstrip()[-_LINE_MAX_CHARS:].splitlines()), "").strip()


async def run(
    argv: Sequence[str], *, timeout: float | None = None, input: bytes | None = None, whole: bool = True
) -> Completed:
    """Run `argv` and wait for its end, at most `timeout` seconds (None: until the caller cancels).

    `input`: its standard input, bytes; None: empty. `whole`: its output is parsed, so that an output over 16 MiB is a
    DriverError; otherwise the middle of a long output is omitted, with a note.

    Raises NotStarted if it cannot be started, TimedOut if it had to be killed, and Hung if it or its start cannot be
    ended. A caller that cancels gets its CancelledError when the process is gone, at most two seconds later, or Hung.
    """
    text = shlex.join(argv)
    note(text)
    process = _process(argv, input, _STDOUT_MAX_BYTES if whole else TEXT_MAX_BYTES)
    done = await _awaited(process, timeout)
    if done is None:
        raise TimedOut(f"{text}: timed out after {timeout:g} s, killed")
    if whole and process.stdout.omitted:
        raise DriverError(
            f"{text}: its output has {process.stdout.received} bytes; the limit is {_STDOUT_MAX_BYTES} bytes"
        )
    return done


async def follow(argv: Sequence[str], on_output: Callable[[bytes], None]) -> Completed:
    """Run `argv`, a program that does not end by itself, until it ends or the caller cancels; both as in `run`.

    `on_output` receives its standard output as it arrives, and must neither wait nor raise.
    """
    done = await _awaited(_process(argv, None, TEXT_MAX_BYTES, on_output), None)
    assert done is not None
    return done


async def _awaited(process: Process, timeout: float | None) -> Completed | None:
    """The process once it has ended; None if it had to be killed. Raises Hung if that failed."""
    try:
        ended = await process.wait(timeout)
    except asyncio.CancelledError:
        await process.end()
        raise
    if not ended:
        await process.end()
        return None
    return await process.completed()


def _process(
    argv: Sequence[str], given: bytes | None, max_bytes: int, on_output: Callable[[bytes], None] | None = None
) -> Process:
    environment = spawn.environment() | {"LC_ALL": "C"}
    marks, born = _marks.get(), None
    if marks is not None:
        environment[MARK], born = marks.tool()
    return Process(
        argv, environment, given, max_bytes, on_output=on_output, born=born, recorded=_recorder.get() is not None
    )
