"""The door to processes: the only place that starts one, waits for it, and ends it.

Every wait here has an end, whatever the tool does: one that ignores SIGTERM is killed with its process group,
one that cannot be killed is left behind by name (Hung), and one whose child holds its pipes is not waited for.
What this must not do: use a shell, understand what a tool says, or try again.

It goes below asyncio's own subprocesses (posix_spawn and a pidfd) because those cost two milliseconds each.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from failoverd import log
from failoverd.drivers import DriverError, Hung, NotStarted, TimedOut
from failoverd.drivers.pipe import Pipe

#: Bytes of standard output that are read. DRBD 9 tells of 1,000 resources on three nodes in 1 MB.
LONGEST = 16 * 1024 * 1024

#: Bytes that are kept of what is said to people: standard error, and output that is not to be understood.
WORDS = 64 * 1024

#: What a process group gets when its time is up, and how long (s) it then has.
LADDER = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0))

#: Characters of a line that are worth showing.
_LINE = 4096

#: What systemd tells failoverd and nobody else.
_PRIVATE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})

#: What a process is to begin with as the system has it. Made once: asking for it costs as much as starting a process.
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}

#: What we lack, or the machine, when a tool cannot be started; the tool itself has nothing to do with it.
_WANTING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})

_logger = log.get("command")
_recorder: ContextVar[list[str] | None] = ContextVar("recorder", default=None)
_mark: ContextVar[str | None] = ContextVar("mark", default=None)

#: The environment variable that says for which step a process runs; the next daemon finds it there.
MARK = "FAILOVERD_STEP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A process that ended. `returncode` is negative for a signal; times are `time.monotonic()` seconds."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    started: float
    ended: float


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
def marked(text: str) -> Iterator[None]:
    """Give every process that this task starts `text` in the variable MARK of its environment."""
    token = _mark.set(text)
    try:
        yield
    finally:
        _mark.reset(token)


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
    it had to be ended, Hung when it could not be.
    A caller that cancels gets its CancelledError when the process is gone, at most two seconds later, or Hung.
    """
    text = shlex.join(argv)
    note(text)
    process = _Process(tuple(argv), input, LONGEST if whole else WORDS)
    try:
        ended = await process.wait(timeout)
    except asyncio.CancelledError:
        await _to_the_end(process.end())
        raise
    if not ended:
        await _to_the_end(process.end())
        raise TimedOut(f"{text}: no end within {timeout:g} s, killed")
    done = process.completed()
    if whole and process.stdout.left_out:
        raise DriverError(f"{text}: its output is {process.stdout.said} bytes long, and at most {LONGEST} are read")
    return done


async def follow(argv: Sequence[str], hear: Callable[[bytes], None]) -> Completed:
    """Run `argv`, which goes on by itself, until it ends or the caller cancels; both as in `run`.

    `hear` takes what it says on standard output as it comes, and must neither wait nor raise.
    """
    process = _Process(tuple(argv), None, WORDS, hear)
    try:
        await process.wait(None)
    except asyncio.CancelledError:
        await _to_the_end(process.end())
        raise
    return process.completed()


def _environment() -> dict[str, str]:
    given = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
    mark = _mark.get()
    return {**given, "LC_ALL": "C", **({MARK: mark} if mark is not None else {})}


class _Process:
    """A started process, until it is reaped."""

    def __init__(
        self, argv: tuple[str, ...], given: bytes | None, most: int, hear: Callable[[bytes], None] | None = None
    ) -> None:
        self._argv = argv
        self._text = shlex.join(argv)
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._returncode: int | None = None
        self._given_up = False
        self._started = self._ended = time.monotonic()
        with contextlib.ExitStack() as theirs:
            pipes: list[Pipe] = []
            try:
                for bound, listener in ((most, hear), (WORDS, None)):
                    pipes.append(Pipe(self._loop, bound, listener))
                    theirs.callback(os.close, pipes[-1].theirs)
                self._pid = _spawn(argv, given, pipes[0].theirs, pipes[1].theirs)
                self._pidfd = _pidfd(self._pid)
            except OSError as error:
                for one in pipes:
                    one.close()
                reason = _why_not_started(argv[0], error)
                _logger.warning("not started", command=self._text, reason=reason)
                raise (NotStarted if error.errno in _WANTING else DriverError)(reason) from error
        self.stdout, self._stderr = pipes
        self.stdout.watch()
        self._stderr.watch()
        self._loop.add_reader(self._pidfd, self._on_exit)

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

    async def wait(self, timeout: float | None) -> bool:
        """True when the process ended within `timeout` seconds."""
        return await _within(timeout, self._exited.wait())

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
        """Walk down the ladder until the whole group is gone; Hung when it is not at the bottom.

        A rung ends early when the process has ended and nobody holds its pipes: then nothing of it is left that
        could still be tidying up, or stuck.
        """
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
        _logger.error("hung", command=self._text, pid=self._pid)
        raise Hung(f"{self._text}: process group {self._pid} does not end on SIGKILL (see ps -o pid,stat,wchan)")

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


def _spawn(argv: Sequence[str], given: bytes | None, stdout: int, stderr: int) -> int:
    with contextlib.ExitStack() as stack:
        if given is None:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, stdin)
        else:
            stdin = os.memfd_create("input")
            stack.callback(os.close, stdin)
            _fill(stdin, given)
        return os.posix_spawnp(
            argv[0],
            list(argv),
            _environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate((stdin, stdout, stderr))],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_SIGNALS,
        )


def _fill(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)


def _pidfd(pid: int) -> int:
    """The process as a file descriptor; it does not outlive our failure to get one."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


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
