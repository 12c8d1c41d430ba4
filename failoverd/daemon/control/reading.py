"""The verbs that change nothing: status, why, history, plan, drill; and the changes that `status --watch` gets."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from failoverd import log
from failoverd.core import planned_move, planner
from failoverd.core.model import State
from failoverd.core.words import Target
from failoverd.daemon import plan, status, why
from failoverd.daemon.access import Peer
from failoverd.daemon.config.active import ActiveConfiguration
from failoverd.daemon.control import preconditions
from failoverd.daemon.control.feed import Feed
from failoverd.daemon.control.server import Handler, Refused, Subscribe
from failoverd.daemon.executor import Executor
from failoverd.daemon.heartbeat.beat import Heartbeat
from failoverd.daemon.history.store import Store, StoreError
from failoverd.daemon.intake import ReportedEvent
from failoverd.daemon.loop import CoreLoop
from failoverd.trouble import troubles

#: Transitions in one answer, at most.
_HISTORY_MAX_TRANSITIONS = 1000


class Reading:
    """The handlers of the verbs that change nothing: `reads`, and `feeds`. The arguments are those of Answers."""

    def __init__(
        self,
        core: CoreLoop,
        executor: Executor,
        store: Store,
        *,
        configuration: Callable[[], ActiveConfiguration],
        counters: Callable[[], Mapping[str, int]],
        accepted: Callable[[str], ReportedEvent | None],
        heartbeat: Heartbeat,
    ) -> None:
        self._core = core
        self._executor = executor
        self._store = store
        self._configuration = configuration
        self._counters = counters
        self._accepted = accepted
        self._heartbeat = heartbeat
        self.reads: Mapping[str, Handler] = {
            "status": self._status,
            "why": self._why,
            "history": self._history,
            "transition": self._transition,
            "plan": self._plan,
            "drill": self._drill,
        }
        self.feeds: Mapping[str, Subscribe] = {"watch": self._watch}

    async def _status(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        only = preconditions.known(self._core.state, params) if "instance" in params else None
        heartbeat = self._heartbeat.report(_stamp, only)
        report = self._report(self._core.state, only=only)
        return {**report, "heartbeat": heartbeat, "at": status.timestamp(time.time())}

    def _report(self, state: State, *, only: str | None, names: Sequence[str] | None = None) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        offset = time.time() - now
        report = status.status(
            state,
            node=self._configuration().node,
            events=self._counters(),
            troubles=troubles.standing,
            wall=lambda at: at + offset,
            only=only,
            names=names,
        )
        for name, shown in report["instances"].items():
            shown["against_move"] = planned_move.against(state, state.instances[name], now)
        store, configuration = self._store, self._configuration()
        return {
            **report,
            "digest": configuration.digest,
            "peers": dict(configuration.peers),
            "history": {"trouble": store.trouble, "dropped": store.dropped},
            "log": {"trouble": log.trouble(), "lost": log.lost()},
        }

    async def _why(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        return self._explained(await self._status(params, peer))

    def _explained(self, report: dict[str, Any]) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        offset = time.time() - now
        for name, shown in report["instances"].items():
            instance = self._core.state.instances[name]
            shown["why"] = why.why(instance, self._accepted(name), now, lambda at: at + offset)
        return report

    def _watch(self, params: Mapping[str, Any]) -> Feed:
        only = preconditions.known(self._core.state, params) if "instance" in params else None

        def report(state: State, names: Sequence[str]) -> dict[str, Any]:
            return self._explained(self._report(state, only=only, names=names))

        return Feed(self._core, report, only)

    async def _history(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        number = params.get("n", 20)
        if not isinstance(number, int) or not 0 < number <= _HISTORY_MAX_TRANSITIONS:
            raise Refused(f"n must be a number from 1 to {_HISTORY_MAX_TRANSITIONS}")
        try:
            return {"transitions": await self._store.history(number)}
        except StoreError as error:
            raise Refused(str(error)) from error

    async def _transition(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        number = params.get("id")
        if not isinstance(number, int):
            raise Refused("id must be a number")
        try:
            found = await self._store.transition(number)
        except StoreError as error:
            raise Refused(str(error)) from error
        if found is None:
            raise Refused(f"there is no transition {number}", "to list the latest transitions: failoverctl history")
        return found

    async def _plan(self, params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        instance, target = preconditions.instance(self._core.state, params), params.get("target")
        try:
            direction = Target(target)
        except ValueError:
            raise Refused(f'"{target}" is not a target', "expected active or standby") from None
        name, trouble = instance.spec.name, None
        try:
            durations = await self._store.durations(name, planner.VERB[direction].value)
        except StoreError as error:
            durations, trouble = {}, str(error)
        found = plan.plan(
            self._core.state,
            preconditions.instance(self._core.state, params),
            direction,
            self._executor.commands,
            durations,
        )
        return {**found, "budget": self._configuration().budgets.get(name), "history": {"trouble": trouble}}

    async def _drill(self, _params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        try:
            return {"node": self._configuration().node, **await self._store.faults()}
        except StoreError as error:
            raise Refused(str(error)) from error


def _stamp(at: float) -> str | None:
    """The timestamp of the loop's seconds; None for infinity."""
    now = asyncio.get_running_loop().time()
    return None if math.isinf(at) else status.timestamp(time.time() + at - now)
