"""What an earlier configuration followed and the present one does not, while it may still be active.

Nobody moves it. It is looked at and said, and what it needs is not deactivated under it, until it is seen at standby,
is configured again, or an operator says that it is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from failoverd.core.events import Alarm, Matter, ResourceObserved
from failoverd.core.model import InstanceState, Observation, ResourceState, State, Stray
from failoverd.core.spec import ResourceSpec
from failoverd.core.turn import Turn
from failoverd.core.words import Level

#: Seconds between two looks at one.
CHECK = 10.0


def find(turn: Turn, before: Mapping[str, InstanceState]) -> None:
    """After a reload: what of the instances `before` may be active, and is in none of the present ones."""
    specs = (r.spec for instance in turn.state.instances.values() for r in instance.resources.values())
    followed = frozenset(thing for spec in specs for thing in spec.things)
    found = dict(turn.state.strays)
    for instance in before.values():
        for resource in instance.resources.values():
            if not resource.rests_at(Level.STANDBY):
                needs = _needs(instance, resource.spec)
                stray = Stray(spec=resource.spec, seen=resource.seen, since=turn.now, needs=needs)
                found[resource.spec.things] = stray
    _put(turn, {things: _begin(turn, stray) for things, stray in found.items() if not things <= followed})


def observed(turn: Turn, event: ResourceObserved) -> None:
    """A look at one came back."""
    looked = (each for each in turn.state.strays.values() if each.look is not None and each.look.id == event.look)
    for stray in tuple(looked):
        rest = {things: each for things, each in turn.state.strays.items() if things != stray.spec.things}
        if event.seen.level is not Level.STANDBY or _moves(turn, stray.spec):
            seen = replace(stray, look=None, next_look=turn.now + CHECK, seen=event.seen)
            rest[stray.spec.things] = _say(turn, seen, looked=True)
        _put(turn, rest)


def step_ended(turn: Turn, instance: str, resource: str) -> None:
    """What was seen of it before is out of date."""
    for things, stray in turn.state.strays.items():
        if (stray.spec.instance, stray.spec.name) == (instance, resource):
            _put(turn, {**turn.state.strays, things: _look(turn, stray)})


def wake(turn: Turn) -> None:
    """Look at those that it is time for; a look that never came back has seen nothing."""
    for things, stray in turn.state.strays.items():
        if turn.now >= stray.due:
            unseen = Observation(level=Level.UNKNOWN, detail="looking at it took too long")
            late = _say(turn, replace(stray, seen=unseen), looked=True) if stray.look is not None else stray
            _put(turn, {**turn.state.strays, things: _look(turn, late)})


def forget(turn: Turn, instance: str) -> None:
    """An operator knows of those of the instance."""
    _put(turn, {things: stray for things, stray in turn.state.strays.items() if stray.spec.instance != instance})


def possible(state: State) -> Iterator[tuple[ResourceSpec, frozenset[str]]]:
    """All that the next daemon, with another configuration, may have to take for a stray, and the things it needs."""
    for instance in state.instances.values():
        for resource in instance.resources.values():
            yield resource.spec, _needs(instance, resource.spec)
    for stray in state.strays.values():
        yield stray.spec, stray.needs


def left(resources: Iterable[tuple[ResourceSpec, frozenset[str]]], now: float) -> Mapping[frozenset[str], Stray]:
    """What an earlier daemon left to this one, as `possible` had it: each a stray, unless it is configured still."""
    unseen = Observation(level=Level.UNKNOWN, detail="not looked at since failoverd was started")
    return {spec.things: Stray(spec=spec, seen=unseen, since=now, needs=needs) for spec, needs in resources}


def hold(turn: Turn, instance: InstanceState) -> InstanceState:
    """Mark what one of them needs, and so must not be deactivated."""
    if not turn.state.strays and not any(r.held for r in instance.resources.values()):
        return instance
    resources = {name: _held(r, turn.state.strays.values()) for name, r in instance.resources.items()}
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
    """What of the instance is not deactivated for that reason, in a person's words; empty when nothing is."""
    return "; ".join(
        f"{name} is not deactivated: what needs it may be active and is no longer followed ({r.held})"
        for name, r in instance.resources.items()
        if r.held and not r.rests_at(Level.STANDBY)
    )


def _put(turn: Turn, strays: Mapping[frozenset[str], Stray]) -> None:
    """What is held may have changed with them, for everybody."""
    before = {things: stray.said for things, stray in turn.state.strays.items()}
    turn.state = replace(turn.state, strays=strays)
    if before != {things: stray.said for things, stray in strays.items()}:
        turn.touch()


def _begin(turn: Turn, stray: Stray) -> Stray:
    """Nothing is seen of it while a step runs: that ends with a look."""
    if _moves(turn, stray.spec):
        return replace(stray, look=None, next_look=turn.now + CHECK)
    return _look(turn, _say(turn, stray))


def _look(turn: Turn, stray: Stray) -> Stray:
    return replace(stray, look=turn.observe(stray.spec))


def _moves(turn: Turn, spec: ResourceSpec) -> bool:
    """Whether a step may still run on it."""
    instance = turn.state.instances.get(spec.instance)
    resource = instance.resources.get(spec.name) if instance is not None else None
    return (spec.instance, spec.name) in turn.state.orphans or (resource is not None and resource.step is not None)


def _say(turn: Turn, stray: Stray, *, looked: bool = False) -> Stray:
    """Once: as soon as it is known to be active, or could not be seen."""
    if stray.said or not (looked or stray.seen.level is Level.ACTIVE) or stray.seen.level is Level.STANDBY:
        return stray
    spec = stray.spec
    turn.effects.append(Alarm(instance=spec.instance, matter=Matter.UNFOLLOWED, text=text(stray)))
    return replace(stray, said=True)


def text(stray: Stray) -> str:
    """What is wrong and what to do, in one line."""
    level = stray.seen.level
    state = "is active" if level is Level.ACTIVE else f"may be active ({stray.seen.detail or level.value})"
    return (
        f"{stray.spec.name} {state}, and is no longer followed: stop it by hand, or configure it again; "
        f"failoverctl reset {stray.spec.instance} forgets it"
    )


def _needs(instance: InstanceState, spec: ResourceSpec) -> frozenset[str]:
    """The things that it needs, near or far."""
    found: set[str] = set()
    names = set(spec.needs)
    while names:
        each = instance.resources[names.pop()].spec
        if not each.things <= found:
            found |= each.things
            names |= each.needs
    return frozenset(found)
