"""The boot of the machine: the kernel's name for it, and how long ago it was."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

#: Seconds of uptime until which the machine has just booted.
_RECENT_S = 300.0


def boot_id() -> str:
    """The kernel's random name of this boot."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def uptime() -> float:
    """Seconds since the boot, suspended ones too (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def recent() -> bool:
    """Whether the machine has just booted, so that its services may still be starting."""
    return uptime() < _RECENT_S
