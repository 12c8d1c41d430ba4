"""Follows all of DRBD's resources in one stream of events, and keeps the memory of each right while nothing is asked.

Nothing is asked of DRBD in turns. A stream that ends, or says what is not understood, is begun again after a pause;
then everything is told to have changed, since what was missed cannot be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator

from failoverd import log
from failoverd.drivers import DriverError, stream
from failoverd.drivers.drbd import memory as memories
from failoverd.drivers.drbdstate import look
from failoverd.drivers.drbdstate.events import Fold, Minors
from failoverd.drivers.drbdstate.status import Garbled, Resource, essence

#: What is followed: every resource, on both generations.
ARGV = ("drbdsetup", "events2")

#: Seconds for the first dump, which is there at once unless drbdsetup is stuck.
DUMP = 10.0

#: Seconds before a stream is begun again: the first time, and at most. One that lasted this long was well.
PAUSES = (1.0, 60.0)
WELL = 60.0

#: Seconds between two looks whether the kernel has the module by now; each is one stat.
ABSENT = 5.0

#: Seconds after which a quiet stream is known to be there still. It is written down only while a peer is Primary: only
#: then it matters when a daemon that was killed could last have seen it connected.
PULSE = 5.0

#: Seconds that this process may be late for a pulse and still be taken to read what happens as it happens.
SLACK = 1.0

_log = log.get("drbd")


class Bell:
    """Wakes who waits for a change of a resource, and says what has become of it."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], str] = {}
        #: All that the stream told so far; None while there is none, or not yet its first dump.
        self.fold: Fold | None = None

    def view(self, name: str) -> Resource | None:
        """The resource as the stream has it; None when that does not say, and when it is not up."""
        with contextlib.suppress(Garbled):
            return self.fold.resource(name, look.minors) if self.fold is not None else None
        return None

    @contextlib.contextmanager
    def listening(self, name: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done as soon as the resource changes, from now on."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = name
        try:
            yield future
        finally:
            del self._waiting[future]
            future.cancel()

    def ring(self, name: str | None) -> None:
        """The resource has changed; None: any may have."""
        for future, its in self._waiting.items():
            if name in (None, its) and not future.done():
                future.set_result(None)


#: The one bell of this process.
bell = Bell()


async def watch(changed: Callable[[str | None], None]) -> None:
    """Follow DRBD until cancelled; `changed` takes the name of each resource that changed, or None for all."""
    pause, longest = PAUSES
    while True:
        if look.generation() is None:
            await asyncio.sleep(ABSENT)
            continue
        began = time.monotonic()
        follower = _Follower(changed)
        try:
            await follower.follow()
        except DriverError as error:
            if time.monotonic() - began > WELL:
                pause = PAUSES[0]
            _log.warning("DRBD's events are not followed; begun again soon", reason=error.reason, seconds=pause)
        follower.tell(None)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)


class _Follower:
    """One stream, from its first line to its end."""

    def __init__(self, changed: Callable[[str | None], None]) -> None:
        self._changed = changed
        self._fold = Fold()
        self._views: dict[str, Resource | None] = {}
        self._replicated: set[str] = set()  # the resources with a peer that is connected and Primary
        self._heard = memories.clock()

    async def follow(self) -> None:
        """Until the stream ends or is not understood: DriverError."""
        try:
            async with stream.following(ARGV) as lines:
                while True:
                    self._take(await (lines.next(PULSE) if self._fold.complete else _some(lines)))
        finally:
            bell.fold = None

    def tell(self, name: str | None) -> None:
        """It has changed."""
        self._changed(name)
        bell.ring(name)

    def _take(self, lines: list[str]) -> None:
        now = memories.clock()
        # A daemon that was stopped for a while reads late what happened meanwhile.
        vouched = now if now - self._heard <= PULSE + SLACK else self._heard
        minors = functools.cache(look.minors)
        try:
            for line in lines:  # each alone: a Primary that demotes itself and leaves is none that was lost
                begun = self._fold.complete
                name = self._fold.take(line)
                if begun and name is not None:
                    self._see(name, now, vouched, minors)
                elif not begun and self._fold.complete:
                    self._begin(now, minors)
        except Garbled as error:
            raise DriverError(str(error)) from error
        self._heard = now
        if self._replicated:
            memories.hear(now)

    def _begin(self, now: float, minors: Minors) -> None:
        """The first dump is whole: whatever was remembered is held against it."""
        for name in sorted(self._fold.names | memories.names()):
            self._see(name, now, memories.heard(name), minors, quietly=True)
        bell.fold = self._fold
        self.tell(None)

    def _see(self, name: str, now: float, vouched: float, minors: Minors, *, quietly: bool = False) -> None:
        view = self._fold.resource(name, minors)
        memory = memories.load(name)
        after = memories.seen(memory, view, now, vouched=vouched, wall=time.time())
        if after != memory:
            memories.save(name, after)
        (self._replicated.discard if after.primary is None else self._replicated.add)(name)
        before, self._views[name] = self._views.get(name), essence(view)
        if not quietly and self._views[name] != before:
            self.tell(name)


async def _some(lines: stream.Lines) -> list[str]:
    """The next lines of a dump, which must not be long in coming."""
    said = await lines.next(DUMP)
    if not said:
        raise DriverError(f"{' '.join(ARGV)} says nothing for {DUMP:g} s")
    return said
