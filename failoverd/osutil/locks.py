"""Locks and sockets that count only while their process runs: one daemon per runtime directory.

A killed process does not exit while one of its threads waits for a disk that hangs; until then it keeps its locks and
sockets. They must not count, or the next daemon could not start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from failoverd.osutil import processes

#: The holders of all locks, see proc_locks(5).
LOCKS = Path("/proc/locks")


def take(file: Path) -> int:
    """Lock `file` until the returned descriptor is closed. BlockingIOError: a running process has the lock."""
    try:
        return _locked(file)
    except BlockingIOError:
        if not _abandoned(file):
            raise
    guard = _locked(file.with_name(f"{file.name}.guard"))  # two processes may find it abandoned at once
    try:
        if _abandoned(file):
            file.unlink()
        return _locked(file)
    finally:
        os.close(guard)


def listens(path: Path) -> bool:
    """Whether a running process listens at the Unix socket `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        answer = probe.connect_ex(str(path))
        if answer:
            return answer not in {errno.ECONNREFUSED, errno.ENOENT}
        pid, _, _ = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid == 0 or _runs(pid)  # 0: it is in a pid namespace that we cannot see


def _locked(file: Path) -> int:
    while True:
        lock = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), file.stat()):
                    return lock
        except OSError:
            os.close(lock)
            raise
        os.close(lock)  # another process has replaced the file


def _abandoned(file: Path) -> bool:
    """Whether all holders of the lock are known and none of them runs."""
    try:
        found = file.stat()
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    number = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    holders = [int(words[4]) for line in lines if (words := line.split())[1] == "FLOCK" and words[5] == number]
    return bool(holders) and not any(map(_runs, holders))


def _runs(pid: int) -> bool:
    try:
        return processes.look(pid) is not None
    except OSError:
        return True
