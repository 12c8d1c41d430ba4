"""Which keepaliveds there are on this machine, each with its processes.

A keepalived is known by what it is, not by what it calls itself: the program it runs, as whom, and in which network
namespace. At first that is root's ``keepalived`` in our own; another program, user or namespace is learned from one
that does what only keepalived may: it writes into our FIFO, started the hook that speaks to us, or owns keepalived's
name on D-Bus.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from failoverd import processes
from failoverd.processes import Process

#: The name of the program.
PROGRAM = "keepalived"
#: VRRP's number among the protocols of IP.
VRRP = 112

#: A process: its pid, and when it was started (clock ticks since boot), since pids come round again.
Identity = tuple[int, int]


class Kind(NamedTuple):
    """What a keepalived of ours is: which program, as whom, in which network namespace."""

    program: str
    uid: int
    network: tuple[int, int]


class Daemon:
    """One keepalived, and its processes that live: for each, whether it is frozen.

    `survivors`: those that lived when this one died, and so did not come to take its place.
    """

    def __init__(self) -> None:
        self.processes: dict[Identity, bool] = {}
        self.survivors: frozenset[Daemon] = frozenset()

    @property
    def pids(self) -> list[int]:
        """Of its processes."""
        return [pid for pid, _ in self.processes]


class Roster:
    """All keepaliveds that live, as the last look found them, and those dead ones that somebody still asks about."""

    def __init__(self) -> None:
        self._kinds: set[Kind] = set()
        self._daemons: list[Daemon] = []

    @property
    def living(self) -> list[Daemon]:
        """Those that live."""
        return [daemon for daemon in self._daemons if daemon.processes]

    @property
    def processes(self) -> dict[Identity, Daemon]:
        """Every process that lives, and whose it is."""
        return {identity: daemon for daemon in self._daemons for identity in daemon.processes}

    def learn(self, pid: int) -> bool:
        """Whether the process, which speaks to us, is a keepalived; from then on its like are found too."""
        try:
            process = processes.look(pid)
        except OSError:
            return False
        if process is None or not (process.program == PROGRAM or processes.has_raw_socket(pid, VRRP)):
            return False
        self._kinds.add(_kind(process))
        return True

    def look(self, kept: Collection[Daemon]) -> bool:
        """Look for all there are, and keep those of `kept` that are dead. True when any process came or went.

        OSError when one that is there cannot be looked at: that is not the same as one that is not there.
        """
        found = self._find()
        before, old = self.processes, self.living
        by_pid = {process.pid: process for process in found.values()}
        placed: dict[int, Daemon] = {}

        def place(process: Process) -> Daemon:
            """What was known stays where it was, and a child is with its parent."""
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
        """How `dump` calls it."""
        return self._daemons.index(daemon)

    def dump(self) -> dict[str, Any]:
        """All of it as plain data."""
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

    def load(self, told: Any) -> list[Daemon]:
        """What `dump` gave, and its daemons by number. ValueError, LookupError or TypeError when it is none of that."""
        kinds = {Kind(str(program), int(uid), (int(dev), int(ino))) for program, uid, (dev, ino) in told["kinds"]}
        daemons = [Daemon() for _ in told["daemons"]]
        for daemon, known in zip(daemons, told["daemons"], strict=True):
            daemon.processes = {(int(pid), int(started)): False for pid, started in known["processes"]}
            daemon.survivors = frozenset(daemons[int(number)] for number in known["survivors"])
        self._kinds, self._daemons = kinds, daemons
        return daemons


def _kind(process: Process) -> Kind:
    return Kind(process.program, process.uid, process.network)
