"""The lock of a runtime directory: one daemon has it, and no dead one keeps it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failoverd.osutil import locks
from tests.unit.daemon.running_daemon import wait_for
from tests.unit.ports.disks import Disk, hanging

HOLDER = """
import os, socket, sys, threading
from pathlib import Path
from failoverd.osutil import locks
locks.take(Path(sys.argv[1]) / "lock")
listening = socket.socket(socket.AF_UNIX)
listening.bind(f"{sys.argv[1]}/socket")
listening.listen()
threading.Thread(target=os.stat, args=(sys.argv[2],), daemon=True).start()
print("has it", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(directory: Path, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock, listens, and has a thread that looks at `path`."""
    words = [sys.executable, "-c", HOLDER, str(directory), str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"has it\n"
        yield process
        process.kill()


def has_no_leader(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with hanging(tmp_path / "disk", "") as disk:
        yield disk


def test_one_has_it_until_it_ends(tmp_path: Path) -> None:
    with holder(tmp_path, tmp_path) as process:
        with pytest.raises(BlockingIOError):
            locks.take(tmp_path / "lock")
        assert locks.listens(tmp_path / "socket")
        process.kill()
        process.wait()
        os.close(locks.take(tmp_path / "lock"))
        assert not locks.listens(tmp_path / "socket")


def test_a_dead_one_that_cannot_end_has_it_no_more(tmp_path: Path, disk: Disk) -> None:
    with holder(tmp_path, disk.tool) as process:
        disk.asked()
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(BlockingIOError):
            locks.take(tmp_path / "lock")
        process.kill()
        wait_for("only the thread is left", lambda: has_no_leader(process.pid))
        assert process.poll() is None, "it has not ended"
        taken = locks.take(tmp_path / "lock")
        with pytest.raises(BlockingIOError):
            locks.take(tmp_path / "lock")
        os.close(taken)
        assert not locks.listens(tmp_path / "socket")
        disk.answer()


def test_a_lock_is_taken_if_none_of_its_holders_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with holder(tmp_path, tmp_path):
        found = (tmp_path / "lock").stat()
        number = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        told = tmp_path / "locks"
        told.write_text(f"1: FLOCK  ADVISORY  WRITE {ended.pid} {number} 0 EOF\n")
        monkeypatch.setattr(locks, "LOCKS", told)
        taken = locks.take(tmp_path / "lock")
        with pytest.raises(BlockingIOError):
            locks.take(tmp_path / "lock")
        os.close(taken)


def test_who_holds_it_unseen_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").write_text("1: POSIX  ADVISORY  WRITE 1 00:1a:1 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 1 0 0\n")
    with holder(tmp_path, tmp_path):
        for told in (tmp_path / "locks", tmp_path / "absent"):
            monkeypatch.setattr(locks, "LOCKS", told)
            with pytest.raises(BlockingIOError):
                locks.take(tmp_path / "lock")


def test_nobody_listens_at_what_is_not_there(tmp_path: Path) -> None:
    assert not locks.listens(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert not locks.listens(tmp_path / "socket")
        listening.listen()
        assert locks.listens(tmp_path / "socket")
