"""Who may do what: keepalived's script user tells, root and the operators' group act, everybody may ask."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from failoverd import log

#: Its members may act with failoverctl, as root may; made by ``systemd/failoverd.sysusers``.
OPERATORS = "failoverd"

#: As whom keepalived runs scripts where its configuration says nothing, if there is such a user; else as root.
SCRIPT_USER = "keepalived_script"

#: Linux's socket option for the groups of the process at the other end (since 4.13); Python does not name it.
_SO_PEERGROUPS = 59

#: As many bytes as Python takes of an option: 256 groups.
_GROUPS = 1024

_log = log.get("access")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is asking, as the kernel says (SO_PEERCRED, SO_PEERGROUPS)."""

    uid: int
    gids: frozenset[int]
    pid: int

    @property
    def may_act(self) -> bool:
        """Root may, and who was in the operators' group when it connected."""
        return self.uid == 0 or _gid(OPERATORS) in self.gids

    def __str__(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"


def peer(connection: socket.socket) -> Peer:
    """Who is at the other end of `connection`."""
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = b""
    with suppress(OSError):  # in more groups than that: only the first counts
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS)
    gids = struct.unpack(f"{len(groups) // 4}I", groups)
    return Peer(uid=uid, gids=frozenset((gid, *gids)), pid=pid)


def admit(runtime_dir: Path, user: str | None) -> None:
    """Let keepalived's script user hand events over; `user`: as configured, None for keepalived's own default.

    Root may in any case. What cannot be granted is logged: the FIFO, which is root's, still tells everything.
    """
    try:
        gid = pwd.getpwnam(user or SCRIPT_USER).pw_gid
    except KeyError:
        gid = 0
        if user is not None:
            _log.error("keepalived's script user is not known here: only root's scripts are heard", script_user=user)
    for name, mode in (("notify.sock", 0o660), ("spool", 0o770)):
        try:
            os.chown(runtime_dir / name, -1, gid, follow_symlinks=False)
            (runtime_dir / name).chmod(mode)
        except OSError as error:
            _log.error("keepalived's script user cannot be let in", file=name, reason=str(error))


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
