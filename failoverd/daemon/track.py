"""keepalived's track files: how failoverd gives mastership away, and competes for it again.

One file for each instance, ``0`` or ``1``, which keepalived watches by inotify. With ``weight 0`` in its ``track_file``
a ``1`` is a FAULT; with another weight it is added to the priority. What they should say is wanted state: a file that
says something else, because it could not be written or somebody changed it, is written again at every look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from failoverd import log
from failoverd.records import get, put
from failoverd.trouble import troubles

#: As keepalived reads one: a number at its beginning, else 0.
_NUMBER = re.compile(rb"\s*[+-]?0*[1-9]")

_log = log.get("track")


class TrackFiles:
    """The files in ``track/`` of the runtime directory. They are also the memory of who gave mastership away."""

    def __init__(self, runtime_dir: Path) -> None:
        self._dir = runtime_dir / "track"
        self._followed: dict[str, bool] = {}

    def released(self) -> frozenset[str]:
        """The instances whose mastership is given away, as the files say now."""
        return frozenset(name for name in self._there() if self._says(name))

    def want(self, released: Mapping[str, bool]) -> None:
        """Have keepalived told, for each instance that is followed, whether its mastership is given away.

        Of what is not followed nothing is: nobody would ever take it back. Costs nothing when nothing is new.
        """
        before, self._followed = self._followed, dict(released)
        if before.keys() != released.keys():
            self.look()
        elif before != released:
            for name in released:
                if released[name] is not before[name]:
                    self._settle(name, release=released[name])

    def look(self) -> None:
        """See that the files say what is wanted, and write those that do not."""
        for name in self._there() - self._followed.keys():
            if self._says(name):
                _log.warning("no longer followed: keepalived may compete for mastership again", instance=name)
            self._settle(name, release=False)
        for name, release in self._followed.items():
            self._settle(name, release=release)

    def _settle(self, name: str, *, release: bool) -> None:
        if self._says(name) is release or self._write(name, release=release):
            troubles.end(_about(name))

    def _write(self, name: str, *, release: bool) -> bool:
        file = self._file(name)
        try:
            self._dir.mkdir(exist_ok=True)
            put(file, b"1\n" if release else b"0\n", 0o644)
        except OSError as error:
            untold = "that mastership is given away" if release else "to compete for mastership"
            troubles.begin(
                _about(name), f"keepalived cannot be told {untold}: {file}: {error.strerror}. Is there room?"
            )
            return False
        return True

    def _there(self) -> set[str]:
        try:
            return {file.name.replace("%2f", "/") for file in self._dir.iterdir() if not file.name.startswith(".")}
        except OSError:
            return set()

    def _says(self, name: str) -> bool | None:
        """Whether mastership is given away; None where there is no file."""
        try:
            return _NUMBER.match(get(self._file(name))) is not None
        except OSError:
            return None

    def _file(self, name: str) -> Path:
        return self._dir / name.replace("/", "%2f")


def _about(name: str) -> str:
    return f"track file {name}"
