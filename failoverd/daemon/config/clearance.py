"""What `[fence]` and `takeover_after` need from the rest of the configuration, so that they do what they promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from failoverd.core import clearance
from failoverd.core.spec import Config, Quorum

_Problem = Callable[[tuple[str, ...], str], object]


def check(config: Config, stops: Mapping[str, float], problem: _Problem) -> None:
    """Report what is missing. `stops`: of each instance, the seconds that a node takes at most to stop it."""
    heartbeat, quorum = config.heartbeat, config.quorum
    if heartbeat is None and config.fences:
        text = "expected [heartbeat] beside it: without the words of the others, each planned move would power one off"
        problem(("fence",), text)
    elif heartbeat is not None:
        known = (heartbeat.node, *heartbeat.peers)
        for name in config.fences.keys() - set(known):
            problem(("fence", name), f"no node of [heartbeat] has this name; expected one of {', '.join(known)}")
    if quorum is None:
        return
    if quorum.takeover_after and heartbeat is None:
        problem(("quorum", "takeover_after"), "expected [heartbeat] beside it, which names the other nodes")
    if quorum.takeover_after and not quorum.leases:  # a lease ends when its holder has stopped
        _check_time(quorum, {name: stops[name] for name, spec in config.instances.items() if spec.quorum}, problem)


def _check_time(quorum: Quorum, stops: Mapping[str, float], problem: _Problem) -> None:
    """A node that loses the witnesses must have stopped, or its watchdog must have reset it, before another starts."""
    for name, seconds in stops.items():
        least = quorum.isolation_timeout + seconds + quorum.reset_time
        if quorum.takeover_after < least:
            parts = [
                f"isolation_timeout ({quorum.isolation_timeout:g} s)",
                f"the longest stop of {name} ({seconds:g} s)",
                *([f"watchdog_timeout ({quorum.reset_time:g} s)"] if quorum.reset_time else []),
            ]
            problem(("quorum", "takeover_after"), f"expected at least {least:g} s: {', '.join(parts)}")


def unfenceable(config: Config) -> dict[str, list[str]]:
    """The nodes that have no [fence.NODE] beside a node that has one, each with the instances that need it."""
    found: dict[str, list[str]] = {}
    for name, spec in config.instances.items():
        for node in clearance.unfenceable(config, spec):
            found.setdefault(node, []).append(name)
    return found


def unguarded(config: Config) -> bool:
    """Whether an instance that another node shares has neither witnesses nor a node that can be fenced."""
    node = () if config.heartbeat is None else (config.heartbeat.node,)
    return config.quorum is None and any(
        set(spec.resources) - set(spec.only_here) and not config.fences.keys() & {*node, *spec.others}
        for spec in config.instances.values()
        if spec.quorum
    )
