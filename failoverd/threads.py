"""What may wait for a disk or a directory service without end, in a thread of its own.

asyncio's own executor has few threads, and the end of the process waits for them: one that hangs would hold up the
others, and in the end the next daemon. Nobody waits for these.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

#: The most threads at once, most of which hang then.
LIMIT = 64

_room = threading.Semaphore(LIMIT)
_Result = TypeVar("_Result")


async def run(what: Callable[..., _Result], *arguments: Any) -> _Result:
    """What `what` returns or raises when it is called; OSError when there is no room for one more thread.

    Who is cancelled leaves the thread to itself.
    """
    answer: Future[_Result] = Future()
    if not _room.acquire(blocking=False):
        raise OSError(errno.EAGAIN, f"{LIMIT} threads wait already, for a disk or a directory service that hangs")
    try:
        threading.Thread(target=_work, args=(answer, partial(what, *arguments)), name="waiting", daemon=True).start()
    except RuntimeError as error:
        _room.release()
        raise OSError(errno.EAGAIN, str(error)) from error
    return await asyncio.wrap_future(answer)


def _work(answer: Future[Any], what: Callable[[], Any]) -> None:
    answer.set_running_or_notify_cancel()  # from here on it can be given up, but not be cancelled
    try:
        answer.set_result(what())
    except BaseException as error:
        answer.set_exception(error)
    finally:
        _room.release()
