"""The verbs by which an operator acts, without `handover`: standby, maintenance, reset, and all others."""

from __future__ import annotations

import asyncio
import math
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.core import peers, planned_move, planner
from failoverd.core.requests import (
    Acknowledged,
    CheckAsked,
    MaintenanceBegun,
    MaintenanceEnded,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    RivalsNoted,
    StandbyWanted,
    Together,
)
from failoverd.core.words import Phase, Target
from failoverd.daemon import reporting, status
from failoverd.daemon.access import Peer
from failoverd.daemon.alerts.sender import Alerts
from failoverd.daemon.config import fence
from failoverd.daemon.config.active import ActiveConfiguration
from failoverd.daemon.control import preconditions, takeover
from failoverd.daemon.control.server import Handler, Refused
from failoverd.daemon.executor import Executor
from failoverd.daemon.history.store import Store
from failoverd.daemon.keepalived.vrrp_state import VrrpStateQueries
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.persistence.wishes import SAVE_TIMEOUT_S, Wishes
from failoverd.ports.errors import DriverError
from failoverd.records import records

#: Seconds to wait for keepalived's D-Bus: longer than vrrp_state.py does, and less than a handler may take.
_QUERY_TIMEOUT_S = 3.0

#: Seconds for which maintenance may be limited: a year.
_MAINTENANCE_MAX_S = 366 * 86400

#: Instances of `--all` that are handled at once: the loop handles other events in between.
AT_ONCE = 50


class Acting:
    """The handlers of these verbs: `acts`. The arguments are those of Answers."""

    def __init__(
        self,
        core: CoreLoop,
        executor: Executor,
        store: Store,
        alerts: Alerts,
        *,
        configuration: Callable[[], ActiveConfiguration],
        queries: Callable[[], VrrpStateQueries],
        watched: Callable[[str], Awaitable[bool | None]],
        wishes: Wishes,
    ) -> None:
        self._core = core
        self._executor = executor
        self._store = store
        self._alerts = alerts
        self._configuration = configuration
        self._queries = queries
        self._watched = watched
        self._wishes = wishes
        self.acts: Mapping[str, Handler] = {
            "standby": self._standby,
            "online": self._online,
            "maintenance": self._maintenance,
            "reset": self._reset,
            "reconcile": self._reconcile,
            "acknowledge": self._acknowledge,
            "confirm-off": self._confirm_off,
            "unfence": self._unfence,
            "accept": self._accept,
            "alert test": self._alert_test,
        }

    async def _standby(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        chosen = preconditions.chosen(self._core.state, params)
        preconditions.not_in_maintenance(self._core.state)
        looks = [
            takeover.outlook(self._core.state, i, self._executor, watched=await self._watched(i.spec.name))
            for i in chosen
        ]
        outlooks = dict(zip((i.spec.name for i in chosen), await asyncio.gather(*looks), strict=True))
        state, now = self._core.state, asyncio.get_running_loop().time()
        for name, found in outlooks.items():
            instance = state.instances.get(name)
            if instance is not None and instance.target is Target.ACTIVE:
                found.obstacles.extend(planned_move.nobody(state, instance, now))
        obstacles = [f"{name}: {each}" for name, outlook in outlooks.items() for each in outlook.obstacles]
        if obstacles and not params.get("anyway"):
            anyway = "failoverctl standby --all --anyway"
            if not params.get("all"):
                anyway = failoverctl("standby --anyway", chosen[0].spec.name)
            raise Refused("; ".join(obstacles), f"to do it all the same: {anyway}")
        # Maintenance may have begun, and a reload may have come, while the others were asked.
        preconditions.not_in_maintenance(self._core.state)
        chosen = [each for each in preconditions.chosen(self._core.state, params) if each.spec.name in outlooks]
        for names in _pieces([instance.spec.name for instance in chosen]):
            preconditions.not_in_maintenance(self._core.state)
            for name in names:
                reporting.keep_act(self._store, records.boot, name, verb="standby", by=str(peer))
            self._core.dispatch(Together(events=tuple(StandbyWanted(instance=name, by=str(peer)) for name in names)))
            await asyncio.sleep(0)
        return {
            "instances": {
                i.spec.name: {
                    "leaving": i.target is Target.ACTIVE or (i.target is not None and i.phase is not Phase.STANDBY),
                    "worst_case": planner.schedule(i.spec, Target.STANDBY)[1],
                    "obstacles": outlooks[i.spec.name].obstacles,
                    "unknown": outlooks[i.spec.name].unknown,
                }
                for i in chosen
            },
            "unsaved": await self._wishes.saved(SAVE_TIMEOUT_S) or None,
        }

    async def _online(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        elsewhere = self._unconfigured_standby(params)
        chosen = [] if elsewhere and not self._has_any(params) else preconditions.chosen(self._core.state, params)
        kept = [i.spec.name for i in chosen if i.standby is not None]
        preconditions.not_elected_in_maintenance(self._core.state, kept)
        ended = [*(instance.spec.name for instance in chosen), *elsewhere]
        state, now = self._core.state, asyncio.get_running_loop().time()
        if not params.get("anyway"):
            preconditions.not_preempting(state, kept, now)
        relying = {i.spec.name: peers.relying(state, i, now) for i in chosen}
        self._wishes.end(ended)
        cause = f"{peer} has ended the standby"
        for names in _pieces(ended):
            for name in names:
                reporting.keep_act(self._store, records.boot, name, verb="online", by=str(peer))
            self._core.dispatch(Together(events=tuple(OnlineWanted(instance=name, cause=cause) for name in names)))
            await asyncio.sleep(0)
        return {
            "instances": {
                **{
                    i.spec.name: {
                        "ended": i.standby is not None,
                        "released": i.released or None,
                        "configured": True,
                        "relying": relying[i.spec.name],
                    }
                    for i in chosen
                },
                **{name: {"ended": True, "released": None, "configured": False, "relying": ()} for name in elsewhere},
            },
            "unsaved": await self._wishes.saved(SAVE_TIMEOUT_S) or None,
        }

    def _unconfigured_standby(self, params: Mapping[str, Any]) -> list[str]:
        """The instances of the request that are kept in standby, and are not configured."""
        return [name for name in self._core.state.standby if params.get("all") or params.get("instance") == name]

    def _has_any(self, params: Mapping[str, Any]) -> bool:
        instances = self._core.state.instances
        return bool(instances) if params.get("all") else params.get("instance") in instances

    async def _maintenance(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        on, seconds = params.get("on"), params.get("for")
        if not isinstance(on, bool):
            raise Refused("on must be true or false")
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= _MAINTENANCE_MAX_S):
            raise Refused(f"for must be from 1 to {_MAINTENANCE_MAX_S} seconds")
        before = self._core.state.maintenance
        if on and before is None:
            preconditions.not_leaving(self._core.state)
        verb = "maintenance on" if on else "maintenance off"
        reporting.keep_act(self._store, records.boot, self._configuration().node, verb=verb, by=str(peer))
        now = asyncio.get_running_loop().time()
        self._wishes.end_maintenance()
        if on:
            until = math.inf if seconds is None else now + seconds
            self._core.dispatch(MaintenanceBegun(by=str(peer), until=until))
        else:
            self._core.dispatch(MaintenanceEnded(cause=f"{peer} has ended the maintenance"))
        state, ahead = self._core.state, time.time() - now
        return {
            "maintenance": status.maintenance(state.maintenance, lambda at: at + ahead),
            "before": before is not None,
            "running": {
                name: running
                for name, instance in state.instances.items()
                if (running := [key for key, r in instance.resources.items() if r.step is not None])
            },
            "unsaved": await self._wishes.saved(SAVE_TIMEOUT_S) or None,
        }

    async def _reset(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        name = preconditions.known(self._core.state, params)
        preconditions.not_elected_in_maintenance(self._core.state, [name] if name in self._released() else [])
        strays = [s.spec.name for s in self._core.state.strays.values() if s.spec.instance == name]
        reporting.keep_act(self._store, records.boot, name, verb="reset", by=str(peer))
        self._core.dispatch(Acknowledged(instance=name))
        self._core.dispatch(Reset(instance=name, cause=f"reset by {peer}"))
        instance = self._core.state.instances.get(name)
        phase = instance.phase.value if instance is not None else None
        kept = instance is not None and instance.standby is not None
        return {"instance": name, "phase": phase, "forgotten": sorted(strays), "standby": kept}

    def _released(self) -> frozenset[str]:
        return frozenset(name for name, instance in self._core.state.instances.items() if instance.released)

    async def _reconcile(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        name = preconditions.instance(self._core.state, params).spec.name
        reporting.keep_act(self._store, records.boot, name, verb="reconcile", by=str(peer))
        self._core.dispatch(CheckAsked(instance=name, cause=f"{peer} wants everything checked"))
        try:
            async with asyncio.timeout(_QUERY_TIMEOUT_S):
                await self._queries().answered()
        except TimeoutError:
            return {"instance": name, "answered": False}
        return {"instance": name, "answered": True}

    async def _acknowledge(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        instance = preconditions.instance(self._core.state, params)
        name, number = instance.spec.name, len(instance.rivals)
        reporting.keep_act(self._store, records.boot, name, verb="acknowledge", by=str(peer))
        self._core.dispatch(RivalsNoted(instance=name))
        return {"instance": name, "acknowledged": number}

    async def _confirm_off(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        node, state = str(params.get("node")), self._core.state
        heartbeat = state.config.heartbeat
        if heartbeat is None:
            raise Refused("there is no [heartbeat], so nothing here waits for another node")
        if node not in heartbeat.peers:
            known = f"expected one of: {', '.join(sorted(heartbeat.peers))}"
            raise Refused(f"[heartbeat] has no other node {node}", known)
        if not peers.silent(state, node, asyncio.get_running_loop().time()):
            raise Refused(f"{node} is not off: its failoverd is heard", "see: failoverctl status")
        was_off = node in state.off
        reporting.keep_act(self._store, records.boot, node, verb="confirm-off", by=str(peer))
        self._core.dispatch(PeerConfirmedOff(peer=node, by=str(peer)))
        return {"node": node, "was_off": was_off}

    async def _unfence(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        node, state = str(params.get("node")), self._core.state
        others = set(fence.others(state.config.fences, self._configuration().node))
        others |= set(state.config.heartbeat.peers if state.config.heartbeat is not None else ())
        if node not in others and node not in state.off:
            known = f"expected one of: {', '.join(sorted(others))}" if others else "the configuration has none"
            raise Refused(f"neither [heartbeat] nor [fence.{node}] names another node {node}", known)
        was_off = node in state.off
        promised = any(peers.promised_at(state, each, node) is not None for each in state.instances.values())
        reporting.keep_act(self._store, records.boot, node, verb="unfence", by=str(peer))
        self._core.dispatch(PeerUnfenced(peer=node, by=str(peer)))
        return {"node": node, "was_off": was_off, "promised": promised}

    async def _accept(self, params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        instance, resource = preconditions.instance(self._core.state, params), str(params.get("resource"))
        name = instance.spec.name
        if resource not in instance.resources:
            known = ", ".join(sorted(instance.resources))
            raise Refused(f'{name} has no resource "{resource}" on this node', f"expected one of: {known}")
        preconditions.not_elected_in_maintenance(self._core.state, [name] if name in self._released() else [])
        try:
            accepted = await self._executor.accept(instance.resources[resource].spec, str(peer))
        except DriverError as error:
            raise Refused(error.reason) from error
        reporting.keep_act(self._store, records.boot, name, verb=f"accept {resource}", by=str(peer))
        self._core.dispatch(Reset(instance=name, cause=accepted))
        return {"instance": name, "resource": resource, "accepted": accepted}

    async def _alert_test(self, _params: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        command = self._alerts.command
        if command is None:
            hint = "set `command` in [alert] of failoverd.toml, then: systemctl reload failoverd"
            raise Refused("no alert command is configured", hint)
        sent = await self._alerts.test(str(peer))
        if sent is not None and sent.reason:
            raise Refused(f"the alert command failed: {sent.reason}", f"it took {sent.seconds:.1f} s")
        return {"command": shlex.join(command), "seconds": None if sent is None else round(sent.seconds, 3)}


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[begin : begin + AT_ONCE] for begin in range(0, len(names), AT_ONCE))
