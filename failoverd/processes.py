"""Processes as proc(5) shows them. Every process of the machine is asked, so it is done as cheaply as can be.

Only what cannot wait is read: names of links and small files of /proc, never the files that are open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Where processes are seen.
PROC = Path("/proc")

_HZ = os.sysconf("SC_CLK_TCK")
#: The kernel keeps so many bytes of a name, and says them with a newline.
_NAME = 15
#: What the kernel adds to the path of an executable that was replaced while it runs.
_DELETED = " (deleted)"
#: PF_FORKNOEXEC of linux/sched.h, among the flags in /proc/PID/stat.
_FORKED = 0x40
#: Between a process and what it wants to be taken for stand no more than so many (a wrapper, a shell).
_GENERATIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One that runs. `started`: clock ticks since boot; with it a pid is told from the same number used again.

    `program`: the name of the executable's file, whatever the process calls itself. `uid`: the effective one.
    `network`: tells one network namespace from another.
    """

    pid: int
    started: int
    parent: int
    frozen: bool
    program: str
    uid: int
    network: tuple[int, int]


def called(name: str) -> list[int]:
    """The pids of all whose name is `name` (of at most 15 bytes), in order; what ends meanwhile is not among them.

    OSError when one that is there cannot be read.
    """
    wanted = f"{name}\n".encode()
    return [pid for pid in everyone() if _comm(pid) == wanted]


def everyone() -> list[int]:
    """All pids, in order."""
    with os.scandir(PROC) as found:
        return sorted(int(it.name) for it in found if it.name.isdecimal())


def program(pid: int) -> str:
    """The name of the executable's file; empty for a thread of the kernel, and for what has ended.

    Where the kernel does not show it to us, the name that the process gave itself.
    """
    try:
        return os.path.basename(os.readlink(f"{PROC}/{pid}/exe")).removesuffix(_DELETED)
    except PermissionError:
        return name(pid)
    except (FileNotFoundError, ProcessLookupError):
        return ""


def name(pid: int) -> str:
    """What the process calls itself; a script has its own name. Empty when it has ended."""
    return _comm(pid).decode(errors="replace").rstrip("\n")


def look(pid: int) -> Process | None:
    """The process of that pid; None when it has ended. OSError when one that is there cannot be looked at."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = _stat(pid)
        if fields[0] in "ZX":
            return None
        return Process(
            pid=pid,
            started=int(fields[19]),
            parent=int(fields[1]),
            frozen=fields[0] == "T",
            program=program(pid),
            uid=uid(pid),
            network=network(pid),
        )
    return None


def now() -> int:
    """The present, in clock ticks since boot, as processes are started at."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _HZ // 1_000_000_000


def started(pid: int) -> int:
    """When it was started, in clock ticks since boot. OSError when it has ended and is forgotten."""
    return int(_stat(pid)[19])


def unborn(pid: int) -> bool:
    """Whether it was forked and is no program of its own yet. OSError when it has ended."""
    return bool(int(_stat(pid)[6]) & _FORKED)


def cgroup(pid: int | str) -> str:
    """Its control group as systemd has it. OSError when it has ended."""
    lines = (PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    found = {hierarchy: path for _, hierarchy, path in (line.split(":", 2) for line in lines)}
    return found.get("name=systemd", found.get("", ""))


def uid(pid: int) -> int:
    """As whom the process acts (the effective uid). OSError when it has ended.

    The owner of /proc/PID would be root for any process that does not want to be traced.
    """
    status = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    return int(status.partition("\nUid:")[2].split()[1])


def network(pid: int | str) -> tuple[int, int]:
    """What identifies the network namespace of a process. OSError when it cannot be had.

    Each namespace has files of its own below ``/proc/PID/net``; ``/proc/PID/ns/net`` is only for who may trace it.
    """
    found = (PROC / str(pid) / "net/dev").stat()
    return found.st_dev, found.st_ino


def ancestors(pid: int) -> Iterator[int]:
    """Its parent, that one's parent, and so on; neither pid 1 nor what has ended."""
    for _ in range(_GENERATIONS):
        try:
            pid = int(_stat(pid)[1])
        except OSError:
            return
        if pid <= 1:
            return
        yield pid


def writes(pid: int, file: Path) -> bool:
    """Whether the process has `file` open for writing. False also where we may not see it."""
    return any(mode != os.O_RDONLY for mode in _modes(pid, file))


def writers(file: Path) -> list[int]:
    """All others that have `file` open for writing."""
    return [pid for pid in everyone() if pid != os.getpid() and writes(pid, file)]


def readers(file: Path) -> list[int]:
    """All others that have `file` open for reading."""
    others = (pid for pid in everyone() if pid != os.getpid())
    return [pid for pid in others if any(mode != os.O_WRONLY for mode in _modes(pid, file))]


def _modes(pid: int, file: Path) -> Iterator[int]:
    """How the process has `file` open, each time that it has."""
    with suppress(OSError):
        wanted = file.stat()
        for number in os.listdir(f"{PROC}/{pid}/fd"):
            link = f"{PROC}/{pid}/fd/{number}"
            with suppress(OSError):
                # By name first: to look at a file that somebody has open may take for ever.
                if os.path.basename(os.readlink(link)) == file.name and os.path.samestat(os.stat(link), wanted):
                    info = (PROC / str(pid) / "fdinfo" / number).read_text(encoding="ascii")
                    yield int(info.partition("flags:")[2].split()[0], 8) & os.O_ACCMODE


def has_raw_socket(pid: int, protocol: int) -> bool:
    """Whether the process has a raw socket of that IP protocol. False also where we may not see it."""
    with suppress(OSError):
        wanted = {f"socket:[{inode}]" for inode in _raw_sockets(pid, protocol)}
        for number in os.listdir(f"{PROC}/{pid}/fd") if wanted else ():
            with suppress(OSError):
                if os.readlink(f"{PROC}/{pid}/fd/{number}") in wanted:
                    return True
    return False


def _raw_sockets(pid: int, protocol: int) -> Iterator[str]:
    """The inodes of those in its network namespace; the number of the protocol stands where others have a port."""
    for table in ("raw", "raw6"):
        with suppress(OSError):
            for line in (PROC / str(pid) / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == protocol:
                    yield fields[9]


def _stat(pid: int) -> list[str]:
    """What follows the name, which stands in parentheses and may hold blanks and parentheses itself."""
    return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _comm(pid: int) -> bytes:
    """proc(5)'s comm; nothing when the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        file = os.open(f"{PROC}/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, _NAME + 1)
        finally:
            os.close(file)
    return b""
