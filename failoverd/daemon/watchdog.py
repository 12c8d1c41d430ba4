"""Run the loop's periodic work: report to systemd's watchdog, and check everything that reports no change by itself.

There is one timer for all of it, so that an idle daemon wakes up rarely. A blocked loop does not report, and systemd
ends it (`WatchdogSec=`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from failoverd.ports import sd_notify

#: Seconds between two beats, unless systemd wants them more often.
BEAT_INTERVAL_S = 10.0

#: Seconds that a stopping service asks systemd for at each beat: a beat may be late on a busy machine.
STOP_EXTENSION_S = 3 * BEAT_INTERVAL_S


class Watchdog:
    """Beats until it is closed, and calls `check` at every beat."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        watchdog = sd_notify.watchdog()
        self._every = BEAT_INTERVAL_S if watchdog is None else min(BEAT_INTERVAL_S, watchdog / 3)
        self._timer = self._loop.call_later(self._every, self._beat)

    def stopping(self) -> None:
        """From now on report to systemd that the service is stopping, and is not stuck."""
        self._stopping = True
        self._tell()

    def close(self) -> None:
        """Stop beating."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._every, self._beat)
        self._tell()
        if not self._stopping:
            self._check()

    def _tell(self) -> None:
        sd_notify.tell(alive=True, stopping=STOP_EXTENSION_S if self._stopping else None)
