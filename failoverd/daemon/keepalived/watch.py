"""Watches the processes of the keepalived that reports an instance, by pidfd and without polling.

There may be more than one keepalived. The one that reports an instance is found from the hook's ancestors, from D-Bus,
and from the FIFO if only one writes into it. If none of these shows it, all keepaliveds count together.

The result is recorded, so that a restarted failoverd still knows that a keepalived has died. The kernel does not notify
of a freeze (SIGSTOP, or the cgroup freezer), so the caller also checks periodically.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from failoverd import log
from failoverd.core.words import Keepalived
from failoverd.daemon.keepalived.roster import Daemon, Identity, Roster
from failoverd.osutil import pidfd, processes, threads
from failoverd.records import number, records
from failoverd.trouble import TroubleKind, troubles

_log = log.get("keepalived")

#: Between two searches through the open files of all processes of this machine, which are expensive.
SEARCH_INTERVAL_S = 60.0

_RECORD = "keepalived"
_UNSEEN = (
    "keepalived reports events, but failoverd finds none of its processes and would not notice its death; "
    "have it write into failoverd's FIFO (vrrp_notify_fifo), and run it where failoverd sees all processes"
)


class KeepalivedWatch:
    """Calls `changed(instances, condition)` in the event loop; never before a keepalived was seen once.

    `fifo`: the one into which keepalived writes. `look` finds the processes; their death is then noticed at once, a new
    or a frozen process by the next `look`.
    """

    def __init__(self, fifo: Path, changed: Callable[[frozenset[str], Keepalived], None]) -> None:
        self._fifo = fifo
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._roster, self._speakers = records.read(_RECORD, _parse) or (Roster(), {})
        self._seen_once = bool(self._roster.processes or self._speakers)
        self._checked = False
        self._check_began = 0
        self._other_starts: list[int] | None = None
        self._last_candidates: dict[str, list[Daemon]] = {}
        self._watched: dict[Identity, int] = {}
        self._searching: asyncio.Task[None] | None = None
        self._last_search = -SEARCH_INTERVAL_S
        self.conditions: dict[str, Keepalived] = {}

    def close(self) -> None:
        """Stop watching."""
        if self._searching is not None:
            self._searching.cancel()
        for identity in list(self._watched):
            self._forget(identity)

    @property
    def pids(self) -> frozenset[int]:
        """The pids of all keepaliveds that live."""
        return frozenset(pid for pid, _ in self._roster.processes)

    def follow(self, instances: Collection[str]) -> None:
        """Report these instances from now on, and the new ones at once."""
        for name in set(self._last_candidates) - set(instances):
            del self._last_candidates[name]
            self.conditions.pop(name, None)
        for name in set(instances) - set(self._last_candidates):
            self._last_candidates[name] = self._candidates(name)
        if self._checked:
            self._tell()

    def look(self) -> None:
        """Check all processes now; `changed` is called before this returns. If they cannot be read, nothing changes."""
        self._check_began = processes.now()  # a process that starts during the check may be missed
        self._other_starts = None
        try:
            differs = self._roster.look({daemon for speakers in self._speakers.values() for daemon in speakers})
        except OSError as error:
            _log.warning("cannot read keepalived's processes", error=str(error))
            return
        found = set(self._roster.processes)
        for identity in set(self._watched) - found:
            self._forget(identity)
        for identity in found - set(self._watched):
            self._follow(identity)
        self._seen_once = self._seen_once or bool(found)
        self._checked = True
        if differs:
            self._remember()
        self._tell()

    def started(self, instance: str) -> int:
        """The earliest start, in ticks since boot, of a keepalived that may report the instance now or later."""
        identities = (identity for daemon in self._candidates(instance) for identity in daemon.processes)
        return min((started for _, started in identities), default=self._check_began)

    def lives(self, instance: str, at: int | None) -> bool:
        """Whether the keepalived that reported the instance at the time `at` may still live.

        `at`: ticks since boot; None: before this watch began. A keepalived of another user or network namespace may not
        have been found, so any process that sends VRRP counts.
        """
        if not self._checked or (at is not None and at >= self._check_began):
            return True
        if self._candidates(instance) and (at is None or self.started(instance) <= at):
            return True
        if self._other_starts is None:
            self._other_starts = self._roster.others()
        return any(at is None or started <= at for started in self._other_starts)

    def notice(self) -> None:
        """Check now if a process has died and the event loop has not reported it yet."""
        poll = select.poll()
        for descriptor in self._watched.values():
            poll.register(descriptor, select.POLLIN)
        if poll.poll(0):
            self.look()

    # ------------------------------------------------------------ the keepalived of each instance

    def heard(self, instance: str, pid: int) -> None:
        """A hook, the process `pid`, reported the instance: the keepalived among its ancestors is the one."""
        if instance not in self._last_candidates:
            return
        for ancestor in processes.ancestors(pid):
            daemon = self._of(ancestor)
            if daemon is not None:
                self._credit([instance], [daemon])
                return
        self._miss([instance])

    def owns(self, instance: str, pid: int) -> None:
        """The owner of keepalived's name on D-Bus, the process `pid`, has the instance."""
        daemon = self._of(pid) if instance in self._last_candidates else None
        if daemon is not None:
            self._credit([instance], [daemon])

    def wrote(self, instances: Collection[str]) -> None:
        """The FIFO reported these instances. It does not show its writer, so it counts only if nothing else does."""
        followed = [name for name in instances if name in self._last_candidates]
        unknown = [name for name in followed if not any(d.processes for d in self._speakers.get(name, ()))]
        if unknown:
            self.look()
            living = self._roster.living
            self._credit(unknown, [d for d in living if any(processes.writes(pid, self._fifo) for pid in d.pids)])
            self._miss(unknown)

    def speakers(self, instance: str) -> list[list[int]]:
        """The pids of each keepalived that may report the instance."""
        return [daemon.pids for daemon in self._candidates(instance)]

    def _of(self, pid: int) -> Daemon | None:
        """The keepalived that the process, which reports states, belongs to; None if it belongs to none."""
        if pid not in self.pids and self._roster.learn(pid):
            self.look()
        return next((daemon for daemon in self._roster.living if pid in daemon.pids), None)

    def _credit(self, instances: Iterable[str], daemons: list[Daemon]) -> None:
        changed = [name for name in instances if daemons and self._speakers.get(name) != daemons]
        if changed:
            self._speakers |= dict.fromkeys(changed, daemons)
            self._remember()
            self._tell()

    def _miss(self, instances: list[str]) -> None:
        """Instances are reported, and no process is found: search all that have the FIFO open, but not too often."""
        unseen = [name for name in instances if name not in self.conditions]
        if unseen and self._searching is None and time.monotonic() >= self._last_search + SEARCH_INTERVAL_S:
            self._last_search = time.monotonic()
            self._searching = self._loop.create_task(self._search(unseen))

    async def _search(self, instances: list[str]) -> None:
        try:
            writers = await threads.run(processes.writers, self._fifo)
        finally:
            self._searching = None
        if {pid for pid in writers if self._roster.learn(pid)}:
            self.wrote(instances)
        elif not self.conditions:
            troubles.begin(TroubleKind.KEEPALIVED_PROCESSES, _UNSEEN)

    # ------------------------------------------------------------ the condition of each instance

    def _candidates(self, instance: str) -> list[Daemon]:
        """The living keepaliveds that may report it: those that did, else their successors; all if none ever did."""
        speakers = self._speakers.get(instance, [])
        alive = [daemon for daemon in speakers if daemon.processes]
        return alive or [d for d in self._roster.living if all(d not in dead.survivors for dead in speakers)]

    def _condition(self, candidates: list[Daemon]) -> Keepalived | None:
        if not candidates:
            return Keepalived.GONE if self._seen_once else None
        frozen = any(each for daemon in candidates for each in daemon.processes.values())
        return Keepalived.STOPPED if frozen else Keepalived.RUNNING

    def _tell(self) -> None:
        replaced: set[str] = set()
        news: dict[Keepalived, set[str]] = defaultdict(set)
        for name, before in self._last_candidates.items():
            candidates, reported = self._candidates(name), self.conditions.get(name)
            condition = self._condition(candidates)
            if condition is None:
                continue
            died = bool(before) and not any(daemon.processes for daemon in before)
            if died and candidates and reported is not Keepalived.GONE:
                replaced.add(name)  # reported as gone first, so that the dead ones' last state is discarded
            if name in replaced or condition is not reported:
                news[condition].add(name)
            self._last_candidates[name] = candidates or before
        self._change(Keepalived.GONE, replaced)
        for condition, names in news.items():
            self._change(condition, names)

    def _change(self, condition: Keepalived, instances: Collection[str]) -> None:
        if instances:
            _log.info("keepalived", condition=condition.value, instances=sorted(instances), pids=sorted(self.pids))
            troubles.end(TroubleKind.KEEPALIVED_PROCESSES)
            self.conditions |= dict.fromkeys(instances, condition)
            self._changed(frozenset(instances), condition)

    # ------------------------------------------------------------ pidfds, and the record

    def _follow(self, identity: Identity) -> None:
        pid, started = identity
        descriptor = pidfd.hold(pid, lambda: (it := processes.look(pid)) is not None and it.started == started)
        if descriptor is None:
            return  # it has just ended: the next check finds that
        self._watched[identity] = descriptor
        self._loop.add_reader(descriptor, self._died, identity)

    def _died(self, identity: Identity) -> None:
        self._forget(identity)
        self.look()

    def _forget(self, identity: Identity) -> None:
        descriptor = self._watched.pop(identity)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def _remember(self) -> None:
        speakers = {name: [self._roster.number(each) for each in known] for name, known in self._speakers.items()}
        records.write(_RECORD, {**self._roster.dump(), "speakers": speakers})


def _parse(record: Mapping[str, Any]) -> tuple[Roster, dict[str, list[Daemon]]]:
    roster = Roster()
    daemons = roster.load(record)
    speakers = record["speakers"].items()
    return roster, {name: [daemons[int(number(each))] for each in known] for name, known in speakers}
