"""All that keepalived says, from the notify socket, its FIFO and the spool, as changes in the right order.

Everything happens on the event loop, in turns: what has come in is judged, the newest states are recorded, hooks
get their acknowledgement, and then the service hears, for each instance that it follows, the last change of the
turn, so that a burst of events is one change. The FIFO is always emptied before a hook is judged (`core.ordering`
says why). Nothing that comes in from outside raises, and nothing here waits.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from failoverd import processes
from failoverd.core.ordering import Verdict
from failoverd.daemon.access import Peer, peer
from failoverd.daemon.intake.errors import Complaints, IntakeError
from failoverd.daemon.intake.fifo import Fifo
from failoverd.daemon.intake.judge import REASSERT, Change, Judge, Told
from failoverd.daemon.intake.lastevents import LastEvents
from failoverd.daemon.intake.lookout import Lookout
from failoverd.daemon.intake.notify import NotifySocket
from failoverd.daemon.intake.readers import Readers
from failoverd.daemon.intake.spool import Spools
from failoverd.daemon.intake.strangers import Strangers
from failoverd.daemon.intake.wire import Handed, Said, of_lvs, parse_fifo, parse_hook
from failoverd.daemon.restraint import Restraint

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection
    from pathlib import Path

    from failoverd.core.words import VrrpState
    from failoverd.records import Records

__all__ = ["Change", "Intake", "IntakeError", "Told"]

#: Looks at the FIFO after which a turn ends though the FIFO is not empty: one full pipe.
LOOKS = 16

#: Spooled files read in one turn.
FILES = 256

#: Seconds between two looks at an instance that two nodes are MASTER of, as long as keepalived says so.
REASSERTIONS = 1.0


class _Settle(Protocol):
    def __call__(self, *, recorded: bool) -> None: ...


class _Pending(NamedTuple):
    """A hook's event that is not judged yet. `settle` is owed to it, with whether it was recorded."""

    handed: Handed
    source: str
    settle: _Settle


class Intake:
    """The room where events come in. Made and used on the running loop.

    `deliver` gets the changes of a turn, at most one for each followed instance; `record` gets every event of a turn;
    `heard` is told of each hook that is there, its instance and pid, before its event is judged; `judging` is called
    when something was read and before it is judged, `disturbed` when something was removed from the runtime directory.
    None is called from within `start`. `admits`: whose hooks are heard; `keepaliveds`: which pids are keepalived's.
    `listener` is systemd's notify socket, `held` the descriptor of its FIFO; None where there is none.
    """

    def __init__(
        self,
        runtime_dir: Path,
        records: Records,
        *,
        deliver: Callable[[list[Change]], None],
        record: Callable[[list[Told]], None] = lambda _told: None,
        heard: Callable[[str, int], None] = lambda _name, _pid: None,
        judging: Callable[[], None] = lambda: None,
        disturbed: Callable[[], None] = lambda: None,
        keepaliveds: Callable[[], Collection[int]] = tuple,
        admits: Callable[[Peer], bool] = lambda _peer: True,
        followed: frozenset[str] = frozenset(),
        listener: socket.socket | None = None,
        held: int | None = None,
    ) -> None:
        self._dir = runtime_dir
        self._deliver = deliver
        self._record = record
        self._heard = heard
        self._judging = judging
        self._loop = asyncio.get_running_loop()
        self._judge = Judge(records.boot, followed)
        self._complaints = Complaints(time.monotonic)
        self._reassertions = Restraint(REASSERTIONS, self._hear_last)
        self._last = LastEvents(records, self._complaints)
        fifo = runtime_dir / "keepalived.fifo"
        self._held = held
        self._readers = Readers(fifo, self._complaints, keepaliveds)
        self._spools = Spools(runtime_dir, self._complaints)
        self._lookout = Lookout(
            runtime_dir,
            self._spools,
            self._readers,
            disturbed=disturbed,
            restore=self._restore,
            happened=self._look_into_spools,
        )
        self._fifo = Fifo(fifo, self._complaints, readable=self._turn, opened=self._lookout.watch_fifo)
        self._strangers = Strangers(self._complaints)
        self._notify = NotifySocket(
            runtime_dir / "notify.sock",
            listener=listener,
            received=self._received,
            admits=admits,
            strange=lambda who, line: self._strangers.turn_away(who, line, self.followed),
            complaints=self._complaints,
        )
        self._open = False
        self._looks = 0
        self._lost = False
        self._next_turn: asyncio.Handle | None = None
        self._pending: list[_Pending] = []

    @property
    def followed(self) -> frozenset[str]:
        """The instances whose changes are delivered. May be set at any time; ask `last` for those that are new."""
        return self._judge.followed

    @followed.setter
    def followed(self, names: frozenset[str]) -> None:
        self._judge.followed = names

    @property
    def counters(self) -> dict[str, int]:
        """How many events were accepted, duplicate, stale, ignored, and rejected (not events at all)."""
        counts = {verdict.value: count for verdict, count in self._judge.counts.items()}
        return {**counts, "rejected": self._complaints.rejected}

    def last(self, name: str) -> VrrpState | None:
        """The newest state that keepalived told of `name` in this boot, also to an earlier daemon; None: nothing."""
        newest = self._judge.ordering.newest(name)
        return newest.state if newest else None

    def voided(self, name: str) -> bool:
        """Whether it was recorded, in this boot, that no word of keepalived binds."""
        newest = self._judge.ordering.newest(name)
        return newest is not None and newest.state is None

    def void(self, name: str) -> None:
        """Record that no word of keepalived binds until its next one."""
        ordering = self._judge.ordering
        if ordering.void(name) and (newest := ordering.newest(name)):
            self._last.write([newest])

    def died(self, name: str, since: int) -> None:
        """The keepalived that spoke for `name` has died: that it was MASTER does not bind the next one.

        `since`: when that one was started, at the earliest, in ticks since boot.
        """
        ordering = self._judge.ordering
        ordering.died(name, since)
        if newest := ordering.newest(name):
            self._last.write([newest])

    def void_strangers(self) -> None:
        """Forget who was MASTER of what nobody follows: who told it may have died."""
        for name in self._judge.ordering.masters():
            if name not in self.followed:
                self.void(name)

    def look(self) -> None:
        """Record what could not be recorded; the hooks that were not acknowledged for that have spooled it."""
        self._readers.look_again()
        if not self._last.recorded and self._last.write(()):
            self._lookout.rescan()

    def start(self) -> None:
        """Open everything and take up what is left of an earlier daemon. IntakeError when it cannot be done."""
        self._open = True
        try:
            self._open_all()
        except IntakeError:
            self.close()
            raise
        self._loop.call_soon(self._lookout.rescan)

    def close(self) -> None:
        """Let go of everything. Hooks that were not judged yet are not acknowledged, so they spool what they have."""
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
            each.settle(recorded=False)
        self._spools.close()
        self._last.write(self._judge.end().newest)

    def _open_all(self) -> None:
        try:
            self._dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise IntakeError(self._dir, f"cannot be the runtime directory: {error.strerror}") from error
        for newest in self._last.restore():
            self._judge.ordering.restore(newest)
        self._spools.open()
        self._lookout.open()
        held, self._held = self._held, None
        self._fifo.open(held)
        self._notify.open()

    # What wakes it up.

    def _received(self, lines: list[tuple[bytes, socket.socket]]) -> None:
        for line, connection in lines:
            handed = parse_hook(line)
            if handed:
                self._heard(handed.said.name, peer(connection).pid)
                self._pending.append(_Pending(handed, "hook", partial(self._notify.finish, connection)))
            elif self._strangers.wrong_words(line):
                self._notify.finish(connection, recorded=True)
            else:
                self._complaints.reject("not an event on the notify socket", line=line[:80])
                connection.close()
        self._turn()

    def _look_into_spools(self) -> None:
        if not self._open:
            return
        for spool, name, line in self._spools.take(FILES):
            handed = parse_hook(line)
            if handed:
                self._pending.append(_Pending(handed, "spool", partial(spool.finish, name)))
            elif self._strangers.wrong_words(line):
                spool.finish(name, recorded=True)
            else:
                spool.reject(name)
        self._turn()
        if self._spools.waiting():
            self._loop.call_soon(self._look_into_spools)

    def _restore(self) -> None:
        self._fifo.restore()

    # One turn.

    def _turn(self) -> None:
        self._looks += 1
        if self._next_turn:
            self._next_turn.cancel()
            self._next_turn = None
        if not self._empty_fifo() and self._looks < LOOKS:
            # Others on the loop have their say first. Readability will not do: the pipe may be empty by now.
            self._next_turn = self._loop.call_soon(self._turn)
            return
        self._looks = 0
        pending, self._pending = self._pending, []
        if pending:
            self._judging()
        wall = time.time()
        for handed, source, _ in pending:
            self._hear(handed.said, partial(self._judge.hook, handed, source, wall))
        newest, changes, told = self._judge.end()
        recorded = self._last.write(newest)
        for each in pending:
            each.settle(recorded=recorded)
        if changes:
            self._deliver(changes)
        if told:
            self._record(told)

    def _hear(self, said: Said, judge: Callable[[], None]) -> None:
        """Keepalived says at each advert of another MASTER that it heard it: that is worth one look in a while."""
        if said.word != REASSERT or self._reassertions.admits(said.name, judge):
            judge()

    def _hear_last(self, judge: Callable[[], None], held: int) -> None:
        self._judge.counts[Verdict.DUPLICATE] += held - 1
        judge()
        self._turn()

    def _empty_fifo(self) -> bool:
        lines, empty, full = self._fifo.look()
        if full:
            self._lost = True
            self._complaints.trouble("keepalived's FIFO was full: some of its lines may be lost")
        # Taken after reading: what the FIFO has told happened no later than this.
        ticks = processes.now()
        wall = time.time()
        if lines:
            self._judging()  # with nothing read in between: who died before its successor wrote these has died by now
        for line in lines:
            said = parse_fifo(line)
            if said:
                self._hear(said, partial(self._judge.fifo, said, ticks, wall, lost=self._lost))
            elif of_lvs(line):
                self._judge.counts[Verdict.IGNORED] += 1
            else:
                self._complaints.reject("not an event in keepalived's FIFO", line=line[:80])
        if empty:
            self._lost = False
        return empty
