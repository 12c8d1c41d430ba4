"""The loop's time, which stands still while the loop does.

A process that was stopped, or a machine that was paused or starved, comes back to deadlines that have passed and to
answers that have lain there for long. What was not lived is no reason to call anybody late: the loop's clock does not
count it, and before it goes on, what has arrived is worked off. So a result that is there wins over its timer, and
whatever else was under way has its whole time. All of asyncio's timers follow this clock, and so does the core.

What must not wait for long is not bounded by this: a loop that stands still for 30 s is ended by systemd.
"""

from __future__ import annotations

import asyncio
import selectors
import time

from failoverd import log

#: Seconds by which a loop may be late before that counts as standing still.
STALL = 1.0
#: The longest (s) that what has arrived is worked off with the clock standing.
LONGEST = 5.0

_log = log.get("clock")


class _Selector(selectors.DefaultSelector):
    """Where the loop waits, and so notices that it has not lived. `time` is what the loop takes for the time.

    A loop that waits twice too long in a row is merely slow: the second time its timers fire, or they never would.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0.0
        self._seen = time.monotonic()
        self._stands: float | None = None
        self._until = 0.0
        self._spared = False

    def time(self) -> float:
        """Seconds lived, as `time.monotonic()` counts them."""
        real = time.monotonic()
        if self._stands is not None and real < self._until:
            return self._stands
        self._go_on(real)
        if real - self._seen > STALL:
            self._lose(real - self._seen)
        self._seen = real
        return real - self._lost

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As any selector's; after standing still also what is ready by now."""
        if timeout is None or timeout > 0:  # nothing is left that has arrived
            self._go_on(time.monotonic())
        before = self.time()
        begun = time.monotonic()
        events = super().select(timeout)
        real = time.monotonic()
        late = real - begun - timeout if timeout is not None else 0.0
        self._seen = real
        if late <= STALL:
            self._spared = False
            return events
        self._lose(late)
        if not self._spared:
            self._stands, self._until, self._spared = before, real + LONGEST, True
        else:
            self._spared = False
        return events or super().select(0)  # it gives up at its timeout, whatever is ready by then

    def _go_on(self, real: float) -> None:
        if self._stands is not None:
            self._lost = real - self._stands
            self._seen = real
            self._stands = None

    def _lose(self, seconds: float) -> None:
        self._lost += seconds
        _log.warning("the loop stood still; its deadlines are moved", seconds=round(seconds, 1))


class Loop(asyncio.SelectorEventLoop):
    """An event loop on that clock."""

    def __init__(self) -> None:
        self._lived = _Selector()
        super().__init__(self._lived)

    def time(self) -> float:
        """Seconds lived, as `time.monotonic()` counts them."""
        return self._lived.time()
