"""Files that are replaced as a whole: a reader sees the old content or the new one, also when the writer is killed.

This is on the way from an event to its first command, so it uses os and not pathlib, which costs a tenth of it. Only
`write_durably` waits for the disk: the files of `write` are on a tmpfs, or can be made again.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from failoverd.osutil import room

#: Bytes of one block of stat(2).
_BLOCK_BYTES = 512


def write(file: Path | str, data: bytes, mode: int = 0o600) -> None:
    """Replace the content of `file` by `data`, readable by `mode`. OSError: `file` holds its old content.

    A full file system has no room for a new file: then the room of the old one is used, where it suffices.
    """
    try:
        _replace(file, data, mode)
    except OSError:
        if not _overwrite(file, data):
            raise
    if read(file) != data:
        raise OSError(errno.EIO, "it does not hold what was written")


def check(file: Path | str, size: int) -> None:
    """Change nothing. OSError: `write` would not find a place for `size` bytes now."""
    try:
        room.check(os.path.dirname(file), size)
    except OSError:
        if not _holds(file, size):
            raise


def write_durably(file: Path | str, data: bytes, mode: int = 0o600) -> None:
    """As `write`, and wait until the disk has it: it survives a loss of power. Only for a thread that may hang."""
    _replace(file, data, mode, durable=True)


def _replace(file: Path | str, data: bytes, mode: int, *, durable: bool = False) -> None:
    directory, name = os.path.split(file)
    draft = f"{directory}/.{name}.new"  # hidden from who includes a directory by a pattern, as bird may
    try:
        descriptor = _open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            os.fchmod(descriptor, mode)  # whatever our umask is
            _write(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(draft, file)
        if durable:
            _synchronise(directory)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise


def _synchronise(directory: str) -> None:
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _overwrite(file: Path | str, data: bytes) -> bool:
    """Write into the blocks that `file` has, at once, so that no half is left if this process is killed."""
    with suppress(OSError):
        descriptor = _open(file, os.O_WRONLY)
        try:
            found = os.fstat(descriptor)
            if len(data) <= found.st_blocks * _BLOCK_BYTES:
                _write(descriptor, data.ljust(found.st_size, b"\n"))
                os.ftruncate(descriptor, len(data))
                return True
        finally:
            os.close(descriptor)
    return False


def _holds(file: Path | str, size: int) -> bool:
    with suppress(OSError):
        descriptor = _open(file, os.O_WRONLY)
        try:
            return size <= os.fstat(descriptor).st_blocks * _BLOCK_BYTES
        finally:
            os.close(descriptor)
    return False


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(file: Path | str) -> bytes:
    """The content of `file`; a symbolic link is an OSError."""
    descriptor = _open(file, os.O_RDONLY)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _open(file: Path | str, flags: int, mode: int = 0o600) -> int:
    return os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
