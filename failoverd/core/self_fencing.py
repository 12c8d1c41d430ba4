"""Self-fencing: until when the watchdog device of this machine is fed. Where it is not, the device resets the machine.

A node that must not be active has the time of `votes.stop_time` until everything is at standby; after that it is fed no
more, whatever keeps it from being there: other nodes count on it (`votes.lease_time`, `takeover_after`). While a node
may be active it is fed for as long as it would then have, without any further answer. So a failoverd that hangs, or is
started again, costs no reset before its promise to the others requires one.
"""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.core import peers, votes
from failoverd.core.context import AdvanceContext
from failoverd.core.model import InstanceState, State
from failoverd.core.resource import ResourceState
from failoverd.core.spec import Quorum
from failoverd.core.words import Standing, Target, Verb


def rests(instance: InstanceState) -> bool:
    """Whether nothing of it can be active: each resource was seen at standby, or never seen or made to be active."""
    return not any(_may_run(resource) for resource in instance.resources.values())


def _may_run(resource: ResourceState) -> bool:
    steps = (resource.step, *resource.others)
    return resource.maybe_active or any(step is not None and step.verb is Verb.ACTIVATE for step in steps)


def judged(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Set the time by which everything must be at standby; a permission to be active ends it, and so does that.

    While the permission is awaited, it stays as it is.
    """
    quorum = context.state.config.quorum
    suspended = not _watched(instance, quorum) or context.state.maintenance is not None
    if suspended or rests(instance) or _permitted(instance):
        stop_by = math.inf
    elif _denied(instance) and math.isinf(instance.stop_by):
        stop_by = min(context.now, votes.lost_at(instance, context.state)) + votes.stop_time(instance.spec)
    else:
        return instance
    return instance if stop_by == instance.stop_by else replace(instance, stop_by=stop_by)


def fed_until(state: State, now: float) -> float | None:
    """Until when the watchdog device is fed if nothing changes. None: nothing can be active here, so none is needed."""
    times = (until(state, instance, now) for instance in state.instances.values())
    return min((at for at in times if at is not None), default=None)


def until(state: State, instance: InstanceState, now: float) -> float | None:
    """The same, for one instance."""
    quorum = state.config.quorum
    if quorum is None or not _watched(instance, quorum) or rests(instance):
        return None
    if state.maintenance is None and _denied(instance):
        return instance.stop_by
    asked = state.maintenance is None and instance.standing is not Standing.IDLE
    longest = now + quorum.isolation_timeout  # a node without a rival needs no answer, and must not be fed for ever
    if _never_asks(state, instance):
        longest = instance.vrrp_since + quorum.isolation_timeout
    lost = min(votes.lost_at(instance, state), longest) if asked else longest
    return min(instance.stop_by, lost + votes.stop_time(instance.spec))


def _never_asks(state: State, instance: InstanceState) -> bool:
    """Whether keepalived reported MASTER to a daemon that ends, which asks no witness any more."""
    master = instance.target is Target.ACTIVE and instance.standing is Standing.IDLE
    return state.stopping and state.maintenance is None and master and not peers.unopposed(state, instance)


def _watched(instance: InstanceState, quorum: Quorum | None) -> bool:
    return quorum is not None and quorum.watchdog is not None and instance.spec.quorum


def _permitted(instance: InstanceState) -> bool:
    serves = instance.direction is Target.ACTIVE or _handing_over(instance)
    return instance.target is Target.ACTIVE and serves and instance.standing is Standing.PRESENT


def _denied(instance: InstanceState) -> bool:
    stops = instance.direction is Target.STANDBY
    return stops and (instance.standing is Standing.MISSING or not _handing_over(instance))


def _handing_over(instance: InstanceState) -> bool:
    """Whether it stops for an operator, and no other node may be active before it has."""
    return instance.handover is not None and instance.handover.given_at is None


def moved(before: State, now: State) -> bool:
    """Whether the last event may have changed `fed_until` by more than the time that passed."""
    if before.config is not now.config or (before.maintenance is None) is not (now.maintenance is None):
        return True
    return any(_mark(before.instances.get(name)) != _mark(now.instances[name]) for name in now.agenda.touched)


def _mark(instance: InstanceState | None) -> tuple[bool, float]:
    return (True, math.inf) if instance is None else (rests(instance), instance.stop_by)


def must_stop(state: State) -> dict[str, tuple[str, ...]]:
    """The instances that must not be active any more, each with the resources that are not at standby yet."""
    late = {name: instance for name, instance in state.instances.items() if instance.stop_by < math.inf}
    return {
        name: tuple(r for r, resource in instance.resources.items() if _may_run(resource))
        for name, instance in late.items()
    }
