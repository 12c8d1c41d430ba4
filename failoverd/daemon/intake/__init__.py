"""Receive keepalived's events from the notify socket, the FIFO and the spool, and deliver changes in order.

keepalived reports a change twice, by hook and by FIFO, and hooks arrive in any order; the core must get each change
once. The intake works on the event loop, in turns. A turn classifies all events that have arrived, records the newest
states, acknowledges the hooks, and delivers at most one change for each followed instance, so that a burst of events is
one change. A turn empties the FIFO before it classifies a hook; `core.ordering` explains the reason.

No input may raise an exception here, and nothing here waits.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from failoverd.core.ordering import Verdict
from failoverd.core.words import VrrpState
from failoverd.daemon.access import peer
from failoverd.daemon.intake.classify import MASTER_RX_LOWER_PRI, SOURCES, Change, Classifier, ReportedEvent
from failoverd.daemon.intake.errors import IntakeError, Rejections
from failoverd.daemon.intake.fifo import Fifo
from failoverd.daemon.intake.last_events import LastEvents
from failoverd.daemon.intake.lookout import Lookout
from failoverd.daemon.intake.notify import NotifySocket
from failoverd.daemon.intake.readers import Readers
from failoverd.daemon.intake.spool import Spools
from failoverd.daemon.intake.strangers import Strangers
from failoverd.daemon.intake.wire import HookReport, Report, of_lvs, parse_fifo, parse_hook
from failoverd.daemon.rate_limit import RateLimit
from failoverd.osutil import processes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection
    from pathlib import Path

    from failoverd.records import Records

__all__ = ["Change", "Intake", "IntakeError", "ReportedEvent"]

#: Reads of the FIFO after which a turn classifies its events although the FIFO is not empty: one full pipe.
MAX_FIFO_READS_PER_TURN = 16

#: Spooled events that one turn reads from each directory.
MAX_SPOOLED_FILES_PER_TURN = 256

#: Seconds between two checks of an instance while keepalived reports another MASTER of it.
REASSERT_INTERVAL_S = 1.0


class _Finish(Protocol):
    def __call__(self, *, recorded: bool) -> None: ...


class _Pending(NamedTuple):
    """A hook's report that is not classified yet. `finish` must be called once: whether the report was recorded."""

    hook: HookReport
    source: str
    finish: _Finish


class Intake:
    """Joins the sources of events, their order, and their record. Made and used on the running loop.

    Callbacks, none of which is called from within `start`:

    * `deliver` gets the changes of a turn, at most one for each followed instance;
    * `record` gets every event of a turn;
    * `hook_connected` gets the instance and the pid of each connected hook, before its event is classified;
    * `classifying` is called after events were read and before they are classified;
    * `removed` is called after a file was removed from the runtime directory.

    `lives`: whether a keepalived that may have reported an instance at a time, in ticks since boot, still runs; the
    time is None for an event from before `start`. `admits`: whether a user (uid) may report. `keepaliveds`: the pids
    of keepalived. `followed`: the instances whose changes are delivered. `listener`: the notify socket that systemd
    passed; `held`: the descriptor of the FIFO that systemd kept open; None without systemd. `overflows`: how often the
    FIFO was full, so that keepalived may have dropped events.
    """

    def __init__(
        self,
        runtime_dir: Path,
        records: Records,
        *,
        deliver: Callable[[list[Change]], None],
        record: Callable[[list[ReportedEvent]], None] = lambda _events: None,
        hook_connected: Callable[[str, int], None] = lambda _name, _pid: None,
        classifying: Callable[[], None] = lambda: None,
        removed: Callable[[], None] = lambda: None,
        lives: Callable[[str, int | None], bool] = lambda _name, _at: True,
        keepaliveds: Callable[[], Collection[int]] = tuple,
        admits: Callable[[int], bool] = lambda _uid: True,
        followed: frozenset[str] = frozenset(),
        listener: socket.socket | None = None,
        held: int | None = None,
    ) -> None:
        self._dir = runtime_dir
        self._deliver = deliver
        self._record = record
        self._hook_connected = hook_connected
        self._classifying = classifying
        self._loop = asyncio.get_running_loop()
        self._boot = records.boot
        self._classifier = Classifier(records.boot, followed, lives)
        self._rejections = Rejections(time.monotonic)
        self.overflows = 0
        self._reassertions = RateLimit(REASSERT_INTERVAL_S, self._classify_last, self._count_dropped)
        self._last = LastEvents(records, self._rejections)
        fifo = runtime_dir / "keepalived.fifo"
        self._held = held
        self._readers = Readers(fifo, self._rejections, keepaliveds)
        self._spools = Spools(runtime_dir, admits, self._rejections)
        self._lookout = Lookout(
            runtime_dir,
            self._spools,
            self._readers,
            removed=removed,
            restore=self._restore,
            happened=self._take_spooled,
        )
        self._fifo = Fifo(fifo, self._rejections, readable=self._turn, opened=self._lookout.watch_fifo)
        self._strangers = Strangers(self._rejections)
        self._notify = NotifySocket(
            runtime_dir / "notify.sock",
            listener=listener,
            received=self._received,
            admits=admits,
            strange=lambda who, line: self._strangers.reject_user(who, line, self.followed),
            rejections=self._rejections,
        )
        self._open = False
        self._fifo_reads = 0
        self._lost = False
        self._kept = True
        self._next_turn: asyncio.Handle | None = None
        self._pending: list[_Pending] = []

    @property
    def followed(self) -> frozenset[str]:
        """The instances whose changes are delivered. May be set at any time; `last` has the state of a new one."""
        return self._classifier.followed

    @followed.setter
    def followed(self, names: frozenset[str]) -> None:
        self._classifier.followed = names

    @property
    def counters(self) -> dict[str, int]:
        """The number of events that were accepted, duplicate, stale, ignored and rejected (glossary, *event*)."""
        counts = self._classifier.counts
        totals = {verdict.value: sum(counts[source, verdict] for source in SOURCES) for verdict in Verdict}
        return {**totals, "rejected": self._rejections.rejected}

    @property
    def counters_by_source(self) -> dict[tuple[str, str], int]:
        """The same without the rejected ones, by source and verdict."""
        counts = self._classifier.counts
        return {(source, verdict.value): counts[source, verdict] for source in SOURCES for verdict in Verdict}

    def last(self, name: str) -> VrrpState | None:
        """The newest state that keepalived reported of `name` in this boot, also to an earlier daemon.

        None: keepalived reported none, or it was discarded.
        """
        newest = self._classifier.ordering.newest(name)
        return newest.state if newest else None

    def discarded(self, name: str) -> bool:
        """Whether keepalived's last state of `name` was discarded in this boot, and it has reported no new one."""
        newest = self._classifier.ordering.newest(name)
        return newest is not None and newest.state is None

    def discard(self, name: str) -> None:
        """Discard keepalived's last state of `name`, also for the next daemon, until keepalived reports a new one."""
        ordering = self._classifier.ordering
        if ordering.void(name) and (newest := ordering.newest(name)):
            self._last.write([newest])

    def died(self, name: str, since: int) -> None:
        """Discard the MASTER state of `name`, because the keepalived that reported it has exited.

        `since`: the earliest start of the next keepalived, in ticks since boot.
        """
        ordering = self._classifier.ordering
        ordering.died(name, since)
        if newest := ordering.newest(name):
            self._last.write([newest])

    def master_since(self, name: str) -> int | None:
        """The latest time, in ticks since boot, at which `name` was reported as MASTER; None: it is not MASTER."""
        newest = self._classifier.ordering.newest(name)
        if newest is None or newest.state is not VrrpState.MASTER:
            return None
        return max(newest.hook[0] if newest.hook else 0, newest.fifo or 0)

    def discard_unfollowed(self) -> None:
        """Discard the MASTER states of instances that failoverd does not follow: their keepalived may have exited."""
        for name in self._classifier.ordering.masters():
            if name not in self.followed:
                self.discard(name)

    def check(self) -> None:
        """Retry what failed: the record of the newest states, the FIFO, the spools, and foreign readers of the FIFO.

        Hooks that were not acknowledged because the record failed have spooled their events: the spools are read again.
        """
        self._readers.check_again()
        self._restore()
        recorded = not self._last.recorded and self._last.write(())
        if recorded or not self._spools.intact():
            self._lookout.rescan()

    def start(self) -> None:
        """Open all sources, and restore the states that an earlier daemon recorded. IntakeError: a source fails."""
        self._open = True
        try:
            self._open_all()
        except IntakeError:
            self.close()
            raise
        self._loop.call_soon(self._lookout.rescan)

    def close(self) -> None:
        """Close all sources. Hooks that were not classified yet get no acknowledgement, so they spool their events."""
        self._open = False
        self._notify.close()
        self._strangers.close()
        self._reassertions.close()
        if self._next_turn:
            self._next_turn.cancel()
        self._readers.close()
        self._fifo.close()
        self._lookout.close()
        pending, self._pending = self._pending, []
        for each in pending:
            each.finish(recorded=False)
        self._spools.close()
        self._last.write(self._classifier.end().newest)

    def _open_all(self) -> None:
        try:
            self._dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise IntakeError(self._dir, f"cannot create the runtime directory: {error.strerror}") from error
        for newest in self._last.restore():
            self._classifier.ordering.restore(newest)
        self._spools.open()
        self._lookout.open()
        held, self._held = self._held, None
        self._fifo.open(held)
        self._notify.open()

    # Sources.

    def _received(self, lines: list[tuple[bytes, socket.socket]]) -> None:
        for line, connection in lines:
            hook = self._parse_hook(line)
            if hook:
                self._hook_connected(hook.report.name, peer(connection).pid)
                self._pending.append(_Pending(hook, "hook", partial(self._notify.finish, connection)))
            elif self._strangers.reject_arguments(line):
                self._notify.finish(connection, recorded=True)
            else:
                self._rejections.reject("rejected a malformed event on the notify socket", line=line[:80])
                connection.close()
        self._turn()

    def _take_spooled(self) -> None:
        if not self._open:
            return
        for spool, name, line in self._spools.take(MAX_SPOOLED_FILES_PER_TURN):
            hook = self._parse_hook(line)
            if hook:
                self._pending.append(_Pending(hook, "spool", partial(spool.finish, name)))
            elif self._strangers.reject_arguments(line):
                spool.finish(name, recorded=True)
            else:
                spool.reject(name)
        self._turn()
        if self._spools.waiting():
            self._loop.call_soon(self._take_spooled)

    def _parse_hook(self, line: bytes) -> HookReport | None:
        """The hook's report in `line`; None when the line is malformed, or its fork time lies in the future."""
        hook = parse_hook(line)
        if hook and hook.boot == self._boot and hook.ticks > processes.now():
            return None
        return hook

    def _restore(self) -> None:
        self._fifo.restore()

    # One turn.

    def _turn(self) -> None:
        self._fifo_reads += 1
        if self._next_turn:
            self._next_turn.cancel()
            self._next_turn = None
        if not self._empty_fifo() and self._fifo_reads < MAX_FIFO_READS_PER_TURN:
            # Other callbacks of the loop run first. `add_reader` does not suffice: the pipe may be empty by now.
            self._next_turn = self._loop.call_soon(self._turn)
            return
        self._fifo_reads = 0
        pending, self._pending = self._pending, []
        if pending:
            self._classifying()
        wall = time.time()
        for hook, source, _ in pending:
            self._limit(source, hook.report, partial(self._classifier.hook, hook, source, wall))
        newest, changes, events = self._classifier.end()
        recorded = self._last.write(newest)
        for each in pending:
            each.finish(recorded=recorded)
        if changes:
            self._deliver(changes)
        if events:
            self._record(events)

    def _limit(self, source: str, report: Report, classify: Callable[[], None]) -> None:
        """Classify now or later: keepalived reports each advert of another MASTER, but one check a second is enough."""
        if report.state != MASTER_RX_LOWER_PRI or self._reassertions.admits(report.name, (source, classify)):
            classify()

    def _classify_last(self, last: tuple[str, Callable[[], None]]) -> None:
        last[1]()
        self._turn()

    def _count_dropped(self, dropped: tuple[str, Callable[[], None]]) -> None:
        self._classifier.counts[dropped[0], Verdict.DUPLICATE] += 1

    def _empty_fifo(self) -> bool:
        lines, empty, full = self._fifo.read()
        if full:
            self._lost = True
            self.overflows += 1
            self._rejections.trouble("keepalived's FIFO was full: keepalived may have dropped events")
        # Taken after reading: the changes in these lines happened no later than this.
        ticks = processes.now()
        wall = time.time()
        if lines:
            self._classifying()  # nothing is read in between, so a death before these lines is known
        for line in lines:
            report = parse_fifo(line)
            if report:
                classify = partial(self._classifier.fifo, report, ticks, wall, lost=self._lost, kept=self._kept)
                self._limit("fifo", report, classify)
            elif of_lvs(line):
                self._classifier.counts["fifo", Verdict.IGNORED] += 1
            else:
                self._rejections.reject("rejected a malformed event in keepalived's FIFO", line=line[:80])
        if empty:
            self._lost = self._kept = False
        return empty
