"""Who else reads keepalived's FIFO: each line goes to one reader only, so what another one takes is lost here.

An old ``vrrp_notify_fifo_script`` does that, or somebody's ``cat``. The kernel tells when the FIFO is opened; who has
it open is then looked for among all processes, in a thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failoverd import processes, threads
from failoverd.daemon.intake.inotify import OPEN, Inotify
from failoverd.daemon.roster import PROGRAM, VRRP
from failoverd.trouble import troubles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from failoverd.daemon.intake.errors import Complaints

#: Seconds after the FIFO was opened in which who did may close it again, or become known as a keepalived.
SOON = 1.0

#: The most that are named.
NAMED = 3

_ABOUT = "FIFO's readers"


class Readers:
    """Names them as trouble until they are gone. `keepaliveds`: the pids that are known to be keepalived's."""

    def __init__(self, fifo: Path, complaints: Complaints, keepaliveds: Callable[[], Collection[int]]) -> None:
        self._fifo = fifo
        self._complaints = complaints
        self._keepaliveds = keepaliveds
        self._loop = asyncio.get_running_loop()
        self._seen: frozenset[int] = frozenset()
        self._soon: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self.watched = -1

    def watch(self, watching: Inotify) -> None:
        """Be told, by the number `watched`, when the FIFO is opened, which may be another one than before."""
        try:
            self.watched = watching.watch_file(self._fifo, OPEN)
        except OSError as error:
            self._complaints.trouble("keepalived's FIFO cannot be watched", error=str(error))
        self.suspect()

    def suspect(self) -> None:
        """Somebody opened it: look who, before long."""
        if self._soon is None:
            self._soon = self._loop.call_later(SOON, self.look)

    def look_again(self) -> None:
        """Look whether those that were seen are still there."""
        if self._seen:
            self.suspect()

    def look(self) -> None:
        """Look now, unless that goes on already."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._looking is None:
            self._looking = self._loop.create_task(self._look())

    def close(self) -> None:
        """Look no more."""
        for each in (self._soon, self._looking):
            if each is not None:
                each.cancel()

    async def _look(self) -> None:
        spared = frozenset(self._keepaliveds())
        try:
            found = await threads.run(lambda: {pid: name for pid, name in _readers(self._fifo) if pid not in spared})
        except OSError as error:
            self._complaints.trouble("who reads keepalived's FIFO cannot be found out", error=str(error))
            return
        finally:
            self._looking = None
        before, self._seen = self._seen, frozenset(found)
        stay = sorted(before & self._seen)
        if stay:
            named = ", ".join(f"{found[pid]} (pid {pid})" for pid in stay[:NAMED])
            remedy = f"take vrrp_notify_fifo_script out of keepalived.conf, reload keepalived, and kill {stay[0]}"
            troubles.begin(_ABOUT, f"{named} reads keepalived's FIFO too, and what it reads is lost here: {remedy}")
        elif not self._seen:
            troubles.end(_ABOUT)
        if self._seen - before:
            self.suspect()  # it counts when it is there the next time too


def _readers(fifo: Path) -> list[tuple[int, str]]:
    """All that could take a line, and are no keepalived, with their names."""
    found = [(pid, processes.name(pid)) for pid in processes.readers(fifo) if pid != 1]  # systemd keeps it open
    return [
        (pid, name)
        for pid, name in found
        if processes.program(pid) != PROGRAM and not processes.has_raw_socket(pid, VRRP)
    ]
