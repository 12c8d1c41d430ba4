"""Receive hooks on the notify socket: one connection, one line, one acknowledgement.

A hook's line has almost always arrived when its connection is accepted, so it is read at once. The number of
connections that wait for their line, and their time, are limited: a silent connection must not block a hook.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from failoverd.daemon.access import Peer, peer
from failoverd.daemon.intake.errors import IntakeError, Rejections
from failoverd.daemon.intake.wire import MAX_LINE_BYTES
from failoverd.osutil import locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Connections that the kernel queues; net.core.somaxconn may lower it.
BACKLOG = 4096

#: Seconds within which a connection must send its line.
LINE_TIMEOUT_S = 2.0

#: Connections that may wait for the rest of their line; one more closes the oldest.
MAX_WAITING = 256

#: Connections among them of users who may not report.
MAX_WAITING_STRANGERS = 16

#: Every user may connect; failoverd checks for each connection whether its user may report.
SOCKET_MODE = 0o666

#: Connections that one call accepts, so that a flood does not block the loop.
MAX_ACCEPTS_PER_CALL = 256

#: Seconds until the next accept after the process or the machine has run out of file descriptors.
ACCEPT_PAUSE_S = 0.25

ACK = b"ok\n"

Received = list[tuple[bytes, socket.socket]]


class NotifySocket:
    """Listens at `path`, or on `listener`, the socket that systemd passed. `admits`: whether a user (uid) may report.

    `received` gets complete lines with their connections, and must call `finish` on each connection. Every user may
    connect, so that a hook of the wrong user is noticed: `strange` gets its peer and line, and no connection.
    """

    def __init__(
        self,
        path: Path,
        *,
        listener: socket.socket | None,
        received: Callable[[Received], None],
        admits: Callable[[int], bool],
        strange: Callable[[Peer, bytes], None],
        rejections: Rejections,
    ) -> None:
        self._path = path
        self._listener = listener
        self._own = False
        self._received = received
        self._admits = admits
        self._strange = strange
        self._strangers: dict[socket.socket, Peer] = {}
        self._rejections = rejections
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[socket.socket, tuple[float, bytes]] = {}
        self._deadline: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to listen. IntakeError: another process listens at the path, or listening fails."""
        if self._listener is None:
            self._listener = self._listen()
            self._own = True
        else:
            self._open_to_all()
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Stop listening; waiting connections are closed, so that their hooks spool their events."""
        for timer in (self._deadline, self._pause):
            if timer:
                timer.cancel()
        for connection in list(self._waiting):
            self._drop(connection)
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            if self._own:
                self._path.unlink(missing_ok=True)

    @staticmethod
    def finish(connection: socket.socket, *, recorded: bool) -> None:
        """Acknowledge a recorded event, and close the connection. A hook without acknowledgement spools its event."""
        if recorded:
            with contextlib.suppress(OSError):
                connection.send(ACK)
        connection.close()

    def _listen(self) -> socket.socket:
        if locks.listens(self._path):
            raise IntakeError(self._path, "another failoverd, or systemd, already listens on this socket")
        draft = self._path.with_name(f".{self._path.name}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The socket is ready before it replaces that of a dead daemon.
            draft.unlink(missing_ok=True)
            listener.bind(str(draft))
            draft.chmod(SOCKET_MODE)
            listener.listen(BACKLOG)
            draft.rename(self._path)
        except OSError as error:
            listener.close()
            raise IntakeError(self._path, f"cannot listen on this socket: {error.strerror or error}") from error
        return listener

    def _open_to_all(self) -> None:
        try:
            self._path.chmod(SOCKET_MODE)
        except OSError as error:
            reason = f"cannot let keepalived's hooks connect to this socket ({error.strerror})"
            raise IntakeError(self._path, f"{reason}: systemctl restart failoverd.socket") from error

    def _accept(self) -> None:
        assert self._listener is not None
        lines: Received = []
        for _ in range(MAX_ACCEPTS_PER_CALL):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rejections.trouble("cannot accept connections of hooks", error=os.strerror(error.errno or 0))
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(ACCEPT_PAUSE_S, self._loop.add_reader, self._listener, self._accept)
                break
            connection.settimeout(0)
            who = peer(connection)
            if not self._admits(who.uid):
                self._strangers[connection] = who
            self._read(connection, lines)
        if lines:
            self._received(lines)

    def _more(self, connection: socket.socket) -> None:
        lines: Received = []
        self._read(connection, lines)
        if lines:
            self._received(lines)

    def _read(self, connection: socket.socket, lines: Received) -> None:
        _, text = self._waiting.get(connection, (0.0, b""))
        try:
            data = connection.recv(MAX_LINE_BYTES + 1 - len(text))
        except BlockingIOError:
            self._wait(connection, text)
            return
        except OSError:
            data = b""
        text += data
        line, newline, _ = text.partition(b"\n")
        if newline:
            stranger = self._strangers.get(connection)
            self._forget(connection)
            if stranger is None:
                lines.append((line, connection))
            else:
                connection.close()
                self._strange(stranger, line)
        elif data and len(text) <= MAX_LINE_BYTES:
            self._wait(connection, text)
        else:
            self._rejections.reject("rejected a connection without a complete event", bytes=len(text))
            self._drop(connection)

    def _wait(self, connection: socket.socket, text: bytes) -> None:
        if connection in self._waiting:
            self._waiting[connection] = (self._waiting[connection][0], text)
            return
        if connection in self._strangers and len(self._strangers) > MAX_WAITING_STRANGERS:
            self._rejections.reject("rejected a connection: too many of users who may not report")
            self._drop(connection)
            return
        if len(self._waiting) >= MAX_WAITING:
            self._rejections.reject("rejected a connection: too many have sent no event")
            self._drop(next(iter(self._waiting)))
        self._waiting[connection] = (self._loop.time() + LINE_TIMEOUT_S, text)
        self._loop.add_reader(connection, self._more, connection)
        if self._deadline is None:
            self._deadline = self._loop.call_later(LINE_TIMEOUT_S, self._expire)

    def _expire(self) -> None:
        # The oldest come first, because all have the same time.
        self._deadline = None
        while self._waiting:
            connection = next(iter(self._waiting))
            deadline = self._waiting[connection][0]
            if deadline > self._loop.time():
                self._deadline = self._loop.call_at(deadline, self._expire)
                break
            self._rejections.reject("rejected a connection that sent no event in time")
            self._drop(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._strangers.pop(connection, None)
        if self._waiting.pop(connection, None):
            self._loop.remove_reader(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()
