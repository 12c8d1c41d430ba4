"""Power other nodes off by their fence agents, when the core or DRBD wants it, and report each end as an event.

One fencing of a node runs at a time, and nothing ends it but its own deadline: an agent that is killed in the middle
may leave its power switch with a session that lets nobody else in.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from failoverd import log
from failoverd.core.effects import FencePeer
from failoverd.core.events import PeerFenced
from failoverd.core.spec import Fence
from failoverd.daemon.config import fence as configured
from failoverd.daemon.history.store import Store
from failoverd.ports import fence as agents
from failoverd.ports.errors import Hung
from failoverd.records import records
from failoverd.trouble import TroubleKind, troubles

_log = log.get("fencing")

#: The number of a fencing for which the core has not asked.
FOR_DRBD = -1


class Fencing:
    """The fence agents of the active configuration. `dispatch` gives the core an event; `store` is the history.

    `called_off` says why a fencing that the core asked for must not go on; None: it must.
    """

    def __init__(
        self, dispatch: Callable[[PeerFenced], object], store: Store, called_off: Callable[[str], str | None]
    ) -> None:
        self._dispatch = dispatch
        self._called_off = called_off
        self._store = store
        self._fences: Mapping[str, Fence] = {}
        self._asked: dict[str, dict[int, Callable[[], str | None]]] = {}
        self._hung: dict[str, Hung] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._check: asyncio.Task[None] | None = None
        #: Of each node whose last fencing has failed, how.
        self.failures: dict[str, str] = {}

    def configure(self, fences: Mapping[str, Fence], node: str) -> None:
        """Use these agents from here on, and check them. `node`: the name of this node, which is never fenced here."""
        others = configured.others(fences, node)
        for name in self._fences.keys() - others.keys():
            troubles.end(TroubleKind.FENCE_AGENT, name)
        self._fences = others
        if self._check is not None:
            self._check.cancel()
        self._check = self._start(self._examine()) if others else None

    def perform(self, effect: FencePeer) -> None:
        """Fence the node, without waiting for it. While it is being fenced, that one counts."""
        self.begin(effect.peer, effect.fencing, lambda: self._called_off(effect.peer))

    def begin(self, peer: str, number: int, barred: Callable[[], str | None]) -> None:
        """The same; `number`: that of the event. `barred` says, just before it is powered off, why not; None: it is."""
        asked = self._asked.setdefault(peer, {})
        asked[number] = barred
        if len(asked) == 1:
            task = self._start(self._fence(peer, self._fences.get(peer)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def runs(self, peer: str) -> bool:
        """Whether the node is being fenced."""
        return peer in self._asked

    async def close(self) -> None:
        """Wait for the fencings, each until its deadline."""
        if self._check is not None:
            self._check.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _fence(self, peer: str, fence: Fence | None) -> None:
        """Report a proof once, and a failure to everyone who has asked; even after an internal error."""
        started = time.monotonic()
        _log.warning("fencing a node", node=peer)
        try:
            report = await self._powered_off(peer, fence)
        except Exception as error:
            _log.exception("a fencing failed with an internal error; this is a bug of failoverd", node=peer)
            report = agents.Report(off=False, said=f"internal error: {error!r}")
        say = _log.warning if report.off or report.called_off else _log.error
        say(
            "a fencing ended", node=peer, off=report.off, said=report.said, seconds=round(time.monotonic() - started, 3)
        )
        self._store.record_event(
            at=time.time(),
            boot_id=records.boot,
            kind="FENCING",
            name=peer,
            state="off" if report.off else "called off" if report.called_off else "failed",
            source=report.said,
            verdict="accepted",
        )
        self.failures.pop(peer, None)
        if not report.off and not report.called_off:
            self.failures[peer] = report.said
        asked = self._asked.pop(peer)
        for number in {max(asked)} if report.off else asked:
            self._dispatch(
                PeerFenced(peer=peer, fencing=number, off=report.off, said=report.said, called_off=report.called_off)
            )

    async def _powered_off(self, peer: str, fence: Fence | None) -> agents.Report:
        if fence is None:
            return agents.Report(off=False, said=f"there is no [fence.{peer}]")
        if peer in self._hung and not self._hung[peer].over():
            return agents.Report(
                off=False, said=f"an earlier run of its agent has not ended: {self._hung[peer].reason}"
            )
        report = await agents.power_off(fence, lambda: self._barred(peer))
        self._hung.pop(peer, None)
        if report.hung is not None:
            self._hung[peer] = report.hung
        return report

    def _barred(self, peer: str) -> str | None:
        """Why nobody who has asked for it wants it any more; None: somebody does."""
        reasons = [barred() for barred in self._asked[peer].values()]
        return None if None in reasons else reasons[0]

    async def _examine(self) -> None:
        """Say now what would keep a fencing from working, and not at the moment of the failover."""
        fences = dict(self._fences)
        found = await asyncio.gather(*map(_obstacles, fences.values()))
        for peer, wrong in zip(fences, found, strict=True):
            if wrong:
                troubles.begin(TroubleKind.FENCE_AGENT, f"{peer} cannot be fenced: {'; '.join(wrong)}", subject=peer)
            else:
                troubles.end(TroubleKind.FENCE_AGENT, peer)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task in an empty context: it belongs to no step."""
        return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def _obstacles(fence: Fence) -> list[str]:
    return [*await agents.obstacles(fence), *(each.wrong for each in agents.lacking(fence).values())]
