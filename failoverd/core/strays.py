"""Strays: resources of an earlier configuration that the present one lacks, and that may still be active.

failoverd starts no step on a stray. It checks the stray, gives an alarm, and deactivates nothing that the stray needs,
until the stray is observed at standby, is configured again, or an operator resets its instance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from failoverd.command_text import failoverctl
from failoverd.core import votes
from failoverd.core.context import AdvanceContext
from failoverd.core.effects import Alarm, AlarmKind
from failoverd.core.events import ResourceObserved
from failoverd.core.model import InstanceState, State, Stray
from failoverd.core.resource import Observation, ResourceState
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level

#: Seconds between two checks of a stray.
CHECK_INTERVAL_S = 10.0


def find(context: AdvanceContext, before: Mapping[str, InstanceState]) -> None:
    """After a reload, add the resources of the instances `before` that may be active and are no longer configured."""
    specs = (r.spec for instance in context.state.instances.values() for r in instance.resources.values())
    followed = frozenset(thing for spec in specs for thing in spec.things)
    found = dict(context.state.strays)
    for instance in before.values():
        for resource in instance.resources.values():
            if not resource.rests_at(Level.STANDBY):
                needs = _needs(instance, resource.spec)
                stray = Stray(spec=resource.spec, seen=resource.seen, since=context.now, needs=needs)
                found[resource.spec.things] = stray
    _put(context, {things: _begin(context, stray) for things, stray in found.items() if not things <= followed})


def observed(context: AdvanceContext, event: ResourceObserved) -> None:
    """A check of a stray has ended."""
    looked = (each for each in context.state.strays.values() if each.look is not None and each.look.id == event.look)
    for stray in tuple(looked):
        rest = {things: each for things, each in context.state.strays.items() if things != stray.spec.things}
        if event.seen.level is not Level.STANDBY or _moves(context, stray.spec):
            seen = replace(stray, look=None, next_look=context.now + CHECK_INTERVAL_S, seen=event.seen)
            rest[stray.spec.things] = _say(context, seen, looked=True)
        _put(context, rest)


def step_ended(context: AdvanceContext, instance: str, resource: str) -> None:
    """Check the stray on which a step has ended: the observation from before is out of date."""
    for things, stray in context.state.strays.items():
        if (stray.spec.instance, stray.spec.name) == (instance, resource):
            _put(context, {**context.state.strays, things: _look(context, stray)})


def wake(context: AdvanceContext) -> None:
    """Check the strays that are due; a check that has timed out counts as UNKNOWN."""
    for things, stray in context.state.strays.items():
        if context.now >= stray.due:
            unseen = Observation(level=Level.UNKNOWN, detail="the check timed out")
            late = _say(context, replace(stray, seen=unseen), looked=True) if stray.look is not None else stray
            _put(context, {**context.state.strays, things: _look(context, late)})


def forget(context: AdvanceContext, instance: str) -> None:
    """Drop the strays of the instance: an operator knows of them."""
    _put(context, {things: stray for things, stray in context.state.strays.items() if stray.spec.instance != instance})


def possible(state: State) -> Iterator[tuple[ResourceSpec, frozenset[str]]]:
    """The resources that may be strays with the next daemon's configuration, each with the things that it needs."""
    for instance in state.instances.values():
        for resource in instance.resources.values():
            yield resource.spec, _needs(instance, resource.spec)
    for stray in state.strays.values():
        yield stray.spec, stray.needs


def left(resources: Iterable[tuple[ResourceSpec, frozenset[str]]], now: float) -> Mapping[frozenset[str], Stray]:
    """The strays from `possible` of an earlier daemon; `find` drops those that are still configured."""
    unseen = Observation(level=Level.UNKNOWN, detail="not checked since failoverd was started")
    return {spec.things: Stray(spec=spec, seen=unseen, since=now, needs=needs) for spec, needs in resources}


def hold(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Note the strays of the instance, and mark the resources that a stray needs: they must not be deactivated."""
    if not context.state.strays and not instance.strays and not any(r.held for r in instance.resources.values()):
        return instance
    own = (stray.spec.name for stray in context.state.strays.values() if stray.spec.instance == instance.spec.name)
    instance = replace(instance, strays=tuple(sorted(own)))
    resources = {name: _held(r, context.state.strays.values()) for name, r in instance.resources.items()}
    same = all(resources[name] is r for name, r in instance.resources.items())
    return instance if same else replace(instance, resources=resources)


def _held(resource: ResourceState, strays: Iterable[Stray]) -> ResourceState:
    above = [stray for stray in strays if resource.spec.things & stray.needs]
    held = ", ".join(sorted(stray.spec.name for stray in above))
    doubted = any(not stray.said for stray in above)
    if (resource.held, resource.doubted) == (held, doubted):
        return resource
    return replace(resource, held=held, doubted=doubted)


def held(instance: InstanceState) -> str:
    """The resources not deactivated because a stray needs them, in a person's words; empty when there are none."""
    return "; ".join(
        f"{name} is not deactivated: {r.held} needs it, may be active, and is no longer configured"
        for name, r in instance.resources.items()
        if r.held and not r.rests_at(Level.STANDBY)
    )


def _put(context: AdvanceContext, strays: Mapping[frozenset[str], Stray]) -> None:
    """Replace the strays. A change of them may change the held resources of every instance."""
    before = {things: stray.said for things, stray in context.state.strays.items()}
    context.state = replace(context.state, strays=strays)
    if votes.left_behind(context.state) and math.isinf(context.state.next_ask):
        context.state = replace(context.state, next_ask=context.now)  # nobody has asked before
    if before != {things: stray.said for things, stray in strays.items()}:
        context.touch()


def _begin(context: AdvanceContext, stray: Stray) -> Stray:
    """Start a check of the stray, unless a step runs on it: the end of the step starts one."""
    if _moves(context, stray.spec):
        return replace(stray, look=None, next_look=context.now + CHECK_INTERVAL_S)
    return _look(context, _say(context, stray))


def _look(context: AdvanceContext, stray: Stray) -> Stray:
    return replace(stray, look=context.observe(stray.spec))


def _moves(context: AdvanceContext, spec: ResourceSpec) -> bool:
    """Whether a step may still run on it."""
    instance = context.state.instances.get(spec.instance)
    resource = instance.resources.get(spec.name) if instance is not None else None
    return (spec.instance, spec.name) in context.state.orphans or (resource is not None and resource.step is not None)


def _say(context: AdvanceContext, stray: Stray, *, looked: bool = False) -> Stray:
    """Give the alarm, once: as soon as the stray is active, or a check did not find it at standby."""
    if stray.said or not (looked or stray.seen.level is Level.ACTIVE) or stray.seen.level is Level.STANDBY:
        return stray
    spec = stray.spec
    context.effects.append(Alarm(instance=spec.instance, kind=AlarmKind.UNFOLLOWED, text=text(stray, context.state)))
    return replace(stray, said=True)


def text(stray: Stray, state: State) -> str:
    """The problem and its remedy, in one line."""
    level, quorum = stray.seen.level, state.config.quorum
    instance = state.instances.get(stray.spec.instance)
    leased = quorum is not None and bool(quorum.leases) and (instance is None or instance.spec.quorum)
    kept = f" (until then this node keeps the lease of {stray.spec.instance}, if it has it)" if leased else ""
    found = "is active" if level is Level.ACTIVE else f"may be active ({stray.seen.detail or level.value})"
    return (
        f"{stray.spec.name} {found}, and no longer configured: stop it by hand, or configure it again{kept}; "
        f"to forget it: {failoverctl('reset', stray.spec.instance)}"
    )


def _needs(instance: InstanceState, spec: ResourceSpec) -> frozenset[str]:
    """The things that it needs, directly or through others."""
    found: set[str] = set()
    names = set(spec.needs)
    while names:
        each = instance.resources[names.pop()].spec
        if not each.things <= found:
            found |= each.things
            names |= each.needs
    return frozenset(found)
