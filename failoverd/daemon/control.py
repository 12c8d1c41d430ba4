"""The control socket: failoverctl's peer.

A request is one line of JSON, ``{"version": 1, "verb": "status", …}``; its reply is one line, ``{"version": 1,
"ok": true, "result": …}`` or ``{"version": 1, "ok": false, "error": "…", "hint": "…"}``. A connection may ask again.
What a verb means is the service's business; here are only the line, its limits and who is asking. Nothing that a
client sends, or leaves unsent, does more than end its own connection.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from failoverd import lock, log
from failoverd.daemon import access
from failoverd.daemon.access import Peer
from failoverd.daemon.places import Places

#: The version of the language spoken here.
VERSION = 1

#: The longest request (bytes), seconds that a client may take to send its first request, another one, or to take a
#: reply, and seconds that a handler may take (less than failoverctl waits).
LINE, SILENT, IDLE, DEADLINE = 64 * 1024, 5.0, 30.0, 4.0

#: Everybody may ask; who may act is decided for each request.
MODE = 0o666

_log = log.get("control")


Handler = Callable[[Mapping[str, Any], Peer], Awaitable[Any]]


class Refused(Exception):
    """What a handler raises to say no. `error`: one line for a person; `hint`: what to do about it, or empty."""

    def __init__(self, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint


class ControlError(Exception):
    """The socket cannot be had. `hint`: what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(f"{reason}: {hint}")
        self.reason = reason
        self.hint = hint


class Control:
    """Serves `reads` and `acts` at `path`, or at `listening`, the socket there that systemd listens at.

    Verbs that only read are for everybody, those that act for whom `access` lets. A handler gets the request's other
    keys and the Peer, and returns what goes into ``result``, or raises Refused.
    """

    def __init__(
        self,
        path: Path,
        reads: Mapping[str, Handler],
        acts: Mapping[str, Handler],
        *,
        listening: socket.socket | None = None,
        deadline: float = DEADLINE,
        silent: float = SILENT,
        idle: float = IDLE,
    ) -> None:
        self._path = path
        self._verbs = {**reads, **acts}
        self._acts = frozenset(acts)
        self._socket = listening
        self._own = listening is None
        self._deadline = deadline
        self._silent = silent
        self._idle = idle
        self._places = Places()
        self._inode: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self) -> None:
        """Take the socket; who connects waits for `serve`. ControlError: somebody else listens, or no such path."""
        if self._socket is None:
            self._socket = _listen(self._path)
            self._inode = self._path.stat().st_ino
        else:
            _open_to_all(self._path)
        self._socket.setblocking(False)

    def serve(self) -> None:
        """Answer from now on, at the socket that was taken."""
        if self._socket is not None:
            self._spawn(access.find_operators())
            self._spawn(self._accept(self._socket))

    async def close(self) -> None:
        """End all connections. An own socket is removed, systemd's is left for the next daemon."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self._own and self._inode is not None:
            with suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        self._socket = self._inode = None

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors left, mostly: it passes when others close theirs
                _log.warning("no client can be taken", reason=str(error))
                await asyncio.sleep(1)
                continue
            try:
                peer = access.peer(connection)
            except OSError as error:
                connection.close()
                _log.debug("a client went at once", reason=str(error))
                continue
            if (full := self._places.take(peer)) is not None:
                with connection, suppress(OSError):
                    connection.send(_refusal("too many clients", full))
                continue
            self._spawn(self._serve(connection, peer))

    async def _serve(self, connection: socket.socket, peer: Peer) -> None:
        try:
            await self._served(connection, peer)
        finally:
            self._places.leave(peer)

    async def _served(self, connection: socket.socket, peer: Peer) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LINE)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            _log.debug("a client went at once", reason=str(error))
            return
        try:
            await self._converse(reader, writer, peer)
        except (OSError, TimeoutError) as error:
            _log.debug("a client was left", reason=str(error), pid=peer.pid, uid=peer.uid)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()  # takes what a write failed with, which asyncio would report in the end

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        last, patience = False, self._silent
        while not last:
            async with asyncio.timeout(patience):
                try:
                    line = await reader.readuntil(b"\n")
                except asyncio.LimitOverrunError:
                    last, line = True, b""
                    reply = _refusal("the request is too long", f"a request is one line of at most {LINE} bytes")
                except asyncio.IncompleteReadError as error:
                    if not error.partial:
                        return
                    last, line = True, b""
                    reply = _refusal("the request is not complete", "a request is one line that ends with a newline")
            patience = self._idle
            if line:
                reply = await self._answer(line, peer)
            writer.write(reply)
            async with asyncio.timeout(self._idle):
                await writer.drain()
                if last:
                    writer.close()
                    await writer.wait_closed()

    async def _answer(self, line: bytes, peer: Peer) -> bytes:
        try:
            verb, params = self._understood(line)
            handler = self._verbs[verb]
            if verb in self._acts:
                peer = await self._admitted(verb, peer)
        except Refused as refused:
            return _refusal(refused.error, refused.hint)
        try:
            async with asyncio.timeout(self._deadline) as waiting:
                result = await handler(params, peer)
            return _line({"version": VERSION, "ok": True, "result": result})
        except Refused as refused:
            return _refusal(refused.error, refused.hint)
        except Exception as error:  # a handler's bug is one client's trouble
            if isinstance(error, TimeoutError) and waiting.expired():
                _log.warning("a request took too long", verb=verb, deadline=self._deadline)
                return _refusal(f"{verb} took longer than {self._deadline:g} s", "look into failoverd's log")
            _log.exception("a request failed", verb=verb, uid=peer.uid, pid=peer.pid)
            return _refusal(f"internal error in {verb}: {type(error).__name__}", "failoverd's log has the rest")

    async def _admitted(self, verb: str, peer: Peer) -> Peer:
        """The peer with its name. Refused: it may not act."""
        peer = await peer.named()
        try:
            if await peer.may_act():
                return peer
        except TimeoutError:
            _log.warning("refused: who is in the group is not known", verb=verb, by=str(peer), group=access.OPERATORS)
            error = f"whether {peer} is in the group {access.OPERATORS} is not known: the directory does not answer"
            raise Refused(error, "use sudo") from None
        _log.warning("refused: not root, nor in the group", verb=verb, by=str(peer), group=access.OPERATORS)
        raise Refused(
            f"{verb} is for root and the members of the group {access.OPERATORS}",
            f"use sudo, or join them: adduser {peer} {access.OPERATORS}, and log in again",
        )

    def _understood(self, line: bytes) -> tuple[str, dict[str, Any]]:
        expected = f'expected is one line like {{"version": {VERSION}, "verb": "status"}}'
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
            older = "failoverd (and restart it)" if version > VERSION else "failoverctl"
            raise Refused(
                f"the request is in version {version}, this failoverd speaks version {VERSION}", f"upgrade {older}"
            )
        if not isinstance(verb, str) or verb not in self._verbs:
            near = difflib.get_close_matches(str(verb)[:80], self._verbs, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise Refused(f"unknown verb {json.dumps(verb)[:80]}", f"{hint}known are: {', '.join(sorted(self._verbs))}")
        return verb, request


def _line(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _refusal(error: str, hint: str) -> bytes:
    return _line({"version": VERSION, "ok": False, "error": error, "hint": hint})


def _open_to_all(path: Path) -> None:
    """For a passed socket: systemd makes all sockets of a unit alike, and as closed as the other one has to be."""
    try:
        path.chmod(MODE)
    except OSError as error:
        hint = "restart failoverd.socket, whose file this is"
        raise ControlError(f"{path} cannot be opened to all ({error.strerror})", hint) from None


def _listen(path: Path) -> socket.socket:
    """Make the socket; one that a dead daemon left behind is replaced."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        own.bind(str(path))
        path.chmod(MODE)
        own.listen()
    except OSError as error:
        own.close()
        hint = "give a shorter or a writable --runtime-dir"
        raise ControlError(f"{path} cannot be listened at ({error.strerror or error})", hint) from None
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
        raise ControlError(f"{path} is there and is no socket", "move it away")
    if lock.listens(path):
        raise ControlError(
            f"somebody listens at {path} already", "is failoverd.socket or another failoverd running? stop it first"
        )
    path.unlink()
