"""journald's own protocol (systemd's JOURNAL_NATIVE_PROTOCOL.md): one datagram of fields a line.

systemd's Python library speaks it too, but waits for journald with Python's lock held: while journald does not read,
no thread of the process runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping

#: Where journald listens.
SOCKET = "/run/systemd/journal/socket"

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Journal:
    """A way to journald. It may listen later, or again: each line finds out for itself."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(self, fields: Mapping[str, str]) -> None:
        """Hand one line over; waits for as long as journald does not read. OSError: nobody listens.

        Each field is called as `name` would call it.
        """
        datagram = b"".join(_encoded(key, value) for key, value in fields.items())
        try:
            self._socket.sendto(datagram, SOCKET)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_as_file(datagram)

    def _send_as_file(self, datagram: bytes) -> None:
        """What is too long for a datagram: journald reads a file in memory that nobody can change any more."""
        with os.fdopen(os.memfd_create("journal", os.MFD_ALLOW_SEALING), "wb") as file:
            file.write(datagram)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            passing = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))
            self._socket.sendmsg([b""], [passing], 0, SOCKET)


def name(key: str) -> str:
    """`key` as journald takes it: capitals, digits and underscores, not first an underscore or digit, 64 at most."""
    found = re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")
    return found[:64] or "FIELD"


def _encoded(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(data)), data)
    return b"%s=%s\n" % (key.encode(), data)
