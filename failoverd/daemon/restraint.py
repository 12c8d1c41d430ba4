"""What may be said over and over is heeded at once, then now and then, and its last is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Restraint(Generic[_T]):
    """For each key: the first is for now; of what follows within `seconds`, only the last counts, when they are over.

    It is then handed to `release`, with how many were held back up to it, and as many seconds begin anew.
    """

    def __init__(self, seconds: float, release: Callable[[_T, int], None]) -> None:
        self._seconds = seconds
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._held: dict[str, tuple[_T, int]] = {}

    def admits(self, key: str, said: _T) -> bool:
        """Whether it is for now; else it is held back."""
        if key not in self._timers:
            self._wait(key)
            return True
        _, count = self._held.get(key, (said, 0))
        self._held[key] = (said, count + 1)
        return False

    def close(self) -> None:
        """Release nothing more."""
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
            self._release(*self._held.pop(key))
