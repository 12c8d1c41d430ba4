"""Which of the reported changes is the newest.

Two sources may report the changes of one instance, and both may report the same change:

* Hooks. keepalived forks one per change and does not wait for it, so they arrive in any order. Each carries its fork
  time: clock ticks since boot, and its pid for those forked within one tick.
* The FIFO. keepalived writes it in order. It has one thread, so it writes each line right after that change's fork and
  before the next fork. A line carries no time; only the time at which it was read is known.

The rules:

1. A FIFO line that differs from the newest state is a new change. One that repeats it is a duplicate.
2. A hook forked no later than its instance's last FIFO line was read never changes the state: its change has been read
   from the FIFO, or will be at once. It is a duplicate if the FIFO reported that change, else stale.
3. Any other hook is newer than all lines of the FIFO. It changes the state unless a hook of a later fork was received
   already. A hook that repeats the newest state is a duplicate, but hooks of older forks are stale from then on.
4. When a keepalived has died, its unread reports come before those of the next keepalived. A hook that was forked
   before the next one started is stale. A FIFO line does not name its writer; but the next keepalived reports another
   state before MASTER, so until then a MASTER is stale. Only where it owns the addresses (priority 255) does it report
   MASTER at once; that MASTER counts if it was read after the death was known.
5. A report that waited in a spool or in the pipe before this daemon began may come from a keepalived that died before.
   If no keepalived that may have reported it still runs, a MASTER is stale.

Rule 2 requires that the FIFO is read to its end before a hook is classified; then no change is accepted twice. In every
interleaving, the last accepted state is keepalived's current state once all reports have arrived. A line is lost only
if the pipe was full. A reader that found a full pipe passes no time with those lines, and the hooks decide again.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field

from failoverd.core.words import VrrpState

#: Ticks since boot, and pid.
Fork = tuple[int, int]

#: Two pids of one tick that are further apart than this have the pid counter's wrap-around between them.
PIDS_PER_TICK = 10_000

#: How many hooks of an instance are remembered to recognise one that is handed over twice.
REMEMBERED_HOOKS = 512


class Verdict(enum.Enum):
    """The verdict on an event. IGNORED: not a state, or of an instance not followed; `Ordering` never returns it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """All that must survive a restart of failoverd. All times are in ticks.

    `state`: the newest state; None: it was discarded, because the keepalived that reported it has died, or none was
    reported. `hook`: the latest fork that was received; `fifo`: when the last FIFO line was read; None: none was.
    `since`: keepalived has died, and the next one, which started at `since` or later, has reported nothing yet; None
    otherwise.
    """

    name: str
    state: VrrpState | None
    hook: Fork | None = None
    fifo: int | None = None
    since: int | None = None


@dataclass(slots=True)
class _Reported:
    """The reports of one instance. `unpaired`: the changes that the FIFO reported and no hook has reported yet."""

    state: VrrpState | None = None
    hook: Fork | None = None
    fifo: int | None = None
    since: int | None = None
    unpaired: Counter[VrrpState] = field(default_factory=Counter)
    hooks: dict[Fork, None] = field(default_factory=dict)


def later(one: Fork, other: Fork) -> bool:
    """Whether `one` was forked after `other`, also when the pid counter wrapped around in between."""
    if one[0] != other[0]:
        return one[0] > other[0]
    ahead = one[1] - other[1]
    return 0 < ahead <= PIDS_PER_TICK or ahead < -PIDS_PER_TICK


class Ordering:
    """The newest state of every instance, as hooks and keepalived's FIFO report it. Ticks are of CLOCK_BOOTTIME."""

    def __init__(self) -> None:
        self._reported: dict[str, _Reported] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._reported

    def __len__(self) -> int:
        return len(self._reported)

    def fifo(
        self, name: str, state: VrrpState, ticks: int | None, *, owner: bool = False, dead: bool = False
    ) -> Verdict:
        """Classify the FIFO's next line, read no later than `ticks`; None when lines before it may have been lost.

        `owner`: keepalived owns the addresses, so that MASTER may be its first state. `dead`: the keepalived that wrote
        the line has died.
        """
        reported = self._reported.get(name) or self._reported.setdefault(name, _Reported())
        if dead and state is VrrpState.MASTER:
            return Verdict.STALE
        if reported.since is not None and ticks is not None and state is VrrpState.MASTER:
            own = owner and ticks > reported.since
            if not own:
                return Verdict.STALE
        reported.since = None
        if ticks is not None:
            reported.fifo = ticks
        if state is reported.state:
            return Verdict.DUPLICATE
        reported.state = state
        reported.unpaired[state] += 1
        return Verdict.ACCEPTED

    def hook(self, name: str, state: VrrpState, ticks: int, pid: int, *, dead: bool = False) -> Verdict:
        """Classify a hook that was forked at `ticks` as `pid`. `dead`: its keepalived has died."""
        reported = self._reported.get(name) or self._reported.setdefault(name, _Reported())
        fork = (ticks, pid)
        if fork in reported.hooks or fork == reported.hook:
            return Verdict.DUPLICATE
        reported.hooks[fork] = None
        if len(reported.hooks) > REMEMBERED_HOOKS:
            del reported.hooks[next(iter(reported.hooks))]
        newer = reported.hook is None or later(fork, reported.hook)
        if newer:
            reported.hook = fork
        if (dead and state is VrrpState.MASTER) or (reported.since is not None and ticks < reported.since):
            return Verdict.STALE
        reported.since = None
        if reported.fifo is not None and ticks <= reported.fifo:
            return self._reported_by_fifo(reported, state)
        if not newer:
            return Verdict.STALE
        if state is reported.state:
            return Verdict.DUPLICATE
        reported.state = state
        return Verdict.ACCEPTED

    @staticmethod
    def _reported_by_fifo(reported: _Reported, state: VrrpState) -> Verdict:
        if reported.unpaired[state]:
            reported.unpaired[state] -= 1
            return Verdict.DUPLICATE
        return Verdict.DUPLICATE if state is reported.state else Verdict.STALE

    def died(self, name: str, since: int) -> None:
        """The keepalived that reported `name` has died; the next one started at `since`, in ticks, or later."""
        reported = self._reported.get(name) or self._reported.setdefault(name, _Reported())
        reported.since = since
        if reported.state is VrrpState.MASTER:
            reported.state = None

    def masters(self) -> list[str]:
        """The instances whose newest state is MASTER."""
        return [name for name, reported in self._reported.items() if reported.state is VrrpState.MASTER]

    def void(self, name: str) -> bool:
        """Discard the state of `name`; older reports stay stale. False when it was discarded already."""
        reported = self._reported.get(name)
        if reported is not None and reported.state is None:
            return False
        self._reported.setdefault(name, _Reported()).state = None
        return True

    def newest(self, name: str) -> Newest | None:
        """The facts about `name` that a restart must keep; None when nothing was reported of it."""
        reported = self._reported.get(name)
        if reported is None:
            return None
        return Newest(name=name, state=reported.state, hook=reported.hook, fifo=reported.fifo, since=reported.since)

    def restore(self, newest: Newest) -> None:
        """Restore the facts that `newest` returned before a restart, within the same boot."""
        self._reported[newest.name] = _Reported(
            state=newest.state, hook=newest.hook, fifo=newest.fifo, since=newest.since
        )
