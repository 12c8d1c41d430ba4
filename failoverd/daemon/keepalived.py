"""Whether the keepalived that speaks for an instance lives: its processes, watched by pidfd, without polling.

There may be several. Which one speaks for an instance is told by the hook's ancestors and by D-Bus, and by the FIFO
where only one writes into it. Where nothing tells, all of them count together.

What was found is recorded, so that a restarted failoverd still knows that the keepalived that it had seen is gone. A
frozen keepalived (SIGSTOP) gives no sign of it, so it is looked for now and then.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from failoverd import log, processes, threads
from failoverd.core.words import Keepalived
from failoverd.daemon.roster import Daemon, Identity, Roster
from failoverd.records import records
from failoverd.trouble import troubles

_log = log.get("keepalived")

#: Seconds between two searches through all that the machine's processes have open.
SEARCH = 60.0

_RECORD = "keepalived"
_TROUBLE = "keepalived"
_UNSEEN = (
    "keepalived speaks, but no process of it is found, so that its death would not be noticed: "
    "let it write into failoverd's FIFO (vrrp_notify_fifo), and run it where failoverd sees all processes"
)


class KeepalivedWatch:
    """Tells `changed(instances, condition)` in the event loop; nothing while no keepalived was ever seen.

    `fifo`: keepalived's. What a look finds is followed from then on; what is started later, or frozen, the next look
    finds.
    """

    def __init__(self, fifo: Path, changed: Callable[[frozenset[str], Keepalived], None]) -> None:
        self._fifo = fifo
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._roster = Roster()
        self._speakers: dict[str, list[Daemon]] = {}
        self._recall()
        self._ever = bool(self._roster.processes or self._speakers)
        self._looked = False
        self._began = 0
        self._judged: dict[str, list[Daemon]] = {}
        self._watched: dict[Identity, int] = {}
        self._searching: asyncio.Task[None] | None = None
        self._searched = -SEARCH
        self.conditions: dict[str, Keepalived] = {}

    def close(self) -> None:
        """Stop watching."""
        if self._searching is not None:
            self._searching.cancel()
        for identity in list(self._watched):
            self._forget(identity)

    @property
    def pids(self) -> frozenset[int]:
        """All processes of all keepaliveds that live."""
        return frozenset(pid for pid, _ in self._roster.processes)

    def follow(self, instances: Collection[str]) -> None:
        """From now on these are told of; those that are new, at once."""
        for name in set(self._judged) - set(instances):
            del self._judged[name]
            self.conditions.pop(name, None)
        for name in set(instances) - set(self._judged):
            self._judged[name] = self._candidates(name)
        if self._looked:
            self._tell()

    def look(self) -> None:
        """Look now; `changed` is called before this returns. What cannot be seen has not changed."""
        self._began = processes.now()  # who is started while this looks may go unseen
        try:
            differs = self._roster.look({daemon for speakers in self._speakers.values() for daemon in speakers})
        except OSError as error:
            _log.warning("cannot look for keepalived's processes", error=str(error))
            return
        found = set(self._roster.processes)
        for identity in set(self._watched) - found:
            self._forget(identity)
        for identity in found - set(self._watched):
            self._follow(identity)
        self._ever = self._ever or bool(found)
        self._looked = True
        if differs:
            self._remember()
        self._tell()

    def started(self, instance: str) -> int:
        """When the keepalived that may speak for it now, or is yet to come, was started at the earliest, in ticks."""
        identities = (identity for daemon in self._judged.get(instance, ()) for identity in daemon.processes)
        return min((started for _, started in identities), default=self._began)

    def notice(self) -> None:
        """Look, if one has died that the loop has not told of yet."""
        poll = select.poll()
        for descriptor in self._watched.values():
            poll.register(descriptor, select.POLLIN)
        if poll.poll(0):
            self.look()

    # ------------------------------------------------------------ who speaks for whom

    def heard(self, instance: str, pid: int) -> None:
        """A hook that runs as `pid` told of the instance: the keepalived among its ancestors speaks for it."""
        if instance not in self._judged:
            return
        for ancestor in processes.ancestors(pid):
            daemon = self._of(ancestor)
            if daemon is not None:
                self._credit([instance], [daemon])
                return
        self._miss([instance])

    def owns(self, instance: str, pid: int) -> None:
        """The owner of keepalived's name on D-Bus, which runs as `pid`, has the instance."""
        daemon = self._of(pid) if instance in self._judged else None
        if daemon is not None:
            self._credit([instance], [daemon])

    def wrote(self, instances: Collection[str]) -> None:
        """The FIFO told of these. It does not say who wrote: that counts where nothing better is known."""
        told = [name for name in instances if name in self._judged]
        unknown = [name for name in told if not any(d.processes for d in self._speakers.get(name, ()))]
        if unknown:
            self.look()
            living = self._roster.living
            self._credit(unknown, [d for d in living if any(processes.writes(pid, self._fifo) for pid in d.pids)])
            self._miss(unknown)

    def speakers(self, instance: str) -> list[list[int]]:
        """The processes of each that may speak for the instance."""
        return [daemon.pids for daemon in self._candidates(instance)]

    def _of(self, pid: int) -> Daemon | None:
        """The keepalived that the process, which speaks to us, belongs to."""
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
        """Somebody speaks, and no process is found: look at all that have the FIFO open, but not too often."""
        unseen = [name for name in instances if name not in self.conditions]
        if unseen and self._searching is None and time.monotonic() >= self._searched + SEARCH:
            self._searched = time.monotonic()
            self._searching = self._loop.create_task(self._search(unseen))

    async def _search(self, instances: list[str]) -> None:
        try:
            writers = await threads.run(processes.writers, self._fifo)
        finally:
            self._searching = None
        if {pid for pid in writers if self._roster.learn(pid)}:
            self.wrote(instances)
        elif not self.conditions:
            troubles.begin(_TROUBLE, _UNSEEN)

    # ------------------------------------------------------------ what it means

    def _candidates(self, instance: str) -> list[Daemon]:
        """Those that live and may speak for it: who did, or who came in their place; all, where nothing tells."""
        speakers = self._speakers.get(instance, [])
        alive = [daemon for daemon in speakers if daemon.processes]
        return alive or [d for d in self._roster.living if all(d not in dead.survivors for dead in speakers)]

    def _condition(self, candidates: list[Daemon]) -> Keepalived | None:
        if not candidates:
            return Keepalived.GONE if self._ever else None
        frozen = any(each for daemon in candidates for each in daemon.processes.values())
        return Keepalived.STOPPED if frozen else Keepalived.RUNNING

    def _tell(self) -> None:
        replaced: set[str] = set()
        news: dict[Keepalived, set[str]] = defaultdict(set)
        for name, before in self._judged.items():
            candidates, told = self._candidates(name), self.conditions.get(name)
            condition = self._condition(candidates)
            if condition is None:
                continue
            died = bool(before) and not any(daemon.processes for daemon in before)
            if died and candidates and told is not Keepalived.GONE:
                replaced.add(name)  # others stand in their place: the old ones' word died with them
            if name in replaced or condition is not told:
                news[condition].add(name)
            self._judged[name] = candidates or before
        self._change(Keepalived.GONE, replaced)
        for condition, names in news.items():
            self._change(condition, names)

    def _change(self, condition: Keepalived, instances: Collection[str]) -> None:
        if instances:
            _log.info("keepalived", condition=condition.value, instances=sorted(instances), pids=sorted(self.pids))
            troubles.end(_TROUBLE)
            self.conditions |= dict.fromkeys(instances, condition)
            self._changed(frozenset(instances), condition)

    # ------------------------------------------------------------ following, and remembering

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

    def _recall(self) -> None:
        told = records.read(_RECORD)
        if told is not None:
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                daemons = self._roster.load(told)
                self._speakers = {
                    str(name): [daemons[int(each)] for each in known] for name, known in told["speakers"].items()
                }

    def _remember(self) -> None:
        speakers = {name: [self._roster.number(each) for each in known] for name, known in self._speakers.items()}
        records.write(_RECORD, {**self._roster.dump(), "speakers": speakers})
