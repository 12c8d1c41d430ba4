"""The control socket, seen from failoverctl: one question, one answer, one deadline."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Any

#: The version of the language that is spoken here; ``daemon/control.py`` describes it.
VERSION = 1

#: Seconds for the whole exchange: a little more than the daemon gives its own handlers.
DEADLINE = 5.0

#: The longest reply (bytes) that is believed.
REPLY = 64 * 1024 * 1024


class CtlError(Exception):
    """The question has no answer. `error`: one line; `hint`: what to do; `status`: what failoverctl exits with."""

    status = 1

    def __init__(self, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint


class UnreachableError(CtlError):
    """There is no daemon to be heard."""

    status = 69


def ask(path: str, verb: str, params: dict[str, Any], *, deadline: float = DEADLINE) -> dict[str, Any]:
    """Put one question. Raises UnreachableError, and CtlError when the daemon says no or speaks another version."""
    request = json.dumps({**params, "version": VERSION, "verb": verb}).encode() + b"\n"
    until = time.monotonic() + deadline
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(deadline)
            connection.connect(path)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have said why before it hung up
                connection.sendall(request)
            line = _line(connection, until)
        except OSError as error:
            raise _unreachable(path, error, deadline) from None
    return _result(line, path)


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
        if len(reply) > REPLY:
            raise CtlError(
                f"failoverd's answer is longer than {REPLY} bytes", "ask for less: failoverctl history -n 5, or show ID"
            )
    return bytes(reply)


def _unreachable(path: str, error: OSError, deadline: float) -> UnreachableError:
    service = "is failoverd running? see: systemctl status failoverd"
    if isinstance(error, FileNotFoundError):
        return UnreachableError(f"there is no socket {path}", f"{service}; or give its --socket PATH")
    if isinstance(error, PermissionError):
        return UnreachableError(
            f"permission denied at {path}",
            "failoverd may be well; run this as root, or as one who may reach the socket",
        )
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(f"nobody listens at {path}: failoverd has gone", service)
    if isinstance(error, TimeoutError | BlockingIOError):
        return UnreachableError(
            f"failoverd did not answer at {path} within {deadline:g} s",
            "it is stopped, starting or stuck; see: systemctl status failoverd",
        )
    return UnreachableError(f"{path} cannot be used: {error.strerror or error}", "is --socket right?")


def _result(line: bytes, path: str) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError:
        reply = None
    if not line:
        raise UnreachableError(f"failoverd hung up at {path} without an answer", "see: journalctl -u failoverd")
    if not isinstance(reply, dict) or type(reply.get("version")) is not int:
        raise UnreachableError(f"what answers at {path} is not failoverd", "is --socket right?")
    if not reply.get("ok"):
        raise CtlError(str(reply.get("error", "failoverd refused")), str(reply.get("hint") or ""))
    if reply["version"] != VERSION:
        older = "failoverctl" if reply["version"] > VERSION else "failoverd (and restart it)"
        raise CtlError(
            f"failoverd speaks version {reply['version']}, this failoverctl speaks version {VERSION}",
            f"upgrade {older}",
        )
    result = reply.get("result")
    if not isinstance(result, dict):
        raise CtlError("failoverd's answer has no result", "are failoverd and failoverctl of one release?")
    return result
