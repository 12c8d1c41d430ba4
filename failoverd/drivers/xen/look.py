"""The observation of one domain, among all domains of Xen and the xl processes that may start it.

It recognises the domain by its name and by its UUID, because the name is not enough: a dying domain has lost it, a
migrated or renamed domain has another, and the configuration file may be missing or changed.

It must not report a domain as absent that may exist without a name or under another, or that an xl may be starting.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import quote

from failoverd.drivers.xen import events, xl_processes
from failoverd.drivers.xen.config import File
from failoverd.osutil import threads
from failoverd.ports.errors import DriverError, Refused, TimedOut
from failoverd.ports.xl.domain import Condition, Domain
from failoverd.ports.xl.listing import listing
from failoverd.records import records, text

#: The states of a domain that can only be destroyed, unless an xl is at work on it.
_DEAD = frozenset({Condition.CRASHED, Condition.SHUT_DOWN, Condition.REBOOTING, Condition.UNBORN})

#: The states in which a domain normally has no name.
_NAMELESS = frozenset({Condition.DYING, Condition.UNBORN})


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainView:
    """One observation. `domain`: None if Xen has none; `xl_pids`: the pids of the xl that may start it any moment."""

    domain: Domain | None = None
    xl_pids: tuple[int, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the domain is absent, and no xl may start it."""
        return self.domain is None and not self.xl_pids

    @property
    def dead(self) -> bool:
        """Whether the domain can only be destroyed, and no xl will do that."""
        return self.domain is not None and self.domain.condition in _DEAD and not self.xl_pids

    def __str__(self) -> str:
        at_work = f"xl (pid {', '.join(map(str, self.xl_pids))}) is at work on it" if self.xl_pids else ""
        return "; ".join(text for text in (str(self.domain or "not there"), at_work) if text)


class DomainFinder:
    """Finds the domain of one configuration file."""

    def __init__(self, path: str) -> None:
        self.file = File(path)
        #: None until the configuration file has been read, by this daemon or an earlier one.
        self.name: str | None = None
        self._uuid: str | None = None
        self._path = path
        self._memory = f"xen-{quote(path, safe='')}"
        self._recall()

    async def look(self, patience: float) -> DomainView:
        """Observe the domain. DriverError: that is not possible within `patience` seconds, or not with certainty."""
        deadline = time.monotonic() + patience
        nameless: DriverError | None = None
        try:
            self.name = (await self.file.read(patience)).name
        except (Refused, TimedOut) as error:
            nameless = error
        if self.name is not None:
            events.know(self.name, self._path)
        guests = [it for it in await listing.read(max(deadline - time.monotonic(), 0.1)) if it.id != 0]
        if self.name is None and guests:
            raise DriverError(f"{nameless}; without this file the name of the domain is unknown")
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.1)):
                return await self._seen(guests)
        except TimeoutError as error:
            raise TimedOut(f"cannot read the processes of xl within {patience:.3g} s") from error

    async def end(self, pid: int) -> None:
        """Kill one of the `xl_pids`, if it may still start the domain."""
        await threads.run(xl_processes.end, pid, self.name, self._path)

    async def _seen(self, guests: list[Domain]) -> DomainView:
        found = [it for it in guests if it.name == self.name or it.uuid == self._uuid]
        # After a reboot the new domain has the same UUID, while the old one may still be dying.
        found = [it for it in found if it.condition is not Condition.DYING] or found[:1]
        if len(found) > 1:
            raise DriverError(f"{self.name} exists twice: {' and '.join(map(str, found))}; see xl list -v")
        domain = found[0] if found else None
        if domain is not None and domain.name is not None and domain.name == self.name:
            self._keep(domain.name, domain.uuid)
        if domain is not None and domain.condition is Condition.RUNNING:
            return DomainView(domain=domain)  # an xl that may start it makes no difference
        # A domain gets its name late while it is built; if it is this domain, the xl that builds it is found below.
        lost = [it.id for it in guests if it.name is None and it.condition not in _NAMELESS]
        if domain is None and lost:
            raise DriverError(
                f"xenstored has lost the name of domain {lost[0]}, which may be {self.name}; see xl list -v"
            )
        return DomainView(domain=domain, xl_pids=await threads.run(xl_processes.find, self.name, self._path))

    def _recall(self) -> None:
        """Restore the name and the UUID that an earlier daemon of this boot has recorded, if any."""
        known = records.read(self._memory, lambda told: (text(told["name"]), text(told["uuid"])))
        if known is not None:
            self.name, self._uuid = known

    def _keep(self, name: str, uuid: str) -> None:
        """Record the name and the UUID, so that they survive a restart of failoverd."""
        if uuid == self._uuid:
            return
        self._uuid = uuid
        records.write(self._memory, {"name": name, "uuid": uuid})
