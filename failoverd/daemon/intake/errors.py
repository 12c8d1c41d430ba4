"""The error of an intake that cannot be opened, and the log of rejected input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failoverd.daemon.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class IntakeError(Exception):
    """The intake cannot be opened. `path`: the file that prevents it; `reason`: one line for an operator."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Rejections:
    """Logs rejected input and other troubles of the intake at a limited rate. `rejected`: the number of rejections."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rejected = 0
        self._log = RateLimitedLog("intake", clock)

    def reject(self, event: str, **fields: Any) -> None:
        """Count rejected input, and log it as `trouble` does."""
        self.rejected += 1
        self.trouble(event, **fields)

    def trouble(self, event: str, **fields: Any) -> None:
        """Log a problem. `event`: a fixed text, by which the rate is limited; details belong into `fields`."""
        self._log.warning(event, **fields)
