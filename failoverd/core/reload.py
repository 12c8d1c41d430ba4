"""A new configuration: what it has in common with the old one is taken over, and everything is looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from failoverd.core import outcomes, strays
from failoverd.core.model import InstanceState, Release, ResourceState, Step
from failoverd.core.settle import unconfirmed
from failoverd.core.spec import Config, InstanceSpec, Vip
from failoverd.core.turn import Turn
from failoverd.core.words import Ending, Verb


def reload(turn: Turn, config: Config) -> None:
    """Take `config` over. What is no longer in it is left as it is; what of it may be active becomes a stray."""
    turn.cause = "the configuration was read"
    old = turn.clear()
    for name, instance in old.items():
        if name not in config.instances and instance.transition is not None:
            turn.end(instance, Ending.OVERTAKEN, "it is no longer configured")
    running = {
        (name, r): resource.step
        for name, instance in old.items()
        for r, resource in instance.resources.items()
        if resource.step is not None
    }
    turn.state = replace(turn.state, config=config, orphans={**turn.state.orphans, **running})
    steps = _steps(turn, old)
    for name, spec in config.instances.items():
        turn.put(name, _configured(turn, old.get(name), spec, steps))
        adopted = {(name, r) for r in spec.resources}
        orphans = {key: step for key, step in turn.state.orphans.items() if key not in adopted}
        turn.state = replace(turn.state, orphans=orphans)
    turn.state = replace(turn.state, released={}, rivals={}, maybe_active=frozenset(), lent=_lent(turn))
    strays.find(turn, old)


def _steps(turn: Turn, old: Mapping[str, InstanceState]) -> Mapping[str, Step]:
    """The steps in flight by the things that they are on, whatever these were called."""
    specs = [r.spec for instance in old.values() for r in instance.resources.values()]
    specs += [stray.spec for stray in turn.state.strays.values()]
    of = {(spec.instance, spec.name): spec for spec in reversed(specs)}
    return {thing: step for key, step in turn.state.orphans.items() if key in of for thing in of[key].things}


def _lent(turn: Turn) -> Mapping[int, tuple[tuple[str, str], ...]]:
    """The steps that resources have which were called otherwise when they began."""
    lent: dict[int, tuple[tuple[str, str], ...]] = {}
    for name, instance in turn.state.instances.items():
        for r, resource in instance.resources.items():
            step = resource.step
            if step is not None and step.of not in (None, (name, r)):
                lent[step.id] = (*lent.get(step.id, ()), (name, r))
    return lent


def _configured(turn: Turn, old: InstanceState | None, spec: InstanceSpec, steps: Mapping[str, Step]) -> InstanceState:
    resources: dict[str, ResourceState] = {}
    for name, each in spec.resources.items():
        before = old.resources.get(name) if old is not None else None
        known = before is not None and each.seen_as(before.spec)
        on_it = (steps[thing] for thing in sorted(each.things) if thing in steps)
        step = turn.state.orphans.get((spec.name, name)) or next(on_it, None)
        if step is not None and not known:
            step = replace(step, foreign=True)
        if before is None or not known:
            before = ResourceState(spec=each, since=turn.now)
        begun = step is not None and step.verb is Verb.ACTIVATE
        maybe_active = before.maybe_active or begun or (spec.name, name) in turn.state.maybe_active
        resources[name] = replace(before, spec=each, look=None, step=step, maybe_active=maybe_active)
    next_check = turn.now + turn.state.config.check_interval
    vips: dict[Vip, bool | None] = {vip: old.vips.get(vip) if old is not None else None for vip in spec.vips}
    if old is None:
        release = turn.state.released.get(spec.name) or Release(why="", at=turn.now, times=0)
        new = InstanceState(
            spec=spec,
            since=turn.now,
            next_check=next_check,
            words=turn.number(),
            vips=vips,
            resources=resources,
            released=release.why,
            released_at=release.at,
            releases=release.times,
            rivals=turn.state.rivals.get(spec.name, ()),
            reason="nothing is known yet",
        )
        turn.ask(new)
    else:
        deadline = turn.now + spec.vip_timeout
        taken = replace(old, spec=spec, next_check=next_check, vips=vips, resources=resources, vip_deadline=deadline)
        new = unconfirmed(taken)
    looked = {name: outcomes.overdue(turn, new, turn.look(r)) for name, r in new.resources.items()}
    return replace(new, resources=looked)
