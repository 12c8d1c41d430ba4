"""What has come in since the last turn, judged and counted. No I/O and no clock here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from failoverd.core.ordering import Newest, Ordering, Verdict
from failoverd.core.words import VrrpState

if TYPE_CHECKING:
    from failoverd.daemon.intake.wire import Handed, Said

#: keepalived's word for "another node with a lower priority speaks, and I am MASTER": no change, but look again.
REASSERT = "MASTER_RX_LOWER_PRI"

#: The priority of who owns the addresses (RFC 5798).
OWNER = 255

#: Instances whose order is kept; an unlimited number of names must not take unlimited memory.
NAMES = 1024

_STATES = {state.value: state for state in VrrpState}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the core has to know. `state` None: nothing changed. `reassert`: verify everything, changed or not.

    `rival`: because keepalived, as MASTER, heard another one.

    `source` is fifo, hook or spool. `ticks` (since boot) is when the change happened if a hook told it, and when it
    was read if the FIFO did; `wall` is when it came in, in seconds since the epoch.
    """

    name: str
    state: VrrpState | None
    reassert: bool
    source: str
    ticks: int
    wall: float
    rival: bool = False


class Told(NamedTuple):
    """One event as it was told and judged, for the history. Fields as in `Change`; `pid` is the hook's.

    `word` is a VRRP state or another of keepalived's words, `priority` None when it was not told.
    """

    kind: str
    name: str
    word: str
    priority: int | None
    source: str
    ticks: int
    pid: int | None
    verdict: Verdict
    wall: float


class Turn(NamedTuple):
    """What a turn came to: what to keep, what to deliver, and all that was told."""

    newest: list[Newest]
    changes: list[Change]
    told: list[Told]


class Judge:
    """Judges events one after another; `end` gives what they came to, at most one change for each instance."""

    def __init__(self, boot: str, followed: frozenset[str]) -> None:
        self.followed = followed
        self.counts = dict.fromkeys(Verdict, 0)
        self.ordering = Ordering()
        self._boot = boot
        self._told: list[Told] = []
        self._changes: dict[str, Change] = {}
        self._touched: set[str] = set()

    def fifo(self, said: Said, ticks: int, wall: float, *, lost: bool) -> None:
        """The FIFO's next line. `lost`: lines before or after it may never have got into the pipe."""
        state = _STATES.get(said.word)
        verdict = Verdict.IGNORED
        if state and self._ordered(said.name):
            owner = said.priority == OWNER
            verdict = self.ordering.fifo(said.name, state, None if lost else ticks, owner=owner)
        self._judged(said, state, verdict, source="fifo", ticks=ticks, pid=None, wall=wall)
        if lost:
            self._look_again(said.name, "fifo", ticks, wall)

    def hook(self, handed: Handed, source: str, wall: float) -> None:
        """What a hook handed over, through `source`."""
        said = handed.said
        state = _STATES.get(said.word)
        verdict = Verdict.IGNORED
        if handed.boot != self._boot:
            state, verdict = None, Verdict.STALE
        elif state and self._ordered(said.name):
            verdict = self.ordering.hook(said.name, state, handed.ticks, handed.pid)
        self._judged(said, state, verdict, source=source, ticks=handed.ticks, pid=handed.pid, wall=wall)

    def end(self) -> Turn:
        """End the turn."""
        newest = [found for name in self._touched if (found := self.ordering.newest(name))]
        turn = Turn(newest, list(self._changes.values()), self._told)
        self._told = []
        self._changes = {}
        self._touched = set()
        return turn

    def _ordered(self, name: str) -> bool:
        # What nobody follows is ordered as well: a reload may follow it, and then its newest state is known.
        return name in self.ordering or name in self.followed or len(self.ordering) < NAMES

    def _judged(
        self,
        said: Said,
        state: VrrpState | None,
        verdict: Verdict,
        *,
        source: str,
        ticks: int,
        pid: int | None,
        wall: float,
    ) -> None:
        kind, name, word, priority = said
        if state:
            self._touched.add(name)
        if name not in self.followed:
            verdict = Verdict.IGNORED
        elif verdict is Verdict.ACCEPTED:
            # A state that came and went within the turn left its marks: everything is to be verified.
            before = self._changes.get(name)
            self._changes[name] = Change(
                name=name,
                state=state,
                reassert=before is not None,
                source=source,
                ticks=ticks,
                wall=wall,
                rival=before is not None and before.rival,
            )
        elif word == REASSERT and verdict is Verdict.IGNORED:
            verdict = Verdict.DUPLICATE
            self._look_again(name, source, ticks, wall, rival=True)
        self.counts[verdict] += 1
        self._told.append(Told(kind, name, word, priority, source, ticks, pid, verdict, wall))

    def _look_again(self, name: str, source: str, ticks: int, wall: float, *, rival: bool = False) -> None:
        if name in self.followed:
            before = self._changes.get(name)
            self._changes[name] = Change(
                name=name,
                state=before.state if before else None,
                reassert=True,
                source=source,
                ticks=ticks,
                wall=wall,
                rival=rival or (before is not None and before.rival),
            )
