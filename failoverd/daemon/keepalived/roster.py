"""The keepaliveds of this machine, each with its processes.

A keepalived is recognised by its program, user and network namespace, not by the name of its process. At first this is
root's ``keepalived`` in failoverd's own namespace. Another program, user or namespace is learned from a process that
does keepalived's work: it writes into failoverd's FIFO, started the hook that reports, or owns keepalived's name on
D-Bus.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

from failoverd.osutil import processes
from failoverd.osutil.processes import Process
from failoverd.records import number, text

#: The name of the program.
PROGRAM = "keepalived"
#: VRRP's number among the protocols of IP.
VRRP = 112

#: A process: its pid, and its start in clock ticks since boot, because the kernel reuses pids.
Identity = tuple[int, int]


class Kind(NamedTuple):
    """The properties by which a keepalived is recognised. `network`: device and inode of its network namespace."""

    program: str
    uid: int
    network: tuple[int, int]


class Daemon:
    """One keepalived. `processes`: those that live, and for each whether it is frozen.

    `survivors`: the keepaliveds that lived when this one died; none of them is its successor.
    """

    def __init__(self) -> None:
        self.processes: dict[Identity, bool] = {}
        self.survivors: frozenset[Daemon] = frozenset()

    @property
    def pids(self) -> list[int]:
        """The pids of its processes."""
        return [pid for pid, _ in self.processes]


class Roster:
    """All keepaliveds that live, as the last check found them, and the dead ones that reported an instance last."""

    def __init__(self) -> None:
        self._kinds: set[Kind] = set()
        self._daemons: list[Daemon] = []

    @property
    def living(self) -> list[Daemon]:
        """The keepaliveds that live."""
        return [daemon for daemon in self._daemons if daemon.processes]

    @property
    def processes(self) -> dict[Identity, Daemon]:
        """Every process that lives, and its keepalived."""
        return {identity: daemon for daemon in self._daemons for identity in daemon.processes}

    def learn(self, pid: int) -> bool:
        """Whether the process, which reports states, is a keepalived; if so, `look` finds its kind from now on."""
        if processes.program(pid) != PROGRAM and not processes.has_raw_socket(pid, VRRP):
            return False
        try:
            process = processes.look(pid)
        except OSError:
            return False
        if process is not None:
            self._kinds.add(_kind(process))
        return process is not None

    def others(self) -> list[int]:
        """The start times, in ticks since boot, of all processes that send VRRP and belong to no keepalived in here."""
        ours = {pid for pid, _ in self.processes}
        started = []
        for pid in processes.everyone():
            if pid not in ours and processes.has_raw_socket(pid, VRRP):
                with suppress(OSError):  # it has ended
                    started.append(processes.started(pid))
        return started

    def look(self, kept: Collection[Daemon]) -> bool:
        """Find all keepaliveds, and keep those of `kept` that are dead. True if any process came or went.

        Raises OSError if a process that exists cannot be read: it must not be taken for one that has gone.
        """
        found = self._find()
        before, old = self.processes, self.living
        by_pid = {process.pid: process for process in found.values()}
        placed: dict[int, Daemon] = {}

        def place(process: Process) -> Daemon:
            """The keepalived of a process: the one that it had, else its parent's, else a new one."""
            if process.pid not in placed:
                known, parent = before.get((process.pid, process.started)), by_pid.get(process.parent)
                placed[process.pid] = known or (place(parent) if parent is not None else Daemon())
            return placed[process.pid]

        for daemon in old:
            daemon.processes = {}
        for identity, process in found.items():
            place(process).processes[identity] = process.frozen
        living = list(dict.fromkeys(placed.values()))
        for daemon in old:
            if not daemon.processes:
                daemon.survivors = frozenset(old).intersection(living)
        self._daemons = living + [daemon for daemon in kept if not daemon.processes]
        return set(found) != set(before)

    def _find(self) -> dict[Identity, Process]:
        kinds = self._kinds | {Kind(PROGRAM, 0, processes.network("self"))}
        programs = {kind.program for kind in kinds}
        found = {}
        for pid in processes.everyone():
            if processes.program(pid) in programs:
                process = processes.look(pid)
                if process is not None and _kind(process) in kinds:
                    found[pid, process.started] = process
        return found

    # ------------------------------------------------------------ over a restart

    def number(self, daemon: Daemon) -> int:
        """The number of `daemon` in `dump`."""
        return self._daemons.index(daemon)

    def dump(self) -> dict[str, Any]:
        """The roster as plain data, for a record."""
        numbers = {daemon: number for number, daemon in enumerate(self._daemons)}
        return {
            "kinds": sorted(self._kinds),
            "daemons": [
                {
                    "processes": list(daemon.processes),
                    "survivors": [numbers[other] for other in daemon.survivors if other in numbers],
                }
                for daemon in self._daemons
            ],
        }

    def load(self, record: Any) -> list[Daemon]:
        """Restore the roster from `dump`; returns its daemons by number. Any exception: `record` is not from `dump`."""
        kinds = {
            Kind(text(program), int(number(uid)), (int(number(dev)), int(number(ino))))
            for program, uid, (dev, ino) in record["kinds"]
        }
        daemons = [Daemon() for _ in record["daemons"]]
        for daemon, known in zip(daemons, record["daemons"], strict=True):
            daemon.processes = {(int(number(pid)), int(number(started))): False for pid, started in known["processes"]}
            daemon.survivors = frozenset(daemons[int(number(each))] for each in known["survivors"])
        self._kinds, self._daemons = kinds, daemons
        return daemons


def _kind(process: Process) -> Kind:
    return Kind(process.program, process.uid, process.network)
