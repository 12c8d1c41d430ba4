"""What the loop does now and then by itself: it tells systemd that it is alive, and looks for what gives no sign.

One timer for all of it, so that an idle daemon wakes up rarely. A loop that is stuck has no pulse, which is how
systemd's watchdog finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from failoverd.daemon import systemd

#: Seconds between two beats, where systemd does not want to hear of them more often.
BEAT = 10.0

#: Seconds that a service which is stopping asks for at each beat: a beat may be late on a busy machine.
PATIENCE = 3 * BEAT


class Pulse:
    """Beats until it is closed; `look` is called at every beat."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        watchdog = systemd.watchdog()
        self._every = BEAT if watchdog is None else min(BEAT, watchdog / 3)
        self._timer = self._loop.call_later(self._every, self._beat)

    def stopping(self) -> None:
        """From here on tell systemd that the service is stopping, and is not stuck."""
        self._stopping = True
        self._tell()

    def close(self) -> None:
        """No beat any more."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._every, self._beat)
        self._tell()
        if not self._stopping:
            self._look()

    def _tell(self) -> None:
        systemd.tell(alive=True, stopping=PATIENCE if self._stopping else None)
