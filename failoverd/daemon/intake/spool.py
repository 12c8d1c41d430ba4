"""Read the events that failoverd did not acknowledge: one small file for each, named ``TICKS-PID`` by `hooks/notify`.

There are two spool directories: one beside the sockets, and one in another file system for the case that the first is
full or gone. Neither is on a disk: a hanging disk must not delay an event or its reader.

A hook writes ``.TICKS-PID`` and renames it, so a file without the dot is complete. keepalived's script user may write
here, and every user may create the second directory before failoverd, so the owners of directories and files are
checked. Other files are removed, and symbolic links are never followed. All access goes through the descriptor of the
watched directory, so that a replaced directory cannot redirect it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from failoverd.daemon.intake.errors import IntakeError, Rejections
from failoverd.daemon.intake.wire import MAX_LINE_BYTES
from failoverd.osutil.inotify import MOVED, MOVED_TO, Inotify
from failoverd.records import spare
from failoverd.trouble import TroubleKind, troubles

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: Seconds after which no hook can still be writing a draft.
DRAFT_LIFETIME_S = 60.0

_STAMP = re.compile(r"(\d{1,18})-(\d{1,9})")


def _age(name: str) -> tuple[int, int]:
    found = _STAMP.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Spools:
    """Both directories of `runtime_dir`. `trusts`: whether directories and files of a user (uid) are accepted."""

    def __init__(self, runtime_dir: Path, trusts: Callable[[int], bool], rejections: Rejections) -> None:
        self._first = Spool(
            runtime_dir / "spool",
            trusts,
            rejections,
            trouble=TroubleKind.SPOOL,
            without="while failoverd does not answer",
        )
        self._second = Spool(
            spare(runtime_dir),
            trusts,
            rejections,
            trouble=TroubleKind.SECOND_SPOOL,
            without=f"while {runtime_dir} is full",
        )
        self._both = (self._first, self._second)
        self._rejections = rejections
        self._watches: dict[int, Spool] = {}

    def open(self) -> None:
        """Create the first directory if it is absent. IntakeError: it cannot be used."""
        self._first.open()

    def scan(self, watching: Inotify) -> None:
        """Find all files, and watch for new ones, also in a directory that was replaced."""
        before, self._watches = self._watches, {}
        for spool in self._both:
            try:
                spool.open()
            except IntakeError as error:
                troubles.begin(spool.trouble, f"{error}, so events may be lost {spool.without}", path=spool.path)
                continue
            troubles.end(spool.trouble)
            try:
                self._watches[spool.watch(watching)] = spool
            except OSError as error:
                self._rejections.trouble("cannot watch the spool", error=str(error))
            spool.scan()
        for watch in before.keys() - self._watches.keys():
            watching.forget(watch)

    def intact(self) -> bool:
        """Whether both are open, and still at their paths."""
        return all(spool.intact() for spool in self._both)

    def found(self, watch: int, name: str) -> None:
        """A file of this name appeared in the directory of the inotify watch `watch`, if that is a spool."""
        if watch in self._watches:
            self._watches[watch].found(name)

    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return any(spool.waiting() for spool in self._both)

    def take(self, count: int) -> list[tuple[Spool, str, bytes]]:
        """At most `count` events from each directory: the directory, the file's name, and its line."""
        return [(spool, name, line) for spool in self._both for name, line in spool.take(count)]

    def close(self) -> None:
        """Stop reading: later files are for the next daemon."""
        self._watches.clear()
        self._second.discard()


class Spool:
    """One directory, and the names of files that were found in it and not taken yet.

    `trouble`: the kind of trouble if it cannot be used. `without`: when events are lost without it.
    """

    def __init__(
        self, path: Path, trusts: Callable[[int], bool], rejections: Rejections, *, trouble: TroubleKind, without: str
    ) -> None:
        self.path = path
        self.trouble = trouble
        self.without = without
        self._trusts = trusts
        self._made = False
        self._identity: tuple[int, int] | None = None
        self._rejections = rejections
        self._names: dict[str, None] = {}

    def open(self) -> None:
        """Open the directory, and create it if it is absent. IntakeError: no directory, or another user's."""
        self._identity = None
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o770)
                self._made = True
            found = self.path.lstat()
        except OSError as error:
            raise IntakeError(self.path, f"cannot create this directory: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode):
            raise IntakeError(self.path, f"is not a directory (rm -r {self.path})")
        if not self._trusts(found.st_uid):
            raise IntakeError(self.path, f"belongs to another user (rm -r {self.path})")
        self._identity = found.st_dev, found.st_ino

    def intact(self) -> bool:
        """Whether it is open, and still at its path."""
        with suppress(OSError):
            found = self.path.lstat()
            return self._identity == (found.st_dev, found.st_ino)
        return False

    def watch(self, watching: Inotify) -> int:
        """Watch for new files, and for the removal of the directory. Returns the number of the inotify watch."""
        with self._directory() as directory:
            return watching.watch(Path(f"/proc/self/fd/{directory}"), MOVED_TO | MOVED)

    def discard(self) -> None:
        """Remove the directory if this daemon created it and it is empty."""
        if self._made:
            with suppress(OSError):
                self.path.rmdir()

    def scan(self) -> None:
        """Find all files, the oldest fork first."""
        try:
            with self._directory() as directory, os.scandir(directory) as found:
                names = [each.name for each in found]
        except OSError as error:
            self._rejections.trouble("cannot read the spool", error=str(error))
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
        """At most `count` names and lines, without the newline. These files stay until `finish`; malformed ones go."""
        names = list(self._names)[:count]
        for name in names:
            del self._names[name]
        if not names:
            return []
        try:
            with self._directory() as directory:
                return [(name, line) for name in names if (line := self._line(directory, name)) is not None]
        except OSError as error:  # the next scan finds the files again
            self._rejections.trouble("cannot read the spool", error=str(error))
            return []

    def finish(self, name: str, *, recorded: bool) -> None:
        """Remove the event of this name, which was classified, if it was recorded; else it is read again later."""
        if recorded:
            self._remove(name)

    def reject(self, name: str) -> None:
        """Count and remove the file of this name, which is no event."""
        self._rejections.reject("rejected a malformed event in the spool", file=name)
        self._remove(name)

    def _line(self, directory: int, name: str) -> bytes | None:
        try:
            line = self._read(directory, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._rejections.trouble("cannot read a spooled event", file=name, error=str(error))
            return None
        if line is None:
            self.reject(name)
        return line

    def _remove(self, name: str) -> None:
        try:
            with self._directory() as directory:
                try:
                    os.unlink(name, dir_fd=directory)
                except IsADirectoryError:
                    # One that is not empty stays; only a scan finds it again.
                    with suppress(OSError):
                        os.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._rejections.trouble("cannot remove a spooled event", file=name, error=str(error))

    def _read(self, directory: int, name: str) -> bytes | None:
        if not self._is_event(os.stat(name, dir_fd=directory, follow_symlinks=False)):
            return None
        fd = os.open(name, _FILE, dir_fd=directory)
        try:
            text = os.read(fd, MAX_LINE_BYTES + 1) if self._is_event(os.fstat(fd)) else b""
        finally:
            os.close(fd)
        return text[:-1] if text.endswith(b"\n") and len(text) <= MAX_LINE_BYTES else None

    def _is_event(self, found: os.stat_result) -> bool:
        return stat.S_ISREG(found.st_mode) and found.st_size <= MAX_LINE_BYTES and self._trusts(found.st_uid)

    def _drop_old_draft(self, name: str) -> None:
        with suppress(OSError), self._directory() as directory:
            written = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
            if time.time() - written > DRAFT_LIFETIME_S:
                self.reject(name)

    @contextmanager
    def _directory(self) -> Iterator[int]:
        """A descriptor of the directory that was opened. OSError: another one is at its path now."""
        directory = os.open(self.path, _DIRECTORY)
        try:
            found = os.fstat(directory)
            if (found.st_dev, found.st_ino) != self._identity:
                raise OSError(errno.ESTALE, "the directory was replaced", str(self.path))
            yield directory
        finally:
            os.close(directory)
