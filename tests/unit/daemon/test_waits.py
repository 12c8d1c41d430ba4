"""The waits of a transition, as the history gets them."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from failoverd.core.spec import Config
from failoverd.core.words import VrrpState
from failoverd.daemon.history.store import Store
from failoverd.daemon.waits import Waits
from tests.unit.core.world import World, config, resource


class Watched:
    """A world whose states the recorder sees, at times that the test sets."""

    def __init__(self) -> None:
        self.world = World(config=config(resource("disk"), resource("guest", "disk")))
        self.store = Mock(spec=Store)
        self._waits = Waits(self.store)
        self.clock = 100.0

    def see(self, after: float = 0.0) -> None:
        self.clock += after
        self._waits.see(self.world.state, self.world.now, self.clock)

    def kept(self) -> list[tuple[str, str, list[str], float, float]]:
        calls = [call.kwargs for call in self.store.waited.call_args_list]
        return [(c["resource"], c["kind"], list(c["names"]), c["started"], c["ended"]) for c in calls]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_wait_is_kept_when_it_has_ended(watched: Watched) -> None:
    world = watched.world
    world.say(VrrpState.MASTER)
    watched.see()
    for key in list(world.looks):
        world.end_look(key)
    watched.see(0.5)
    assert watched.kept() == [("disk", "check", [], 100.0, 100.5), ("guest", "check", [], 100.0, 100.5)]
    watched.see(1)
    world.end_step(("VI_1", "disk"))
    watched.see(2)
    assert watched.kept()[2:] == [("guest", "resource", ["disk"], 100.5, 103.5)]
    world.settle()
    watched.see(1)
    assert len(watched.kept()) == 3


def test_what_lasts_less_than_a_millisecond_is_not_kept(watched: Watched) -> None:
    watched.world.say(VrrpState.MASTER)
    watched.see()
    for key in list(watched.world.looks):
        watched.world.end_look(key)
    watched.see(0.0005)
    assert watched.kept() == []


def test_the_wait_of_an_instance_that_is_no_longer_configured_is_dropped(watched: Watched) -> None:
    world, both = watched.world, watched.world.config
    world.say(VrrpState.MASTER)
    watched.see()
    world.reload(Config())
    watched.see(1)
    world.reload(both)
    watched.see(1)
    assert watched.kept() == []
