"""A domain that goes on dying: what is known to keep one, found by its disks, named, and let go.

Every domain dies for a moment, in which its memory is given back. What this must not do: hold up one that just dies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from failoverd import log
from failoverd.drivers import DriverError
from failoverd.drivers.drbdstate import wire
from failoverd.drivers.drbdstate.wire import Wire
from failoverd.drivers.xen import disk
from failoverd.drivers.xen.config import PATIENCE, Disk
from failoverd.drivers.xen.domain import Condition, Domain
from failoverd.drivers.xen.look import Eye

#: Seconds that a domain may be dying before it is asked why.
LINGER = 2.0

_log = log.get("xen")


class Death:
    """That of the domain which one eye looks for."""

    def __init__(self, eye: Eye) -> None:
        self._eye = eye
        self._domain: int | None = None
        self._since = 0.0
        self._told = ""

    async def why(self, domain: Domain | None) -> str:
        """What holds memory of one that goes on dying, with the remedies, to be added to a line; empty if nothing."""
        return await self._why(domain, end=False)

    async def hasten(self, domain: Domain | None, seconds: float) -> str:
        """The same, and let it go. In at most so many `seconds`: what is not told by then is what was told last."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                self._told = await self._why(domain, end=True)
        return self._told

    async def _why(self, domain: Domain | None, *, end: bool) -> str:
        if not self._lingers(domain):
            return ""
        try:
            wires = await _dead((await self._eye.file.read(PATIENCE)).disks)
        except DriverError as error:
            return f"; whether a dead connection of DRBD's holds it cannot be told ({error.reason})"
        for it in wires if end else ():
            await self._let_go(it)
        return "".join(f"; {it}" for it in wires)

    def _lingers(self, domain: Domain | None) -> bool:
        if domain is None or domain.condition is not Condition.DYING:
            self._domain = None
            return False
        if domain.id != self._domain:
            self._domain, self._since = domain.id, time.monotonic()
        return time.monotonic() - self._since >= LINGER

    async def _let_go(self, it: Wire) -> None:
        try:
            await wire.end(it)
        except DriverError as error:
            _log.warning("what keeps a domain from dying stays", domain=self._eye.name, reason=error.reason)
        else:
            _log.warning("what kept a domain from dying is ended", domain=self._eye.name, reason=str(it))


async def _dead(disks: Sequence[Disk]) -> list[Wire]:
    """The dead connections of the DRBD resources that are a domain's disks."""
    return [it for name in sorted(await disk.resources(disks)) for it in await wire.dead(name)]
