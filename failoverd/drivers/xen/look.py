"""What there is of one domain: looked for in all that Xen has, and among the processes that may start it.

It is known by its name and by its UUID, which is the same whatever it is called: a dying domain has lost its name, a
migrated or renamed one has another, and the file may be gone or say something new. What this must not do: take a
domain for absent that may be there under no name or another, or in the next moment.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import quote

from failoverd import threads
from failoverd.drivers import DriverError, Refused, TimedOut
from failoverd.drivers.xen import events, keeper
from failoverd.drivers.xen.config import File
from failoverd.drivers.xen.domain import Condition, Domain
from failoverd.drivers.xen.listing import listing
from failoverd.records import records

#: A domain that will do nothing any more but be destroyed, unless an xl is at work on it.
_CORPSES = frozenset({Condition.CRASHED, Condition.SHUT_DOWN, Condition.REBOOTING, Condition.UNBORN})

#: What has no name and is well.
_NAMELESS = frozenset({Condition.DYING, Condition.UNBORN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen of the domain: itself, or None; and the processes that may start it at any moment."""

    domain: Domain | None = None
    keepers: tuple[int, ...] = ()

    @property
    def nothing(self) -> bool:
        """It is not there, and nobody is about to start it."""
        return self.domain is None and not self.keepers

    @property
    def corpse(self) -> bool:
        """Nothing of it will come to life again, and no xl will clear it away."""
        return self.domain is not None and self.domain.condition in _CORPSES and not self.keepers

    def __str__(self) -> str:
        at_work = f"xl (pid {', '.join(map(str, self.keepers))}) is at work on it" if self.keepers else ""
        return "; ".join(text for text in (str(self.domain or "not there"), at_work) if text)


class Eye:
    """Looks for the domain of one configuration file."""

    def __init__(self, path: str) -> None:
        self.file = File(path)
        #: Its name, as far as it is known yet.
        self.name: str | None = None
        self._uuid: str | None = None
        self._path = path
        self._memory = f"xen-{quote(path, safe='')}"
        self._recall()

    async def look(self, patience: float) -> Sight:
        """What there is of it. DriverError when that cannot be told within `patience` seconds."""
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
            raise DriverError(f"{nameless}: which domain it is cannot be told")
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.1)):
                return await self._seen(guests)
        except TimeoutError as error:
            raise TimedOut(f"the processes of xl cannot be seen within {patience:.3g} s") from error

    async def end(self, pid: int) -> None:
        """Kill a process that was seen to be about to start it, if it still is."""
        await threads.run(keeper.end, pid, self.name, self._path)

    async def _seen(self, guests: list[Domain]) -> Sight:
        found = [it for it in guests if it.name == self.name or it.uuid == self._uuid]
        # One that reboots is built again, with its UUID, while the old one may still be dying.
        found = [it for it in found if it.condition is not Condition.DYING] or found[:1]
        if len(found) > 1:
            raise DriverError(f"{self.name} is there twice: {' and '.join(map(str, found))}; see xl list -v")
        domain = found[0] if found else None
        if domain is not None and domain.name is not None and domain.name == self.name:
            self._keep(domain.name, domain.uuid)
        if domain is not None and domain.condition is Condition.RUNNING:
            return Sight(domain=domain)  # who may start it makes no difference
        # One that is being built gets its name late; if it is this one, the xl that builds it is seen.
        lost = [it.id for it in guests if it.name is None and it.condition not in _NAMELESS]
        if domain is None and lost:
            raise DriverError(f"xenstored does not know the name of domain {lost[0]}, which may be any; see xl list -v")
        return Sight(domain=domain, keepers=await threads.run(keeper.find, self.name, self._path))

    def _recall(self) -> None:
        """What was kept by an earlier daemon of this boot, if it could."""
        it = records.read(self._memory) or {}
        if {"name", "uuid"} <= it.keys():
            self.name, self._uuid = str(it["name"]), str(it["uuid"])

    def _keep(self, name: str, uuid: str) -> None:
        """Remember it, over a restart of the daemon too if that can be."""
        if uuid == self._uuid:
            return
        self._uuid = uuid
        records.write(self._memory, {"name": name, "uuid": uuid})
