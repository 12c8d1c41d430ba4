"""Who may do what: keepalived's script user tells, root and the operators' group act, everybody may ask."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from failoverd import log
from failoverd.daemon import names
from failoverd.trouble import troubles

#: Its members may act with failoverctl, as root may; made by ``systemd/failoverd.sysusers``.
OPERATORS = "failoverd"

#: As whom keepalived runs scripts where its configuration says nothing, if there is such a user; else as root.
SCRIPT_USER = "keepalived_script"

#: Linux's socket option for the groups of the process at the other end (since 4.13); Python does not name it.
_SO_PEERGROUPS = 59

#: As many bytes as Python takes of an option: 256 groups.
_GROUPS = 1024

_ABOUT = "script user"

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

    Root may in any case, and who could before, until it is known. `spools`: the directories for what could not be
    handed over.
    """

    def __init__(self, spools: Sequence[Path]) -> None:
        self._spools = spools
        self._root = frozenset((0, os.geteuid()))
        self._uids = self._root
        self._granting: asyncio.Task[None] | None = None

    def admits(self, peer: Peer) -> bool:
        """Whether what `peer` tells is keepalived's word."""
        return peer.uid in self._uids

    def begin(self, user: str | None) -> None:
        """Let `user` in, as configured, and nobody else; None: keepalived's own default."""
        self.close()
        with suppress(OSError):
            self._uids |= {self._spools[0].stat().st_uid}  # whom an earlier daemon let in
        self._granting = asyncio.create_task(self._grant(user))

    def close(self) -> None:
        """Wait for nobody's answer any more."""
        if self._granting is not None:
            self._granting.cancel()

    async def _grant(self, user: str | None) -> None:
        name = user or SCRIPT_USER
        try:
            found = await names.user.get(name, patience=None)
        except TimeoutError:
            troubles.begin(_ABOUT, f"keepalived's script user {name} cannot be looked up: is the user database there?")
            return
        if found is None and user is not None:
            text = "keepalived's script user is not known here: only root's scripts are heard"
            troubles.begin(_ABOUT, f'{text}. Make the user {user}, or mend script_user = "{user}" in [keepalived]')
        else:
            troubles.end(_ABOUT)
        uid, gid = found or (0, 0)
        self._uids = self._root | {uid}
        for spool in self._spools:
            try:
                _give(spool, uid, gid)
            except OSError as error:
                _log.error("keepalived's script user cannot be let in", directory=str(spool), reason=str(error))


def _give(directory: Path, uid: int, gid: int) -> None:
    # The user it is given to could have put a link to somewhere else in its place.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, 0o770)
    finally:
        os.close(descriptor)
