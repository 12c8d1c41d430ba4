"""Find other readers of keepalived's FIFO: each line goes to one reader only, so failoverd loses the lines of others.

Typical readers are an old ``vrrp_notify_fifo_script``, or an operator's ``cat``. inotify reports that the FIFO is
opened; a thread then searches all processes for those that have it open.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failoverd.daemon.keepalived.roster import PROGRAM, VRRP
from failoverd.osutil import processes, threads
from failoverd.osutil.inotify import OPEN, Inotify
from failoverd.trouble import TroubleKind, troubles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from failoverd.daemon.intake.errors import Rejections

#: Seconds from the opening of the FIFO to the check: a process may close it again, or become known as a keepalived.
CHECK_DELAY_S = 1.0

#: Readers that one line names.
MAX_NAMED = 3


class Readers:
    """Shows other readers as trouble until they are gone. `keepaliveds`: the known pids of keepalived."""

    def __init__(self, fifo: Path, rejections: Rejections, keepaliveds: Callable[[], Collection[int]]) -> None:
        self._fifo = fifo
        self._rejections = rejections
        self._keepaliveds = keepaliveds
        self._loop = asyncio.get_running_loop()
        self._seen: frozenset[int] = frozenset()
        self._soon: asyncio.TimerHandle | None = None
        self._finding: asyncio.Task[None] | None = None
        self.watched = -1

    def watch(self, watching: Inotify) -> None:
        """Watch for openings of the FIFO, also after it was replaced. `watched`: the number of this inotify watch."""
        try:
            self.watched = watching.watch_file(self._fifo, OPEN)
        except OSError as error:
            self._rejections.trouble("cannot watch keepalived's FIFO", error=str(error))
        self.suspect()

    def suspect(self) -> None:
        """A process has opened the FIFO: check the readers after `CHECK_DELAY_S`."""
        if self._soon is None:
            self._soon = self._loop.call_later(CHECK_DELAY_S, self.check)

    def check_again(self) -> None:
        """Check whether the readers that were found are still there."""
        if self._seen:
            self.suspect()

    def check(self) -> None:
        """Check now, or after a check that is running: that one may have passed a process before it opened the FIFO."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._finding is None:
            self._finding = self._loop.create_task(self._find())
        else:
            self.suspect()

    def close(self) -> None:
        """Stop checking."""
        for each in (self._soon, self._finding):
            if each is not None:
                each.cancel()

    async def _find(self) -> None:
        spared = frozenset(self._keepaliveds())
        try:
            found = await threads.run(lambda: {pid: name for pid, name in _readers(self._fifo) if pid not in spared})
        except OSError as error:
            self._rejections.trouble("cannot find the readers of keepalived's FIFO", error=str(error))
            return
        finally:
            self._finding = None
        before, self._seen = self._seen, frozenset(found)
        stay = sorted(before & self._seen)
        if stay:
            named = ", ".join(f"{found[pid]} (pid {pid})" for pid in stay[:MAX_NAMED])
            remedy = "remove vrrp_notify_fifo_script from keepalived.conf"
            reason = f"{named} also reads keepalived's FIFO, so failoverd loses events; {remedy}"
            troubles.begin(TroubleKind.FIFO_READER, reason, pid=str(stay[0]))
        elif not self._seen:
            troubles.end(TroubleKind.FIFO_READER)
        if self._seen - before:
            self.suspect()  # a reader counts when two checks have found it


def _readers(fifo: Path) -> list[tuple[int, str]]:
    """The pid and name of each process, other than keepalived and systemd, that can read a line."""
    found = [(pid, processes.name(pid)) for pid in processes.readers(fifo) if pid != 1]  # systemd keeps it open
    return [
        (pid, name)
        for pid, name in found
        if processes.program(pid) != PROGRAM and not processes.has_raw_socket(pid, VRRP)
    ]
