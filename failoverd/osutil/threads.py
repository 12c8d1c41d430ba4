"""Calls that may wait for a disk or a directory service without end, each in a thread of its own.

asyncio's executor has few threads, and the exit of the process waits for them: one that hangs would block the others,
and then the next daemon. Nothing may wait for the threads here.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

#: The most threads at once. Where so many wait, most of them hang.
MAX_THREADS = 64

_room = threading.Semaphore(MAX_THREADS)
_Result = TypeVar("_Result")


async def run(call: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return or raise the result of ``call(*arguments)``. OSError: there is no room for one more thread.

    A cancellation abandons the thread, which then ends by itself.
    """
    answer: Future[_Result] = Future()
    if not _room.acquire(blocking=False):
        raise OSError(errno.EAGAIN, f"{MAX_THREADS} threads already wait for a disk or a directory service that hangs")
    try:
        threading.Thread(target=_work, args=(answer, partial(call, *arguments)), name="waiting", daemon=True).start()
    except RuntimeError as error:
        _room.release()
        raise OSError(errno.EAGAIN, str(error)) from error
    return await asyncio.wrap_future(answer)


class Single(Generic[_Result]):
    """A call that many ask for again and again: one thread at a time, so a disk that hangs holds one thread only."""

    def __init__(self, call: Callable[[], _Result]) -> None:
        self._call = call
        self._running: asyncio.Task[_Result] | None = None

    async def run(self, timeout: float) -> _Result:
        """The result of the call that is running, or of a new one. OSError: as `run`.

        TimeoutError: no result within `timeout` seconds. The thread continues, and the next callers wait for it.
        """
        if self._running is None or self._running.done():
            # An empty context: the call belongs to no step, also not to that of its first caller.
            self._running = asyncio.create_task(run(self._call), context=contextvars.Context())
            self._running.add_done_callback(lambda task: task.cancelled() or task.exception())
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._running)


def _work(answer: Future[Any], call: Callable[[], Any]) -> None:
    answer.set_running_or_notify_cancel()  # from here on it can be abandoned, but not cancelled
    try:
        answer.set_result(call())
    except BaseException as error:
        answer.set_exception(error)
    finally:
        _room.release()
