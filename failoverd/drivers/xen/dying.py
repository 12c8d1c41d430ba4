"""A domain that stays dying: find the dead DRBD connection that holds its memory, name it, and end it.

Every domain is dying for a moment, while Xen frees its memory. It must not delay a domain that ends normally.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from failoverd import log
from failoverd.drivers.xen import disk
from failoverd.drivers.xen.config import Disk
from failoverd.drivers.xen.look import DomainFinder
from failoverd.ports.drbd import wire
from failoverd.ports.drbd.wire import Wire
from failoverd.ports.errors import DriverError
from failoverd.ports.xl.domain import Condition, Domain
from failoverd.ports.xl.listing import XL_TIMEOUT_S

#: A domain may be dying for this time before its DRBD connections are checked.
DYING_GRACE_S = 2.0

_log = log.get("xen")


class Death:
    """The dying of one domain, found by `finder`."""

    def __init__(self, finder: DomainFinder) -> None:
        self._finder = finder
        self._domain: int | None = None
        self._since = 0.0
        self._told = ""

    async def why(self, domain: Domain | None) -> str:
        """The dead connections that hold memory of a dying domain, with their remedies, to append to a message.

        Empty if there is none, or if the domain is not dying, or for less than DYING_GRACE_S.
        """
        return await self._why(domain, end=False)

    async def hasten(self, domain: Domain | None, seconds: float) -> str:
        """As `why`, and end these connections. After `seconds` it returns its previous result."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                self._told = await self._why(domain, end=True)
        return self._told

    async def _why(self, domain: Domain | None, *, end: bool) -> str:
        if not self._lingers(domain):
            return ""
        try:
            wires = await _dead((await self._finder.file.read(XL_TIMEOUT_S)).disks)
        except DriverError as error:
            return f"; cannot check for a dead connection of DRBD that holds it ({error.reason})"
        for it in wires if end else ():
            await self._let_go(it)
        return "".join(f"; {it}" for it in wires)

    def _lingers(self, domain: Domain | None) -> bool:
        if domain is None or domain.condition is not Condition.DYING:
            self._domain = None
            return False
        if domain.id != self._domain:
            self._domain, self._since = domain.id, time.monotonic()
        return time.monotonic() - self._since >= DYING_GRACE_S

    async def _let_go(self, it: Wire) -> None:
        try:
            await wire.end(it)
        except DriverError as error:
            _log.warning(
                "cannot end the dead connection that holds a dying domain",
                domain=self._finder.name,
                reason=error.reason,
            )
        else:
            _log.warning("ended the dead connection that held a dying domain", domain=self._finder.name, reason=str(it))


async def _dead(disks: Sequence[Disk]) -> list[Wire]:
    """The dead connections of the DRBD resources below the disks."""
    return [it for name in sorted(await disk.resources(disks)) for it in await wire.dead(name)]
