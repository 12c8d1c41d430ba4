"""keepalived's track files: failoverd releases mastership with them, and takes it back.

There is one file for each instance, ``0`` or ``1``, which keepalived watches by inotify. With ``weight 0`` in its
``track_file`` a ``1`` is a FAULT; with another weight the number, times the weight, is added to the priority. A file
that another program has changed is restored at once, with a trouble; a write that failed is retried at every `look`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from failoverd import log
from failoverd.osutil import atomic_file, inotify
from failoverd.osutil.inotify import Inotify
from failoverd.trouble import TroubleKind, troubles

#: As keepalived reads a file: a number other than 0 at its beginning; everything else is 0.
_NUMBER = re.compile(rb"\s*[+-]?0*[1-9]")

#: Between two restorations, so that a program which keeps writing costs little.
RESTORE_INTERVAL_S = 0.2

#: The time for which status shows that another program has written.
TROUBLE_SHOWN_S = 600.0

_log = log.get("track")


class TrackFiles:
    """The files in ``track/`` of the runtime directory. A restarted failoverd reads in them what it has released."""

    def __init__(self, runtime_dir: Path) -> None:
        self._dir = self.directory = runtime_dir / "track"
        self._followed: dict[str, bool] = {}
        self._written: dict[str, bool] = {}
        self._inotify: Inotify | None = None
        self._touched: set[str] = set()
        self._resting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Notice changes by other programs at once. If inotify fails, `look` notices them."""
        try:
            self._inotify = Inotify()
        except OSError as error:
            _log.warning("cannot watch the track files; checking them periodically", reason=error.strerror)
            return
        self._watch()
        asyncio.get_running_loop().add_reader(self._inotify.fd, self._happened)

    def close(self) -> None:
        """Stop watching."""
        if self._resting is not None:
            self._resting.cancel()
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def _watch(self) -> None:
        if self._inotify is not None:
            with suppress(OSError):  # the first write makes the directory
                self._inotify.watch(self._dir, inotify.WRITTEN | inotify.MOVED_TO)

    def _happened(self) -> None:
        if self._inotify is not None:
            self._touched |= {each.name.replace("%2f", "/") for each in self._inotify.read()}
        if self._resting is None:
            self._restore()

    def _restore(self) -> None:
        self._resting = None
        touched, self._touched = self._touched, set()
        for name in touched & self._followed.keys():
            self._apply(name, release=self._followed[name])
        if touched:
            self._resting = asyncio.get_running_loop().call_later(RESTORE_INTERVAL_S, self._restore)

    def released(self) -> frozenset[str]:
        """The instances whose mastership is released, as the files have it now."""
        return frozenset(name for name in self._names() if self._read(name))

    def want(self, released: Mapping[str, bool]) -> None:
        """Set, for each instance that is followed, whether its mastership is released.

        For an instance that is not followed it is taken back, because nothing else ever would. If nothing has changed,
        the files are not touched.
        """
        before, self._followed = self._followed, dict(released)
        if before.keys() != released.keys():
            self.look()
        elif before != released:
            for name in released:
                if released[name] is not before[name]:
                    self._apply(name, release=released[name])

    def look(self) -> None:
        """Read all files, and write those that differ from the wanted state."""
        self._watch()
        for name in self._names() - self._followed.keys():
            if self._read(name):
                _log.warning("instance no longer followed; taking back its mastership", instance=name)
            self._apply(name, release=False)
        for name, release in self._followed.items():
            self._apply(name, release=release)

    def _apply(self, name: str, *, release: bool) -> None:
        current = self._read(name)
        if current is not None and current is not self._written.get(name, current):
            self._report_other_writer(name, current=current)
        if current is release or self._write(name, release=release):
            self._written[name] = release
            troubles.end(TroubleKind.TRACK_FILE, name)

    def _report_other_writer(self, name: str, *, current: bool) -> None:
        wrote = f"another program wrote {int(current)} into {self._file(name)}, and failoverd restored it"
        released, back = "to release mastership by hand, use standby", "to take mastership back, use reset or online"
        instead = released if current else back
        troubles.begin(
            TroubleKind.TRACK_FILE_CHANGED, f"{wrote}; {instead}", subject=name, lasts=TROUBLE_SHOWN_S, instance=name
        )

    def _write(self, name: str, *, release: bool) -> bool:
        file = self._file(name)
        try:
            self._dir.mkdir(exist_ok=True)
            atomic_file.write(file, b"1\n" if release else b"0\n", 0o644)
        except OSError as error:
            consequence = "keeps mastership" if release else "does not compete for mastership"
            reason = f"cannot write the track file {file} ({error.strerror}), so keepalived {consequence}"
            troubles.begin(TroubleKind.TRACK_FILE, reason, subject=name, directory=self._dir)
            return False
        return True

    def _names(self) -> set[str]:
        try:
            return {file.name.replace("%2f", "/") for file in self._dir.iterdir() if not file.name.startswith(".")}
        except OSError:
            return set()

    def _read(self, name: str) -> bool | None:
        """Whether mastership is released; None if there is no file."""
        try:
            return _NUMBER.match(atomic_file.read(self._file(name))) is not None
        except OSError:
            return None

    def _file(self, name: str) -> Path:
        return self._dir / name.replace("/", "%2f")
