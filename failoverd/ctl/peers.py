"""Run failoverctl on other nodes, on all of them at once, each within its deadline; by ssh, or by another command.

Nothing of a peer is trusted: it may be down, hang, send without end, or be another node. No process is left behind.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from failoverd.ctl.signals import Signals

#: For one peer, in seconds: longer than ssh's own limit for the connection plus failoverctl's for its daemon.
DEADLINE_S = 12.0

#: For ssh to connect, in seconds.
CONNECT_TIMEOUT_S = 5

#: The longest answer of a peer.
MAX_ANSWER_BYTES = 16 * 1024 * 1024

#: ssh asks for nothing, keeps nothing, and shares nothing: a master that it left behind would outlive failoverctl.
_SSH_OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}"),
    *("-o", "ControlMaster=no", "-o", "ClearAllForwardings=yes"),
)

_CHUNK_BYTES = 65536

#: A pipe has 1 MiB at most. Another process may still write into it: what comes later does not count.
_MAX_CHUNKS_IN_PIPE = 17

_MAX_QUOTED = 60


class Reply(NamedTuple):
    """What a peer's command printed: `output`; or `error`, the reason in one line why there is none."""

    output: bytes = b""
    error: str = ""


def command(way: str | Sequence[str], words: Sequence[str]) -> list[str]:
    """The command that runs `words` on a peer. `way`: its address for ssh, or a command that runs the words after it.

    ssh gives the words to a shell on the other side, so they are quoted for it; no other program is taken for ssh.
    """
    if isinstance(way, str):
        return ["ssh", *_SSH_OPTIONS, "--", way, shlex.join(words)]
    program, *rest = way
    if os.path.basename(program) == "ssh":  # noqa: PTH119  # pathlib is slow to import
        return [program, *_SSH_OPTIONS, *rest, shlex.join(words)]
    return [program, *rest, *words]


def run(
    ways: Mapping[str, str | Sequence[str]],
    words: Sequence[str],
    *,
    deadline: float = DEADLINE_S,
    progress: Callable[[Sequence[str]], object] = lambda _: None,
) -> dict[str, Reply]:
    """Run `words` on every peer at once, and return each reply within `deadline` seconds.

    `progress` gets the peers that have not answered yet. signals.Ended: a signal ended it; nothing of it runs any more.
    """
    replies: dict[str, Reply] = {}
    with Calls() as calls:
        for name, way in ways.items():
            calls.start(name, way, words, deadline=deadline)
        while not calls.ending and len(replies) < len(ways):
            progress([name for name in ways if name not in replies])
            replies |= calls.ended(within=deadline)
    return {name: replies[name] for name in ways}


class Calls:
    """Commands on peers, at most one at a time on each; at the end of this context none runs any more.

    At its end it raises signals.Ended if a signal came.
    """

    def __init__(self) -> None:
        self._signals = Signals()
        self._selector = selectors.DefaultSelector()
        self._calls: dict[str, tuple[_Call, float, float]] = {}

    def __enter__(self) -> Self:
        self._signals.__enter__()
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for call, _, _ in self._calls.values():
            call.end()
        self._selector.close()
        self._signals.__exit__(kind, error, at)

    @property
    def ending(self) -> bool:
        """Whether a signal came that ends the process."""
        return self._signals.ending

    def runs(self, name: str) -> bool:
        """Whether a command runs on the peer `name`, or its reply was not returned yet."""
        return name in self._calls

    def start(self, name: str, way: str | Sequence[str], words: Sequence[str], *, deadline: float = DEADLINE_S) -> None:
        """Run `words` on the peer `name`, for `deadline` seconds at most."""
        until = time.monotonic() + deadline
        self._calls[name] = _Call(self._selector, command(way, words)), until, deadline

    def ended(self, *, within: float) -> dict[str, Reply]:
        """The replies that came, as soon as there is one; after `within` seconds, or a signal, perhaps none."""
        now = time.monotonic()
        until = min((each for _, each, _ in self._calls.values()), default=math.inf)
        if not self.ending and all(call.running for call, _, _ in self._calls.values()):
            for key, _ in self._selector.select(max(min(now + within, until) - now, 0)):
                if isinstance(key.data, _Call):
                    key.data.read(key.fd)
        now, replies = time.monotonic(), dict[str, Reply]()
        for name, (call, limit, deadline) in tuple(self._calls.items()):
            if call.running and now < limit:
                continue
            late = f"no answer within {deadline:g} s"
            replies[name] = Reply(error=late) if call.running else call.reply
            call.end()
            del self._calls[name]
        return replies


class _Call:
    """One command in flight, in a session of its own: it has no terminal to ask at, and can be ended as a whole."""

    def __init__(self, selector: selectors.BaseSelector, argv: list[str]) -> None:
        self._selector = selector
        self._program = argv[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._read: dict[int, bytearray] = {}
        self._ended = -1
        self.running = False
        self.reply = Reply()
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            self.reply = Reply(error=f"cannot run {self._program}: {error.strerror or error}")
            return
        self.running = True
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._ended = os.pidfd_open(self._process.pid)
        self._out, self._err = self._process.stdout.fileno(), self._process.stderr.fileno()
        for descriptor in (self._out, self._err):
            os.set_blocking(descriptor, False)
            self._read[descriptor] = bytearray()
        for descriptor in (self._ended, self._out, self._err):
            selector.register(descriptor, selectors.EVENT_READ, self)

    def read(self, descriptor: int) -> None:
        """Read of `descriptor`, which is readable; the end of the process is the end of its answer."""
        if not self.running:
            return
        if descriptor != self._ended:
            self._take(descriptor, 1)
            return
        for each in (self._out, self._err):
            self._take(each, _MAX_CHUNKS_IN_PIPE)
        if self.running:
            self.end()
            self.reply = self._judged()

    def _take(self, descriptor: int, pieces: int) -> None:
        for piece in itertools.islice(_pieces(descriptor), pieces):
            if not piece:
                self._unregister(descriptor)
                return
            self._read[descriptor] += piece
        del self._read[self._err][:-_CHUNK_BYTES]
        if len(self._read[self._out]) > MAX_ANSWER_BYTES:
            self.reply = Reply(error=f"its answer is longer than {MAX_ANSWER_BYTES // 1024**2} MiB")
            self.end()

    def end(self) -> None:
        """End all that is left of it; its reply stays."""
        if self._process is None or self._ended < 0:
            return
        self.running = False
        for descriptor in (self._ended, self._out, self._err):
            self._unregister(descriptor)
        # It is not reaped yet, so the number is still its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._ended)
        self._ended = -1
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _unregister(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def _judged(self) -> Reply:
        assert self._process is not None
        status = self._process.returncode
        if status == 0:
            return Reply(output=bytes(self._read[self._out]))
        lines = self._read[self._err].decode(errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        own = [line.removeprefix("failoverctl: ") for line in said if line.startswith("failoverctl: ")]
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return Reply(error=(own or said[-1:] or [f"{self._program} ended with {how}"])[0])


def _pieces(descriptor: int) -> Iterator[bytes]:
    """Read what has arrived, piece by piece; an empty one at the end of the output."""
    while True:
        try:
            yield os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return


def answered(reply: Reply) -> dict[str, Any]:
    """The JSON object that a peer's ``failoverctl … --json`` printed. ValueError, in one line: it is none."""
    if reply.error:
        raise ValueError(reply.error)
    try:
        found = json.loads(reply.output)
    except (ValueError, RecursionError):
        start = " ".join(reply.output[: 2 * _MAX_QUOTED].decode(errors="replace").split())[:_MAX_QUOTED]
        raise ValueError(
            f'its answer is not JSON; it begins with "{start}"' if start else "its answer is empty"
        ) from None
    if not isinstance(found, dict):
        raise ValueError("its answer is not a JSON object")  # noqa: TRY004  # it is the answer that is wrong
    return found
