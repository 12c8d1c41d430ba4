"""Apply a new configuration: keep the state of all that the old one has too, and check every resource."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from failoverd.core import guards, hearing, outcomes, quorum, strays
from failoverd.core.context import AdvanceContext
from failoverd.core.model import InstanceState, Release, Removed
from failoverd.core.reconcile import unconfirmed
from failoverd.core.resource import ResourceState, Step
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec, Vip
from failoverd.core.words import TransitionResult, Verb

#: The names of an instance and of a resource of it.
Names = tuple[str, str]


def reload(context: AdvanceContext, config: Config) -> None:
    """Apply `config`. Resources that it lacks stay unchanged; those that may be active become strays."""
    context.cause = "the configuration was loaded"
    old = context.clear()
    old = {name: quorum.reloaded(context, instance, config) for name, instance in old.items()}
    for name, instance in old.items():
        if name not in config.instances and instance.transition is not None:
            context.end(instance, TransitionResult.OVERTAKEN, "it is no longer configured")
    begun = {
        (name, r): resource.step
        for name, instance in old.items()
        for r, resource in instance.resources.items()
        if resource.step is not None and resource.step.of in (None, (name, r))
    }
    running = {**context.state.orphans, **begun}
    context.state = replace(context.state, config=config, orphans=running)
    hearing.reload(context, config)
    wishes = {name: instance.standby for name, instance in old.items() if instance.standby is not None}
    wishes |= context.state.standby
    found = context.state.rivals.keys() | context.state.lost_by.keys()
    removed = {name: _recalled(context, name) for name in found}
    removed |= context.state.removed
    removed |= {name: _removed(instance) for name, instance in old.items()}
    context.state = replace(context.state, standby=wishes, removed=removed)
    for name, spec in config.instances.items():
        context.put(name, _configured(context, old.get(name), spec, running))
        adopted = {(name, r) for r in spec.resources}
        orphans = {key: step for key, step in context.state.orphans.items() if key not in adopted}
        context.state = replace(context.state, orphans=orphans)
    context.state = replace(
        context.state,
        released={},
        rivals={},
        maybe_active=frozenset(),
        stop_by=math.inf,
        lost_by={},
        standby={name: wish for name, wish in wishes.items() if name not in config.instances},
        removed={n: each for n, each in removed.items() if n not in config.instances and each != Removed()},
        lent=_lent(context),
    )
    strays.find(context, old)


def _recalled(context: AdvanceContext, name: str) -> Removed:
    """The same, as an earlier daemon has left it."""
    state = context.state
    return Removed(rivals=state.rivals.get(name, ()), lost_by=state.lost_by.get(name, math.inf))


def _removed(instance: InstanceState) -> Removed:
    release = None
    if instance.released:
        release = Release(why=instance.released, at=instance.released_at, times=instance.releases, unfit=instance.unfit)
    given = instance.handover is not None and instance.handover.given_at is not None
    handover = instance.handover if given else None
    return Removed(release=release, handover=handover, rivals=instance.rivals, lost_by=instance.lost_by)


def _release(context: AdvanceContext, name: str, before: Removed) -> Release:
    """The release that a new instance has: an earlier daemon's, or one after which other nodes may be activating."""
    if before.release is not None and context.now < before.release.at + guards.MASTERSHIP_RELEASE_S:
        return before.release
    return context.state.released.get(name) or Release(why="", at=context.now, times=0)


def _on(spec: ResourceSpec, running: Mapping[Names, Step], *, known: bool) -> tuple[Step, ...]:
    """The steps that run on it: the one that began under its name, and all others on the things that it moves."""
    names = (spec.instance, spec.name)
    own = (replace(step, foreign=step.foreign or not known) for key, step in running.items() if key == names)
    others = (step for key, step in sorted(running.items()) if key != names and step.things & spec.things)
    return (*own, *(replace(step, foreign=True) for step in others))


def _lent(context: AdvanceContext) -> Mapping[int, tuple[Names, ...]]:
    """The steps of resources that had another name when the steps began."""
    lent: dict[int, tuple[Names, ...]] = {}
    for name, instance in context.state.instances.items():
        for r, resource in instance.resources.items():
            for step in (resource.step, *resource.others):
                if step is not None and step.of not in (None, (name, r)):
                    lent[step.id] = (*lent.get(step.id, ()), (name, r))
    return lent


def _configured(
    context: AdvanceContext, old: InstanceState | None, spec: InstanceSpec, running: Mapping[Names, Step]
) -> InstanceState:
    resources: dict[str, ResourceState] = {}
    for name, each in spec.resources.items():
        before = old.resources.get(name) if old is not None else None
        known = before is not None and each.seen_as(before.spec)
        steps = _on(each, running, known=known)
        if before is None or not known:
            before = ResourceState(spec=each, since=context.now)
        begun = any(step.verb is Verb.ACTIVATE for step in steps)
        maybe_active = before.maybe_active or begun or (spec.name, name) in context.state.maybe_active
        step, *others = steps or (None,)
        next_look = math.inf if each.check_interval is None else context.now + each.check_interval
        resources[name] = replace(
            before,
            spec=each,
            look=None,
            step=step,
            others=tuple(others),
            maybe_active=maybe_active,
            next_look=next_look,
        )
    next_check = context.now + context.state.config.check_interval
    vips: dict[Vip, bool | None] = {vip: old.vips.get(vip) if old is not None else None for vip in spec.vips}
    if old is None:
        removed = context.state.removed.get(spec.name) or Removed()
        release = _release(context, spec.name, removed)
        new = InstanceState(
            spec=spec,
            since=context.now,
            next_check=next_check,
            words=context.number(),
            vips=vips,
            resources=resources,
            released=release.why,
            released_at=release.at,
            releases=release.times,
            unfit=release.unfit,
            rivals=removed.rivals,
            standby=context.state.standby.get(spec.name),
            handover=removed.handover,
            stop_by=context.state.stop_by,
            lost_by=removed.lost_by,
            reason="no state is known yet",
        )
        context.ask(new)
    else:
        deadline = context.now + spec.vip_timeout
        taken = replace(old, spec=spec, next_check=next_check, vips=vips, resources=resources, vip_deadline=deadline)
        new = unconfirmed(taken)
    looked = {name: outcomes.overdue(context, new, context.look(r)) for name, r in new.resources.items()}
    return replace(new, resources=looked)
