"""Which of the changes that were told is the newest.

Two tellers may tell of one instance, and both may tell the same change:

* Hooks. keepalived forks one per change and forgets it, so they arrive in any order, but each carries the moment of
  its fork: clock ticks since boot, and its pid for those forked within one tick.
* The FIFO. keepalived writes it in order and, as it has no second thread, each line right after that change's fork
  and before the next one. A line carries no time; all that is known is when it was read.

The rules:

1. A FIFO line that differs from the newest state is a new change. One that repeats it is a duplicate.
2. A hook forked no later than its instance's last FIFO line was read never changes anything: what it tells has been
   read in a line, or will be at once. It is a duplicate if the FIFO told that change, else stale.
3. Any other hook is newer than all that the FIFO told. It changes the state unless a later fork was heard already.
   When it repeats the newest state it is a duplicate, but older forks are stale from then on.
4. When a keepalived has died, what it said may still wait to be read, before what the next one says. A hook that was
   forked before the next one was started is stale. A FIFO line does not tell whose it is; but the next one says another
   word before it says MASTER, so until then a MASTER is stale. It says MASTER at once only where it owns the addresses
   (priority 255); that counts when it was read after the death was known.

Rule 2 needs the FIFO to be read to its end before a hook is judged; then no change is accepted twice. Whatever the
interleaving, the last state told is the last true one once everything has arrived. The one way to lose a line is a
pipe that was full. A reader that saw one passes no time with those lines, and the hooks speak for themselves again.
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
REMEMBERED = 512


class Verdict(enum.Enum):
    """What became of something told. IGNORED: not a state, or nobody follows the instance; never said here."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """All that must outlive a restart: the newest state, the latest fork heard, when the last FIFO line was read.

    `state` is None when no word binds: the keepalived that told it has died. `since`: it has, and the next one, which
    was started no earlier than that, in ticks, has not spoken yet.
    """

    name: str
    state: VrrpState | None
    hook: Fork | None = None
    fifo: int | None = None
    since: int | None = None


@dataclass(slots=True)
class _Told:
    """What was told of one instance. `unpaired`: the changes that the FIFO told first and no hook has told yet."""

    state: VrrpState | None = None
    hook: Fork | None = None
    fifo: int | None = None
    since: int | None = None
    unpaired: Counter[VrrpState] = field(default_factory=Counter)
    heard: dict[Fork, None] = field(default_factory=dict)


def later(one: Fork, other: Fork) -> bool:
    """Whether `one` was forked after `other`, also when the pid counter wrapped around in between."""
    if one[0] != other[0]:
        return one[0] > other[0]
    ahead = one[1] - other[1]
    return 0 < ahead <= PIDS_PER_TICK or ahead < -PIDS_PER_TICK


class Ordering:
    """The newest state of every instance, told by hooks and by keepalived's FIFO. Ticks are of CLOCK_BOOTTIME."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._told

    def __len__(self) -> int:
        return len(self._told)

    def fifo(self, name: str, state: VrrpState, ticks: int | None, *, owner: bool = False) -> Verdict:
        """Judge the FIFO's next line, read no later than `ticks`; None when lines before it may have been lost.

        `owner`: of the addresses, who is MASTER without a word before it.
        """
        told = self._told.get(name) or self._told.setdefault(name, _Told())
        if told.since is not None and ticks is not None and state is VrrpState.MASTER:
            own = owner and ticks > told.since
            if not own:
                return Verdict.STALE
        told.since = None
        if ticks is not None:
            told.fifo = ticks
        if state is told.state:
            return Verdict.DUPLICATE
        told.state = state
        told.unpaired[state] += 1
        return Verdict.ACCEPTED

    def hook(self, name: str, state: VrrpState, ticks: int, pid: int) -> Verdict:
        """Judge a hook that was forked at `ticks` as `pid`."""
        told = self._told.get(name) or self._told.setdefault(name, _Told())
        fork = (ticks, pid)
        if fork in told.heard or fork == told.hook:
            return Verdict.DUPLICATE
        told.heard[fork] = None
        if len(told.heard) > REMEMBERED:
            del told.heard[next(iter(told.heard))]
        newer = told.hook is None or later(fork, told.hook)
        if newer:
            told.hook = fork
        if told.since is not None:
            if ticks < told.since:
                return Verdict.STALE
            told.since = None
        if told.fifo is not None and ticks <= told.fifo:
            return self._told_by_fifo(told, state)
        if not newer:
            return Verdict.STALE
        if state is told.state:
            return Verdict.DUPLICATE
        told.state = state
        return Verdict.ACCEPTED

    @staticmethod
    def _told_by_fifo(told: _Told, state: VrrpState) -> Verdict:
        if told.unpaired[state]:
            told.unpaired[state] -= 1
            return Verdict.DUPLICATE
        return Verdict.DUPLICATE if state is told.state else Verdict.STALE

    def died(self, name: str, since: int) -> None:
        """The keepalived that told of `name` has died; the next one was started at `since`, in ticks, or later."""
        told = self._told.get(name) or self._told.setdefault(name, _Told())
        told.since = since
        if told.state is VrrpState.MASTER:
            told.state = None

    def masters(self) -> list[str]:
        """Of whom MASTER was told last."""
        return [name for name, told in self._told.items() if told.state is VrrpState.MASTER]

    def void(self, name: str) -> bool:
        """No word of `name` binds any more; what is older stays so. False when that is known already."""
        told = self._told.get(name)
        if told is not None and told.state is None:
            return False
        self._told.setdefault(name, _Told()).state = None
        return True

    def newest(self, name: str) -> Newest | None:
        """What is to be kept of `name` for a restart; None when nothing was told of it."""
        told = self._told.get(name)
        if told is None:
            return None
        return Newest(name=name, state=told.state, hook=told.hook, fifo=told.fifo, since=told.since)

    def restore(self, newest: Newest) -> None:
        """Take up what `newest` gave before a restart, within the same boot."""
        self._told[newest.name] = _Told(state=newest.state, hook=newest.hook, fifo=newest.fifo, since=newest.since)
