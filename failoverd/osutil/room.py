"""Whether a file could be written, found out without leaving one.

A trial, and not the figures of statvfs(2): these know no quota, and not each disk that has failed.
"""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

#: A file system without O_TMPFILE reports one of these, old kernels the second.
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EISDIR})


def check(directory: str, size: int) -> None:
    """Write `size` bytes to a file without a name in `directory`. OSError: a new file would have no place there.

    It may wait for the disk without end.
    """
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _check_figures(directory, size)
        return
    try:
        if os.write(descriptor, bytes(size)) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def remedy(directory: Path | str, error: OSError) -> str:
    """The command for an operator after an `error` of `check`."""
    quoted = shlex.quote(str(directory))
    if error.errno == errno.ENOENT:
        return f"create its directory: mkdir -p {quoted}"
    return f"see: findmnt -o TARGET,OPTIONS,SIZE,AVAIL -T {quoted}"


def _check_figures(directory: str, size: int) -> None:
    found = os.statvfs(directory)
    if found.f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if found.f_bfree * found.f_frsize < size or (found.f_files and not found.f_ffree):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
