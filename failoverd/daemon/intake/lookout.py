"""What happens in the runtime directory and in the spools, as the kernel tells it: nothing there is polled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failoverd.daemon.intake import inotify
from failoverd.daemon.intake.errors import IntakeError
from failoverd.daemon.intake.inotify import Inotify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from failoverd.daemon.intake.readers import Readers
    from failoverd.daemon.intake.spool import Spools

#: What happened when something is gone from the runtime directory, or that itself.
_REMOVED = inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED | inotify.GONE


#: Seconds until what was removed is made again: who removes a directory is not to find it full again on the way.
AFTERWARDS = 0.2


class Lookout:
    """Tells the spools and the FIFO's readers what concerns them.

    `disturbed` is called when something was removed from `runtime_dir`, `restore` a little later, `happened` after
    anything at all.
    """

    def __init__(
        self,
        runtime_dir: Path,
        spools: Spools,
        readers: Readers,
        *,
        disturbed: Callable[[], None],
        restore: Callable[[], None],
        happened: Callable[[], None],
    ) -> None:
        self._dir = runtime_dir
        self._spools = spools
        self._readers = readers
        self._disturbed = disturbed
        self._restore = restore
        self._later: asyncio.TimerHandle | None = None
        self._tell = happened
        self._loop = asyncio.get_running_loop()
        self._inotify: Inotify | None = None
        self._watch = -1

    def open(self) -> None:
        """Begin to watch. IntakeError when that cannot be."""
        try:
            self._inotify = Inotify()
            # keepalived may put a FIFO of its own at the place of ours.
            self._watch = self._inotify.watch(self._dir, inotify.CREATE | inotify.MOVED_TO | _REMOVED)
        except OSError as error:
            raise IntakeError(self._dir, f"cannot be watched: {error.strerror}") from error
        self._loop.add_reader(self._inotify.fd, self._happened)

    def watch_fifo(self) -> None:
        """The FIFO is another one now."""
        if self._inotify:
            self._readers.watch(self._inotify)

    def rescan(self) -> None:
        """Look for all that is there, whatever was told."""
        if self._inotify:
            self._spools.scan(self._inotify)
            self._tell()

    def close(self) -> None:
        """See nothing more."""
        if self._later:
            self._later.cancel()
        if self._inotify:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def _happened(self) -> None:
        seen = self._inotify.read() if self._inotify else []
        if any(each.watch == self._watch and each.mask & _REMOVED for each in seen):
            self._disturbed()
        if any(each.watch == self._readers.watched and each.mask & inotify.OPEN for each in seen):
            self._readers.suspect()
        if any(each.mask & _REMOVED for each in seen) and not self._later:
            self._later = self._loop.call_later(AFTERWARDS, self._afterwards)
        if any(each.mask & inotify.OVERFLOW for each in seen):
            self.rescan()
            return
        for each in seen:
            self._spools.found(each.watch, each.name)
        self._tell()

    def _afterwards(self) -> None:
        self._later = None
        self._restore()
        self.rescan()
