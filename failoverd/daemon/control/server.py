"""The control socket: failoverctl's peer.

A request is one line of JSON, ``{"version": 1, "verb": "status", …}``; its reply is one line, ``{"version": 1, "ok":
true, "result": …}`` or ``{"version": 1, "ok": false, "error": "…", "hint": "…"}``. A connection may carry more than one
request. A subscription is the last request of its connection: replies follow for as long as both sides live, one
whenever something has changed, and one without changes at least every BEAT_INTERVAL_S. This module knows the line, its
limits and the client's user; answers.py knows the verbs. A client can do no more harm than end its own connection,
whatever it sends or does not send.
"""

from __future__ import annotations

import asyncio
import difflib
import fcntl
import json
import shlex
import socket
import stat
import struct
import termios
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from failoverd import log
from failoverd.daemon import access
from failoverd.daemon.access import Peer
from failoverd.daemon.control.connection_limits import ConnectionLimits
from failoverd.daemon.control.fair_share import FairShare
from failoverd.daemon.control.feed import Feed
from failoverd.daemon.rate_limited_log import RateLimitedLog
from failoverd.trouble import TroubleKind, troubles

#: The version of the protocol.
VERSION = 1

REQUEST_MAX_BYTES = 64 * 1024

#: A client that does not send its first request within this time is disconnected.
FIRST_REQUEST_TIMEOUT_S = 5.0

#: The same for each further request, and for a reply that it does not read.
IDLE_TIMEOUT_S = 30.0

#: For one answer; less than failoverctl waits.
HANDLER_TIMEOUT_S = 4.0

#: Between two replies of a subscription: never less, so that quick changes become one; and never more.
MIN_PUSH_INTERVAL_S, BEAT_INTERVAL_S = 0.1, 2.0

#: The next accept() after one that has failed.
ACCEPT_RETRY_INTERVAL_S = 1.0

#: Everybody may connect; each request that acts is checked on its own.
SOCKET_MODE = 0o666

_SEE_JOURNAL = "for the details: journalctl -u failoverd"


_log = log.get("control")


Handler = Callable[[Mapping[str, Any], Peer], Awaitable[Any]]

#: Begins a subscription; raises Refused.
Subscribe = Callable[[Mapping[str, Any]], Feed]


class Refused(Exception):
    """A handler rejects the request. `error`: one line for a person; `hint`: the remedy, or empty."""

    def __init__(self, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint


class ControlError(Exception):
    """The socket cannot be made; the message has the reason and the remedy."""


class Control:
    """Serves the verbs in `reads` to everybody, and those in `acts` to root and operators, at the socket `path`.

    failoverd makes this socket itself, and systemd does not: so a request never starts a failoverd that was stopped.
    A handler gets the request's other keys and the Peer, and returns the value of ``result``, or raises Refused. It may
    take `handler_timeout` seconds. `first_request_timeout` and `idle_timeout`: seconds that a client may take to send
    its first request, and each further one.
    """

    def __init__(
        self,
        path: Path,
        reads: Mapping[str, Handler],
        acts: Mapping[str, Handler],
        feeds: Mapping[str, Subscribe] | None = None,
        *,
        handler_timeout: float = HANDLER_TIMEOUT_S,
        first_request_timeout: float = FIRST_REQUEST_TIMEOUT_S,
        idle_timeout: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._verbs = {**reads, **acts}
        self._acts = frozenset(acts)
        self._feeds = dict(feeds or {})
        self._feeding = FairShare()  # also for operators: nobody waits for a screen
        self._turns = {verb: FairShare() for verb in reads}
        self._rate_limited_log = RateLimitedLog("control")
        self._socket: socket.socket | None = None
        self._handler_timeout = handler_timeout
        self._first_request_timeout = first_request_timeout
        self._idle_timeout = idle_timeout
        self._places = ConnectionLimits()
        self._inode: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._accept_retry: asyncio.TimerHandle | None = None

    def take(self) -> None:
        """Make the socket; a client that connects waits for `serve`. ControlError: it cannot be made."""
        self._socket = _listen(self._path)
        self._inode = self._path.stat().st_ino
        self._socket.setblocking(False)

    def serve(self) -> None:
        """Answer from now on, at the socket that `take` has made."""
        if self._socket is not None:
            self._spawn(access.find_operators())
            self._loop.add_reader(self._socket, self._accept)

    async def close(self) -> None:
        """End all connections, and remove the socket."""
        if self._accept_retry is not None:
            self._accept_retry.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self._inode is not None:
            with suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        self._socket = self._inode = None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _accept(self) -> None:
        """Accept one client, and no more: with enough of them a loop here would not end."""
        assert self._socket is not None
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # mostly EMFILE or ENFILE, which pass when others close their descriptors
            reason = f"cannot accept a client: {error}; retrying every {ACCEPT_RETRY_INTERVAL_S:g} s"
            troubles.begin(TroubleKind.CONTROL_SOCKET, reason, path=self._path)
            self._loop.remove_reader(self._socket)
            self._accept_retry = self._loop.call_later(
                ACCEPT_RETRY_INTERVAL_S, self._loop.add_reader, self._socket, self._accept
            )
            return
        troubles.end(TroubleKind.CONTROL_SOCKET)
        try:
            peer = access.peer(connection)
        except OSError as error:
            connection.close()
            _log.debug("client disconnected", reason=str(error))
            return
        connection.setblocking(False)
        if (full := self._places.take(peer)) is not None:
            with connection, suppress(OSError):
                connection.send(_refusal("too many clients", full))
            return
        task = self._spawn(self._served(connection, peer))
        task.add_done_callback(lambda _: self._leave(connection, peer))  # also if it is cancelled before it begins

    def _leave(self, connection: socket.socket, peer: Peer) -> None:
        connection.close()
        self._places.leave(peer)

    async def _served(self, connection: socket.socket, peer: Peer) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=REQUEST_MAX_BYTES)
        except OSError as error:
            _log.debug("client disconnected", reason=str(error))
            return
        try:
            await self._converse(reader, writer, peer)
        except (OSError, TimeoutError) as error:
            _log.debug("connection ended", reason=str(error), pid=peer.pid, uid=peer.uid)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()  # retrieves a failed write's error, which asyncio would log at exit

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        last, timeout = False, self._first_request_timeout
        while not last:
            await asyncio.sleep(0)  # lets others run: reading a request that has arrived does not
            async with asyncio.timeout(timeout):
                try:
                    line = await reader.readuntil(b"\n")
                except asyncio.LimitOverrunError:
                    last, line = True, b""
                    hint = f"a request is one line of at most {REQUEST_MAX_BYTES} bytes"
                    reply = _refusal("the request is too long", hint)
                except asyncio.IncompleteReadError as error:
                    if not error.partial:
                        return
                    last, line = True, b""
                    reply = _refusal("the request is not complete", "a request is one line that ends with a newline")
            timeout = self._idle_timeout
            if line:
                answer = await self._answer(line, peer)
                if isinstance(answer, Feed):
                    await self._subscribed(reader, writer, answer, peer)
                    return
                reply = answer
            writer.write(reply)
            async with asyncio.timeout(self._idle_timeout):
                await writer.drain()
                if last:
                    writer.close()
                    await writer.wait_closed()

    async def _subscribed(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, feed: Feed, peer: Peer
    ) -> None:
        """Push changes until the client hangs up, sends anything more, or does not read."""
        if (full := self._places.watch(peer)) is not None:
            writer.write(_refusal("too many clients watch", full))
            return
        pushing = asyncio.create_task(self._push(writer, feed))
        hanging_up = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((pushing, hanging_up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._places.unwatch(peer)
            for task in (pushing, hanging_up):
                task.cancel()
            await asyncio.gather(pushing, hanging_up, return_exceptions=True)

    async def _push(self, writer: asyncio.StreamWriter, feed: Feed) -> None:
        """Send each reply when the client has read the one before: what changes meanwhile becomes one reply."""
        connection: socket.socket = writer.get_extra_info("socket")
        writer.transport.set_write_buffer_limits(0)
        try:
            while True:
                async with self._feeding.one():
                    line = _line({"version": VERSION, "ok": True, "result": feed.take()})
                writer.write(line)
                async with asyncio.timeout(self._idle_timeout):
                    await writer.drain()
                    while _unread(connection):  # noqa: ASYNC110 - the kernel does not report it
                        await asyncio.sleep(MIN_PUSH_INTERVAL_S)
                if not feed.more:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(BEAT_INTERVAL_S):
                            await feed.changed()
                    await asyncio.sleep(MIN_PUSH_INTERVAL_S)
        except (OSError, TimeoutError) as error:
            _log.debug("subscription ended", reason=str(error))
        except Exception as error:
            self._rate_limited_log.exception("subscription failed")
            writer.write(_refusal(f"internal error: {type(error).__name__}", _SEE_JOURNAL))

    async def _answer(self, line: bytes, peer: Peer) -> bytes | Feed:
        try:
            verb, params = self._parse(line)
            if verb in self._feeds:
                return self._feeds[verb](params)
            if verb in self._acts:
                peer = await self._admitted(verb, peer)
        except Refused as refused:
            return _refusal(refused.error, refused.hint)
        if verb in self._acts or peer.known_to_act:
            return await self._handled(verb, params, peer)
        async with self._turns[verb].one():
            return await self._handled(verb, params, peer)

    async def _handled(self, verb: str, params: Mapping[str, Any], peer: Peer) -> bytes:
        try:
            async with asyncio.timeout(self._handler_timeout) as waiting:
                result = await self._verbs[verb](params, peer)
            return _line({"version": VERSION, "ok": True, "result": result})
        except Refused as refused:
            return _refusal(refused.error, refused.hint)
        except Exception as error:  # a handler's bug must not harm other clients
            if isinstance(error, TimeoutError) and waiting.expired():
                self._rate_limited_log.warning("request timed out", verb=verb, deadline=self._handler_timeout)
                return _refusal(f"{verb} took longer than {self._handler_timeout:g} s", _SEE_JOURNAL)
            self._rate_limited_log.exception("request failed", verb=verb, uid=peer.uid, pid=peer.pid)
            return _refusal(f"internal error in {verb}: {type(error).__name__}", _SEE_JOURNAL)

    async def _admitted(self, verb: str, peer: Peer) -> Peer:
        """The peer with its name. Raises Refused if it may not act, or if that cannot be checked."""
        peer = await peer.named()
        try:
            if await peer.may_act():
                return peer
        except TimeoutError:
            self._rate_limited_log.warning(
                "refused: cannot look up the group", verb=verb, by=str(peer), group=access.OPERATORS
            )
            error = f"cannot look up the group {access.OPERATORS}: the directory service does not answer"
            raise Refused(error, "use sudo") from None
        self._rate_limited_log.warning(
            "refused: neither root nor in the group", verb=verb, by=str(peer), group=access.OPERATORS
        )
        raise Refused(
            f"{verb} is for root and the members of the group {access.OPERATORS}",
            f"use sudo; or join the group, then log in again: adduser {peer} {access.OPERATORS}",
        )

    def _parse(self, line: bytes) -> tuple[str, dict[str, Any]]:
        expected = f'expected one line like {{"version": {VERSION}, "verb": "status"}}'
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise Refused("the request is not JSON", expected) from None
        if not isinstance(request, dict):
            raise Refused("the request is not a JSON object", expected)
        version, verb = request.pop("version", None), request.pop("verb", None)
        if type(version) is not int:
            raise Refused("the request has no version", expected)
        if version != VERSION:
            older = "failoverd, then restart it" if version > VERSION else "failoverctl"
            raise Refused(
                f"the request has version {version}, this failoverd supports version {VERSION}", f"upgrade {older}"
            )
        verbs = {*self._verbs, *self._feeds}
        if not isinstance(verb, str) or verb not in verbs:
            near = difflib.get_close_matches(str(verb)[:80], verbs, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(sorted(verbs))
            raise Refused(f"unknown verb {json.dumps(verb)[:80]}", f"{hint}expected one of: {known}")
        return verb, request


def _unread(connection: socket.socket) -> int:
    """The memory of all that the other end has not read yet, in bytes (SIOCOUTQ of unix(7))."""
    if connection.fileno() < 0:
        raise ConnectionResetError("the connection is closed")
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    return found[0]


def _line(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _refusal(error: str, hint: str) -> bytes:
    return _line({"version": VERSION, "ok": False, "error": error, "hint": hint})


def _listen(path: Path) -> socket.socket:
    """Make the socket, and replace one that is left there: the lock on the directory proves that no daemon uses it."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        own.bind(str(path))
        path.chmod(SOCKET_MODE)
        own.listen()
    except OSError as error:
        own.close()
        reason = f"cannot listen at {path} ({error.strerror or error})"
        raise ControlError(f"{reason}: choose a shorter or a writable --runtime-dir") from None
    except ControlError:
        own.close()
        raise
    return own


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        quoted = shlex.quote(str(path))
        raise ControlError(f"{path} exists and is not a socket: mv {quoted} {quoted}.old")
    path.unlink()
