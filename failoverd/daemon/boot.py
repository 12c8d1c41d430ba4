"""How long ago the machine has booted."""

from __future__ import annotations

import time

from failoverd.records import records

#: Seconds after a boot in which the machine has only just booted.
RECENT = 300.0

_RECORD = "boot"


def uptime() -> float:
    """Seconds since the boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def recent() -> bool:
    """Whether the machine has only just booted."""
    return uptime() < RECENT


def configured(instances: frozenset[str]) -> frozenset[str]:
    """The instances that were configured when the boot's first daemon started; `instances` where this is the first."""
    known = records.read(_RECORD)
    if known is None:
        records.write(_RECORD, {"instances": sorted(instances)})
        return instances
    return frozenset(map(str, known["instances"]))
