"""Ask the other stations of each link for the VIPs that are here, when the core wants that.

A VIP that another station has too becomes an event. Everything else is silence, which proves nothing: no answer, a VIP
that is not here, and an interface that is no Ethernet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from failoverd import log
from failoverd.core.effects import ProbeVips
from failoverd.core.events import VipElsewhere
from failoverd.core.spec import Vip
from failoverd.ports.errors import DriverError
from failoverd.ports.neighbours import Neighbours

_log = log.get("vip-probe")

#: Seconds in which a station answers.
_TIMEOUT_S = 0.3
#: Seconds until the second probe: a node that has just given way answers for some milliseconds more.
_PAUSE_S = 1.0


class VipProbe:
    """One task probes one instance after the other: a thousand instances must not be asked about at once.

    `present`: the VIPs of an instance that are here now. `dispatch` gives the core an event.
    """

    def __init__(self, present: Callable[[str], Collection[Vip]], dispatch: Callable[[VipElsewhere], object]) -> None:
        self._present = present
        self._dispatch = dispatch
        self._neighbours = Neighbours()
        self._wanted: dict[str, None] = {}  # in the order in which they were asked for
        self._task: asyncio.Task[None] | None = None

    def perform(self, effect: ProbeVips) -> None:
        """Probe the instance in its turn, without waiting for it."""
        self._wanted[effect.instance] = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End the probes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._neighbours.close()

    async def _run(self) -> None:
        try:
            while self._wanted:
                name = next(iter(self._wanted))
                del self._wanted[name]
                try:
                    await self._probe(name)
                except Exception:
                    _log.exception("cannot probe the VIPs; this is a bug of failoverd", instance=name)
        finally:
            self._task = None

    async def _probe(self, name: str) -> None:
        """Probe all its VIPs, up to the first that another station has too."""
        for vip in tuple(self._present(name)):
            station = await self._asked(vip)
            if station is None:
                continue
            await asyncio.sleep(_PAUSE_S)
            if await self._asked(vip) == station and vip in self._present(name):
                self._dispatch(VipElsewhere(instance=name, vip=vip, station=station))
                return

    async def _asked(self, vip: Vip) -> str | None:
        try:
            return await self._neighbours.elsewhere(vip.address, vip.interface, _TIMEOUT_S)
        except DriverError:
            return None
