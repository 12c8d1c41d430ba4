"""What the answers of the witnesses amount to, and until when. It reads the state, and decides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

from failoverd.core import peers, planner
from failoverd.core.knowledge import Vote
from failoverd.core.model import InstanceState, State
from failoverd.core.spec import InstanceSpec, Quorum, ResourceSpec
from failoverd.core.words import Level, Standing, Target

#: Seconds from the end of one round of questions to the next while an answer is missing, where that is not too long.
_RETRY_S = 1.0

#: Seconds after its deadline in which the answer of a witness may still be reported.
GRACE_S = 0.5

#: Seconds that a lease lasts beyond the time in which its holder stops.
LEASE_MARGIN_S = 2.0


def needed(instance: InstanceState, quorum: Quorum | None, *, barred: bool) -> bool:
    """Whether the witnesses are asked about the instance. `barred`: it is not to be active, whatever they answer."""
    if quorum is None or not instance.spec.quorum:
        return False
    wanted = instance.target is Target.ACTIVE and not barred
    return wanted or instance.alone_at is not None or stops(instance, quorum)


def stops(instance: InstanceState, quorum: Quorum) -> bool:
    """Whether the lease must not end yet, although the instance is not to be active: something may be active here.

    An earlier daemon may have taken the lease, so it does not matter whether this one has.
    """
    return bool(quorum.leases and (instance.strays or not rests(instance)))


def left_behind(state: State) -> Mapping[str, tuple[ResourceSpec, ...]]:
    """The strays of instances that are not configured, by instance: their leases must not end yet either."""
    left: dict[str, tuple[ResourceSpec, ...]] = {}
    if state.config.quorum is not None and state.config.quorum.leases:
        for stray in state.strays.values():
            name = stray.spec.instance
            if name not in state.instances:
                left[name] = (*left.get(name, ()), stray.spec)
    return left


def has_held(instance: InstanceState, quorum: Quorum) -> bool:
    """Whether this node has held a lease of the instance since it needed one."""
    return any(lease(instance, name).held_at > -math.inf for name in quorum.leases)


def rests(instance: InstanceState) -> bool:
    """Whether nothing can be active: every resource was last observed at standby, and no step runs."""
    resources = instance.resources.values()
    return all(r.step is None and r.observed is not None and r.seen.level is Level.STANDBY for r in resources)


def keeps_lease(state: State, name: str) -> bool:
    """Whether the leases of an instance are kept; it may not be configured any more."""
    instance, quorum = state.instances.get(name), state.config.quorum
    if instance is None or quorum is None:
        return name in left_behind(state)
    return instance.standing is not Standing.IDLE and (instance.alone_at is None or stops(instance, quorum))


def stop_time(spec: InstanceSpec) -> float:
    """Seconds in which a node that must not be active any more stops, one attempt for each resource.

    An activation that has begun is awaited before.
    """
    begun = max((r.timeout for r in spec.resources.values()), default=0.0)
    return begun + planner.stop_time(spec)


def lease_time(spec: InstanceSpec, quorum: Quorum) -> float:
    """Seconds for which a lease is taken: its holder has stopped before it ends, or its watchdog has reset it."""
    return quorum.isolation_timeout + stop_time(spec) + quorum.reset_time + LEASE_MARGIN_S


def lost_at(instance: InstanceState, state: State) -> float:
    """When the node is alone for this instance, unless a witness answers before; infinity while none is asked.

    A new MASTER that has nothing active leaves the election after two rounds without an answer: it may be the one that
    is cut off, and must not take mastership from an active node when the network heals. Where another node holds the
    lease it stays, and waits; but what is active has no time to lose then. Nor has it where the lease is not known,
    because failoverd was started just now. What an earlier daemon had left is no more because this one was started.
    """
    quorum = state.config.quorum
    if quorum is None or instance.standing is Standing.IDLE or peers.unopposed(state, instance):
        return math.inf
    since, at = instance.quorum_since, answered_at(state.votes, quorum)
    denied = [vote.asked for vote in instance.leases.values() if vote.granted is False]
    if denied and any(r.maybe_active for r in instance.resources.values()):
        return max(denied)
    if rests(instance):
        if denied:
            return math.inf
        if min(at, held_at(instance, quorum)) < since:
            return since + min(2 * soon(quorum), quorum.isolation_timeout)
    held = held_until(instance, quorum)
    if held == -math.inf:
        known = instance.settled is not None
        held = since + quorum.isolation_timeout if known else first_answers_until(instance, quorum)
    return min(max(at, since) + quorum.isolation_timeout, held, _left(instance, quorum))


def _left(instance: InstanceState, quorum: Quorum) -> float:
    """The same, as far as an earlier daemon has left time. If that has passed meanwhile, the first answers count."""
    if instance.lost_by == -math.inf:
        return instance.quorum_since
    passed = instance.lost_by < instance.quorum_since
    return first_answers_until(instance, quorum) if passed else instance.lost_by


def left(state: State, instance: InstanceState) -> float | None:
    """Until when it may be active without a further answer, for the next daemon's `lost_by`; None: without a limit.

    -infinity: no longer, or only until the first answers come. They are awaited once: a daemon that dies again and
    again before they do must not be active for ever.
    """
    if rests(instance):
        return None
    at = lost_at(instance, state)
    if instance.standing is Standing.IDLE:
        at = instance.lost_by
    elif instance.alone_at is not None or instance.lost_by < instance.quorum_since:
        at = -math.inf
    return at if at < math.inf else None


def left_of(state: State, name: str) -> float | None:
    """The same by name: also of an instance that a reload has removed, for when it is configured again."""
    if name in state.instances:
        return left(state, state.instances[name])
    removed = state.removed.get(name)
    return removed.lost_by if removed is not None and removed.lost_by < math.inf else None


def soon(quorum: Quorum) -> float:
    """Seconds from one round of questions to the next while an answer is missing, so that one lost answer never counts.

    With an `isolation_timeout` of four times `timeout`, the shortest one, the next round begins as one ends.
    """
    return min(quorum.timeout + _RETRY_S, calm(quorum))


def calm(quorum: Quorum) -> float:
    """Seconds from one round of questions to the next while no answer is missing."""
    return quorum.isolation_timeout / 4


def first_answers_until(instance: InstanceState, quorum: Quorum) -> float:
    """Until when the first answers after a change of mastership may come."""
    return instance.quorum_since + quorum.timeout + GRACE_S


def answered_at(votes: Mapping[str, Vote], quorum: Quorum) -> float:
    """The latest time since which as many witnesses as needed have answered; -infinity: they never did."""
    if quorum.need == 0:
        return math.inf
    times = sorted((votes[name].yes_at for name in quorum.witnesses if name in votes), reverse=True)
    return times[quorum.need - 1] if len(times) >= quorum.need else -math.inf


def held_at(instance: InstanceState, quorum: Quorum) -> float:
    """The time since which every lease is held; -infinity: not every one is."""
    return min((lease(instance, name).held_at for name in quorum.leases), default=math.inf)


def missed_at(instance: InstanceState, state: State, quorum: Quorum) -> float:
    """When two answers in a row are missing, unless one comes before: sooner than the node is alone."""
    since = max(instance.quorum_since, min(answered_at(state.votes, quorum), held_at(instance, quorum)))
    return since + calm(quorum) + soon(quorum) + quorum.timeout


def held_until(instance: InstanceState, quorum: Quorum) -> float:
    """Until when the leases need no further answer; -infinity: not every one was held; infinity: there is none."""
    return min((lease(instance, name).held_until for name in quorum.leases), default=math.inf)


def lease(instance: InstanceState, name: str) -> Vote:
    """The last answer of a witness about the lease of the instance."""
    return instance.leases.get(name, Vote())


def due(state: State, voters: frozenset[str]) -> float:
    """When the witnesses need a Tick; infinity: never, or nobody needs them."""
    return min(state.next_ask, state.quorum_until) if (voters or left_behind(state)) and asks(state) else math.inf


def asks(state: State) -> bool:
    """Whether the witnesses are asked at all: while the daemon ends, only leases are renewed."""
    quorum = state.config.quorum
    return quorum is not None and (not state.stopping or bool(quorum.leases))
