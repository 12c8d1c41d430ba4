"""A DRBD resource: Primary on the MASTER, and on no other node. Detects DRBD 8.4 and 9 at run time.

policy.py decides, from the state that ports/drbd/ reads and from staleness.py, which records how stale this node's data
may be. driver.py acts on the decision, and follow.py notices every change. This driver must never use ``--force``, in
either direction; never discard data; and never promote data unless, as far as this node can know, it is the newest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from failoverd.command_text import failoverctl
from failoverd.core.options import option
from failoverd.core.spec import ResourceSpec
from failoverd.drivers.drbd.driver import Drbd
from failoverd.drivers.drbd.follow import watch
from failoverd.drivers.drbd.policy import Limits

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
        "writing, nobody waits for it. A Primary that has lost quorum is refused when it has not got it back by then.",
        default=3.0,
        unit="seconds",
    )

    def __post_init__(self) -> None:
        """Check that drbdsetup accepts the name. Raises ValueError with the expected form."""
        if self.resource == "all" or not re.fullmatch(r"[^\s/-][^\s/]*", self.resource):
            raise ValueError('resource: the name of one DRBD resource is expected, as in "resource vpn { … }"')

    @property
    def owns(self) -> tuple[str, ...]:
        """The DRBD resource, which no other resource of failoverd may change."""
        return (f"the DRBD resource {self.resource}",)


def make(options: Options, spec: ResourceSpec) -> Drbd:
    """The driver of one resource."""
    limits = Limits(
        connect_grace=options.connect_grace,
        reconnect_grace=options.reconnect_grace,
        stale_after=options.stale_after,
        remedy=f"run: {failoverctl('accept', spec.instance, spec.name)}",
    )
    return Drbd(options.resource, limits, spec)
