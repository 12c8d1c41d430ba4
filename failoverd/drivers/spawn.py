"""Starts programs, and never waits in the event loop for the disk that one is on. Part of command.py's door.

A start ends when the program was read, which takes for ever where a disk hangs. So each happens in a thread: by ctypes,
because Python's own posix_spawn keeps the interpreter to itself meanwhile, and the loop would wait too. The threads
stay, since a tool may have asked to be told when the thread that started it ends (PR_SET_PDEATHSIG). At most one start
of a program is under way, so those that hang hold no more threads than there are programs.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from failoverd import processes

#: Threads at the most. When starts of so many programs hang, no other program is started.
MOST = 100

#: Seconds for which the interpreter is left to a thread until it is at the kernel's call, which takes 50 us. Else it
#: would only have it when the loop has nothing more to do.
_HANDOVER = 0.002

#: Whether we are to be spared when memory runs out (OOMScoreAdjust= of our unit), as no tool of ours is.
_SPARED = int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")) < 0

#: How many descriptors we might have when we were started, and then each tool: many know 1,024 only (select(2)), and
#: some close each that there could be.
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)

_SETPGROUP, _SETSIGDEF, _SETSIGMASK = 0x02, 0x04, 0x08  # spawn.h
_ROOM = 1024  # bytes: more than any libc's type for a start has

_libc = ctypes.CDLL(None)


def _attributes() -> ctypes.Array[ctypes.c_char]:
    """A process group of its own, and signals as the system has them."""
    made, none, all_ = (ctypes.create_string_buffer(_ROOM) for _ in range(3))
    _libc.posix_spawnattr_init(made)
    _libc.posix_spawnattr_setflags(made, ctypes.c_short(_SETPGROUP | _SETSIGDEF | _SETSIGMASK))
    _libc.posix_spawnattr_setpgroup(made, ctypes.c_int(0))
    _libc.sigemptyset(none)
    _libc.posix_spawnattr_setsigmask(made, none)
    _libc.sigfillset(all_)
    _libc.posix_spawnattr_setsigdefault(made, all_)
    return made


_ATTRIBUTES = _attributes()


def take_descriptors() -> None:
    """Have as many descriptors as the system lets us. A tool has what it had, from the moment that it was started."""
    _, hard = _FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


#: The pid of a process, and a pidfd.
Born = tuple[int, int]


class Start:
    """The start of one program, from now on. OSError when it cannot even begin.

    `descriptors`: the program's first three, which are closed when it has them. `tell` is called in the event loop
    with its pid and a pidfd, or with an OSError.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        descriptors: tuple[int, int, int],
        tell: Callable[[Born | OSError], None],
    ) -> None:
        self.program = argv[0]
        self.begun = False
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._descriptors = descriptors
        self._argv = _strings(argv)
        self._environment = _strings(f"{key}={value}" for key, value in environment.items())
        self._thread: int | None = None
        self._unwanted = False
        self._running = threading.Lock()
        self._running.acquire()
        if _threads.take(self):
            self._running.acquire(timeout=_HANDOVER)

    def withdraw(self) -> str | None:
        """Why it has not begun, and it will not; None when it has."""
        why = _threads.drop(self)
        if why is not None:
            self._close()
        return why

    def kill(self) -> None:
        """Have what is not a program yet never become one: it ends before the first word of the program is run."""
        self._unwanted = True
        for pid in _unborn(self._thread):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self) -> None:
        """Do it, in the thread that calls this."""
        self._thread = threading.get_native_id()
        self._running.release()
        try:
            result: Born | OSError = self._spawn()
        except OSError as error:
            result = error
        self._thread = None
        self._close()
        try:
            self._loop.call_soon_threadsafe(self._tell, result)
        except RuntimeError:  # the loop is closed: nobody waits for it any more
            if not isinstance(result, OSError):
                os.killpg(result[0], signal.SIGKILL)

    def _spawn(self) -> Born:
        pid = _posix_spawn(self._argv, self._environment, self._descriptors)
        try:
            if self._unwanted:
                os.killpg(pid, signal.SIGKILL)
            if _SPARED:
                _spare_not(pid)
            with suppress(OSError):  # it has ended, or become another user
                resource.prlimit(pid, resource.RLIMIT_NOFILE, _FILES)
            return pid, os.pidfd_open(pid)
        except OSError:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


class _Threads:
    """The threads that start programs, and what waits for one, by program: the first of each line is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, deque[Start]] = {}
        self._waiting: deque[str] = deque()  # programs whose line has no thread
        self._idle: list[SimpleQueue[str]] = []
        self._count = 0

    def take(self, start: Start) -> bool:
        """Have it done; whether a thread is at it now. OSError when none can be had."""
        with self._lock:
            if start.program in self._lines:
                self._lines[start.program].append(start)
                return False
            self._lines[start.program] = deque([start])
            if self._idle:
                self._idle.pop().put(start.program)
                return True
            if self._count == MOST:
                self._waiting.append(start.program)
                return False
            self._count += 1
        try:
            threading.Thread(target=self._work, args=(start.program,), name="start", daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._count -= 1
                del self._lines[start.program]
            raise OSError(errno.EAGAIN, "no thread can be started") from error
        return True

    def drop(self, start: Start) -> str | None:
        """Take it out of its line, and say why it was there; None when it has begun."""
        with self._lock:
            if start.begun:
                return None
            self._lines[start.program].remove(start)
            if start.program in self._waiting:
                return f"the starts of {MOST} other programs have not ended"
            return f"an earlier start of {start.program} has not ended"

    def _work(self, program: str) -> None:
        inbox: SimpleQueue[str] = SimpleQueue()
        while True:
            while (start := self._next(program)) is not None:
                start.run()
                self._ended(start)
            program = self._other(inbox) or inbox.get()

    def _next(self, program: str) -> Start | None:
        """The first of the line, or None when there is none; then there is no line either."""
        with self._lock:
            if not self._lines[program]:
                del self._lines[program]
                return None
            start = self._lines[program][0]
            start.begun = True
            return start

    def _ended(self, start: Start) -> None:
        with self._lock:
            self._lines[start.program].popleft()

    def _other(self, inbox: SimpleQueue[str]) -> str | None:
        """A program that waits for a thread; None: this one is idle, and hears of the next in `inbox`."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(inbox)
            return None


_threads = _Threads()


def _posix_spawn(
    argv: ctypes.Array[ctypes.c_char_p], environment: ctypes.Array[ctypes.c_char_p], descriptors: tuple[int, int, int]
) -> int:
    pid, actions = ctypes.c_int(), ctypes.create_string_buffer(_ROOM)
    _libc.posix_spawn_file_actions_init(actions)
    try:
        for at, descriptor in enumerate(descriptors):
            _checked(_libc.posix_spawn_file_actions_adddup2(actions, descriptor, at))
        # Else one that hangs would hold our locks for as long, and no other failoverd could have them.
        _checked(_libc.posix_spawn_file_actions_addclosefrom_np(actions, 3))
        _checked(_libc.posix_spawnp(ctypes.byref(pid), argv[0], actions, _ATTRIBUTES, argv, environment))
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
    return pid.value


def _checked(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


def _strings(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    words = [os.fsencode(text) for text in texts]
    if any(b"\0" in word for word in words):
        raise OSError(errno.EINVAL, "a word of it has a NUL byte")
    return (ctypes.c_char_p * (len(words) + 1))(*words)


def _spare_not(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("0", encoding="ascii")


def _unborn(thread: int | None) -> list[int]:
    """The children of a thread of ours that are no programs yet: one that is being started, or none."""
    try:
        pids = Path(f"/proc/self/task/{thread}/children").read_text(encoding="ascii").split()
        return [int(pid) for pid in pids if processes.unborn(int(pid))]
    except OSError:  # it is born, or has ended, just now
        return []
