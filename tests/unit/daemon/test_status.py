"""The state as one line for systemctl; the rest of what is shown is tested with failoverctl."""

from __future__ import annotations

from failoverd.core.spec import Config, InstanceSpec
from failoverd.core.words import VrrpState
from failoverd.daemon import status
from tests.unit.core.world import World


def standbys(number: int) -> World:
    names = [f"VI_{n}" for n in range(number)]
    world = World(config=Config(instances={name: InstanceSpec(name=name) for name in names}))
    for name in names:
        world.say(VrrpState.BACKUP, name)
    world.settle()
    return world


def test_a_few_instances_are_named() -> None:
    world = standbys(2)
    world.say(VrrpState.MASTER, "VI_1")
    assert status.line(world.state) == "VI_0: standby, VI_1: active"


def test_many_instances_are_counted() -> None:
    world = standbys(status.NAMED + 1)
    world.say(VrrpState.MASTER, "VI_1")
    assert status.line(world.state) == f"{status.NAMED + 1} instances: {status.NAMED} standby, 1 active"
