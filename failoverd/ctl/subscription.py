"""The daemon's state as it changes: a request that is answered by a line for each change, and by beats between them.

No line for SILENCE_S means that the daemon is gone, frozen or stuck: what was received before may be stale.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from failoverd.ctl import client

#: The daemon sends a line every 2 s at least; two and a half of these are missing then.
SILENCE_S = 5.0

_CHUNK_BYTES = 65536


class Picture:
    """The state, as far as it was received on one connection."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._instances: dict[str, Any] = {}
        self._names: list[str] | None = None
        self.at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether it has every instance: a long state comes in several lines."""
        return self._names is not None and all(name in self._instances for name in self._names)

    @property
    def answer(self) -> dict[str, Any]:
        """The state as the answer to ``why`` has it."""
        names = self._names or []
        return {**self._head, "instances": {name: self._instances[name] for name in names}}

    def add(self, piece: Mapping[str, Any]) -> bool:
        """Add what a line has; whether anything has changed. ValueError, TypeError or LookupError: it is malformed."""
        self.at = datetime.fromisoformat(piece["at"])
        if "instances" not in piece:
            return False
        self._head = {key: each for key, each in piece.items() if key not in ("at", "names", "instances")}
        self._instances.update(piece["instances"])
        if "names" in piece:
            self._names = list(piece["names"])
            self._instances = {name: each for name, each in self._instances.items() if name in self._names}
        return True


class Subscription:
    """One connection. Raises client.CtlError where the daemon cannot be reached."""

    def __init__(self, path: str, params: Mapping[str, Any]) -> None:
        self._path = path
        self._received = bytearray()
        self.picture = Picture()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        request = {**params, "version": client.PROTOCOL_VERSION, "verb": "watch"}
        try:
            self._connection.setblocking(False)
            self._connection.connect(path)
            with suppress(BrokenPipeError, ConnectionResetError):  # its reason may have come before it closed
                self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._connection.close()
            raise client.unreachable(path, error, client.REPLY_TIMEOUT_S) from None

    def fileno(self) -> int:
        """The descriptor that is readable when something has come."""
        return self._connection.fileno()

    def close(self) -> None:
        """End the subscription."""
        self._connection.close()

    def read(self) -> bool:
        """Add what has come to `picture`; whether it has changed. CtlError: the subscription has ended, and why."""
        try:
            piece = self._connection.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            raise client.unreachable(self._path, error, client.REPLY_TIMEOUT_S) from None
        if not piece:
            raise client.UnreachableError("failoverd has closed the connection", "systemctl status failoverd")
        self._received += piece
        if len(self._received) > client.MAX_REPLY_BYTES:
            raise client.CtlError(f"the answer is longer than {client.MAX_REPLY_BYTES} bytes", client.OTHER_RELEASE)
        *lines, self._received = self._received.split(b"\n")
        return any([self._add(bytes(line)) for line in lines])  # noqa: C419  # each line counts

    def _add(self, line: bytes) -> bool:
        try:
            piece = client.result(line, self._path)
        except client.CtlError as error:
            if error.error.startswith('unknown verb "watch"'):
                raise client.CtlError("this failoverd is older: it cannot be watched", client.OTHER_RELEASE) from None
            raise
        try:
            return self.picture.add(piece)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise client.CtlError(f"cannot understand the answer ({error!r})", client.OTHER_RELEASE) from error
