"""What a request needs of the state, such as an instance of its name. Each raises Refused, with a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.core import planned_move
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Phase, Target
from failoverd.daemon.control.server import Refused


def named(state: State, name: str) -> InstanceState:
    """The instance of that name, which must be configured."""
    instances = state.instances
    if name not in instances:
        known = f"expected one of: {', '.join(sorted(instances))}"
        none = "none is configured; edit failoverd.toml, then: failoverctl config check && systemctl reload failoverd"
        raise Refused(f'there is no instance "{name}"', known if instances else none)
    return instances[name]


def instance(state: State, params: Mapping[str, Any]) -> InstanceState:
    """The instance that the request names."""
    return named(state, str(params.get("instance")))


def known(state: State, params: Mapping[str, Any]) -> str:
    """The name of an instance that is configured, or was and has left strays behind. Raises Refused otherwise."""
    name = str(params.get("instance"))
    if all(stray.spec.instance != name for stray in state.strays.values()):
        instance(state, params)
    return name


def chosen(state: State, params: Mapping[str, Any]) -> list[InstanceState]:
    """The instance that was named, or all of this node. Raises Refused if there is none."""
    if params.get("all") and state.instances:
        return list(state.instances.values())
    return [instance(state, params)]


def not_in_maintenance(state: State) -> None:
    """Mastership must not leave this node while its resources stay active."""
    if state.maintenance is not None:
        raise Refused(
            "maintenance: keepalived would let go, and the resources would stay active beside another node's",
            "end it first: failoverctl maintenance off",
        )


def not_elected_in_maintenance(state: State, names: Iterable[str]) -> None:
    """In maintenance nothing would be active if keepalived then made this node MASTER of one of `names`."""
    instances = state.instances
    taken = [n for n in names if instances[n].spec.preempt and instances[n].target is not Target.ACTIVE]
    if taken and state.maintenance is not None:
        names = ", ".join(taken)
        raise Refused(
            f"maintenance: keepalived would make this node MASTER of {names}, and nothing would be active",
            "end it first: failoverctl maintenance off",
        )


def not_preempting(state: State, names: Iterable[str], now: float) -> None:
    """Keepalived must not take mastership from an active node for this one, which would fence a third or refuse."""
    for name in names:
        if found := planned_move.preempting(state, state.instances[name], now):
            raise Refused(
                f"{name}: another node is active, and keepalived may move mastership here: {'; '.join(found)}",
                f"to do it all the same: {failoverctl('online --anyway', name)}",
            )


def not_leaving(state: State) -> None:
    """Maintenance would keep the resources active although mastership leaves, or has left."""
    instances = state.instances
    leaving = [name for name, instance in instances.items() if _leaves(instance)]
    if not leaving:
        return
    stays = "; ".join(
        f"or let it stay: {failoverctl('reset' if instances[name].released else 'online', name)}"
        for name in leaving
        if instances[name].released or instances[name].standby is not None
    )
    raise Refused(
        f"{', '.join(leaving)}: mastership leaves this node; in maintenance its resources would stay active",
        "; ".join(filter(None, ("wait until it is in standby: failoverctl status", stays))),
    )


def _leaves(instance: InstanceState) -> bool:
    """Whether resources are active here, perhaps, that are not to be."""
    leaves = not instance.competes or instance.handover is not None
    return instance.phase is Phase.DEMOTING or (
        leaves and (instance.phase is Phase.ACTIVE or not instance.phase.settled)
    )
