"""Many instances that all become MASTER at once: what that costs the daemon, its tools not counted."""

from __future__ import annotations

import json

from .daemon import Daemon
from .row import Row

_RESOURCES = 2
_FEW, _MANY = 125, 250
#: Seconds of CPU that `_MANY` may cost.
_TARGET = 1.0


def measure() -> list[Row]:
    """All instances from standby to active, and half as many: twice as many should cost twice as much."""
    few, many = _cost(_FEW), _cost(_MANY)
    return [
        Row(
            what=f"{_MANY} instances of {_RESOURCES} resources become MASTER at once: CPU of the daemon",
            ours=f"{many:.2f} s",
            theirs=f"{_FEW} instances {few:.2f} s",
            target=f"{_TARGET:.0f} s",
            met=many <= _TARGET,
        )
    ]


def _cost(instances: int) -> float:
    with Daemon() as daemon:
        names = [f"VI_{number}" for number in range(instances)]
        for name in names:
            daemon.tables.append(f"[instance.{name}]\n")
            for number in range(_RESOURCES):
                _resource(daemon, name, number)
        daemon.start()
        _say(daemon, names, "BACKUP")
        daemon.await_word(f"STATUS={instances} instances: {instances} standby")
        before = daemon.cpu()
        _say(daemon, names, "MASTER")
        daemon.await_word(f"STATUS={instances} instances: {instances} active")
        return daemon.cpu() - before


def _resource(daemon: Daemon, instance: str, number: int) -> None:
    """One that is there when its file is; each needs the one before it."""
    thing = str(daemon.things / f"{instance}.{number}")
    commands = {
        "activate": ["/usr/bin/touch", thing],
        "deactivate": ["/bin/rm", "-f", thing],
        "observe": ["/bin/sh", "-c", f"test -e {thing} || exit 3"],
    }
    lines = [f"[instance.{instance}.resource.r{number}]", 'driver = "exec"']
    lines += [f"{key} = {json.dumps(argv)}" for key, argv in commands.items()]
    if number:
        lines.append(f'needs = ["r{number - 1}"]')
    daemon.tables.append("\n".join(lines) + "\n")


def _say(daemon: Daemon, names: list[str], state: str) -> None:
    for name in names:
        daemon.say(state, name)
