"""The errors of ports and drivers: a small hierarchy, each with one line for a person."""

from __future__ import annotations

from collections.abc import Callable


class DriverError(Exception):
    """A step or an observation failed. `reason`: one line for an operator, with the remedy if there is one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimedOut(DriverError):
    """A tool exceeded its deadline and was killed, or a service did not answer in time."""


class Hung(DriverError):
    """A tool survived its deadline and SIGKILL (D state): it still runs, and no step waits for it.

    `over` returns whether it has ended by now.
    """

    def __init__(self, reason: str, over: Callable[[], bool] = lambda: False) -> None:
        super().__init__(reason)
        self.over = over


class NotStarted(DriverError):
    """Nothing was done: a tool cannot be started, or there is no bus. This proves nothing about the resource."""


class Refused(DriverError):
    """An activation would not be safe now, for a reason that will not end within its deadline."""


class InUse(Refused):
    """Another node has the resource, and may be about to deactivate it."""
