"""Processes, as proc(5) shows them. Some callers read every process of the machine, so each read has to be cheap.

It must not block: it reads links and small files of /proc, and never a file that a process has open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
#: cgroups(7): the unified hierarchy, alone or beside version 1, and the freezer of version 1.
CGROUPS = Path("/sys/fs/cgroup")

_HZ = os.sysconf("SC_CLK_TCK")
#: More than the files of one process that are read here have.
_READ_BYTES = 4096
#: The kernel's suffix to the path of an executable that was replaced while it runs.
_DELETED = " (deleted)"
#: PF_FORKNOEXEC of linux/sched.h, among the flags in /proc/PID/stat.
_FORKED = 0x40
#: Enough for the wrappers and shells between a process and the program that started it.
_MAX_ANCESTORS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A running process. `started`: clock ticks since boot; it distinguishes two processes with the same pid.

    `frozen`: a signal or its cgroup has stopped it. `program`: the file name of its executable, whatever name the
    process has given itself. `uid`: the effective one. `network`: identifies its network namespace.
    """

    pid: int
    started: int
    parent: int
    frozen: bool
    program: str
    uid: int
    network: tuple[int, int]


def called(name: str) -> list[int]:
    """The pids of all processes with that name (15 bytes at most), in order.

    A process that exits meanwhile is omitted. OSError: a running process cannot be read.
    """
    wanted = f"{name}\n".encode()
    return [pid for pid in everyone() if _comm(pid) == wanted]


def everyone() -> list[int]:
    """All pids, in order."""
    with os.scandir(PROC) as found:
        return sorted(int(it.name) for it in found if it.name.isdecimal())


def program(pid: int) -> str:
    """The file name of the executable; empty for a kernel thread, and for a process that has exited.

    Where the kernel denies that, the name that the process has given itself.
    """
    try:
        return os.path.basename(os.readlink(f"{PROC}/{pid}/exe")).removesuffix(_DELETED)
    except PermissionError:
        return name(pid)
    except (FileNotFoundError, ProcessLookupError):
        return ""


def name(pid: int) -> str:
    """The name that the process has given itself (comm); a script has its own. Empty: it has exited."""
    return _comm(pid).decode(errors="replace").rstrip("\n")


def look(pid: int) -> Process | None:
    """The process of that pid; None: it has exited. OSError: it runs and cannot be read."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = _stat(pid)
        if fields[0] in "ZX":
            return None
        return Process(
            pid=pid,
            started=int(fields[19]),
            parent=int(fields[1]),
            frozen=fields[0] == "T" or _in_frozen_cgroup(pid),
            program=program(pid),
            uid=uid(pid),
            network=network(pid),
        )
    return None


def now() -> int:
    """The current time in clock ticks since boot, comparable to `Process.started`."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _HZ // 1_000_000_000


def started(pid: int) -> int:
    """The start of the process, in clock ticks since boot. OSError: it has exited and was reaped."""
    return int(_stat(pid)[19])


def unborn(pid: int) -> bool:
    """Whether the process was forked and has not called execve(2) yet. OSError: it has exited."""
    return bool(int(_stat(pid)[6]) & _FORKED)


def cgroup(pid: int | str) -> str:
    """The cgroup that systemd has put the process into. OSError: it has exited."""
    found = _cgroups(pid)
    return found.get("name=systemd", found.get("", ""))


def uid(pid: int) -> int:
    """The effective uid of the process. OSError: it has exited.

    The owner of /proc/PID is no substitute: it is root for a process that is not dumpable.
    """
    status = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    return int(status.partition("\nUid:")[2].split()[1])


def confined() -> bool:
    """Whether this process and its children are in a sandbox: no new privileges, and a system call filter."""
    status = _read(f"{PROC}/self/status")
    return b"\nNoNewPrivs:\t1\n" in status and b"\nSeccomp:\t2\n" in status


def network(pid: int | str) -> tuple[int, int]:
    """The identity of the process's network namespace. OSError: it cannot be read.

    Each namespace has files of its own below ``/proc/PID/net``; ``/proc/PID/ns/net`` needs the right to trace.
    """
    found = (PROC / str(pid) / "net/dev").stat()
    return found.st_dev, found.st_ino


def ancestors(pid: int) -> Iterator[int]:
    """The parent of the process, its parent, and so on; without pid 1 and without exited processes."""
    for _ in range(_MAX_ANCESTORS):
        try:
            pid = int(_stat(pid)[1])
        except OSError:
            return
        if pid <= 1:
            return
        yield pid


def writes(pid: int, file: Path) -> bool:
    """Whether the process has `file` open for writing. False also where that may not be read."""
    return any(mode != os.O_RDONLY for mode in _modes(pid, file))


def writers(file: Path) -> list[int]:
    """The pids of all other processes that have `file` open for writing."""
    return [pid for pid in everyone() if pid != os.getpid() and writes(pid, file)]


def readers(file: Path) -> list[int]:
    """The pids of all other processes that have `file` open for reading."""
    others = (pid for pid in everyone() if pid != os.getpid())
    return [pid for pid in others if any(mode != os.O_WRONLY for mode in _modes(pid, file))]


def _modes(pid: int, file: Path) -> Iterator[int]:
    """The access mode of each descriptor by which the process has `file` open."""
    with suppress(OSError):
        wanted = file.stat()
        for number in os.listdir(f"{PROC}/{pid}/fd"):
            link = f"{PROC}/{pid}/fd/{number}"
            with suppress(OSError):
                # By name first: stat(2) of a file that is open may block.
                if os.path.basename(os.readlink(link)) == file.name and os.path.samestat(os.stat(link), wanted):
                    yield mode(pid, number)


def mode(pid: int, number: int | str) -> int:
    """The access mode of a descriptor: os.O_RDONLY, O_WRONLY or O_RDWR. OSError: there is no such descriptor."""
    info = (PROC / str(pid) / "fdinfo" / str(number)).read_text(encoding="ascii")
    return int(info.partition("flags:")[2].split()[0], 8) & os.O_ACCMODE


def has_raw_socket(pid: int, protocol: int) -> bool:
    """Whether the process has a raw socket of that IP protocol. False also where that may not be read."""
    with suppress(OSError):
        wanted = {f"socket:[{inode}]" for inode in _raw_sockets(pid, protocol)}
        for number in os.listdir(f"{PROC}/{pid}/fd") if wanted else ():
            with suppress(OSError):
                if os.readlink(f"{PROC}/{pid}/fd/{number}") in wanted:
                    return True
    return False


def _raw_sockets(pid: int, protocol: int) -> Iterator[str]:
    """The inodes of the raw sockets in its network namespace; /proc has the protocol in place of the port."""
    for table in ("raw", "raw6"):
        with suppress(OSError):
            for line in (PROC / str(pid) / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == protocol:
                    yield fields[9]


def _cgroups(pid: int | str) -> dict[str, str]:
    """The process's cgroups by the controllers of their hierarchy; "" is the unified one."""
    lines = (PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    return {hierarchy: path for _, hierarchy, path in (line.split(":", 2) for line in lines)}


def _in_frozen_cgroup(pid: int) -> bool:
    """Whether ``systemctl freeze`` or a paused container has stopped it; /proc/PID/stat has it as sleeping."""
    found = _cgroups(pid)
    unified, old = found.get("", ""), found.get("freezer", "")
    files = (
        (f"{CGROUPS}{unified}/cgroup.events", b"frozen 1\n"),
        (f"{CGROUPS}/unified{unified}/cgroup.events", b"frozen 1\n"),
        (f"{CGROUPS}/freezer{old}/freezer.state", b"FROZEN\n"),
    )
    for file, frozen in files:
        with suppress(OSError):
            if frozen in _read(file):
                return True
    return False


def _stat(pid: int) -> list[str]:
    """The fields after the name, which is in parentheses and may contain blanks and parentheses."""
    return _read(f"{PROC}/{pid}/stat").rpartition(b")")[2].decode("ascii").split()


def _comm(pid: int) -> bytes:
    """proc_pid_comm(5); empty: the process has exited."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return _read(f"{PROC}/{pid}/comm")
    return b""


def _read(file: str) -> bytes:
    """A small file of /proc, which the kernel returns whole at the first read."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)
