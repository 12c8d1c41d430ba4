"""A new configuration: what it has in common with the old one is taken over, and everything is looked at again."""

from __future__ import annotations

from dataclasses import replace

from failoverd.core.model import Config, Ending, InstanceSpec, InstanceState, ResourceState, Vip
from failoverd.core.settle import unconfirmed
from failoverd.core.turn import Turn


def reload(turn: Turn, config: Config) -> None:
    """Take `config` over. What is no longer in it is left as it is, and forgotten."""
    turn.cause = "the configuration was read"
    old = turn.state.instances
    for name, instance in old.items():
        if name not in config.instances and instance.transition is not None:
            turn.end(instance, Ending.OVERTAKEN, "it is no longer configured")
    turn.state = replace(turn.state, config=config, instances={})
    for name, spec in config.instances.items():
        turn.put(name, _configured(turn, old.get(name), spec))


def _configured(turn: Turn, old: InstanceState | None, spec: InstanceSpec) -> InstanceState:
    next_check = turn.now + turn.state.config.check_interval
    if old is None:
        resources = {name: ResourceState(spec=r, since=turn.now) for name, r in spec.resources.items()}
        vips: dict[Vip, bool | None] = dict.fromkeys(spec.vips)
        reason = "nothing is known yet"
        new = InstanceState(
            spec=spec, since=turn.now, next_check=next_check, vips=vips, resources=resources, reason=reason
        )
        turn.ask(new)
    else:
        resources = {
            name: replace(old.resources[name], spec=r)
            if name in old.resources and old.resources[name].spec.driver == r.driver
            else ResourceState(spec=r, since=turn.now)
            for name, r in spec.resources.items()
        }
        vips = {vip: old.vips.get(vip) for vip in spec.vips}
        deadline = turn.now + spec.vip_timeout
        new = unconfirmed(
            replace(old, spec=spec, next_check=next_check, vips=vips, resources=resources, vip_deadline=deadline)
        )
    looked = {name: turn.look(new, name, r) for name, r in new.resources.items()}
    return replace(new, resources=looked)
