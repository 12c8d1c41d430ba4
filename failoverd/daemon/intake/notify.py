"""The notify socket: one connection, one line, one acknowledgement.

A hook's line is almost always there when its connection is accepted, so it is read at once. What is not there yet is
waited for, but not for long and not for many: silent connections cost a deadline and a place in a short queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from failoverd import lock
from failoverd.daemon.access import Peer, peer
from failoverd.daemon.intake.errors import Complaints, IntakeError
from failoverd.daemon.intake.wire import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Connections that the kernel may queue; it takes less where net.core.somaxconn is less.
BACKLOG = 4096

#: Seconds that a connection may take over its line.
PATIENCE = 2.0

#: Connections that may wait for the rest of their line; the oldest goes when one more comes.
WAITING = 256

#: Those among them of who may not tell.
STRANGERS = 16

#: Everybody may connect; whose word counts is decided for each connection.
MODE = 0o666

#: Connections accepted at one look, so that a flood does not keep the loop from everything else.
LOOK = 256

#: Seconds without accepting, when the process or the machine has no file descriptor left.
PAUSE = 0.25

ACK = b"ok\n"

Received = list[tuple[bytes, socket.socket]]


class NotifySocket:
    """Listens at `path`, or on `listener` (systemd's). Complete lines go to `received`, each with its connection.

    Whoever receives them owes each connection `finish`. Everybody may connect, so that who may not tell does not fail
    unseen; the lines of those whom `admits` does not let go to `strange`, without a connection.
    """

    def __init__(
        self,
        path: Path,
        *,
        listener: socket.socket | None,
        received: Callable[[Received], None],
        admits: Callable[[Peer], bool],
        strange: Callable[[Peer, bytes], None],
        complaints: Complaints,
    ) -> None:
        self._path = path
        self._listener = listener
        self._own = False
        self._received = received
        self._admits = admits
        self._strange = strange
        self._strangers: dict[socket.socket, Peer] = {}
        self._complaints = complaints
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[socket.socket, tuple[float, bytes]] = {}
        self._deadline: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to listen. IntakeError when somebody else listens at the path, or nobody can."""
        if self._listener is None:
            self._listener = self._listen()
            self._own = True
        else:
            self._open_to_all()
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Stop listening; connections that wait are closed, so that their hooks spool what they have."""
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
        """End the connection; a hook that does not hear that its event is recorded spools it. It may be gone by now."""
        if recorded:
            with contextlib.suppress(OSError):
                connection.send(ACK)
        connection.close()

    def _listen(self) -> socket.socket:
        if lock.listens(self._path):
            raise IntakeError(self._path, "another failoverd, or systemd, listens there")
        draft = self._path.with_name(f".{self._path.name}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # It is complete before it takes a dead daemon's place.
            draft.unlink(missing_ok=True)
            listener.bind(str(draft))
            draft.chmod(MODE)
            listener.listen(BACKLOG)
            draft.rename(self._path)
        except OSError as error:
            listener.close()
            raise IntakeError(self._path, f"cannot listen there: {error.strerror or error}") from error
        return listener

    def _open_to_all(self) -> None:
        try:
            self._path.chmod(MODE)
        except OSError as error:
            reason = f"cannot be opened to keepalived's scripts ({error.strerror}): systemctl restart failoverd.socket"
            raise IntakeError(self._path, reason) from error

    def _accept(self) -> None:
        assert self._listener is not None
        lines: Received = []
        for _ in range(LOOK):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._complaints.trouble("connections cannot be accepted", error=os.strerror(error.errno or 0))
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(PAUSE, self._loop.add_reader, self._listener, self._accept)
                break
            connection.settimeout(0)
            who = peer(connection)
            if not self._admits(who):
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
            data = connection.recv(MAX_LINE + 1 - len(text))
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
        elif data and len(text) <= MAX_LINE:
            self._wait(connection, text)
        else:
            self._complaints.reject("no event on the notify socket", bytes=len(text))
            self._drop(connection)

    def _wait(self, connection: socket.socket, text: bytes) -> None:
        if connection in self._waiting:
            self._waiting[connection] = (self._waiting[connection][0], text)
            return
        if connection in self._strangers and len(self._strangers) > STRANGERS:
            self._complaints.reject("too many connections of who may not tell")
            self._drop(connection)
            return
        if len(self._waiting) >= WAITING:
            self._complaints.reject("too many connections that say nothing on the notify socket")
            self._drop(next(iter(self._waiting)))
        self._waiting[connection] = (self._loop.time() + PATIENCE, text)
        self._loop.add_reader(connection, self._more, connection)
        if self._deadline is None:
            self._deadline = self._loop.call_later(PATIENCE, self._expire)

    def _expire(self) -> None:
        # The oldest come first, and all had the same patience.
        self._deadline = None
        while self._waiting:
            connection = next(iter(self._waiting))
            deadline = self._waiting[connection][0]
            if deadline > self._loop.time():
                self._deadline = self._loop.call_at(deadline, self._expire)
                break
            self._complaints.reject("no event on the notify socket in time")
            self._drop(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._strangers.pop(connection, None)
        if self._waiting.pop(connection, None):
            self._loop.remove_reader(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()
