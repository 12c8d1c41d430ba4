"""Why the intake could not be opened, and how it complains about what comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failoverd.log import get

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Seconds between two lines of the log that say the same thing.
QUIET = 10.0


class IntakeError(Exception):
    """The intake cannot be opened: `path` is what is in the way, `reason` one line for a person."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Complaints:
    """Says each thing at most once in ten seconds, with how often it was left unsaid. Whatever is sent costs no more.

    `clock` gives seconds, monotonic. `rejected` counts the input that was turned away.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rejected = 0
        self._clock = clock
        self._log = get("intake")
        self._said: dict[str, tuple[float, int]] = {}

    def reject(self, what: str, **fields: Any) -> None:
        """Count and mention input that was turned away."""
        self.rejected += 1
        self.trouble(what, **fields)

    def trouble(self, what: str, **fields: Any) -> None:
        """Mention what went wrong. `what` is a fixed text; what varies goes into `fields`."""
        now = self._clock()
        said, suppressed = self._said.get(what, (now - QUIET, 0))
        if now - said < QUIET:
            self._said[what] = (said, suppressed + 1)
            return
        self._said[what] = (now, 0)
        self._log.warning(what, suppressed=suppressed, **fields)
