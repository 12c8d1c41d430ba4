"""Ask the witnesses of [quorum] when the core wants that. Each answer becomes an event; the core decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from failoverd import log
from failoverd.core import votes
from failoverd.core.effects import AskWitnesses
from failoverd.core.events import LeaseAnswered, WitnessAnswered
from failoverd.core.model import State
from failoverd.core.spec import Quorum
from failoverd.osutil import threads
from failoverd.ports import witness
from failoverd.ports.witness import Answer, LeaseWitness, Witness
from failoverd.trouble import TroubleKind, troubles

_log = log.get("witnesses")

#: Seconds in which a lease is given up; after that it ends by itself.
_RELEASE_TIMEOUT_S = 2.0


class Witnesses:
    """The witnesses of the active configuration. `dispatch` gives the core an event."""

    def __init__(self, dispatch: Callable[[WitnessAnswered | LeaseAnswered], object]) -> None:
        self._dispatch = dispatch
        self._common: dict[str, Witness] = {}
        self._leasing: dict[str, LeaseWitness] = {}
        self._held: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._made: tuple[Quorum | None, str] = (None, "")
        self._hindered: set[str] = set()
        self._looks: asyncio.Task[None] | None = None

    def configure(self, quorum: Quorum | None, node: str) -> None:
        """Use these witnesses from here on. `node`: the name of this node, by which others know who holds a lease."""
        names = ((), ()) if quorum is None else (quorum.witnesses, quorum.leases)
        if self._made == (quorum, node):
            return
        self._made = (quorum, node)
        for old in self._leasing.values():
            self._start(old.close())
        self._common = {name: witness.make(name) for name in names[0]}
        self._leasing = {name: witness.lease(name, node) for name in names[1]}
        for name in self._hindered - self._common.keys():
            troubles.end(TroubleKind.WITNESS, name)
        self.look()

    def look(self) -> None:
        """Find the witnesses that cannot be asked on this machine, as long as nobody needs them."""
        if self._looks is None or self._looks.done():
            self._looks = asyncio.get_running_loop().create_task(self._look_at(tuple(self._common)))

    async def _look_at(self, names: tuple[str, ...]) -> None:
        for name in names:
            found = await threads.run(witness.obstacle, name)
            if name not in self._common or found is None:
                troubles.end(TroubleKind.WITNESS, name)
            else:
                self._hindered.add(name)
                path = name.removeprefix("exec://")
                troubles.begin(TroubleKind.WITNESS, f"cannot ask {found}", subject=name, path=path)

    def perform(self, effect: AskWitnesses) -> None:
        """Ask all of them at once, without waiting for their answers."""
        for name, each in self._common.items():
            self._start(self._ask(name, each, effect))
        for name, lease in self._leasing.items():
            for instance, seconds in effect.hold.items():
                self._start(self._hold(name, lease, instance, seconds, effect, take=True))
            for instance, seconds in effect.renew.items():
                self._start(self._hold(name, lease, instance, seconds, effect, take=False))
            for instance in effect.look:
                self._start(self._look(name, lease, instance, effect))
        self._held.update(effect.hold, effect.renew)

    def change(self, now: State) -> None:
        """Give up the leases of instances that need none any more."""
        for name in [each for each in self._held if not votes.keeps_lease(now, each)]:
            self._held.discard(name)
            for lease in self._leasing.values():
                self._start(lease.release(name, _RELEASE_TIMEOUT_S))

    async def close(self) -> None:
        """Wait for the leases that are given up, and end all questions. A lease that is held stays."""
        if self._looks is not None:
            self._looks.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_RELEASE_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        for lease in self._leasing.values():
            await lease.close()

    async def _ask(self, name: str, asked: Witness, effect: AskWitnesses) -> None:
        answer = await asked.ask(effect.timeout)
        self._dispatch(WitnessAnswered(witness=name, granted=answer.granted, said=answer.said, asked=effect.asked))

    async def _hold(
        self, name: str, asked: LeaseWitness, instance: str, seconds: float, effect: AskWitnesses, *, take: bool
    ) -> None:
        answer = await asked.hold(instance, seconds, effect.timeout, take=take)
        self._told(name, instance, answer, effect, held=True)

    async def _look(self, name: str, asked: LeaseWitness, instance: str, effect: AskWitnesses) -> None:
        self._told(name, instance, await asked.look(instance, effect.timeout), effect, held=False)

    def _told(self, name: str, instance: str, answer: Answer, effect: AskWitnesses, *, held: bool) -> None:
        self._dispatch(
            LeaseAnswered(
                instance=instance,
                witness=name,
                granted=answer.granted,
                said=answer.said,
                asked=effect.asked,
                held=held,
            )
        )

    def _start(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("cannot ask a witness; this is a bug of failoverd", exc_info=error)
