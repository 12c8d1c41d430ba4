"""Log repeated events at a limited rate, so that no client and no hook can fill the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from failoverd import log

#: Seconds between two lines with the same text.
INTERVAL_S = 10.0


class RateLimitedLog:
    """Logs each text at most once per `INTERVAL_S`, with the number of lines that were suppressed since the last.

    `part`: the part of the program that logs. `clock`: returns monotonic seconds.
    """

    def __init__(self, part: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log.get(part)
        self._clock = clock
        self._logged: dict[str, tuple[float, int]] = {}

    def warning(self, event: str, **fields: Any) -> None:
        """Log a warning. `event`: a fixed text, by which the rate is limited; details belong into `fields`."""
        if (suppressed := self._due(event)) is not None:
            self._log.warning(event, suppressed=suppressed, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log the exception that is being handled, with its traceback; otherwise as `warning`."""
        if (suppressed := self._due(event)) is not None:
            self._log.exception(event, suppressed=suppressed, **fields)

    def _due(self, event: str) -> int | None:
        """The number of suppressed lines if this one must be logged; None: suppress it."""
        now = self._clock()
        logged_at, suppressed = self._logged.get(event, (now - INTERVAL_S, 0))
        if now - logged_at < INTERVAL_S:
            self._logged[event] = (logged_at, suppressed + 1)
            return None
        self._logged[event] = (now, 0)
        return suppressed
