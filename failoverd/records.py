"""What failoverd remembers over its own end, and not over a boot: small records, each a file on the runtime's tmpfs.

A record is whole or absent: it is written beside its place, renamed, and read again. One that cannot be written must
not go on telling what is no longer true, so it is removed; what is unknown stays unknown. The trouble is said, and
shown until the record can be written. None of this waits for a disk.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from failoverd import lock
from failoverd.trouble import troubles

_BOOT = Path("/proc/sys/kernel/random/boot_id")

#: Bytes of one of stat(2)'s blocks.
_BLOCK = 512


def boot() -> str:
    """The kernel's name for this boot."""
    return _BOOT.read_text(encoding="ascii").strip()


class LockedError(Exception):
    """Another daemon has this runtime directory, or nobody can have it. Says what to do."""


class Records:
    """The records of this boot, below `runtime_dir`; their names have no slash."""

    def __init__(self, runtime_dir: Path) -> None:
        self.boot = boot()
        self._lock = -1
        self._kept: dict[str, bytes] = {}
        self._owed: dict[str, bytes] = {}
        self.move(runtime_dir)

    def move(self, runtime_dir: Path) -> None:
        """From here on the records are below `runtime_dir`."""
        self.directory = runtime_dir / "records"
        self._lock_file = runtime_dir / "lock"
        self._kept.clear()
        self._owed.clear()

    def take(self) -> None:
        """Be the only daemon with this runtime directory, until `release` or the end of the process. LockedError."""
        try:
            self._lock = lock.take(self._lock_file)
        except BlockingIOError:
            stop = "stop it (systemctl stop failoverd), or give this one a --runtime-dir"
            raise LockedError(f"another failoverd holds {self._lock_file}: {stop}") from None
        except OSError as error:
            reason = f"{self._lock_file} cannot be opened ({error.strerror})"
            raise LockedError(f"{reason}: is --runtime-dir there and ours?") from None

    def release(self) -> None:
        """Let another daemon have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def read(self, record: str) -> dict[str, Any] | None:
        """What this boot wrote; None: nothing. What is there and cannot be understood is nothing too, and is said."""
        try:
            found: dict[str, Any] = json.loads(get(self.directory / record))
            return found if found.pop("boot") == self.boot else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            troubles.begin(_about(record), f"{self.directory / record} cannot be read and is not believed: {error!r}")
            return None

    def write(self, record: str, content: Mapping[str, Any], *, keep_old: bool = False) -> bool:
        """Whether it is recorded; if not, it is when `look` finds room, and nothing is in its place until then.

        `keep_old`: what was recorded before, though out of date, is safer than nothing, and stays.
        """
        return self._put(record, json.dumps({"boot": self.boot, **content}).encode(), keep_old=keep_old)

    def remove(self, record: str) -> None:
        """It is no more."""
        self._kept.pop(record, None)
        self._owed.pop(record, None)
        with suppress(OSError):
            (self.directory / record).unlink(missing_ok=True)
        troubles.end(_about(record))

    def look(self) -> None:
        """Write what could not be written, unless what was there was to stay; all of it, where it was removed."""
        if self._kept and not self.directory.is_dir():
            self.restore()
        for record, data in tuple(self._owed.items()):
            self._put(record, data, keep_old=False)

    def restore(self) -> None:
        """Write again all that this process recorded: the directory was removed."""
        for record, data in (self._kept | self._owed).items():
            self._put(record, data, keep_old=False)

    def names(self, pattern: str) -> list[str]:
        """The names of the records that fit `pattern`."""
        return [file.name for file in self.directory.glob(pattern) if not file.name.startswith(".")]

    def _put(self, record: str, data: bytes, *, keep_old: bool) -> bool:
        file = self.directory / record
        try:
            try:
                put(file, data)
            except FileNotFoundError:
                self.directory.mkdir(mode=0o700)
                put(file, data)
        except OSError as error:
            if not keep_old:
                self._kept.pop(record, None)
                self._owed[record] = data
                with suppress(OSError):
                    file.unlink(missing_ok=True)
            old = ", and what it says is out of date" if os.path.lexists(file) else ""
            troubles.begin(_about(record), f"{file} cannot be written: {error.strerror}{old}. Is there room?")
            return False
        self._kept[record] = data
        self._owed.pop(record, None)
        troubles.end(_about(record))
        return True


def put(file: Path, data: bytes, mode: int = 0o600) -> None:
    """Make `file` hold `data`. OSError when it does not hold it afterwards: then it holds what it held before."""
    try:
        _replace(file, data, mode)
    except OSError:
        if not _overwrite(file, data):
            raise
    if get(file) != data:
        raise OSError(errno.EIO, "it does not hold what was written")


def _replace(file: Path, data: bytes, mode: int) -> None:
    draft = file.with_name(f".{file.name}.new")
    try:
        with _opened(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) as descriptor:
            _write(descriptor, data)
        draft.rename(file)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def _overwrite(file: Path, data: bytes) -> bool:
    """In the room that it has, where a full file system has no other. One write, so that our death leaves no half."""
    with suppress(OSError), _opened(file, os.O_WRONLY) as descriptor:
        found = os.fstat(descriptor)
        if len(data) <= found.st_blocks * _BLOCK:
            _write(descriptor, data.ljust(found.st_size, b"\n"))
            os.ftruncate(descriptor, len(data))
            return True
    return False


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def get(file: Path) -> bytes:
    """What `file` holds; a link is not followed."""
    with _opened(file, os.O_RDONLY) as descriptor:
        return b"".join(iter(partial(os.read, descriptor, 1 << 20), b""))


@contextmanager
def _opened(file: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _about(record: str) -> str:
    return f"record {record}"


#: That of this process. The daemon says where it is.
records = Records(Path("/run/failoverd"))
