"""Starts programs without blocking the event loop on their disk. Part of the port to processes, command.py.

A start ends when the kernel has read the program, which is never if its disk hangs. So each start runs in a thread, by
ctypes: os.posix_spawn holds the GIL meanwhile, so the loop would block too. The threads never end, because a tool may
have asked for a signal at the end of the thread that started it (PR_SET_PDEATHSIG). Each program has one start at a
time, so that starts that hang hold one thread per program at most.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

from failoverd.osutil import processes

#: While the starts of this number of programs hang, no other program is started.
MAX_THREADS = 100

#: systemd's variables for failoverd itself.
_PRIVATE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})

#: The caller waits this time for the thread to enter the system call, which takes 50 us. Otherwise the thread would get
#: the GIL only when the loop is idle.
_HANDOVER_TIMEOUT_S = 0.002

#: Whether failoverd is protected from the OOM killer (OOMScoreAdjust= of its unit). Its tools must not be.
_OOM_PROTECTED = int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")) < 0

#: The limits of open files at failoverd's start, which each tool gets: with a higher one, programs that use select(2)
#: fail, and programs that close every possible descriptor are slow.
_NOFILE_LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)

_SETPGROUP, _SETSIGDEF, _SETSIGMASK = 0x02, 0x04, 0x08  # spawn.h
_STRUCT_BYTES = 1024  # more than posix_spawnattr_t, posix_spawn_file_actions_t and sigset_t have in any libc

_libc = ctypes.CDLL(None)
#: For calls that take no time: a call by `_libc` releases the GIL, and may wait until it gets it back.
_prompt = ctypes.PyDLL(None)


def _attributes() -> ctypes.Array[ctypes.c_char]:
    """The attributes of a process with its own process group, default signal handlers and no blocked signal."""
    made, none, all_ = (ctypes.create_string_buffer(_STRUCT_BYTES) for _ in range(3))
    _prompt.posix_spawnattr_init(made)
    _prompt.posix_spawnattr_setflags(made, ctypes.c_short(_SETPGROUP | _SETSIGDEF | _SETSIGMASK))
    _prompt.posix_spawnattr_setpgroup(made, ctypes.c_int(0))
    _prompt.sigemptyset(none)
    _prompt.posix_spawnattr_setsigmask(made, none)
    _prompt.sigfillset(all_)
    _prompt.posix_spawnattr_setsigdefault(made, all_)
    return made


_ATTRIBUTES = _attributes()


def take_descriptors() -> None:
    """Raise the limit of open files to the hard limit. Tools get the original one."""
    _, hard = _NOFILE_LIMITS
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def environment() -> dict[str, str]:
    """The environment of failoverd's tools: its own, without systemd's variables for it."""
    return {key: value for key, value in os.environ.items() if key not in _PRIVATE}


#: The pid of a process, and a pidfd.
Born = tuple[int, int]


class Start:
    """The start of one program, which begins now. Raises OSError if it cannot begin.

    `descriptors`: the program's first three; they are closed here once it has them, unless OSError is raised. `report`
    is called in the event loop with the pid and a pidfd, or with an OSError.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        descriptors: tuple[int, int, int],
        report: Callable[[Born | OSError], None],
    ) -> None:
        self.program = argv[0]
        self.begun = False
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._descriptors = descriptors
        self._argv = _strings(argv)
        self._environment = _strings(f"{key}={value}" for key, value in environment.items())
        self._thread: int | None = None
        self._unwanted = False
        self._running = threading.Lock()
        self._running.acquire()
        if _threads.take(self):
            self._running.acquire(timeout=_HANDOVER_TIMEOUT_S)

    def withdraw(self) -> str | None:
        """Cancel the start if it has not begun, and return why it has not; None: it has begun."""
        reason = _threads.drop(self)
        if reason is not None:
            self._close()
        return reason

    def kill(self) -> None:
        """Kill the child before it executes the program; if it already does, the new process is killed at once."""
        self._unwanted = True
        for pid in _unborn(self._thread):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self) -> None:
        """Start the program, in the calling thread."""
        self._thread = threading.get_native_id()
        try:
            result: Born | OSError = self._spawn()
        except OSError as error:
            result = error
        self._thread = None
        self._close()
        try:
            self._loop.call_soon_threadsafe(self._report, result)
        except RuntimeError:  # the loop is closed, and nothing waits for the process
            if not isinstance(result, OSError):
                os.killpg(result[0], signal.SIGKILL)

    def _spawn(self) -> Born:
        with _actions(self._descriptors) as actions:
            self._running.release()
            pid = _posix_spawn(self._argv, self._environment, actions)
        try:
            if self._unwanted:
                os.killpg(pid, signal.SIGKILL)
            if _OOM_PROTECTED:
                _unprotect(pid)
            with suppress(OSError):  # it has ended, or changed its user
                resource.prlimit(pid, resource.RLIMIT_NOFILE, _NOFILE_LIMITS)
            return pid, os.pidfd_open(pid)
        except OSError:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


class _Threads:
    """The threads that start programs, and a queue of starts for each program: its first start is in progress."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Start]] = {}
        self._waiting: deque[str] = deque()  # programs whose queue has no thread
        self._idle: list[SimpleQueue[str]] = []
        self._count = 0

    def take(self, start: Start) -> bool:
        """Queue the start. True if a thread begins it now. Raises OSError if no thread can be started."""
        with self._lock:
            if start.program in self._queues:
                self._queues[start.program].append(start)
                return False
            self._queues[start.program] = deque([start])
            if self._idle:
                self._idle.pop().put(start.program)
                return True
            if self._count == MAX_THREADS:
                self._waiting.append(start.program)
                return False
            self._count += 1
        try:
            threading.Thread(target=self._work, args=(start.program,), name="start", daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._count -= 1
                del self._queues[start.program]
            raise OSError(errno.EAGAIN, "cannot start a thread") from error
        return True

    def drop(self, start: Start) -> str | None:
        """Remove the start from its queue, and return why it waited; None: it has begun."""
        with self._lock:
            if start.begun:
                return None
            self._queues[start.program].remove(start)
            if start.program in self._waiting:
                return f"the starts of {MAX_THREADS} other programs have not ended"
            return f"an earlier start of {start.program} has not ended"

    def _work(self, program: str) -> None:
        inbox: SimpleQueue[str] = SimpleQueue()
        while True:
            while (start := self._next(program)) is not None:
                start.run()
                self._ended(start)
            program = self._other(inbox) or inbox.get()

    def _next(self, program: str) -> Start | None:
        """The first start in the program's queue; None: it is empty, and removed."""
        with self._lock:
            if not self._queues[program]:
                del self._queues[program]
                return None
            start = self._queues[program][0]
            start.begun = True
            return start

    def _ended(self, start: Start) -> None:
        with self._lock:
            self._queues[start.program].popleft()

    def _other(self, inbox: SimpleQueue[str]) -> str | None:
        """A program that waits for a thread; None: there is none, and the next one comes through `inbox`."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(inbox)
            return None


_threads = _Threads()


@contextmanager
def _actions(descriptors: tuple[int, int, int]) -> Iterator[ctypes.Array[ctypes.c_char]]:
    """The file actions that pass these three descriptors only: a tool that hangs must not hold failoverd's locks."""
    actions = ctypes.create_string_buffer(_STRUCT_BYTES)
    _prompt.posix_spawn_file_actions_init(actions)
    try:
        for at, descriptor in enumerate(descriptors):
            _checked(_prompt.posix_spawn_file_actions_adddup2(actions, descriptor, at))
        _checked(_prompt.posix_spawn_file_actions_addclosefrom_np(actions, 3))
        yield actions
    finally:
        _prompt.posix_spawn_file_actions_destroy(actions)


def _posix_spawn(
    argv: ctypes.Array[ctypes.c_char_p],
    environment: ctypes.Array[ctypes.c_char_p],
    actions: ctypes.Array[ctypes.c_char],
) -> int:
    pid = ctypes.c_int()
    _checked(_libc.posix_spawnp(ctypes.byref(pid), argv[0], actions, _ATTRIBUTES, argv, environment))
    return pid.value


def _checked(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


def _strings(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [os.fsencode(text) for text in texts]
    if any(b"\0" in each for each in encoded):
        raise OSError(errno.EINVAL, "an argument or variable has a NUL byte")
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded)


def _unprotect(pid: int) -> None:
    """End the OOM protection of a process and its children; a process that it forks later inherits that."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("0", encoding="ascii")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            _unprotect(int(child))


def _unborn(thread: int | None) -> list[int]:
    """The children of a thread that do not execute their program yet: one in the middle of its start, or none."""
    try:
        pids = Path(f"/proc/self/task/{thread}/children").read_text(encoding="ascii").split()
        return [int(pid) for pid in pids if processes.unborn(int(pid))]
    except OSError:  # it has just executed its program, or ended
        return []
