"""One process, from its start until it is reaped. Part of the port to processes, command.py.

Every wait has a deadline, whatever the tool does. A tool that ignores SIGTERM is killed with its process group. A tool
that cannot be killed, or whose start hangs, is reported as Hung and left. A child that holds the tool's pipes is not
waited for.

It does not use asyncio's subprocesses, which cost two milliseconds each.
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
from failoverd.ports import companion
from failoverd.ports.errors import DriverError, Hung, NotStarted
from failoverd.ports.pipe import Pipe
from failoverd.ports.spawn import Born, Start

#: The limit for text for people: standard error, and output that is not parsed.
TEXT_MAX_BYTES = 64 * 1024

#: The signals for a process group that has exceeded its deadline, and the seconds to wait after each.
LADDER = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0))

#: For the start of a reader; later, it still has the pipe.
_READER_START_TIMEOUT_S = 1.0

_logger = log.get("command")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A process that ended. `returncode` is negative for a signal."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Process:
    """A process from its start until it is reaped. Raises NotStarted if the start cannot begin.

    `given`: its standard input; None: empty. `max_bytes` of its output are kept, unless `on_output` receives all of it.
    `born` is called with its pid once it runs. `recorded`: the process belongs to a step, and is logged as such; else
    to an observation, of which there are many.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        given: bytes | None,
        max_bytes: int,
        *,
        on_output: Callable[[bytes], None] | None = None,
        born: Callable[[int], None] | None = None,
        recorded: bool = False,
    ) -> None:
        self._argv = tuple(argv)
        self._text = shlex.join(argv)
        self._report_born = born
        self._recorded = recorded
        self._loop = asyncio.get_running_loop()
        self._born = asyncio.Event()
        self._exited = asyncio.Event()
        self._failure: DriverError | None = None
        self._pid = self._pidfd = -1
        self._returncode: int | None = None
        self._given_up = self._unwanted = False
        self._started = self._ended = time.monotonic()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            try:
                stdin = _input(given)
                theirs.callback(os.close, stdin)
                outlives = recorded and on_output is None
                self.stdout = Pipe(self._loop, max_bytes, on_output, outlives=outlives)
                ours.callback(self.stdout.close)
                theirs.callback(os.close, self.stdout.theirs)
                self._stderr = Pipe(self._loop, TEXT_MAX_BYTES, outlives=outlives)
                ours.callback(self._stderr.close)
                theirs.callback(os.close, self._stderr.theirs)
                descriptors = (stdin, self.stdout.theirs, self._stderr.theirs)
                self._start = Start(argv, environment, descriptors, self._on_start)
            except OSError as error:
                raise self._not_started(error) from error
            theirs.pop_all()  # Start closes them
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
        elif self._report_born is not None:
            self._report_born(self._pid)

    def _not_started(self, error: OSError) -> DriverError:
        reason = _start_error(self._argv[0], error)
        write_line = _logger.warning if self._recorded else _logger.debug
        write_line("not started", command=self._text, reason=reason)
        return NotStarted(reason)

    def _on_exit(self) -> None:
        """Note the end. Until `_reap` the process stays a zombie, so that the kernel does not reuse its group's id."""
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
        write_line = _logger.info if self._recorded else _logger.debug
        write_line("ran", command=self._text, rc=self._returncode, seconds=seconds)

    def _close(self) -> None:
        self.stdout.close()
        self._stderr.close()

    async def wait(self, timeout: float | None) -> bool:
        """True if the process ended within `timeout` seconds. Raises NotStarted if it could not be started."""
        return await _within(timeout, self._run())

    async def _run(self) -> None:
        await self._born.wait()
        if self._failure is not None:
            raise self._failure
        await self._exited.wait()

    async def completed(self) -> Completed:
        """Reap the process, which has ended, and return its exit code and output."""
        self._reap()
        await self._leave()
        assert self._returncode is not None
        return Completed(
            argv=self._argv,
            returncode=self._returncode,
            stdout=self.stdout.text,
            stderr=self._stderr.text,
        )

    async def end(self) -> None:
        """Send the signals of LADDER until the whole group is gone, also if the caller is cancelled meanwhile.

        Raises Hung if it is not gone in the end.
        """
        await _to_the_end(self._end())

    async def _end(self) -> None:
        """Each wait of LADDER ends early when the process has ended and its pipes are closed.

        Then no process of it is left that could still clean up, or hang.
        """
        if not self._born.is_set():
            await self._end_start()
        if self._failure is not None:
            return
        if self._exited.is_set():  # just now, by itself: its background processes may continue
            await self.completed()
            return
        for number, seconds in LADDER:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)
            await _within(seconds, self._gone())
        held = not (self.stdout.closed.is_set() and self._stderr.closed.is_set())
        await self._leave()
        if self._exited.is_set():
            self._reap()
            if not (held and _group_lives(self._pid)):
                return
        else:
            self._given_up = True
        command = f"ps -eo pgid,pid,stat,wchan,args | grep -w {self._pid}"
        raise self._hung(f"process group {self._pid} does not end on SIGKILL; see: {command}")

    async def _end_start(self) -> None:
        """Cancel the start. Raises Hung if the start hangs; the process is killed if it ever runs."""
        if reason := self._start.withdraw():
            self._unwanted = True
            self._close()
            raise self._hung(f"not started, because {reason}")
        self._start.kill()
        if not await _within(LADDER[-1][1], self._born.wait()):
            self._given_up = True
            self._close()
            raise self._hung(f"its start does not end; check the disk that {self._argv[0]} is on")

    async def _leave(self) -> None:
        """Read the rest of the output, and start a reader for each pipe that a background process still holds."""
        held = [end for pipe in (self.stdout, self._stderr) if (end := pipe.drain()) is not None]
        if held:
            await asyncio.wait(
                [asyncio.ensure_future(companion.read_on(end)) for end in held], timeout=_READER_START_TIMEOUT_S
            )

    def _hung(self, reason: str) -> Hung:
        _logger.error("hung", command=self._text, reason=reason)
        return Hung(f"{self._text}: {reason}", self._over)

    def _over(self) -> bool:
        """Whether the hung process is gone: it never started, or it is reaped and its group is gone."""
        if self._pid < 0:
            return self._unwanted or self._failure is not None
        return self._returncode is not None and not _group_lives(self._pid)

    async def _gone(self) -> None:
        await self._exited.wait()
        await self.stdout.closed.wait()
        await self._stderr.closed.wait()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, which has its own deadlines, also if the caller is cancelled; raise its CancelledError after it."""
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


def _start_error(program: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{program}: not found; install it, or correct its path in the configuration"
    if error.errno in (errno.EACCES, errno.ENOEXEC):
        remedy = f"run chmod +x {shlex.quote(program)}; a script also needs its #! line"
        return f"{program}: not executable ({os.strerror(error.errno)}); {remedy}"
    return f"{program}: cannot be started: {error.strerror}"
