"""Deactivation in two steps: a graceful stop for `stop_timeout`, then a forced stop.

For drivers whose resource has both.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from failoverd.core.spec import FORCED_STOP_S

#: The part of the step's time that the forced stop leaves, to end a tool that hangs and to report the reason.
RESERVE_S = 3.0

#: A stop, graceful or forced. Its argument is a deadline, in seconds of time.monotonic(). It returns None once the
#: resource is stopped, or the state of the resource at the deadline.
Rung = Callable[[float], Awaitable[str | None]]


async def stop(stop_timeout: float, *, graceful: Rung, forced: Rung) -> str | None:
    """Stop the resource. Returns None once it is stopped, or its state after both deadlines.

    `stop_timeout`: seconds for the graceful stop. The forced stop has FORCED_STOP_S - RESERVE_S seconds more.
    Exceptions of both are raised.
    """
    until = time.monotonic() + stop_timeout
    if await graceful(until) is None:
        return None
    return await forced(until + FORCED_STOP_S - RESERVE_S)


def commands(stop_timeout: float, *, graceful: str, forced: str) -> tuple[str, str]:
    """The commands of both stops, in order, pasteable."""
    return graceful, f"{forced}  # after {stop_timeout:g} s"
