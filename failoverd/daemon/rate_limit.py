"""Limit the rate of a repeated event: handle the first at once, later ones at intervals, and never lose the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class RateLimit(Generic[_T]):
    """For each key, handles the first value at once, and of those in the next `seconds` only the last, at their end.

    `release` gets that last value; then the next `seconds` begin. `dropped` gets each value that a later one replaces.
    """

    def __init__(self, seconds: float, release: Callable[[_T], None], dropped: Callable[[_T], None]) -> None:
        self._seconds = seconds
        self._release = release
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._held: dict[str, _T] = {}

    def admits(self, key: str, value: _T) -> bool:
        """Whether the caller must handle the value now; otherwise it is held back for `release`."""
        if key not in self._timers:
            self._wait(key)
            return True
        if key in self._held:
            self._dropped(self._held[key])
        self._held[key] = value
        return False

    def close(self) -> None:
        """Drop the values that are held back."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._held.clear()

    def _wait(self, key: str) -> None:
        self._timers[key] = self._loop.call_later(self._seconds, self._over, key)

    def _over(self, key: str) -> None:
        del self._timers[key]
        if key in self._held:
            self._wait(key)
            self._release(self._held.pop(key))
