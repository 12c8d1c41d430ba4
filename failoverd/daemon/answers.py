"""What failoverctl asks for, and the answers, as plain data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from failoverd import log
from failoverd.core.events import Acknowledged, Reset, RivalsNoted
from failoverd.core.model import InstanceState
from failoverd.core.words import Target
from failoverd.daemon import chronicle, status
from failoverd.daemon.access import Peer
from failoverd.daemon.control import Handler, Refused
from failoverd.daemon.store import StoreError
from failoverd.drivers import DriverError
from failoverd.trouble import troubles

if TYPE_CHECKING:
    from failoverd.daemon.service import Service

#: The most transitions that are told at once.
_LONGEST = 1000


class Answers:
    """The verbs of the control socket, each with what answers it: those that only read, and those that act."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.reads: Mapping[str, Handler] = {
            "status": self._status,
            "history": self._history,
            "transition": self._transition,
            "plan": self._plan,
        }
        self.acts: Mapping[str, Handler] = {
            "reset": self._reset,
            "acknowledge": self._acknowledge,
            "accept": self._accept,
        }

    async def _status(self, _params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        offset = time.time() - asyncio.get_running_loop().time()
        told = status.status(
            self._service.state,
            node=self._service.node,
            events=self._service.intake.counters,
            troubles=troubles.standing,
            wall=lambda at: at + offset,
        )
        store = self._service.store
        return {
            **told,
            "history": {"trouble": store.trouble, "dropped": store.dropped},
            "log": {"trouble": log.trouble(), "lost": log.lost()},
        }

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
        instance, word = self._instance(params), params.get("target")
        try:
            direction = Target(word)
        except ValueError:
            raise Refused(f'"{word}" is no target', "expected active or standby") from None
        return status.plan(instance, direction, self._service.executor.commands)

    async def _reset(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        name = str(params.get("instance"))
        strays = [s.spec.name for s in self._service.state.strays.values() if s.spec.instance == name]
        if not strays:
            self._instance(params)
        chronicle.keep_act(self._service.store, self._service.boot_id, name, verb="reset", by=str(peer))
        self._service.dispatch(Acknowledged(instance=name))
        self._service.dispatch(Reset(instance=name, cause=f"{peer} asked for a reset"))
        instance = self._service.state.instances.get(name)
        phase = instance.phase.value if instance is not None else None
        return {"instance": name, "phase": phase, "forgotten": sorted(strays)}

    async def _acknowledge(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        instance = self._instance(params)
        name, number = instance.spec.name, len(instance.rivals)
        chronicle.keep_act(self._service.store, self._service.boot_id, name, verb="acknowledge", by=str(peer))
        self._service.dispatch(RivalsNoted(instance=name))
        return {"instance": name, "acknowledged": number}

    async def _accept(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        instance, resource = self._instance(params), str(params.get("resource"))
        name = instance.spec.name
        if resource not in instance.resources:
            known = ", ".join(sorted(instance.resources))
            raise Refused(f'{name} has no resource "{resource}" on this node', f"expected one of: {known}")
        try:
            accepted = await self._service.executor.accept(instance.resources[resource].spec, str(peer))
        except DriverError as error:
            raise Refused(error.reason) from error
        chronicle.keep_act(self._service.store, self._service.boot_id, name, verb=f"accept {resource}", by=str(peer))
        self._service.dispatch(Reset(instance=name, cause=accepted))
        return {"instance": name, "resource": resource, "accepted": accepted}

    def _instance(self, params: Mapping[str, Any]) -> InstanceState:
        name = str(params.get("instance"))
        instances = self._service.state.instances
        if name not in instances:
            raise Refused(f'there is no instance "{name}"', f"expected one of: {', '.join(sorted(instances))}")
        return instances[name]
