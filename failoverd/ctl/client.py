"""The client of the daemon's control socket: one request, one answer, one deadline.

Every failure is a CtlError with a remedy. It must not import anything of the daemon: the two sides share the protocol
that ``daemon/control/server.py`` describes, and no code.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Any

#: Where failoverd listens, unless it has another runtime directory.
DEFAULT_SOCKET = "/run/failoverd/control.sock"

#: The version of the protocol.
PROTOCOL_VERSION = 1

#: For the whole exchange; longer than the daemon's own limit for a handler.
REPLY_TIMEOUT_S = 5.0

#: The file beside the socket in which a daemon that does not start leaves the errors of its configuration.
CONFIG_ERRORS_FILE = "errors"

#: The longest reply that is read.
MAX_REPLY_BYTES = 64 * 1024 * 1024

#: The remedy where daemon and client do not understand each other within one version of the protocol.
OTHER_RELEASE = "failoverd and failoverctl may be of different releases; after an upgrade: systemctl restart failoverd"


class CtlError(Exception):
    """The request has no answer. `error`: one line; `hint`: the remedy, or empty; `status`: the exit status."""

    status = 1

    def __init__(self, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint


class UnreachableError(CtlError):
    """The daemon cannot be reached."""

    status = 69


def ask(path: str, verb: str, params: dict[str, Any], *, deadline: float = REPLY_TIMEOUT_S) -> dict[str, Any]:
    """Send one request to the daemon at the socket `path`, and return its answer within `deadline` seconds.

    Raises UnreachableError, or CtlError where the daemon rejects the request or has another version of the protocol.
    """
    request = json.dumps({**params, "version": PROTOCOL_VERSION, "verb": verb}).encode() + b"\n"
    until = time.monotonic() + deadline
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(deadline)
            connection.connect(path)
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # the daemon may have sent its reason before it closed
                connection.sendall(request)
            line = _line(connection, until)
        except OSError as error:
            raise unreachable(path, error, deadline) from None
    return result(line, path)


def _line(connection: socket.socket, until: float) -> bytes:
    reply = bytearray()
    while b"\n" not in reply:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(65536)
        if not piece:
            break
        reply += piece
        if len(reply) > MAX_REPLY_BYTES:
            raise CtlError(
                f"the answer is longer than {MAX_REPLY_BYTES} bytes", "request less of it: failoverctl history -n 5"
            )
    return bytes(reply)


def unreachable(path: str, error: OSError, deadline: float) -> UnreachableError:
    """Why the daemon at the socket `path` cannot be reached, with the remedy. `deadline`: the seconds it was given."""
    service = "check the daemon: systemctl status failoverd"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) and (wrong := _errors(path)):
        more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        return UnreachableError(
            f"failoverd does not run: its configuration has errors: {wrong[0]}{more}",
            "fix them, then: failoverctl config check && systemctl restart failoverd",
        )
    if isinstance(error, FileNotFoundError):
        return UnreachableError(f"there is no socket {path}", f"{service}; or give --socket PATH")
    if isinstance(error, PermissionError):
        return UnreachableError(
            f"permission denied: {path}",
            "run failoverctl as root, or as a user who may access the socket",
        )
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(f"nothing listens at {path}: failoverd has exited", service)
    if isinstance(error, TimeoutError | BlockingIOError):
        return UnreachableError(
            f"failoverd did not answer at {path} within {deadline:g} s",
            f"it is stopped, starting or stuck; {service}",
        )
    return UnreachableError(f"cannot connect to {path}: {error.strerror or error}", "check --socket PATH")


def _errors(path: str) -> list[str]:
    """The configuration errors that a daemon left beside its socket `path` because it could not start; or none."""
    from pathlib import Path  # slow to import, and only a failure needs it

    try:
        return Path(path).with_name(CONFIG_ERRORS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return []


def result(line: bytes, path: str) -> dict[str, Any]:
    """The result in one reply from the socket `path`. Raises CtlError where it has none."""
    try:
        reply = json.loads(line)
    except ValueError:
        reply = None
    if not line:
        raise UnreachableError(
            f"failoverd closed the connection at {path} without an answer", "check its log: journalctl -u failoverd"
        )
    if not isinstance(reply, dict) or type(reply.get("version")) is not int:
        raise UnreachableError(f"the server at {path} is not failoverd", "check --socket PATH")
    if not reply.get("ok"):
        error = str(reply.get("error", "the daemon rejected the request"))
        hint = OTHER_RELEASE if error.startswith("unknown verb") else str(reply.get("hint") or "")
        raise CtlError(error, hint)
    if reply["version"] != PROTOCOL_VERSION:
        newer = reply["version"] > PROTOCOL_VERSION
        raise CtlError(
            f"protocol version mismatch: failoverd has {reply['version']}, failoverctl has {PROTOCOL_VERSION}",
            "upgrade failoverctl" if newer else "upgrade failoverd, then: systemctl restart failoverd",
        )
    result = reply.get("result")
    if not isinstance(result, dict):
        raise CtlError("the answer has no result", OTHER_RELEASE)
    return result
