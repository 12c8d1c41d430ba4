"""An event loop whose clock stops while the process is stopped or starved.

After a SIGSTOP, a paused virtual machine or a starved CPU, deadlines have passed and answers wait to be read. Time in
which the process did not run must not expire a deadline. So the loop's clock does not count it, and the loop handles
everything that has arrived before the clock continues: an answer that is there wins over its timer. All of asyncio's
timers follow this clock, and so does the core, which gets an event for the time that it does not count.

It does not limit a wait: systemd ends a loop that is blocked for 30 s.
"""

from __future__ import annotations

import asyncio
import selectors
import time

from failoverd import log

#: Seconds of delay from which the loop counts as stalled.
STALL_S = 1.0
#: The longest time for which the clock stays frozen while the loop handles the events that have arrived.
MAX_CATCH_UP_S = 5.0

_log = log.get("clock")


class _Selector(selectors.DefaultSelector):
    """The selector in which the loop waits. It detects stalls, and defines the loop's time.

    If the loop is late twice in a row, it is merely slow: the second time its timers fire, or they never would.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0.0
        self._last_seen = time.monotonic()
        self._frozen_at: float | None = None
        self._frozen_until = 0.0
        self._stalled_before = False

    def time(self) -> float:
        """Seconds that the process has run, as `time.monotonic()` counts them."""
        real = time.monotonic()
        if self._frozen_at is not None and real < self._frozen_until:
            return self._frozen_at
        self._thaw(real)
        if real - self._last_seen > STALL_S:
            self._stall(real - self._last_seen)
        self._last_seen = real
        return real - self.lost

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As in any selector; after a stall it also returns the events that are ready by now."""
        if timeout is None or timeout > 0:  # all that had arrived is handled
            self._thaw(time.monotonic())
        before = self.time()
        begun = time.monotonic()
        events = super().select(timeout)
        real = time.monotonic()
        late = real - begun - timeout if timeout is not None else 0.0
        self._last_seen = real
        if late <= STALL_S:
            self._stalled_before = False
            return events
        self._stall(late)
        if not self._stalled_before:
            self._frozen_at, self._frozen_until, self._stalled_before = before, real + MAX_CATCH_UP_S, True
        else:
            self._stalled_before = False
        return events or super().select(0)  # select() returns nothing after its timeout, even if events are ready

    def _thaw(self, real: float) -> None:
        if self._frozen_at is not None:
            self.lost = real - self._frozen_at
            self._last_seen = real
            self._frozen_at = None

    def _stall(self, seconds: float) -> None:
        self.lost += seconds
        _log.warning("the event loop stalled; its deadlines are extended", seconds=round(seconds, 1))


class Loop(asyncio.SelectorEventLoop):
    """An event loop with this clock."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds that the process has run, as `time.monotonic()` counts them."""
        return self._clock.time()

    @property
    def lost(self) -> float:
        """Seconds that this clock has not counted so far."""
        return self._clock.lost
