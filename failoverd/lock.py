"""One daemon for one runtime directory: who holds its lock, or listens at its sockets, and still lives.

A process that was killed does not end while one of its threads waits for a disk that hangs: until then it has all that
it had, and does nothing any more. What such a one has counts for nothing; else no other daemon could start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from failoverd import processes

#: Where the kernel says who holds which lock.
LOCKS = Path("/proc/locks")


def take(file: Path) -> int:
    """Hold `file` for as long as the descriptor is open. BlockingIOError: another process does, and lives."""
    try:
        return _locked(file)
    except BlockingIOError:
        if not _abandoned(file):
            raise
    guard = _locked(file.with_name(f"{file.name}.guard"))  # two may have found that at once
    try:
        if _abandoned(file):
            file.unlink()
        return _locked(file)
    finally:
        os.close(guard)


def listens(path: Path) -> bool:
    """Whether a process that lives listens at the Unix socket `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        answer = probe.connect_ex(str(path))
        if answer:
            return answer not in {errno.ECONNREFUSED, errno.ENOENT}
        pid, _, _ = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid == 0 or _lives(pid)  # 0: in a namespace that we do not see


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
        os.close(lock)  # another one has put a new file at its place


def _abandoned(file: Path) -> bool:
    """Whether it is known who holds it, and that none of them lives."""
    try:
        it = file.stat()
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    number = f"{os.major(it.st_dev):02x}:{os.minor(it.st_dev):02x}:{it.st_ino}"
    holders = [int(words[4]) for line in lines if (words := line.split())[1] == "FLOCK" and words[5] == number]
    return bool(holders) and not any(map(_lives, holders))


def _lives(pid: int) -> bool:
    try:
        return processes.look(pid) is not None
    except OSError:
        return True
