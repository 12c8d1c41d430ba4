"""The parts of a handover that failoverctl requests, on the node that hands over and on those that stay aside."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.core import guards, planner
from failoverd.core.model import InstanceState
from failoverd.core.requests import (
    AsideEnded,
    AsideWanted,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
)
from failoverd.core.words import Level, Phase, Target
from failoverd.daemon import reporting
from failoverd.daemon.access import Peer
from failoverd.daemon.control import preconditions, takeover
from failoverd.daemon.control.server import Refused
from failoverd.daemon.executor import Executor
from failoverd.daemon.history.store import Store
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.persistence.wishes import SAVE_TIMEOUT_S, Wishes
from failoverd.records import records

#: Seconds for which a node stays aside after failoverctl has last asked it to.
ASIDE_S = 15.0

#: Seconds between the check of a handover and its begin, in which no other one may begin.
_PREPARED_S = 45.0

#: The longest `id` of a handover.
_MAX_HANDOVER_ID = 200

#: Seconds for which a handover may count as attended, at most.
_ATTENDED_MAX_S = 60.0


class HandoverParts:
    """The handler of the verb `handover`: `handle`. The arguments are those of Answers."""

    def __init__(
        self,
        core: CoreLoop,
        executor: Executor,
        store: Store,
        *,
        watched: Callable[[str], Awaitable[bool | None]],
        wishes: Wishes,
    ) -> None:
        self._core = core
        self._executor = executor
        self._store = store
        self._watched = watched
        self._wishes = wishes
        #: By instance, the handover that is prepared: its id, its operator, and until when it has the time to begin.
        self._prepared: dict[str, tuple[str, str, float]] = {}

    async def handle(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        """The parts of a handover, by `part`; `id` is that of the failoverctl that attends it.

        On the node that hands over: check (changes nothing), begin, attend, cancel, and confirm. On a node that is not
        to be elected: aside, and compete.
        """
        parts = {
            "check": self._check_handover,
            "begin": self._begin_handover,
            "attend": self._attend_handover,
            "cancel": self._cancel_handover,
            "confirm": self._confirm_handover,
            "aside": self._stand_aside,
            "compete": self._compete,
        }
        instance, part, number = preconditions.instance(self._core.state, params), params.get("part"), params.get("id")
        if part not in parts:
            raise Refused(f'"{part}" is not a part of a handover', f"expected one of: {', '.join(parts)}")
        if not isinstance(number, str) or not 0 < len(number) <= _MAX_HANDOVER_ID:
            raise Refused(f"id must be a word of at most {_MAX_HANDOVER_ID} characters")
        return await parts[part](instance.spec.name, number, params, peer)

    async def _check_handover(self, name: str, number: str, _: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        instance = await self._able_to_hand_over(name)
        now = asyncio.get_running_loop().time()
        other, by, until = self._prepared.get(name, ("", "", -math.inf))
        if other != number and now < until:
            raise Refused(f"{by} hands {name} over already", "wait for that: failoverctl status")
        self._prepared[name] = (number, str(peer), now + _PREPARED_S)
        return {
            "instance": name,
            "worst_case": planner.schedule(instance.spec, Target.STANDBY)[1],
            "worst_case_there": planner.schedule(instance.spec, Target.ACTIVE)[1],
            "competes_after": guards.handover_time(instance),
            "preempt": instance.spec.preempt,
        }

    async def _begin_handover(self, name: str, number: str, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        answer = await self._check_handover(name, number, params, peer)
        until = _until(params)
        if asyncio.get_running_loop().time() >= until:
            raise Refused(f"{name}: the request came too late: failoverctl does not attend the handover any more")
        reporting.keep_act(self._store, records.boot, name, verb="handover", by=str(peer))
        self._core.dispatch(HandoverWanted(instance=name, by=str(peer), id=number, until=until))
        return answer

    async def _able_to_hand_over(self, name: str) -> InstanceState:
        watched = await self._watched(name)
        found = await takeover.outlook(
            self._core.state, preconditions.named(self._core.state, name), self._executor, watched=watched
        )
        preconditions.not_in_maintenance(self._core.state)
        instance = preconditions.named(self._core.state, name)
        if instance.handover is not None:
            raise Refused(f"{instance.handover.by} hands {name} over already", "wait for that: failoverctl status")
        if found.obstacles:
            raise Refused(f"{name}: {'; '.join(found.obstacles)}", "fix that; nothing was changed")
        if instance.phase is not Phase.ACTIVE or not instance.competes:
            raise Refused(f"{name} is not active here: {instance.reason}", f"see: {failoverctl('why', name)}")
        return instance

    async def _attend_handover(self, name: str, number: str, params: Mapping[str, Any], _: Peer) -> dict[str, Any]:
        self._core.dispatch(HandoverAttended(instance=name, id=number, until=_until(params)))
        return {"instance": name}

    async def _cancel_handover(self, name: str, number: str, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        """End it before the release; with `released`, also after it, because no other node will be active."""
        before, released = preconditions.named(self._core.state, name).handover, params.get("released") is True
        self._end_preparation(name, number)
        why = str(params.get("cause") or f"{peer} cancelled the handover")
        self._core.dispatch(HandoverCancelled(instance=name, id=number, cause=why, released=released))
        own = before is not None and before.id == number
        return {"instance": name, "cancelled": own and preconditions.named(self._core.state, name).handover is None}

    async def _confirm_handover(self, name: str, number: str, _: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        before = preconditions.named(self._core.state, name)
        self._end_preparation(name, number)
        self._core.dispatch(HandoverConfirmed(instance=name, id=number, by=str(peer)))
        instance = preconditions.named(self._core.state, name)
        kept = instance.standby is not None
        return {
            "instance": name,
            "confirmed": before.handover is not None and before.handover.id == number,
            "competes": instance.competes,
            "standby": kept,
            "vrrp_state": instance.vrrp.value if instance.vrrp is not None else None,
            "unsaved": (await self._wishes.saved(SAVE_TIMEOUT_S) or None) if kept else None,
        }

    def _end_preparation(self, name: str, number: str) -> None:
        if self._prepared.get(name, ("",))[0] == number:
            del self._prepared[name]

    async def _stand_aside(self, name: str, number: str, _: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        instance = preconditions.named(self._core.state, name)
        if instance.aside is not None and instance.aside.id != number:
            raise Refused(f"{name}: this node is aside for another handover, {instance.aside.id}", "wait for its end")
        given_up = instance.phase in (Phase.FAILED, Phase.REFUSED) or instance.held_back
        if instance.target is Target.ACTIVE and not given_up:
            raise Refused(f"{name} is active here", "to move it from here: failoverctl handover")
        if any(not r.rests_at(Level.STANDBY) for r in instance.resources.values()):
            preconditions.not_in_maintenance(self._core.state)
        if instance.aside is None:
            reporting.keep_act(self._store, records.boot, name, verb="aside", by=str(peer))
        until = asyncio.get_running_loop().time() + ASIDE_S
        self._core.dispatch(AsideWanted(instance=name, id=number, until=until))
        return {"instance": name, "aside": True}

    async def _compete(self, name: str, number: str, _: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        self._core.dispatch(AsideEnded(instance=name, id=number))
        return {"instance": name, "aside": preconditions.named(self._core.state, name).aside is not None}


def _until(params: Mapping[str, Any]) -> float:
    """Until when failoverctl attends a handover, by the loop's clock, which does not count the time of a stall.

    The request has it by CLOCK_MONOTONIC, which all processes of the machine share.
    """
    until = params.get("until")
    if not isinstance(until, int | float) or not math.isfinite(until):
        raise Refused("until must be a time")
    return asyncio.get_running_loop().time() + min(until - time.monotonic(), _ATTENDED_MAX_S)
