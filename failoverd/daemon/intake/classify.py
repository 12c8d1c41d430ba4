"""Give each event of a turn its verdict, and sum up the changes. No I/O and no clock here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from failoverd.core.ordering import Newest, Ordering, Verdict
from failoverd.core.words import VrrpState

if TYPE_CHECKING:
    from collections.abc import Callable

    from failoverd.daemon.intake.wire import HookReport, Report

#: keepalived is MASTER and has received an advert of lower priority: no change of state, but a reason to check.
MASTER_RX_LOWER_PRI = "MASTER_RX_LOWER_PRI"

#: The priority of the router that owns the addresses (RFC 9568).
OWNER_PRIORITY = 255

#: Instances whose events are put in order; names without limit must not take memory without limit.
MAX_INSTANCES = 1024

#: Where an event may come from.
SOURCES = ("fifo", "hook", "spool")

_STATES = {state.value: state for state in VrrpState}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The change of one instance in a turn. `state`: the new keepalived state; None: it did not change.

    `reassert`: check everything, whether the state changed or not. `rival`: keepalived, as MASTER, has received the
    advert of another MASTER. `source`: one of SOURCES.
    """

    name: str
    state: VrrpState | None
    reassert: bool
    source: str
    rival: bool = False


class ReportedEvent(NamedTuple):
    """One event and its verdict, for the history. `kind` and `state` as in `Report`, `source` as in `Change`.

    `wall`: the time of arrival, in seconds since the epoch.
    """

    kind: str
    name: str
    state: str
    source: str
    verdict: Verdict
    wall: float


class Batch(NamedTuple):
    """The results of a turn: the states to record, the changes to deliver, and all events."""

    newest: list[Newest]
    changes: list[Change]
    events: list[ReportedEvent]


class Classifier:
    """Classifies events one after another; `end` returns at most one change for each instance.

    `boot`: this boot's id. `followed` and `lives`: as `Intake` has them.
    """

    def __init__(self, boot: str, followed: frozenset[str], lives: Callable[[str, int | None], bool]) -> None:
        self.followed = followed
        self.counts: Counter[tuple[str, Verdict]] = Counter()
        self.ordering = Ordering()
        self._boot = boot
        self._lives = lives
        self._events: list[ReportedEvent] = []
        self._changes: dict[str, Change] = {}
        self._touched: set[str] = set()

    def fifo(self, report: Report, ticks: int, wall: float, *, lost: bool, kept: bool) -> None:
        """Classify the FIFO's next line, read no later than `ticks`. `lost`: keepalived may have dropped lines near it.

        `kept`: it may have been in the pipe before this daemon started.
        """
        state = _STATES.get(report.state)
        verdict = Verdict.IGNORED
        if state and self._ordered(report.name):
            owner = report.priority == OWNER_PRIORITY
            dead = kept and state is VrrpState.MASTER and not self._lives(report.name, None)
            verdict = self.ordering.fifo(report.name, state, None if lost else ticks, owner=owner, dead=dead)
        self._classified(report, state, verdict, source="fifo", wall=wall)
        if lost:
            self._recheck(report.name, "fifo")

    def hook(self, hook: HookReport, source: str, wall: float) -> None:
        """Classify a hook's report, which arrived through `source`."""
        report = hook.report
        state = _STATES.get(report.state)
        verdict = Verdict.IGNORED
        if hook.boot != self._boot:
            state, verdict = None, Verdict.STALE
        elif state and self._ordered(report.name):
            spooled = source == "spool" and state is VrrpState.MASTER
            dead = spooled and not self._lives(report.name, hook.ticks)
            verdict = self.ordering.hook(report.name, state, hook.ticks, hook.pid, dead=dead)
        self._classified(report, state, verdict, source=source, wall=wall)

    def end(self) -> Batch:
        """End the turn, and return its results."""
        newest = [found for name in self._touched if (found := self.ordering.newest(name))]
        turn = Batch(newest, list(self._changes.values()), self._events)
        self._events = []
        self._changes = {}
        self._touched = set()
        return turn

    def _ordered(self, name: str) -> bool:
        # An instance that is not followed is ordered as well: after a reload that follows it, its state is known.
        return name in self.ordering or name in self.followed or len(self.ordering) < MAX_INSTANCES

    def _classified(
        self,
        report: Report,
        state: VrrpState | None,
        verdict: Verdict,
        *,
        source: str,
        wall: float,
    ) -> None:
        kind, name, keepalived_state, _ = report
        if state:
            self._touched.add(name)
        if name not in self.followed:
            verdict = Verdict.IGNORED
        elif verdict is Verdict.ACCEPTED:
            # A state that came and went within the turn may have had effects: everything must be checked.
            before = self._changes.get(name)
            self._changes[name] = Change(
                name=name,
                state=state,
                reassert=before is not None,
                source=source,
                rival=before is not None and before.rival,
            )
        elif keepalived_state == MASTER_RX_LOWER_PRI and verdict is Verdict.IGNORED:
            verdict = Verdict.DUPLICATE
            self._recheck(name, source, rival=True)
        self.counts[source, verdict] += 1
        self._events.append(ReportedEvent(kind, name, keepalived_state, source, verdict, wall))

    def _recheck(self, name: str, source: str, *, rival: bool = False) -> None:
        if name in self.followed:
            before = self._changes.get(name)
            self._changes[name] = Change(
                name=name,
                state=before.state if before else None,
                reassert=True,
                source=source,
                rival=rival or (before is not None and before.rival),
            )
