"""What one run of the laboratory owns on the host, and how all of it goes away, even after a SIGKILL.

Everything that a run makes outside of its processes carries the run's name: network namespaces, one cgroup, one
working directory. The name holds the owner's pid and start time, so that the next run can tell what a dead one left.
A run's processes are all in its cgroup: killing that cgroup ends them and nobody else's.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .waiting import wait_for

_NAME = re.compile(r"fo-(?P<pid>\d+)-(?P<started>\d+)-(?P<number>\d+)")
_NETNS = Path("/run/netns")
_CGROUP2_FALLBACK = Path("/sys/fs/cgroup/unified")
_GONE_SECONDS = 10.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Run:
    """One laboratory of one process; `started` is the owner's start time in clock ticks since boot (proc(5))."""

    pid: int
    started: int
    number: int

    @property
    def name(self) -> str:
        """The prefix of everything that this run owns."""
        return f"fo-{self.pid}-{self.started}-{self.number}"

    @property
    def work(self) -> Path:
        """The working directory: configurations, disks, journals, records."""
        return Path(tempfile.gettempdir()) / self.name

    @property
    def cgroup(self) -> Path:
        """The cgroup that holds every process of the run."""
        return cgroup2_root() / self.name

    def netns(self, role: str) -> str:
        """The name of the network namespace of `role`."""
        return f"{self.name}-{role}"

    def in_cgroup(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the run's cgroup, where the clean-up finds it."""
        return ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(self.cgroup / "cgroup.procs"), *argv]

    def owner_lives(self) -> bool:
        """Whether the process that made the run is still there."""
        return _start_time(self.pid) == self.started

    def make(self) -> None:
        """Make the run's cgroup and working directory."""
        self.work.mkdir(mode=0o755)
        self.cgroup.mkdir()

    def remove(self) -> None:
        """End the run's processes and remove all that it owns; whatever is already gone is no error."""
        wait_for(f"{self.cgroup} is gone", lambda: _removed(self.cgroup), within=_GONE_SECONDS)
        for namespace in sorted(_NETNS.glob(f"{self.name}-*")):
            subprocess.run(["ip", "netns", "delete", namespace.name], check=False, timeout=20)
        shutil.rmtree(self.work, ignore_errors=True)

    def left_behind(self) -> list[str]:
        """All that still exists of the run; empty when it is gone without a trace."""
        owned = [*_NETNS.glob(f"{self.name}-*"), self.cgroup, self.work]
        return [str(path) for path in owned if path.exists()]


def new_run() -> Run:
    """Name a new run of this process; nothing is made yet."""
    return Run(os.getpid(), _start_time(os.getpid()) or 0, next(_numbers))


def existing_runs() -> set[Run]:
    """Every run, dead or alive, that has left a namespace, a cgroup or a directory here."""
    places = [_NETNS, cgroup2_root(), Path(tempfile.gettempdir())]
    names = (path.name for place in places if place.is_dir() for path in place.iterdir())
    return {Run(*(int(part) for part in found.groups())) for name in names if (found := _NAME.match(name))}


def remove_dead_runs() -> None:
    """Remove what runs left whose owner is gone (a SIGKILL leaves no chance to clean up)."""
    for run in existing_runs():
        if not run.owner_lives():
            run.remove()


def cgroup2_root() -> Path:
    """The host's cgroup2 mount; made (and left, for others may use it) where a host has only version 1."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _source, mount_point, kind, *_rest = line.split()
        if kind == "cgroup2":
            return Path(mount_point)
    _CGROUP2_FALLBACK.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(_CGROUP2_FALLBACK)], check=True, timeout=10)
    return _CGROUP2_FALLBACK


def _start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _removed(cgroup: Path) -> bool:
    """Kill what is in the cgroup, and remove it; whether it is gone. OSError: a process has still to end.

    More than one try may be necessary: a process that an interrupted start has left enters when it gets a processor.
    """
    # Two runs that start at once may both be removing a third: what is gone already is no error.
    with contextlib.suppress(FileNotFoundError):
        (cgroup / "cgroup.kill").write_text("1", encoding="ascii")
    for directory, _subdirectories, _files in os.walk(cgroup, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            Path(directory).rmdir()
    return not cgroup.exists()


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP end this program as Ctrl-C does: through every `with`, and pytest's teardown."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
