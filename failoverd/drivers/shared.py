"""One look for all who ask at once, however many they are.

At most one runs. Who asks meanwhile waits for the next, which serves all who have asked by then: what anybody is told
was seen after they asked. For eight guests that start or stop at once, the looks would else be most of what a machine
does. What this must not do: remember what was seen.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from failoverd.drivers import TimedOut

_Seen = TypeVar("_Seen")


class Shared(Generic[_Seen]):
    """A look that many share: the one that runs, and the one that comes after it. `text` is what people call it."""

    def __init__(self, text: str, look: Callable[[], Coroutine[Any, Any, _Seen]]) -> None:
        self._text = text
        self._look = look
        self._running: asyncio.Task[_Seen] | None = None
        self._next: asyncio.Task[_Seen] | None = None

    async def read(self, timeout: float) -> _Seen:
        """What is seen, or the look's own DriverError; TimedOut when it takes longer than `timeout` seconds."""
        if self._next is None or self._next.done():
            # It is nobody's own: not of the step of who happened to ask first.
            self._next = asyncio.create_task(self._after(self._running), context=contextvars.Context())
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._next)
        except TimeoutError as error:
            self._running = self._next = None  # whoever asks now does not wait for one that may hang
            raise TimedOut(f"{self._text}: no answer within {timeout:.3g} s") from error

    async def _after(self, before: asyncio.Task[_Seen] | None) -> _Seen:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._running = asyncio.current_task()
        if self._next is self._running:
            self._next = None
        return await self._look()
