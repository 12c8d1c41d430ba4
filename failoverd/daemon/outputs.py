"""Make the world agree with the core's state after every event: track files, records, and a reboot.

Each part works by itself: one that fails, also by a bug of failoverd, must not prevent another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from failoverd import log
from failoverd.core import strays
from failoverd.core.model import InstanceState, Maintenance, State
from failoverd.daemon import reboot
from failoverd.daemon.active_files import ActiveFiles
from failoverd.daemon.keepalived.track import TrackFiles
from failoverd.daemon.persistence import followed, off, released, rivals, wishes

_log = log.get("outputs")


class _Change(NamedTuple):
    """A change from one state to the next. `touched`: the instances that may differ."""

    before: State
    now: State
    touched: Mapping[str, InstanceState]


class Outputs:
    """Makes the world agree with the core's state.

    `discard` is called for an instance whose keepalived state is discarded. `later` calls a function after the steps of
    the event were started. `maybe_active`: the resources, by instance and name, that may have been active when an
    earlier daemon ended.
    """

    def __init__(
        self,
        track: TrackFiles,
        active_files: ActiveFiles,
        kept: wishes.Wishes,
        *,
        discard: Callable[[str], object],
        later: Callable[[Callable[[], None]], object],
        maybe_active: frozenset[tuple[str, str]],
    ) -> None:
        self._track = track
        self._active_files = active_files
        self._wishes = kept
        self._discard = discard
        self._later = later
        self._reboot = reboot.Reboot()
        self._maybe_active = maybe_active

    def fulfil(self, before: State, now: State) -> None:
        """Carry out the differences between the two states."""
        change = _Change(before, now, {name: now.instances[name] for name in now.agenda.touched})
        for part in (
            self._discarded_states,
            self._begun_wishes,  # before the track files: a `1` without its wish would be a release to the next daemon
            self._mastership,
            self._wished,
            self._rivals,
            self._off,
            self._activity,
            self._reboots,
            self._followed,
            self._active,
        ):
            try:
                part(change)
            except Exception:  # the next change retries it; the other parts must run now
                _log.exception("cannot carry out a change of state; this is a bug of failoverd")

    def tell_keepalived(self, state: State) -> None:
        """Write the track files of all instances: whether keepalived may be MASTER."""
        self._track.want({name: not instance.competes for name, instance in state.instances.items()})

    def _discarded_states(self, change: _Change) -> None:
        for name, instance in change.touched.items():
            if instance.void:
                self._discard(name)

    def _mastership(self, change: _Change) -> None:
        before = change.before.instances
        if any(name not in before or _release(i) != _release(before[name]) for name, i in change.touched.items()):
            if any(i.aside is not None for i in change.touched.values()):
                released.remember(change.now.instances)  # before the track files: see `_begun_wishes`
            self.tell_keepalived(change.now)
            released.remember(change.now.instances)

    def _begun_wishes(self, change: _Change) -> None:
        before = change.before.instances
        if any(
            i.standby is not None and (name not in before or i.standby != before[name].standby)
            for name, i in change.touched.items()
        ):
            self._wishes.want(wishes.of(change.now))

    def _wished(self, change: _Change) -> None:
        before = change.before.instances
        if change.before.maintenance != change.now.maintenance:
            self._later(partial(_tell_maintenance, change.now.maintenance))
            self._wishes.want(wishes.of(change.now))
        elsewhere = change.before.standby != change.now.standby
        if elsewhere or any(
            i.standby != (before[name].standby if name in before else None) for name, i in change.touched.items()
        ):
            self._wishes.want(wishes.of(change.now))

    def _rivals(self, change: _Change) -> None:
        before = change.before.instances
        if any(i.rivals != (before[name].rivals if name in before else ()) for name, i in change.touched.items()):
            rivals.remember(change.now)

    def _off(self, change: _Change) -> None:
        if change.before.off != change.now.off:
            off.remember(change.now.off)

    def _activity(self, change: _Change) -> None:
        """Record which resources may be active: the next daemon may have to reboot for them, or feeds no watchdog."""
        before = change.before.instances
        if all(
            name in before and _maybe_active(i) == _maybe_active(before[name]) for name, i in change.touched.items()
        ):
            return
        found = frozenset((name, r) for name, instance in change.now.instances.items() for r in _maybe_active(instance))
        if found != self._maybe_active:
            self._maybe_active = found
            self._later(partial(reboot.remember, found))

    def _reboots(self, change: _Change) -> None:
        before = change.before.instances
        if any(i.unstoppable or (name in before and before[name].unstoppable) for name, i in change.touched.items()):
            reasons = (i.unstoppable for i in change.now.instances.values() if change.now.maintenance is None)
            self._reboot.want("; ".join(filter(None, reasons)))

    def _active(self, change: _Change) -> None:
        """The files of active instances, after the steps are started: nobody waits for them."""
        before, now = change.before, change.now
        if now.config is not before.config:
            self._later(partial(self._active_files.follow, now.instances))
            return
        changed = {name: i for name, i in change.touched.items() if i.phase is not before.instances[name].phase}
        if changed:
            self._later(partial(self._active_files.want, changed))

    def _followed(self, change: _Change) -> None:
        before, now = change.before, change.now
        if now.config is not before.config or now.strays.keys() != before.strays.keys():
            followed.remember(strays.possible(now))


def _tell_maintenance(maintenance: Maintenance | None) -> None:
    if maintenance is None:
        _log.info("maintenance is over: failoverd acts again")
    else:
        _log.warning("maintenance: failoverd observes and starts no step", by=maintenance.by)


def _release(instance: InstanceState) -> tuple[str, int, bool, bool]:
    return instance.released, instance.releases, instance.competes, instance.aside is not None


def _maybe_active(instance: InstanceState) -> frozenset[str]:
    """The resources that may be active."""
    return frozenset(name for name, resource in instance.resources.items() if resource.maybe_active)
