"""The runtime directory as the daemon has moved in: what hooks, keepalived and failoverctl must find there.

A daemon whose sockets nobody can reach any more hears nothing and looks well. It ends with an error instead, and is
started again: the start makes everything anew, and finds what this one knew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from failoverd import log
from failoverd.records import Records

#: What has to stay as it is; all else is made again where it was removed.
NAMES = ("", "lock", "notify.sock", "control.sock")

_log = log.get("premises")


class PremisesError(Exception):
    """What nobody can do without is gone from the runtime directory."""


class Premises:
    """What was there when `take` was called. `lost`: what of it is gone; None: nothing is."""

    def __init__(self, runtime_dir: Path, records: Records) -> None:
        self.lost: Path | None = None
        self._dir = runtime_dir
        self._records = records
        self._there: dict[Path, tuple[int, int] | None] = {}

    def take(self) -> None:
        """From now on it has to stay as it is."""
        self._there = {path: _identity(path) for path in (self._dir / name for name in NAMES)}

    def look(self) -> bool:
        """Whether all of it is there."""
        if self.lost is None:
            self.lost = next((path for path, found in self._there.items() if _identity(path) != found), None)
            if self.lost is not None:
                _log.critical("removed while failoverd runs: it ends, to be started again", path=str(self.lost))
        return self.lost is None

    def confirm(self) -> None:
        """Raise PremisesError when something is lost. What the next daemon must know is written again before."""
        if self.lost is not None:
            with suppress(OSError):
                self._dir.mkdir(mode=0o755, exist_ok=True)
            self._records.restore()
            raise PremisesError(f"{self.lost} was removed while failoverd ran: start it again")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
