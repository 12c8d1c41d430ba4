"""The events that a hook could not hand over: one small file each, under the name ``TICKS-PID``.

A hook writes ``.TICKS-PID`` and renames it, so a file that can be seen is whole. keepalived's script user may write
here, so whatever else is found is removed, and never followed.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from typing import TYPE_CHECKING

from failoverd.daemon.intake.errors import Complaints, IntakeError
from failoverd.daemon.intake.wire import MAX_LINE

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds after which a draft has no hook any more that would finish it.
DRAFT_AGE = 60.0

_STAMP = re.compile(r"(\d{1,18})-(\d{1,9})")


def _age(name: str) -> tuple[int, int]:
    found = _STAMP.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Spool:
    """The directory, and the names that were found in it and not taken yet."""

    def __init__(self, path: Path, complaints: Complaints) -> None:
        self._path = path
        self._complaints = complaints
        self._names: dict[str, None] = {}

    def open(self) -> None:
        """Make the directory if it is absent. IntakeError when it cannot be one."""
        try:
            self._path.mkdir(mode=0o770, exist_ok=True)
        except OSError as error:
            raise IntakeError(self._path, f"is not a directory, nor can one be made: {error.strerror}") from error

    def scan(self) -> None:
        """Find all files, the oldest fork first."""
        try:
            names = [found.name for found in self._path.iterdir()]
        except OSError as error:
            self._complaints.trouble("spool cannot be read", error=str(error))
            return
        for name in sorted(names, key=_age):
            if name.startswith("."):
                self._drop_old_draft(name)
            else:
                self.found(name)

    def found(self, name: str) -> None:
        """A file of this name appeared."""
        if not name.startswith("."):
            self._names[name] = None

    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._names)

    def take(self, count: int) -> list[tuple[str, bytes]]:
        """At most `count` names and their lines without the newline. They stay until `finish`; the rest goes."""
        lines = []
        for name in list(self._names)[:count]:
            del self._names[name]
            try:
                text = self._read(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._complaints.trouble("spooled event cannot be read", file=name, error=str(error))
                continue
            if text is None:
                self.reject(name)
            else:
                lines.append((name, text))
        return lines

    def finish(self, name: str, *, recorded: bool) -> None:
        """The event of this name was judged; it goes when it was recorded."""
        if recorded:
            self._remove(name)

    def reject(self, name: str) -> None:
        """What has this name is no event: count it, and remove it."""
        self._complaints.reject("not an event in the spool", file=name)
        self._remove(name)

    def _remove(self, name: str) -> None:
        path = self._path / name
        try:
            path.unlink()
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            # One that is not empty stays; it is looked at only when everything is.
            with contextlib.suppress(OSError):
                path.rmdir()
        except OSError as error:
            self._complaints.trouble("spooled event cannot be removed", file=name, error=str(error))

    def _read(self, name: str) -> bytes | None:
        path = self._path / name
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_LINE:
            return None
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(fd, MAX_LINE + 1)
        finally:
            os.close(fd)
        return text[:-1] if text.endswith(b"\n") and len(text) <= MAX_LINE else None

    def _drop_old_draft(self, name: str) -> None:
        with contextlib.suppress(OSError):
            if time.time() - (self._path / name).lstat().st_mtime > DRAFT_AGE:
                self.reject(name)
