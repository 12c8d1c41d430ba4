"""A client of bird's control socket, as birdc is, for bird 1.6, 2 and 3.

A reply consists of lines ``NNNN-text`` (more follow), `` text`` (the same code, more follow) and ``NNNN text`` (the
last). Only the code is reliable: the texts differ between versions (bird's source, doc/reply_codes).

It must not write files, decide, wait without a deadline, or keep more than REPLY_LIMIT_BYTES of a reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from failoverd import log
from failoverd.ports import command, unix_socket
from failoverd.ports.errors import DriverError, TimedOut

DEFAULT_SOCKET = "/run/bird/bird.ctl"

#: Reply codes (doc/reply_codes).
RECONFIGURED = 3
PROTOCOL_RESTARTS = 4
QUEUED = 5
CONFIRMED = 18
CHECKED = 20
EVALUATED = 23
ROUTE = 1007
PROTOCOL = 1002

#: The states of a protocol with a session. bird 1.6 has its own state for a session that receives its first routes.
_UP = frozenset({"up", "feed"})

#: Seconds that bird may take to answer a command.
ANSWER_TIMEOUT_S = 3.0

#: Seconds that a `configure` may take: bird parses all of bird.conf, and tables may be large.
CONFIGURE_TIMEOUT_S = 10.0

#: Seconds between two checks of a session, or of whether bird runs. One check takes bird half a millisecond.
POLL_INTERVAL_S = 0.5

#: Bytes of one reply, at most: no command that is used here has a longer one.
REPLY_LIMIT_BYTES = 256 * 1024

_LINE = re.compile(rb"(\d{4})([ -])(.*)")
_logger = log.get("bird")


class Absent(DriverError):
    """bird is not running: no process listens on its control socket, or bird has closed the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply: the code of its last line, and all lines as (code, text)."""

    code: int
    lines: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        """The text of the last line: the value or the error."""
        return self.lines[-1][1]


class Parser:
    """Parses the bytes from the control socket into replies."""

    def __init__(self) -> None:
        self._rest = b""
        self._size = 0
        self._lines: list[tuple[int, str]] = []

    def feed(self, data: bytes) -> Reply | None:
        """The reply that `data` completes; None if it is not complete yet.

        DriverError: the bytes are not in bird's protocol, are more than REPLY_LIMIT_BYTES, or continue after the reply.
        """
        self._size += len(data)
        if self._size > REPLY_LIMIT_BYTES:
            raise DriverError(f"bird's reply does not end within {REPLY_LIMIT_BYTES} bytes")
        *complete, self._rest = (self._rest + data).split(b"\n")
        for number, line in enumerate(complete, start=1):
            reply = self._line(line)
            if reply is not None:
                if self._rest or number < len(complete):
                    raise DriverError(
                        f"bird sends more than its reply: {(complete[number:] or [self._rest])[0][:80]!r}"
                    )
                return reply
        return None

    def _line(self, line: bytes) -> Reply | None:
        if line.startswith(b"+"):  # bird sends its log lines to its clients too
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
    """A connection to one bird. It takes one question at a time."""

    def __init__(self, path: str, connection: socket.socket) -> None:
        self._path = path
        self._socket = connection
        self._parser = Parser()

    async def ask(self, question: str) -> Reply:
        """Bird's reply. TimedOut: bird does not reply in time. Absent: bird ends. DriverError: as in Parser."""
        text = birdc(self._path, question)
        command.note(text)
        started = time.monotonic()
        configures = question.startswith("configure")
        reply = await self._exchange(question.encode() + b"\n", CONFIGURE_TIMEOUT_S if configures else ANSWER_TIMEOUT_S)
        say = _logger.info if configures else _logger.debug
        say("asked", command=text, code=reply.code, answer=reply.text, seconds=round(time.monotonic() - started, 4))
        return reply

    async def greeting(self) -> None:
        """Read the greeting, which bird sends to each new client. Raises as `ask`."""
        await self._exchange(b"", ANSWER_TIMEOUT_S)

    async def evaluate(self, symbol: str) -> Reply:
        """The value of `symbol` in bird's running configuration. Its code is EVALUATED only if the symbol exists."""
        return await self.ask(f"eval {symbol}")

    async def exported(self, prefix: str, protocol: str) -> str | None:
        """None if bird exports the route to exactly `prefix` to `protocol`; otherwise bird's reason."""
        reply = await self.ask(show_exported(prefix, protocol))
        return None if any(code == ROUTE for code, _ in reply.lines) else reply.text or "not exported"

    async def not_up(self, protocol: str) -> str | None:
        """None if the session of `protocol` is up; otherwise its state, or that bird does not report it."""
        reply = await self.ask(show_protocol(protocol))
        more = birdc(self._path, show_protocol(protocol, "all"))
        # Name, Proto, Table, State: the same columns in bird 1.6, 2 and 3.
        states = [text.split()[3:4] for code, text in reply.lines if code == PROTOCOL]
        if len(states) != 1 or not states[0]:
            return f"bird does not say whether {protocol} is up ({reply.text}; {more})"
        return None if states[0][0] in _UP else f"{protocol} is not up ({states[0][0]}; {more})"

    async def idle(self, seconds: float) -> None:
        """Wait for so many seconds. Absent: bird ends meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await unix_socket.closed(self._socket)
                raise self._gone

    @property
    def _gone(self) -> Absent:
        return Absent(f"bird closed its control socket {self._path}")

    async def _exchange(self, question: bytes, seconds: float) -> Reply:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_sendall(self._socket, question)
                while True:
                    data = await loop.sock_recv(self._socket, 65536)
                    if not data:
                        raise self._gone
                    reply = self._parser.feed(data)
                    if reply is not None:
                        return reply
        except TimeoutError as error:
            raise TimedOut(f"bird does not answer on {self._path} within {seconds:g} s; is it stopped?") from error
        except ConnectionError as error:
            raise self._gone from error


@contextlib.asynccontextmanager
async def session(path: str) -> AsyncIterator[Session]:
    """A connection to the bird with the control socket `path`.

    Absent: bird is not running. TimedOut: it does not answer. DriverError: permission denied, or not bird's protocol.
    """
    with unix_socket.made() as connection:
        await _connect(connection, path)
        one = Session(path, connection)
        await one.greeting()
        yield one


async def _connect(connection: socket.socket, path: str) -> None:
    try:
        await unix_socket.connect(connection, path, ANSWER_TIMEOUT_S)
    except TimeoutError as error:
        raise TimedOut(f"bird accepts no connection on {path}; is it stopped?") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Absent(f"bird is not running: nothing listens on {path}") from error
    except PermissionError as error:
        raise DriverError(f"{path}: permission denied; failoverd must be root or in bird's group") from error
    except OSError as error:
        raise DriverError(f"{path}: {error.strerror or error}; is `socket` right?") from error


async def follow(path: str, protocol: str | None, changed: Callable[[], None]) -> None:
    """Call `changed` when bird starts or ends, and when the state of `protocol`'s session changes; until cancelled.

    `protocol`: None follows bird alone. The end of bird closes the connection, so it is noticed at once; the session is
    polled. A bird that does not answer may be loading its configuration, so this is not a change.
    """
    last: str | None = "no state is known yet"
    while True:
        try:
            async with session(path) as bird:
                while True:
                    now = None if protocol is None else await bird.not_up(protocol)
                    if now != last:
                        last = now
                        changed()
                    await bird.idle(POLL_INTERVAL_S)
        except TimedOut:
            pass
        except DriverError as error:
            if error.reason != last:
                last = error.reason
                changed()
        await asyncio.sleep(POLL_INTERVAL_S)


def show_exported(prefix: str, protocol: str) -> str:
    """The question whether bird exports `prefix` to `protocol`."""
    return f"show route {prefix} export {_quoted(protocol)}"


def show_protocol(protocol: str, *more: str) -> str:
    """The question for the state of `protocol`; with "all" for its details too."""
    return " ".join(("show protocols", *more, _quoted(protocol)))


def birdc(path: str, question: str) -> str:
    """The command of birdc that asks the same, ready to paste."""
    where = () if path == DEFAULT_SOCKET else ("-s", path)
    words = (f'"{word}"' if "'" in word else shlex.quote(word) for word in question.split())
    return " ".join((shlex.join(("birdc", *where)), *words))


def _quoted(name: str) -> str:
    """A name in bird's syntax: in quotes if it has other characters than letters, digits and `_`."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f"'{name}'"
