"""The door to bird: speaks its control socket's protocol, as birdc does, for bird 1.6, 2 and 3.

A reply is lines of ``NNNN-text`` (continues), `` text`` (continues, same code) and ``NNNN text`` (ends); what it
means is told by the code, since the words differ between versions (bird's source, doc/reply_codes).
What this must not do: write files, decide, wait without end, or keep more than a bounded reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from failoverd import log
from failoverd.drivers import DriverError, TimedOut, command

DEFAULT_SOCKET = "/run/bird/bird.ctl"

#: Reply codes (doc/reply_codes).
RECONFIGURED = 3
PROTOCOL_RESTARTS = 4
QUEUED = 5
SHUTTING_DOWN = 6
CONFIRMED = 18
CHECKED = 20
EVALUATED = 23
ROUTE = 1007
PROTOCOL = 1002
FAILURES = 8000

#: Seconds that one question may take. A configure parses all of bird.conf, and tables may be large.
ANSWER = 3.0
CONFIGURE = 10.0

#: Bytes of one reply; more is not an answer to anything that is asked here.
LONGEST = 256 * 1024

_LINE = re.compile(rb"(\d{4})([ -])(.*)")
_RETRY = 0.02
_logger = log.get("bird")


class Absent(DriverError):
    """Nobody listens on the control socket: bird is not running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: the code that ended it, and all its lines as (code, text)."""

    code: int
    lines: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        """The last line, which says how it went."""
        return self.lines[-1][1]

    @property
    def failed(self) -> bool:
        """Bird says that it could not, or did not understand."""
        return self.code >= FAILURES


class Parser:
    """Bytes in, replies out; raises DriverError for what is not bird's protocol."""

    def __init__(self) -> None:
        self._rest = b""
        self._size = 0
        self._lines: list[tuple[int, str]] = []

    def feed(self, data: bytes) -> Reply | None:
        """The reply that `data` completes, if it does. One question at a time: nothing may follow it."""
        self._size += len(data)
        if self._size > LONGEST:
            raise DriverError(f"bird's reply does not end within {LONGEST} bytes")
        *complete, self._rest = (self._rest + data).split(b"\n")
        for number, line in enumerate(complete, start=1):
            reply = self._line(line)
            if reply is not None:
                if self._rest or number < len(complete):
                    raise DriverError(f"bird says more than was asked: {(complete[number:] or [self._rest])[0][:80]!r}")
                return reply
        return None

    def _line(self, line: bytes) -> Reply | None:
        if line.startswith(b"+"):  # a log line that bird echoes to its clients
            return None
        if line.startswith(b" ") and self._lines:
            self._lines.append((self._lines[-1][0], line[1:].decode(errors="replace")))
            return None
        match = _LINE.fullmatch(line)
        if match is None:
            raise DriverError(f"the control socket does not speak bird's protocol: {line[:80]!r}")
        code = int(match[1])
        self._lines.append((code, match[3].decode(errors="replace").strip()))
        if match[2] == b"-":
            return None
        reply = Reply(code=code, lines=tuple(self._lines))
        self._lines, self._size = [], 0
        return reply


class Session:
    """A connection to one bird, greeted. One question at a time."""

    def __init__(self, path: str, connection: socket.socket) -> None:
        self._path = path
        self._socket = connection
        self._parser = Parser()

    async def ask(self, question: str) -> Reply:
        """Bird's answer; TimedOut when there is none, Absent when bird goes away."""
        text = birdc(self._path, question)
        command.note(text)
        started = time.monotonic()
        configures = question.startswith("configure")
        reply = await self._exchange(question.encode() + b"\n", CONFIGURE if configures else ANSWER)
        say = _logger.info if configures else _logger.debug
        say("asked", command=text, code=reply.code, answer=reply.text, seconds=round(time.monotonic() - started, 4))
        return reply

    async def greeting(self) -> None:
        """Wait for bird to say that it is there."""
        await self._exchange(b"", ANSWER)

    async def evaluate(self, symbol: str) -> Reply:
        """The value of `symbol` in the configuration that runs; `failed` when it has none."""
        return await self.ask(f"eval {symbol}")

    async def exported(self, prefix: str, protocol: str) -> str | None:
        """None when the route to exactly `prefix` goes out to `protocol`, else why not, in bird's words."""
        reply = await self.ask(show_exported(prefix, protocol))
        return None if any(code == ROUTE for code, _ in reply.lines) else reply.text or "not exported"

    async def down(self, protocol: str) -> str | None:
        """None when `protocol` is up or bird knows none of that name, else the state it is in, e.g. ``start``."""
        reply = await self.ask(f"show protocols {protocol}")
        # Name, Proto, Table, State: the same columns in bird 1.6, 2 and 3.
        states = [text.split()[3:4] for code, text in reply.lines if code == PROTOCOL]
        return next((state for row in states for state in row if state != "up"), None)

    async def _exchange(self, question: bytes, seconds: float) -> Reply:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_sendall(self._socket, question)
                while True:
                    data = await loop.sock_recv(self._socket, 65536)
                    if not data:
                        raise Absent(f"bird closed its control socket {self._path}")
                    reply = self._parser.feed(data)
                    if reply is not None:
                        return reply
        except TimeoutError as error:
            raise TimedOut(f"bird does not answer on {self._path} within {seconds:g} s; is it stopped?") from error
        except ConnectionError as error:
            raise Absent(f"bird closed its control socket {self._path}") from error


@contextlib.asynccontextmanager
async def session(path: str) -> AsyncIterator[Session]:
    """A connection to the bird whose control socket is `path`. Raises Absent, TimedOut, or DriverError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        await _connect(connection, path)
        one = Session(path, connection)
        await one.greeting()
        yield one


async def _connect(connection: socket.socket, path: str) -> None:
    # Not loop.sock_connect: a UNIX socket whose queue is full says EAGAIN, which asyncio takes for "in progress".
    deadline = time.monotonic() + ANSWER
    while True:
        try:
            connection.connect(path)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TimedOut(f"bird accepts no connection on {path}; is it stopped?") from error
            await asyncio.sleep(_RETRY)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Absent(f"bird is not running: nobody listens on {path}") from error
        except PermissionError as error:
            raise DriverError(f"{path}: permission denied; failoverd must be root or in bird's group") from error
        except OSError as error:
            raise DriverError(f"{path}: {error.strerror or error}; is `socket` right?") from error
        else:
            return


def show_exported(prefix: str, protocol: str) -> str:
    """The question whether `prefix` goes out to `protocol`; a name with other letters than a word's is quoted."""
    name = protocol if re.fullmatch(r"[A-Za-z_]\w*", protocol) else f"'{protocol}'"
    return f"show route {prefix} export {name}"


def birdc(path: str, question: str) -> str:
    """What a person types to ask the same."""
    where = () if path == DEFAULT_SOCKET else ("-s", path)
    return shlex.join(("birdc", *where, *question.split()))
