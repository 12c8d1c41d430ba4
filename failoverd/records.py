"""Small files on a tmpfs that survive a restart of failoverd, and not a boot.

A record is whole or absent (osutil/atomic_file.py). It must not wait for a disk, and must not outlive its truth: one
that cannot be written is removed, and its new content is kept in /dev/shm until it can be written; the newer copy
counts. Until then there is a trouble. A record that cannot be parsed is as good as absent.
"""

from __future__ import annotations

import fnmatch
import json
import math
import os
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from failoverd.osutil import atomic_file, boot, locks
from failoverd.trouble import TroubleKind, troubles

#: A tmpfs other than that of /run. Every user may write there, so the owner of each directory is checked.
SHM = Path("/dev/shm")  # noqa: S108 - the owner is checked

_Parsed = TypeVar("_Parsed")


def spare(runtime_dir: Path) -> Path:
    """The directory used while `runtime_dir` is full. ``hooks/notify`` derives the same name from `runtime_dir`."""
    return SHM / f"failoverd{str(runtime_dir).replace('/', '-')}"


class LockedError(Exception):
    """Another daemon uses this runtime directory, or no daemon can. The message names the remedy."""


class Records:
    """The records of this boot, below `runtime_dir`. A record's name has no slash."""

    def __init__(self, runtime_dir: Path) -> None:
        self.boot = boot.boot_id()
        self._lock = -1
        self._kept: dict[str, bytes] = {}
        self._owed: dict[str, bytes] = {}
        self.move(runtime_dir)

    def move(self, runtime_dir: Path) -> None:
        """Use `runtime_dir` from now on, and forget what was recorded in another."""
        self.directory = runtime_dir / "records"
        self.spare = Path(f"{spare(runtime_dir)}.records")
        self._aside = set(self._spared())
        self._lock_file = runtime_dir / "lock"
        self._kept.clear()
        self._owed.clear()

    def take(self) -> None:
        """Lock the runtime directory, until `release` or the end of the process. LockedError: another daemon has it."""
        try:
            self._lock = locks.take(self._lock_file)
        except BlockingIOError:
            remedy = "systemctl stop failoverd, or give this one another --runtime-dir"
            raise LockedError(f"another failoverd holds {self._lock_file}: {remedy}") from None
        except OSError as error:
            reason = f"cannot open {self._lock_file}: {error.strerror}"
            raise LockedError(f"{reason}; run: ls -ld {self._lock_file.parent}") from None

    def release(self) -> None:
        """Unlock the runtime directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def read(self, record: str, parse: Callable[[dict[str, Any]], _Parsed]) -> _Parsed | None:
        """The content that this boot wrote, as `parse` returns it; None: there is none.

        Whatever `parse` raises, the result is None and a trouble: another release of failoverd may have written the
        record, or its file system is damaged.
        """
        try:
            found = self._newest(record)
            return parse(found) if found is not None else None
        except Exception as error:
            reason = f"cannot parse {self.directory / record}, so failoverd ignores it: {error!r:.200}"
            troubles.begin(TroubleKind.RECORD, reason, subject=record, directory=self.directory)
            return None

    def write(self, record: str, content: Mapping[str, Any], *, keep_old: bool = False) -> bool:
        """Return whether the record is written; if not, it is absent until `look` can write it.

        `keep_old`: the old content, though out of date, is safer than none, so it stays.
        """
        stamp = {"boot": self.boot, "written": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
        return self._put(record, json.dumps({**stamp, **content}).encode(), keep_old=keep_old)

    def remove(self, record: str) -> None:
        """Delete the record."""
        self._kept.pop(record, None)
        self._owed.pop(record, None)
        with suppress(OSError):
            (self.directory / record).unlink(missing_ok=True)
        self._drop(record)
        troubles.end(TroubleKind.RECORD, record)

    def look(self) -> None:
        """Write the records that could not be written, except with `keep_old`; all, if the directory was removed."""
        if self._kept and not self.directory.is_dir():
            self.restore()
        for record, data in tuple(self._owed.items()):
            self._put(record, data, keep_old=False)

    def restore(self) -> None:
        """Write every record of this process again, after the directory was removed."""
        for record, data in (self._kept | self._owed).items():
            self._put(record, data, keep_old=False)

    def names(self, pattern: str) -> list[str]:
        """The names of the records that match `pattern`, as fnmatch(3) has it, sorted."""
        found = {file.name for file in self.directory.glob(pattern)} | set(fnmatch.filter(self._spared(), pattern))
        return sorted(name for name in found if not name.startswith("."))

    def _newest(self, record: str) -> dict[str, Any] | None:
        """The newest copy of this boot. Raises where one copy cannot be parsed: it may be the newest."""
        found = [self._owed[record]] if record in self._owed else []
        for place in (self.directory, self.spare) if record in self._aside else (self.directory,):
            with suppress(FileNotFoundError):
                found.append(atomic_file.read(f"{place}/{record}"))
        copies = [each for each in map(json.loads, found) if each.pop("boot") == self.boot]
        newest = max(copies, key=lambda each: each.get("written", 0), default=None)
        return None if newest is None else {key: value for key, value in newest.items() if key != "written"}

    def _spared(self) -> list[str]:
        """The names of the records in /dev/shm."""
        with suppress(OSError):
            if self._has_spare():
                return [file.name for file in self.spare.iterdir()]
        return []

    def _has_spare(self) -> bool:
        """Whether only we can write to the directory in /dev/shm. OSError: it is absent."""
        found = self.spare.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077

    def _put_aside(self, record: str, data: bytes) -> str:
        """Write the record to /dev/shm, or at least leave no older copy there. Returns why not, or ""."""
        try:
            with suppress(FileExistsError):
                self.spare.mkdir(mode=0o700)
            if not self._has_spare():
                return f", nor into {self.spare}: it belongs to another user (rm -r {self.spare})"
            atomic_file.write(self.spare / record, data)
        except OSError as error:
            self._drop(record)
            return f", nor into {self.spare}: {error.strerror}"
        self._aside.add(record)
        return ""

    def _drop(self, record: str) -> None:
        """Delete the copy in /dev/shm."""
        if record in self._aside:
            self._aside.discard(record)
            with suppress(OSError):
                (self.spare / record).unlink(missing_ok=True)
                self.spare.rmdir()

    def _put(self, record: str, data: bytes, *, keep_old: bool) -> bool:
        file = f"{self.directory}/{record}"
        try:
            try:
                atomic_file.write(file, data)
            except FileNotFoundError:
                self.directory.mkdir(mode=0o700)
                atomic_file.write(file, data)
        except OSError as error:
            if not keep_old:
                self._kept.pop(record, None)
                self._owed[record] = data
                with suppress(OSError):
                    os.unlink(file)
            beside = "" if keep_old else self._put_aside(record, data)
            old = ", so its content is out of date" if os.path.lexists(file) else ""
            reason = f"cannot write {file}: {error.strerror}{old}{beside}"
            troubles.begin(TroubleKind.RECORD, reason, subject=record, directory=self.directory)
            return False
        self._kept[record] = data
        self._owed.pop(record, None)
        self._drop(record)
        troubles.end(TroubleKind.RECORD, record)
        return True


def text(value: Any) -> str:
    """Return `value` if it is a string; TypeError otherwise. For parsers of a record."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def number(value: Any) -> float:
    """Return `value` if it is a finite number; TypeError otherwise. For parsers of a record."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(value)
    return value


#: The records of this process. The daemon calls `move` before it uses them.
records = Records(Path("/run/failoverd"))
