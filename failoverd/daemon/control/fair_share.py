"""Limits the share of the event loop's time that requests take which every user may send."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: The pause after an answer, as a multiple of the CPU time that the answer took: answers get a tenth
#: of the loop's time.
PAUSE_FACTOR = 9.0


class FairShare:
    """One answer at a time, in the order of the requests, with a pause after each."""

    def __init__(self, pause_factor: float = PAUSE_FACTOR) -> None:
        self._pause_factor = pause_factor
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for the turn, and have it within this context. Only CPU time counts: waiting costs the loop nothing."""
        await self._lock.acquire()
        began = time.thread_time()
        try:
            yield
        finally:
            took = time.thread_time() - began
            asyncio.get_running_loop().call_later(self._pause_factor * took, self._lock.release)
