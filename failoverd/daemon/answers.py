"""What failoverctl asks for, and the answers, as plain data. Nothing here changes anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from failoverd.core.model import Target
from failoverd.daemon import status
from failoverd.daemon.control import Handler, Peer, Refused
from failoverd.daemon.store import StoreError

if TYPE_CHECKING:
    from failoverd.daemon.service import Service

#: The most transitions that are told at once.
_LONGEST = 1000


class Answers:
    """The verbs of the control socket, each with what answers it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.verbs: Mapping[str, Handler] = {
            "status": self._status,
            "history": self._history,
            "transition": self._transition,
            "plan": self._plan,
        }

    async def _status(self, _params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        offset = time.time() - time.monotonic()
        told = status.status(
            self._service.state,
            node=self._service.node,
            events=self._service.intake.counters,
            wall=lambda at: at + offset,
        )
        return {**told, "history": {"trouble": self._service.store.trouble, "dropped": self._service.store.dropped}}

    async def _history(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        number = params.get("n", 20)
        if not isinstance(number, int) or not 0 < number <= _LONGEST:
            raise Refused(f"n is not a number from 1 to {_LONGEST}")
        try:
            return {"transitions": await self._service.store.history(number)}
        except StoreError as error:
            raise Refused(str(error)) from error

    async def _transition(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        number = params.get("id")
        if not isinstance(number, int):
            raise Refused("id is not a number")
        try:
            found = await self._service.store.transition(number)
        except StoreError as error:
            raise Refused(str(error)) from error
        if found is None:
            raise Refused(f"there is no transition {number}", "failoverctl history lists those that there are")
        return found

    async def _plan(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        name, word = str(params.get("instance")), params.get("target")
        instance = self._service.state.instances.get(name)
        if instance is None:
            known = ", ".join(sorted(self._service.state.instances))
            raise Refused(f'there is no instance "{name}"', f"expected one of: {known}")
        try:
            direction = Target(word)
        except ValueError:
            raise Refused(f'"{word}" is no target', "expected active or standby") from None
        commands = self._service.executor.commands
        return status.plan(instance, direction, lambda resource, verb: commands(name, resource, verb))
