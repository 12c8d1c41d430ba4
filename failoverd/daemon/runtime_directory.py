"""Notice that the runtime directory, the lock or a socket was removed while the daemon runs.

A daemon whose sockets cannot be reached gets no reports, and looks healthy. So it exits with an error, and systemd
starts it again: the start creates all files, and reads the records of this daemon.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from failoverd import log
from failoverd.records import Records

#: The files that must stay; all others are created again after a removal.
REQUIRED_NAMES = ("", "lock", "notify.sock", "control.sock")

_log = log.get("runtime-directory")


class RuntimeDirectoryError(Exception):
    """A required file was removed from the runtime directory."""


class RuntimeDirectory:
    """Watches the files that existed at `take`. `lost`: the first one that was removed or replaced; None: none was."""

    def __init__(self, runtime_dir: Path, records: Records) -> None:
        self.lost: Path | None = None
        self._dir = runtime_dir
        self._records = records
        self._identities: dict[Path, tuple[int, int] | None] = {}

    def take(self) -> None:
        """Take the present files as those that must stay."""
        self._identities = {path: _identity(path) for path in (self._dir / name for name in REQUIRED_NAMES)}

    def check(self) -> bool:
        """Whether all required files are there."""
        if self.lost is None:
            self.lost = next((path for path, found in self._identities.items() if _identity(path) != found), None)
            if self.lost is not None:
                _log.critical("failoverd exits, because its runtime directory was changed", path=str(self.lost))
        return self.lost is None

    def confirm(self) -> None:
        """Raise RuntimeDirectoryError if a file is lost, after the records were written again for the next daemon."""
        if self.lost is not None:
            with suppress(OSError):
                self._dir.mkdir(mode=0o755, exist_ok=True)
            self._records.restore()
            raise RuntimeDirectoryError(f"{self.lost} was removed while failoverd ran: systemctl restart failoverd")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
