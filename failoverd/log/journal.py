"""journald's native protocol (systemd's JOURNAL_NATIVE_PROTOCOL.md): one datagram of fields per line.

It must not use systemd's Python library, which waits for journald while it holds the GIL: no thread of the process
runs until journald reads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Journal:
    """A connection to journald. Each line is sent by itself, so journald may start later, or restart."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(self, fields: Mapping[str, str]) -> None:
        """Send one line; blocks while journald does not read. OSError: journald does not listen.

        The names of `fields` are those that `name` returns.
        """
        datagram = b"".join(_encoded(key, value) for key, value in fields.items())
        try:
            self._socket.sendto(datagram, SOCKET)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_as_file(datagram)

    def _send_as_file(self, datagram: bytes) -> None:
        """Send a line that is too long for a datagram: in a sealed memfd."""
        with os.fdopen(os.memfd_create("journal", os.MFD_ALLOW_SEALING), "wb") as file:
            file.write(datagram)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            passing = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))
            self._socket.sendmsg([b""], [passing], 0, SOCKET)


def name(key: str) -> str:
    """`key` as a field name of journald: A-Z, 0-9 and _, beginning with a letter, at most 64 characters."""
    found = re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")
    return found[:64] or "FIELD"


def _encoded(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(data)), data)
    return b"%s=%s\n" % (key.encode(), data)
