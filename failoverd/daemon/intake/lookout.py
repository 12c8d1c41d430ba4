"""Watch the runtime directory and the spools with inotify, so that nothing there is polled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failoverd.daemon.intake.errors import IntakeError
from failoverd.osutil import inotify
from failoverd.osutil.inotify import Inotify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from failoverd.daemon.intake.readers import Readers
    from failoverd.daemon.intake.spool import Spools

#: The inotify events of a file that was removed from the runtime directory, or of the directory itself.
_REMOVED = inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED | inotify.GONE


#: Seconds after a removal until the files are created again: `rm -r` of the directory must be able to end first.
RESTORE_DELAY_S = 0.2


class Lookout:
    """Passes inotify's events on to the spools and to the check of the FIFO's readers.

    `removed` is called after a file was removed from `runtime_dir`, `restore` a little later, `happened` after each
    event.
    """

    def __init__(
        self,
        runtime_dir: Path,
        spools: Spools,
        readers: Readers,
        *,
        removed: Callable[[], None],
        restore: Callable[[], None],
        happened: Callable[[], None],
    ) -> None:
        self._dir = runtime_dir
        self._spools = spools
        self._readers = readers
        self._removed = removed
        self._restore = restore
        self._later: asyncio.TimerHandle | None = None
        self._tell = happened
        self._loop = asyncio.get_running_loop()
        self._inotify: Inotify | None = None
        self._watch = -1

    def open(self) -> None:
        """Begin to watch. IntakeError: inotify cannot watch the runtime directory."""
        try:
            self._inotify = Inotify()
            # keepalived may replace our FIFO with one of its own.
            self._watch = self._inotify.watch(self._dir, inotify.CREATE | inotify.MOVED_TO | _REMOVED)
        except OSError as error:
            raise IntakeError(self._dir, f"cannot watch this directory: {error.strerror}") from error
        self._loop.add_reader(self._inotify.fd, self._happened)

    def watch_fifo(self) -> None:
        """Watch the FIFO that is now at its path."""
        if self._inotify:
            self._readers.watch(self._inotify)

    def rescan(self) -> None:
        """Read all spools, independently of inotify's events."""
        if self._inotify:
            self._spools.scan(self._inotify)
            self._tell()

    def close(self) -> None:
        """Stop watching."""
        if self._later:
            self._later.cancel()
        if self._inotify:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def _happened(self) -> None:
        seen = self._inotify.read() if self._inotify else []
        if any(each.watch == self._watch and each.mask & _REMOVED for each in seen):
            self._removed()
        if any(each.watch == self._readers.watched and each.mask & inotify.OPEN for each in seen):
            self._readers.suspect()
        if any(each.mask & _REMOVED for each in seen) and not self._later:
            self._later = self._loop.call_later(RESTORE_DELAY_S, self._restore_removed)
        if any(each.mask & inotify.OVERFLOW for each in seen):
            self.rescan()
            return
        for each in seen:
            self._spools.found(each.watch, each.name)
        self._tell()

    def _restore_removed(self) -> None:
        self._later = None
        self._restore()
        self.rescan()
