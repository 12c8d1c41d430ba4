"""Write into the history for what each resource of a transition has waited, and how long."""

from __future__ import annotations

from typing import NamedTuple

from failoverd.core.model import InstanceState, State
from failoverd.core.waits import Wait, waits
from failoverd.daemon.history.store import Store

#: Seconds of a wait that is too short to be worth an entry.
_SHORT_S = 0.001


class _Open(NamedTuple):
    """A wait that has not ended. `since`: in seconds of CLOCK_MONOTONIC."""

    transition: int
    wait: Wait
    since: float


class Waits:
    """Follows the core's states, after the steps of each event were started."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, dict[str, _Open]] = {}

    def see(self, state: State, now: float, at: float) -> None:
        """Compare the touched instances of `state` with those before.

        `now`: the core's time; `at`: the same moment in seconds of CLOCK_MONOTONIC.
        """
        for name in self._open.keys() - state.instances.keys():  # no longer configured
            del self._open[name]
        for name in state.agenda.touched:
            if name in self._open or state.instances[name].transition is not None:
                self._compare(state.instances[name], now, at)

    def _compare(self, instance: InstanceState, now: float, at: float) -> None:
        name = instance.spec.name
        found, before = waits(instance, now), self._open.pop(name, {})
        kept: dict[str, _Open] = {}
        for resource, wait in found.items():
            opened = before.get(resource)
            if opened is not None and (opened.transition, opened.wait) == (instance.transition, wait):
                kept[resource] = opened
            elif instance.transition is not None:
                kept[resource] = _Open(instance.transition, wait, at)
        for resource, opened in before.items():
            if kept.get(resource) is not opened and at - opened.since >= _SHORT_S:
                self._keep(resource, opened, at)
        if kept:
            self._open[name] = kept

    def _keep(self, resource: str, ended: _Open, at: float) -> None:
        self._store.waited(
            ended.transition,
            resource=resource,
            kind=ended.wait.kind.value,
            names=ended.wait.names,
            started=ended.since,
            ended=at,
        )
