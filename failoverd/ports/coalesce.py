"""Shares one query among all callers that ask at the same time.

At most one query runs. A caller that comes meanwhile waits for the next one, which serves all callers that have come by
then: so every result is newer than its request. Without this, the queries of eight guests that start or stop at once
would be most of a machine's load. It must not cache: a result is never given to a later caller.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from failoverd.ports.errors import TimedOut

_Seen = TypeVar("_Seen")


class Shared(Generic[_Seen]):
    """A query that callers share: the one that runs, and the next one. `text`: its name in error messages."""

    def __init__(self, text: str, look: Callable[[], Coroutine[Any, Any, _Seen]]) -> None:
        self._text = text
        self._look = look
        self._running: asyncio.Task[_Seen] | None = None
        self._next: asyncio.Task[_Seen] | None = None

    async def read(self, timeout: float) -> _Seen:
        """The result of a query that begins after this call.

        Raises the query's own DriverError, and TimedOut after `timeout` seconds.
        """
        if self._next is None or self._next.done():
            # An empty context: the query belongs to no step, also not to that of its first caller.
            self._next = asyncio.create_task(self._after(self._running), context=contextvars.Context())
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._next)
        except TimeoutError as error:
            self._running = self._next = None  # later callers must not wait for a query that may hang
            raise TimedOut(f"{self._text}: no answer within {timeout:.3g} s") from error

    async def _after(self, before: asyncio.Task[_Seen] | None) -> _Seen:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._running = asyncio.current_task()
        if self._next is self._running:
            self._next = None
        return await self._look()
