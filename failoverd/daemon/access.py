"""Who may do what: keepalived's script user tells, root and the operators' group act, everybody may ask."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from failoverd import log
from failoverd.daemon import names

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
    """Who is asking, as the kernel says (SO_PEERCRED, SO_PEERGROUPS). `name`: None until `named`."""

    uid: int
    gids: frozenset[int]
    pid: int
    name: str | None = None

    @property
    def known_to_act(self) -> bool:
        """Whether it may act, as far as that is known without asking anybody."""
        return self.uid == 0 or names.group.known(OPERATORS) in self.gids

    async def may_act(self) -> bool:
        """Root may, and who was in the operators' group when it connected.

        TimeoutError: the directory of groups does not answer, and never has.
        """
        return self.uid == 0 or await names.group.get(OPERATORS) in self.gids

    async def named(self) -> Peer:
        """With its name, if that is known or told at once."""
        with suppress(TimeoutError):
            return replace(self, name="root" if self.uid == 0 else await names.user_name.get(self.uid))
        return self

    def __str__(self) -> str:
        return self.name or f"uid {self.uid}"


async def find_operators() -> None:
    """Make known who may act, however long that takes."""
    with suppress(TimeoutError):
        await names.group.get(OPERATORS, patience=None)


def peer(connection: socket.socket) -> Peer:
    """Who is at the other end of `connection`."""
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = b""
    with suppress(OSError):  # in more groups than that: only the first counts
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS)
    gids = struct.unpack(f"{len(groups) // 4}I", groups)
    return Peer(uid=uid, gids=frozenset((gid, *gids)), pid=pid)


class Admission:
    """Lets keepalived's script user hand events over, as soon as the directory of users has told who that is.

    Root may in any case. What cannot be granted is logged: the FIFO, which is root's, still tells everything.
    """

    def __init__(self, runtime_dir: Path) -> None:
        self._dir = runtime_dir
        self._granting: asyncio.Task[None] | None = None

    def begin(self, user: str | None) -> None:
        """Let `user` in, as configured, and nobody else; None: keepalived's own default."""
        self.close()
        self._granting = asyncio.create_task(self._grant(user))

    def close(self) -> None:
        """Wait for nobody's answer any more."""
        if self._granting is not None:
            self._granting.cancel()

    async def _grant(self, user: str | None) -> None:
        try:
            gid = await names.user_group.get(user or SCRIPT_USER, patience=None)
        except TimeoutError:
            _log.error("keepalived's script user cannot be looked up", script_user=user or SCRIPT_USER)
            return
        if gid is None and user is not None:
            _log.error("keepalived's script user is not known here: only root's scripts are heard", script_user=user)
        for name, mode in (("notify.sock", 0o660), ("spool", 0o770)):
            try:
                os.chown(self._dir / name, -1, gid or 0, follow_symlinks=False)
                (self._dir / name).chmod(mode)
            except OSError as error:
                _log.error("keepalived's script user cannot be let in", file=name, reason=str(error))
