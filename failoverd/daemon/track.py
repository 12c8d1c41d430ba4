"""keepalived's track files: how failoverd gives mastership away, and competes for it again.

One file for each instance, ``0`` or ``1``, which keepalived watches by inotify. With ``weight 0`` in its ``track_file``
a ``1`` is a FAULT; with another weight it is added to the priority.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from failoverd import log

_log = log.get("track")


class TrackFiles:
    """The files in ``track/`` of the runtime directory. They are also the memory of who gave mastership away."""

    def __init__(self, runtime_dir: Path) -> None:
        self._dir = runtime_dir / "track"

    def released(self) -> frozenset[str]:
        """The instances whose mastership was given away, by an earlier daemon of this boot."""
        if not self._dir.is_dir():
            return frozenset()
        found = (file for file in self._dir.iterdir() if not file.name.startswith("."))
        return frozenset(_instance(file.name) for file in found if _read(file) not in ("", "0"))

    def prepare(self, instances: Iterable[str]) -> None:
        """Make the files that are not there yet, so that keepalived finds them."""
        for instance in instances:
            if not self._file(instance).exists():
                self.put(instance, release=False)

    def put(self, instance: str, *, release: bool) -> None:
        """Tell keepalived. A file that cannot be written is logged: the instance stays as it is for keepalived."""
        file = self._file(instance)
        draft = file.with_name(f".{file.name}")
        try:
            self._dir.mkdir(exist_ok=True)
            draft.write_text("1\n" if release else "0\n", encoding="ascii")
            draft.rename(file)
        except OSError as error:
            _log.error("keepalived cannot be told", file=str(file), release=release, reason=str(error))

    def _file(self, instance: str) -> Path:
        return self._dir / instance.replace("/", "%2f")


def _instance(name: str) -> str:
    return name.replace("%2f", "/")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
