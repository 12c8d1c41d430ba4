"""The events that a hook could not hand over: one small file each, under the name ``TICKS-PID``.

There are two directories for them: one beside the sockets, and one in another file system, for when that is full or
gone. Neither is on a disk: a disk that hangs must not keep an event, nor its reader.

A hook writes ``.TICKS-PID`` and renames it, so a file that can be seen is whole. keepalived's script user may write
here, so whatever else is found is removed, and never followed.
"""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from failoverd.daemon.intake.errors import Complaints, IntakeError
from failoverd.daemon.intake.inotify import MOVED_TO, Inotify
from failoverd.daemon.intake.wire import MAX_LINE
from failoverd.trouble import troubles

#: A file system without a disk, which is not that of /run.
SHM = Path("/dev/shm")  # noqa: S108  # everybody may write there, so whose the directory is gets checked

_SECOND = "second spool"

#: Seconds after which a draft has no hook any more that would finish it.
DRAFT_AGE = 60.0

_STAMP = re.compile(r"(\d{1,18})-(\d{1,9})")


def _age(name: str) -> tuple[int, int]:
    found = _STAMP.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def spare(runtime_dir: Path) -> Path:
    """The second one. ``hooks/notify`` makes the same name of the same directory."""
    return SHM / f"failoverd{str(runtime_dir).replace('/', '-')}"


class Spools:
    """Both directories of `runtime_dir`."""

    def __init__(self, runtime_dir: Path, complaints: Complaints) -> None:
        self._first = Spool(runtime_dir / "spool", complaints)
        self._second = Spool(spare(runtime_dir), complaints)
        self._complaints = complaints
        self._open: list[Spool] = []
        self._watches: dict[int, Spool] = {}

    def open(self) -> None:
        """Make the directories that are absent. IntakeError when the first cannot be one; else it is trouble."""
        self._open = []
        owner = self._first.open()
        self._open = [self._first]
        try:
            self._second.open(owner)
        except IntakeError as error:
            troubles.begin(_SECOND, f"{error}. Without it events may be lost when {self._first.path.parent} is full")
        else:
            self._open.append(self._second)
            troubles.end(_SECOND)

    def scan(self, watching: Inotify) -> None:
        """Find all that is there, and be told of what comes, also where a directory was made anew."""
        self._watches.clear()
        try:
            self.open()
        except IntakeError as error:
            self._complaints.trouble("spool cannot be watched", error=str(error))
        for spool in self._open:
            try:
                self._watches[watching.watch(spool.path, MOVED_TO)] = spool
            except OSError as error:
                self._complaints.trouble("spool cannot be watched", error=str(error))
            spool.scan()

    def found(self, watch: int, name: str) -> None:
        """The directory of `watch`, if it is one of these, got a file of this name."""
        if watch in self._watches:
            self._watches[watch].found(name)

    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return any(spool.waiting() for spool in self._open)

    def take(self, count: int) -> list[tuple[Spool, str, bytes]]:
        """At most `count` from each: where it is, its name, and its line."""
        return [(spool, name, line) for spool in self._open for name, line in spool.take(count)]

    def close(self) -> None:
        """Leave what comes from now on to the next daemon."""
        self._watches.clear()
        self._open = []
        self._second.discard()


class Spool:
    """One directory, and the names that were found in it and not taken yet."""

    def __init__(self, path: Path, complaints: Complaints) -> None:
        self.path = path
        self._made = False
        self._complaints = complaints
        self._names: dict[str, None] = {}

    def open(self, user: int | None = None) -> int:
        """Make the directory if it is absent, and say whose it is. IntakeError when it cannot be one.

        `user`: it must be this one's, root's or ours; None: anybody's, where only root could have made it.
        """
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o770)
                self._made = True
            found = self.path.lstat()
        except OSError as error:
            raise IntakeError(self.path, f"is not a directory, nor can one be made: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode):
            raise IntakeError(self.path, "is not a directory: remove it")
        if user is not None and found.st_uid not in (user, 0, os.geteuid()):
            raise IntakeError(self.path, f"is somebody else's: rm -r {self.path}")
        return found.st_uid

    def discard(self) -> None:
        """Remove the directory, if this daemon made it and nothing is in it."""
        if self._made:
            with suppress(OSError):
                self.path.rmdir()

    def scan(self) -> None:
        """Find all files, the oldest fork first."""
        try:
            names = [found.name for found in self.path.iterdir()]
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
        path = self.path / name
        try:
            path.unlink()
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            # One that is not empty stays; it is looked at only when everything is.
            with suppress(OSError):
                path.rmdir()
        except OSError as error:
            self._complaints.trouble("spooled event cannot be removed", file=name, error=str(error))

    def _read(self, name: str) -> bytes | None:
        path = self.path / name
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
        with suppress(OSError):
            if time.time() - (self.path / name).lstat().st_mtime > DRAFT_AGE:
                self.reject(name)
