"""Check users: keepalived's script user may report, root and the operators' group may act, every user may ask.

This module must not wait for the user database in the loop's thread; it may be a directory service that hangs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from failoverd import log
from failoverd.daemon import users
from failoverd.trouble import TroubleKind, troubles

#: The group whose members may act with failoverctl, as root may; ``systemd/failoverd.sysusers`` creates it.
OPERATORS = "failoverd"

#: The user as whom keepalived runs scripts by default, if it exists; else root (keepalived.conf(5), `script_user`).
SCRIPT_USER = "keepalived_script"

#: Linux's socket option for the groups of the process at the other end (since 4.13); Python does not name it.
_SO_PEERGROUPS = 59

#: The most bytes that Python reads of a socket option: 256 groups.
_PEERGROUPS_BYTES = 1024

_log = log.get("access")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process at the other end of a socket, as the kernel reports it (SO_PEERCRED, SO_PEERGROUPS in unix(7)).

    `name`: the user's name; None until `named`, and for a user without one.
    """

    uid: int
    gids: frozenset[int]
    pid: int
    name: str | None = None

    @property
    def known_to_act(self) -> bool:
        """Whether it may act, as far as failoverd knows without asking the user database."""
        return self.uid == 0 or users.group.known(OPERATORS) in self.gids

    async def may_act(self) -> bool:
        """Whether it may act: it is root, or was in the operators' group when it connected.

        TimeoutError: the user database does not answer, and never has.
        """
        return self.uid == 0 or await users.group.get(OPERATORS) in self.gids

    async def named(self) -> Peer:
        """The same peer with its name, if the user database has answered or answers soon."""
        with suppress(TimeoutError):
            return replace(self, name="root" if self.uid == 0 else await users.user_name.get(self.uid))
        return self

    def __str__(self) -> str:
        return self.name or f"uid {self.uid}"


async def find_operators() -> None:
    """Look up the operators' group, without a time limit, so that later checks need not wait."""
    with suppress(TimeoutError):
        await users.group.get(OPERATORS, timeout=None)


def peer(connection: socket.socket) -> Peer:
    """The process at the other end of `connection`."""
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = b""
    with suppress(OSError):  # in more groups than fit: only the primary group counts
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _PEERGROUPS_BYTES)
    gids = struct.unpack(f"{len(groups) // 4}I", groups)
    return Peer(uid=uid, gids=frozenset((gid, *gids)), pid=pid)


class Admission:
    """Admits keepalived's script user as a reporter of events, as soon as the user database has answered.

    Root, and the owner of the first spool, are admitted from the start. `spools`: the directories that are given to the
    script user.
    """

    def __init__(self, spools: Sequence[Path]) -> None:
        self._spools = spools
        self._root = frozenset((0, os.geteuid()))
        self._uids = self._root
        self._granted: tuple[int, int] | None = None
        self._granting: asyncio.Task[None] | None = None

    def admits(self, uid: int) -> bool:
        """Whether failoverd accepts events that this user (uid) reports, or leaves in a spool."""
        return uid in self._uids

    def begin(self, user: str | None) -> None:
        """Admit `user`, as configured, and no other; None: keepalived's default."""
        self.close()
        with suppress(OSError):
            self._uids |= {self._spools[0].stat().st_uid}  # the user that an earlier daemon admitted
        self._granting = asyncio.create_task(self._grant(user))

    def check(self) -> None:
        """Give the spools to the script user again, if a directory was replaced."""
        if self._granted is not None:
            for spool in self._spools:
                with suppress(OSError):
                    _give(spool, *self._granted, ours=self._uids)

    def close(self) -> None:
        """Stop waiting for the user database."""
        if self._granting is not None:
            self._granting.cancel()

    async def _grant(self, user: str | None) -> None:
        name = user or SCRIPT_USER
        try:
            found = await users.user.get(name, timeout=None)
        except TimeoutError:
            troubles.begin(
                TroubleKind.SCRIPT_USER, f"the user database did not report keepalived's script user {name}", user=name
            )
            return
        if found is None and user is not None:
            text = f"keepalived's script user {user} does not exist, so failoverd accepts hooks of root only"
            remedy = "create the user, or correct script_user in [keepalived] of failoverd.toml"
            troubles.begin(TroubleKind.SCRIPT_USER, f"{text}; {remedy}", user=user)
        else:
            troubles.end(TroubleKind.SCRIPT_USER)
        uid, gid = found or (0, 0)
        before, self._uids = self._uids, self._root | {uid}
        self._granted = uid, gid
        for spool in self._spools:
            try:
                _give(spool, uid, gid, ours=before | self._uids)
            except OSError as error:
                _log.error("cannot give the spool to keepalived's script user", directory=str(spool), reason=str(error))


def _give(directory: Path, uid: int, gid: int, *, ours: frozenset[int]) -> None:
    # A user who may write to the parent directory can put another file at this path.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid not in ours:
            raise PermissionError(errno.EPERM, "belongs to another user", str(directory))
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, 0o770)
    finally:
        os.close(descriptor)
