"""What the state wants of the world beside steps and looks: made so at every change of it.

Each part is by itself: one that cannot be done, or fails by a bug of ours, keeps no other back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from failoverd import log
from failoverd.core import strays
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Escalation
from failoverd.daemon import followed, reboot, released, rivals
from failoverd.daemon.track import TrackFiles

_log = log.get("wants")


class _Change(NamedTuple):
    """From one state to the next; `touched`: the instances that may differ."""

    before: State
    now: State
    touched: Mapping[str, InstanceState]


class Wants:
    """Makes the world as the state wants it.

    `void` hears of an instance for which no word binds. `later` does what it is given when the steps have been started.
    `maybe_active`: what an earlier daemon remembered of that.
    """

    def __init__(
        self,
        track: TrackFiles,
        *,
        void: Callable[[str], object],
        later: Callable[[Callable[[], None]], object],
        maybe_active: frozenset[tuple[str, str]],
    ) -> None:
        self._track = track
        self._void = void
        self._later = later
        self._reboot = reboot.Reboot()
        self._maybe_active = maybe_active

    def fulfil(self, before: State, now: State) -> None:
        """What changed from the one state to the other may want something else."""
        change = _Change(before, now, {name: now.instances[name] for name in now.agenda.touched})
        for part in (self._words, self._mastership, self._rivals, self._activity, self._last_resort, self._followed):
            try:
                part(change)
            except Exception:  # it is wanted again at the next change, and what else is wanted is wanted now
                _log.exception("the world is not as it is wanted; this is a bug of failoverd")

    def tell_keepalived(self, state: State) -> None:
        """Whose mastership is given away."""
        self._track.want({name: bool(instance.released) for name, instance in state.instances.items()})

    def _words(self, change: _Change) -> None:
        for name, instance in change.touched.items():
            if instance.void:
                self._void(name)

    def _mastership(self, change: _Change) -> None:
        before = change.before.instances
        if any(name not in before or _release(i) != _release(before[name]) for name, i in change.touched.items()):
            self.tell_keepalived(change.now)
            released.remember(change.now.instances)

    def _rivals(self, change: _Change) -> None:
        before = change.before.instances
        if any(i.rivals != (before[name].rivals if name in before else ()) for name, i in change.touched.items()):
            rivals.remember(change.now.instances)

    def _activity(self, change: _Change) -> None:
        """Of what is to be rebooted for: whether it may be active outlives the daemon."""
        before = change.before.instances
        if all(name in before and _feared(i) == _feared(before[name]) for name, i in change.touched.items()):
            return
        found = frozenset((name, r) for name, instance in change.now.instances.items() for r in _feared(instance))
        if found != self._maybe_active:
            self._maybe_active = found
            self._later(partial(reboot.remember, found))

    def _last_resort(self, change: _Change) -> None:
        before = change.before.instances
        if any(i.unstoppable or (name in before and before[name].unstoppable) for name, i in change.touched.items()):
            self._reboot.want("; ".join(filter(None, (i.unstoppable for i in change.now.instances.values()))))

    def _followed(self, change: _Change) -> None:
        before, now = change.before, change.now
        if now.config is not before.config or now.strays.keys() != before.strays.keys():
            followed.remember(strays.possible(now))


def _release(instance: InstanceState) -> tuple[str, int]:
    return instance.released, instance.releases


def _feared(instance: InstanceState) -> frozenset[str]:
    """What may be active, and is to be rebooted for where it cannot be stopped."""
    return frozenset(
        name
        for name, resource in instance.resources.items()
        if resource.maybe_active and resource.spec.escalation is Escalation.REBOOT
    )
