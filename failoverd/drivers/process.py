"""One process, from its start until it is reaped. Part of command.py's door.

Every wait here has an end, whatever the tool does: one that ignores SIGTERM is killed with its process group, one that
cannot be killed, or whose start hangs, is left behind by name (Hung), and one whose child holds its pipes is not waited
for.

It goes below asyncio's own subprocesses, which cost two milliseconds each.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failoverd import log
from failoverd.drivers import DriverError, Hung, NotStarted
from failoverd.drivers.pipe import Pipe
from failoverd.drivers.spawn import Born, Start

#: Bytes that are kept of what is said to people: standard error, and output that is not to be understood.
WORDS = 64 * 1024

#: What a process group gets when its time is up, and how long (s) it then has.
LADDER = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0))

_logger = log.get("command")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A process that ended. `returncode` is negative for a signal; times are `time.monotonic()` seconds."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    started: float
    ended: float


class Process:
    """A process that is being started, or runs, until it is reaped. DriverError when it cannot be.

    `given`: its standard input. `most`: bytes that are kept of its output, or `hear` takes all of it as it comes.
    `born` is called with its pid when it runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        given: bytes | None,
        most: int,
        *,
        hear: Callable[[bytes], None] | None = None,
        born: Callable[[int], None] | None = None,
    ) -> None:
        self._argv = tuple(argv)
        self._text = shlex.join(argv)
        self._tell_born = born
        self._loop = asyncio.get_running_loop()
        self._born = asyncio.Event()
        self._exited = asyncio.Event()
        self._failure: DriverError | None = None
        self._pid = self._pidfd = -1
        self._returncode: int | None = None
        self._given_up = False
        self._started = self._ended = time.monotonic()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            try:
                stdin = _input(given)
                theirs.callback(os.close, stdin)
                self.stdout = Pipe(self._loop, most, hear)
                ours.callback(self.stdout.close)
                theirs.callback(os.close, self.stdout.theirs)
                self._stderr = Pipe(self._loop, WORDS)
                ours.callback(self._stderr.close)
                theirs.callback(os.close, self._stderr.theirs)
                descriptors = (stdin, self.stdout.theirs, self._stderr.theirs)
                self._start = Start(argv, environment, descriptors, self._on_start)
            except OSError as error:
                raise self._not_started(error) from error
            theirs.pop_all()  # they are closed when the program has them
            ours.pop_all()
        self.stdout.watch()
        self._stderr.watch()

    def _on_start(self, result: Born | OSError) -> None:
        self._born.set()
        if isinstance(result, OSError):
            self._failure = self._not_started(result)
            self._close()
            return
        self._pid, self._pidfd = result
        self._loop.add_reader(self._pidfd, self._on_exit)
        if self._given_up:
            os.killpg(self._pid, signal.SIGKILL)
        elif self._tell_born is not None:
            self._tell_born(self._pid)

    def _not_started(self, error: OSError) -> DriverError:
        reason = _why_not_started(self._argv[0], error)
        _logger.warning("not started", command=self._text, reason=reason)
        return NotStarted(reason)

    def _on_exit(self) -> None:
        """The process ended; it stays a zombie, which keeps its group's number ours, until `_reap`."""
        self._loop.remove_reader(self._pidfd)
        self._ended = time.monotonic()
        self._exited.set()
        if self._given_up:
            self._reap()

    def _reap(self) -> None:
        os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        self._returncode = os.waitstatus_to_exitcode(status)
        seconds = round(self._ended - self._started, 4)
        _logger.info("ran", command=self._text, rc=self._returncode, seconds=seconds)

    def _close(self) -> None:
        self.stdout.close()
        self._stderr.close()

    async def wait(self, timeout: float | None) -> bool:
        """True when the process ended within `timeout` seconds. DriverError when it could not be started."""
        return await _within(timeout, self._run())

    async def _run(self) -> None:
        await self._born.wait()
        if self._failure is not None:
            raise self._failure
        await self._exited.wait()

    def completed(self) -> Completed:
        """Everything about the process that ended; reaps it."""
        self._reap()
        self.stdout.drain()
        self._stderr.drain()
        assert self._returncode is not None
        return Completed(
            argv=self._argv,
            returncode=self._returncode,
            stdout=self.stdout.text,
            stderr=self._stderr.text,
            started=self._started,
            ended=self._ended,
        )

    async def end(self) -> None:
        """Walk down the ladder until the whole group is gone, however often the caller is cancelled meanwhile.

        Hung when it is not at the bottom.
        """
        await _to_the_end(self._end())

    async def _end(self) -> None:
        """A rung ends early when the process has ended and nobody holds its pipes.

        Then nothing of it is left that could still be tidying up, or stuck.
        """
        if not self._born.is_set():
            await self._end_start()
        if self._failure is not None:
            return
        if self._exited.is_set():  # at the same moment: what it left running is none of our business
            self.completed()
            return
        for number, seconds in LADDER:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)
            await _within(seconds, self._gone())
        held = not (self.stdout.closed.is_set() and self._stderr.closed.is_set())
        self.stdout.drain()
        self._stderr.drain()
        if self._exited.is_set():
            self._reap()
            if not (held and _group_lives(self._pid)):
                return
        else:
            self._given_up = True
        raise self._hung(f"process group {self._pid} does not end on SIGKILL (see ps -o pid,stat,wchan)")

    async def _end_start(self) -> None:
        """Have it not start. Hung when that hangs: then it is killed if it ever ends."""
        if why := self._start.withdraw():
            self._close()
            raise self._hung(f"not started, because {why}")
        self._start.kill()
        if not await _within(LADDER[-1][1], self._born.wait()):
            self._given_up = True
            self._close()
            raise self._hung(f"its start does not end; does the disk answer that {self._argv[0]} is on?")

    def _hung(self, why: str) -> Hung:
        _logger.error("hung", command=self._text, reason=why)
        return Hung(f"{self._text}: {why}")

    async def _gone(self) -> None:
        await self._exited.wait()
        await self.stdout.closed.wait()
        await self._stderr.closed.wait()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, which is bounded by itself, however often the caller cancels; it gets its CancelledError then."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def _within(seconds: float | None, waiting: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True


def _input(given: bytes | None) -> int:
    if given is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    made = os.memfd_create("input")
    _fill(made, given)
    return made


def _fill(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)


def _group_lives(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def _why_not_started(program: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{program}: not found; install it, or correct its path in the configuration"
    if error.errno in (errno.EACCES, errno.ENOEXEC):
        return f"{program}: not executable ({os.strerror(error.errno)}); chmod +x, and a script needs its #! line"
    return f"{program}: could not be started: {error.strerror}"
