"""How long ago the machine has booted."""

from __future__ import annotations

import time

#: Seconds after a boot in which the machine has only just booted.
RECENT = 300.0


def uptime() -> float:
    """Seconds since the boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def recent() -> bool:
    """Whether the machine has only just booted."""
    return uptime() < RECENT
