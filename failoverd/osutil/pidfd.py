"""One process, held: a pid may be another's a moment later, a pidfd is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress


def hold(pid: int, is_meant: Callable[[], bool]) -> int | None:
    """A pidfd of `pid`, if `is_meant` is true while it is held; None when the process has ended or is another.

    The caller closes it. `is_meant` reads /proc: its OSError, ValueError or IndexError means that it has ended.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, OverflowError):  # OverflowError: it was never a pid
        return None
    with suppress(OSError, ValueError, IndexError):
        if is_meant():
            return descriptor
    os.close(descriptor)
    return None


def kill(pid: int, is_meant: Callable[[], bool]) -> None:
    """Send SIGKILL to the process that `is_meant` recognises, and to no other that has its pid by now."""
    descriptor = hold(pid, is_meant)
    if descriptor is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
