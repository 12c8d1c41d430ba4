"""Whether keepalived lives: its processes, found with psutil and then watched by pidfd, without polling.

Only processes in this network namespace count: another keepalived does not hold this one's addresses. Which they
were is written to a file in the runtime directory, so that a restarted failoverd still knows that the keepalived
that it had seen is gone. A frozen keepalived (SIGSTOP) gives no sign of it, so it is looked for now and then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from failoverd import log
from failoverd.core.model import Keepalived
from failoverd.processes import called

_log = log.get("keepalived")

#: A process: its pid, and when it was started (clock ticks since boot), since pids come round again.
Identity = tuple[int, int]


def _namespace(pid: int | str) -> tuple[int, int]:
    """What identifies the network namespace of a process. OSError when it cannot be had.

    Each namespace has files of its own below ``/proc/PID/net``. ``/proc/PID/ns/net`` is only for who may trace the
    process, and the sandbox lets failoverd trace nobody who has more capabilities than itself.
    """
    found = Path(f"/proc/{pid}/net/dev").stat()
    return found.st_dev, found.st_ino


def _started(pid: int) -> int:
    """Field 22 of proc(5)'s stat; psutil's own create_time moves when the clock on the wall is set."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])


def processes(pids: Iterable[int] | None = None) -> dict[Identity, bool]:
    """Keepalived's processes in this network namespace; True when it runs, False when it is frozen.

    `pids`: look at these only; None looks at every process of the machine. OSError or psutil.Error when one that is
    there cannot be looked at: that is not the same as one that is not there.
    """
    here = _namespace("self")
    found: dict[Identity, bool] = {}
    for pid in called("keepalived") if pids is None else pids:
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            status = psutil.Process(pid).status()
            if status not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) and _namespace(pid) == here:
                found[pid, _started(pid)] = status != psutil.STATUS_STOPPED
    return found


class KeepalivedWatch:
    """Tells `changed(condition)` in the event loop when it changes; nothing while keepalived was never seen.

    What a first `look` finds is followed from then on; what is started later, or frozen, the next look finds.
    """

    def __init__(self, memory: Path, changed: Callable[[Keepalived], None]) -> None:
        self._memory = memory
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._known: set[Identity] = self._recall()
        self._watched: dict[Identity, int] = {}
        self.condition: Keepalived | None = None

    def close(self) -> None:
        """Stop watching."""
        for identity in list(self._watched):
            self._forget(identity)

    def look(self) -> None:
        """Look now; `changed` is called before this returns. What cannot be seen has not changed."""
        try:
            found = processes(pid for pid, _ in self._watched)
            if not found or set(found) != set(self._watched):
                found = processes()
        except (OSError, psutil.Error) as error:
            _log.warning("cannot look for keepalived's processes", error=str(error))
            return
        for identity in set(self._watched) - set(found):
            self._forget(identity)
        for identity in set(found) - set(self._watched):
            self._follow(identity)
        condition = self._judge(found)
        if found and set(found) != self._known:
            self._known = set(found)
            self._remember()
        if condition is not None and condition is not self.condition:
            _log.info("keepalived", condition=condition.value, pids=sorted(pid for pid, _ in found))
            self.condition = condition
            self._changed(condition)

    def _judge(self, found: dict[Identity, bool]) -> Keepalived | None:
        if not found:
            return Keepalived.GONE if self._known else None
        if self._known and not self._known & set(found) and self.condition is not Keepalived.GONE:
            self.condition = Keepalived.GONE  # others stand in their place: the old ones' word died with them
            self._changed(Keepalived.GONE)
        return Keepalived.RUNNING if all(found.values()) else Keepalived.STOPPED

    def _follow(self, identity: Identity) -> None:
        try:
            descriptor = os.pidfd_open(identity[0])
        except OSError:
            return  # it has just ended: the next look will see that
        self._watched[identity] = descriptor
        self._loop.add_reader(descriptor, self._died, identity)

    def _died(self, identity: Identity) -> None:
        self._forget(identity)
        self.look()

    def _forget(self, identity: Identity) -> None:
        descriptor = self._watched.pop(identity)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def _recall(self) -> set[Identity]:
        with suppress(OSError, ValueError):
            lines = self._memory.read_text(encoding="ascii").splitlines()
            return {(int(pid), int(started)) for pid, started in (line.split() for line in lines)}
        return set()

    def _remember(self) -> None:
        lines = [f"{pid} {started}\n" for pid, started in sorted(self._known)]
        try:
            self._memory.write_text("".join(lines), encoding="ascii")
        except OSError as error:
            _log.warning("cannot remember keepalived's processes", file=str(self._memory), error=str(error))
