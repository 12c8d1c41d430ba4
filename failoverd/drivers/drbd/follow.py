"""Follows all DRBD resources in one stream of events, and keeps the record of each correct between observations.

It does not poll DRBD. If a stream ends or cannot be parsed, a new one starts after a pause. Then every resource is
reported as changed, because the missed events cannot be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator

from failoverd import log
from failoverd.drivers.drbd import policy, staleness
from failoverd.drivers.drbd.staleness import Record
from failoverd.ports import stream
from failoverd.ports.drbd import look
from failoverd.ports.drbd.events import Fold, Minors
from failoverd.ports.drbd.status import Garbled, Resource, essence
from failoverd.ports.errors import DriverError

#: Follows every resource, on both generations of DRBD.
ARGV = ("drbdsetup", "events2")

#: Seconds that the first dump may take; drbdsetup prints it at once, unless it hangs.
FIRST_DUMP_TIMEOUT_S = 10.0

#: Seconds before a stream that has ended is restarted: the first time, and at most.
RESTART_PAUSES_S = (1.0, 60.0)

#: Seconds after which a stream counts as healthy: after its end the pauses begin again.
HEALTHY_STREAM_S = 60.0

#: Seconds between two checks whether the kernel has loaded the module; each is one stat(2).
MODULE_CHECK_INTERVAL_S = 5.0

#: Seconds after which a quiet stream is known to be alive. That time is recorded only while a peer is Primary: then the
#: next daemon must know until when this daemon saw the connection up.
PULSE_INTERVAL_S = 5.0

#: Seconds that this process may be late for a pulse and still count as reading events when they happen.
PULSE_TOLERANCE_S = 1.0

#: Seconds after which a resource with frozen I/O is looked at again: no event of DRBD says that it still is.
FROZEN_RECHECK_S = 10.0

_log = log.get("drbd")


class ChangeNotifier:
    """Wakes the tasks that wait for a change of a resource, and gives them its new state."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], str] = {}
        #: All that the stream has reported so far; None: no stream runs, or its first dump is not complete.
        self.fold: Fold | None = None
        #: Has a resource observed, or all (None); None: nothing is watched.
        self.changed: Callable[[str | None], None] | None = None

    def view(self, name: str) -> Resource | None:
        """The resource as the stream reports it; None if the stream does not report it, or it is not up."""
        with contextlib.suppress(Garbled):
            return self.fold.resource(name, look.minors) if self.fold is not None else None
        return None

    def asks(self, name: str) -> bool:
        """Whether a handler fence-peer of the resource is known to run."""
        return self.fold is not None and self.fold.asks(name)

    @contextlib.contextmanager
    def listening(self, name: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done at the next change of the resource."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = name
        try:
            yield future
        finally:
            del self._waiting[future]
            future.cancel()

    def ring(self, name: str | None) -> None:
        """Wake all that wait for the resource, which has changed; None: any resource may have changed."""
        for future, its in self._waiting.items():
            if name in (None, its) and not future.done():
                future.set_result(None)

    def tell(self, name: str | None) -> None:
        """As `ring`, and have the resource observed."""
        if self.changed is not None:
            self.changed(name)
        self.ring(name)


#: The one notifier of this process.
notifier = ChangeNotifier()


async def watch(changed: Callable[[str | None], None]) -> None:
    """Follow DRBD until cancelled; `changed` takes the name of each resource that changed, or None for all."""
    pause, longest = RESTART_PAUSES_S
    notifier.changed = changed
    while True:
        if look.generation() is None:
            await asyncio.sleep(MODULE_CHECK_INTERVAL_S)
            continue
        began = time.monotonic()
        follower = _Follower()
        try:
            await follower.follow()
        except DriverError as error:
            if time.monotonic() - began > HEALTHY_STREAM_S:
                pause = RESTART_PAUSES_S[0]
            _log.warning("DRBD's events cannot be followed; retrying", reason=error.reason, seconds=pause)
        notifier.tell(None)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)


class _Follower:
    """One stream, from its first line to its end."""

    def __init__(self) -> None:
        self._fold = Fold()
        self._views: dict[str, Resource | None] = {}
        self._replicated: set[str] = set()  # the resources with a peer that is connected and Primary
        self._frozen: dict[str, float] = {}  # the resources with frozen I/O, and when they were last looked at
        self._heard = staleness.clock()

    async def follow(self) -> None:
        """Follow until cancelled. Raises DriverError when the stream ends or cannot be parsed."""
        try:
            async with stream.following(ARGV) as lines:
                while True:
                    self._take(await (lines.next(PULSE_INTERVAL_S) if self._fold.complete else _some(lines)))
        finally:
            notifier.fold = None

    def _take(self, lines: list[str]) -> None:
        now = staleness.clock()
        # A daemon that was frozen for a while reads the events of that time late.
        vouched = now if now - self._heard <= PULSE_INTERVAL_S + PULSE_TOLERANCE_S else self._heard
        minors = functools.cache(look.minors)
        try:
            for line in lines:  # one by one: a Primary that demotes itself, then leaves, is not lost
                begun = self._fold.complete
                name = self._fold.take(line)
                if begun and name is not None:
                    self._see(name, staleness.load(name), now, vouched, minors)
                elif not begun and self._fold.complete:
                    self._begin(now, minors)
        except Garbled as error:
            raise DriverError(str(error)) from error
        self._heard = now
        if self._replicated:
            staleness.hear(now)
        for name in [name for name, looked in self._frozen.items() if now >= looked + FROZEN_RECHECK_S]:
            self._frozen[name] = now
            notifier.tell(name)

    def _begin(self, now: float, minors: Minors) -> None:
        """The first dump is complete: update every record from it."""
        for name in sorted(self._fold.names | staleness.names()):
            record = staleness.load(name)
            self._see(name, record, now, staleness.heard(record), minors, quietly=True)
        notifier.fold = self._fold
        notifier.tell(None)

    def _see(
        self, name: str, record: Record, now: float, vouched: float, minors: Minors, *, quietly: bool = False
    ) -> None:
        view = self._fold.resource(name, minors)
        after = staleness.seen(record, view, now, vouched=vouched, wall=time.time())
        if after != record:
            staleness.save(name, after)
        (self._replicated.discard if after.primary is None else self._replicated.add)(name)
        if view is not None and policy.frozen(view):
            self._frozen.setdefault(name, now)
        else:
            self._frozen.pop(name, None)
        before, self._views[name] = self._views.get(name), essence(view)
        if not quietly and self._views[name] != before:
            notifier.tell(name)


async def _some(lines: stream.Lines) -> list[str]:
    """The next lines of a dump. Raises DriverError if none comes within FIRST_DUMP_TIMEOUT_S."""
    said = await lines.next(FIRST_DUMP_TIMEOUT_S)
    if not said:
        raise DriverError(f"{' '.join(ARGV)} says nothing for {FIRST_DUMP_TIMEOUT_S:g} s")
    return said
