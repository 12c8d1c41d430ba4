"""A DRBD resource: Primary on the MASTER, and nowhere else. DRBD 8.4 and 9, told apart at run time.

What it decides is in judge.py, on what DRBD says (the door drbdstate) and what is remembered of how old the data here
is (memory.py); driver.py acts on it, and follow.py notices every change. What this must not do: ``--force``,
in either direction; give up data; or promote data that is not, as far as can be known here, the newest.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from failoverd.core.spec import ResourceSpec
from failoverd.drivers import option
from failoverd.drivers.drbd.driver import Drbd
from failoverd.drivers.drbd.follow import watch
from failoverd.drivers.drbd.judge import Limits

__all__ = ["Options", "make", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "drbd"`` resource."""

    resource: str = option(
        "DRBD's name of the resource, e.g. `vpn`. Nothing else may promote it: give it `auto-promote no`.",
        pattern=r"^[^\s/]+$",
    )
    stale_after: float = option(
        "Data that had not been replicated from the Primary for longer than this when mastership came here is old, "
        "and not served until the Primary is back or an operator accepts it (`failoverctl accept`).",
        default=15.0,
        unit="seconds",
    )
    connect_grace: float = option(
        "How long after `drbdadm up`, from the first try to connect on, a promotion waits for peers that were not met "
        "yet. A node that is back has stale data until it has met the others, and DRBD tries them again every 10 s: "
        "six to fourteen pass.",
        default=15.0,
        unit="seconds",
    )
    reconnect_grace: float = option(
        "How long a Primary that was lost may take to come back before another is made Primary. One that lives, and "
        "was only silent for a moment, is connected again within a second or two. Where a quorum keeps it from "
        "writing, nobody waits.",
        default=3.0,
        unit="seconds",
    )

    def __post_init__(self) -> None:
        """Hold the name to what drbdsetup takes for one; ValueError says what is expected."""
        if self.resource == "all" or not re.fullmatch(r"[^\s/-][^\s/]*", self.resource):
            raise ValueError('resource: the name of one DRBD resource is expected, as in "resource vpn { … }"')

    @property
    def owns(self) -> tuple[str, ...]:
        """What no other resource may change."""
        return (f"the DRBD resource {self.resource}",)


def make(options: Options, spec: ResourceSpec) -> Drbd:
    """The driver of one resource."""
    limits = Limits(
        connect_grace=options.connect_grace,
        reconnect_grace=options.reconnect_grace,
        stale_after=options.stale_after,
        remedy="run: " + shlex.join(("failoverctl", "accept", spec.instance, spec.name)),
    )
    return Drbd(options.resource, limits, spec)
