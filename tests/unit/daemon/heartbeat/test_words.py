"""A word says what the state is, and what is not understood allows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.core import peers
from failoverd.core.events import ResourceChanged, ResourceObserved
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import Standby
from failoverd.core.requests import MaintenanceBegun
from failoverd.core.resource import Observation
from failoverd.core.spec import Config
from failoverd.core.words import Clearance, Level, Phase, Standing, Target, VrrpState
from failoverd.daemon.heartbeat import words
from failoverd.daemon.heartbeat.words import WordUnusable
from tests.unit.core.world import World, config, resource

SAID = st.builds(
    PeerWord,
    at=st.just(7.0),
    vrrp=st.sampled_from([None, *VrrpState]),
    target=st.sampled_from([None, *Target]),
    phase=st.sampled_from(Phase),
    rests=st.booleans(),
    levels=st.dictionaries(st.text(max_size=9), st.sampled_from(Level), max_size=4),
    nothing_alone=st.frozensets(st.text(max_size=9), max_size=4),
    outdated=st.frozensets(st.text(max_size=9), max_size=4),
    competes=st.booleans(),
    standby=st.booleans(),
    standing=st.sampled_from(Standing),
    clearance=st.sampled_from(Clearance),
    maintenance=st.booleans(),
    strays=st.frozensets(st.text(max_size=9), max_size=4),
    refusal=st.text(max_size=30),
    against_move=st.dictionaries(st.text(max_size=9), st.text(max_size=30), max_size=3),
)


def spoken(world: World) -> PeerWord:
    return words.spoken(world.state, world.instance, world.now)


def settled(word: VrrpState) -> World:
    world = World(config=config(resource("disk"), resource("guest", "disk")))
    world.say(word)
    world.settle()
    return world


@given(said=SAID)
def test_what_is_written_is_read(said: PeerWord) -> None:
    assert words.read(words.written(said), 7.0) == said


@given(data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_garbage_is_not_understood(data: bytes) -> None:
    with pytest.raises(WordUnusable):
        words.read(data, 7.0)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b'{"p":"sleeping"}',
        b'{"p":"standby","v":"LEADER"}',
        b'{"p":"standby","l":{"disk":"x"}}',
        b'{"p":"standby","l":7}',
        b'{"p":["standby"]}',
        b"[" * 5000,
    ],
)
def test_another_failoverds_word_is_not_understood(data: bytes) -> None:
    with pytest.raises(WordUnusable):
        words.read(data, 7.0)


def test_a_key_that_is_missing_allows_nothing() -> None:
    read = words.read(b'{"p":"standby","of a later version":1,"r":1}', 7.0)
    assert (read.rests, read.competes, read.target, read.levels) == (False, False, None, {})


def test_a_word_with_too_many_levels_says_the_rest() -> None:
    levels = {f"a resource with a long name, number {number}": Level.STANDBY for number in range(500)}
    said = PeerWord(at=7.0, rests=True, levels=levels, outdated=frozenset({"disk"}))
    assert words.read(words.written(said), 7.0) == replace(said, levels={})
    said = replace(said, outdated=frozenset(levels))
    assert words.read(words.written(said), 7.0) == replace(said, levels={}, outdated=frozenset())


def test_a_standby_rests() -> None:
    said = spoken(settled(VrrpState.BACKUP))
    assert (said.vrrp, said.target, said.phase) == (VrrpState.BACKUP, Target.STANDBY, Phase.STANDBY)
    assert (said.rests, said.levels) == (True, {"disk": Level.STANDBY, "guest": Level.STANDBY})


def test_nothing_is_outdated_by_an_observation_that_a_check_may_replace() -> None:
    world = settled(VrrpState.BACKUP)
    changed = ResourceChanged(instance="VI_1", resource="disk")
    world.send(changed)
    (check,) = world.looks.values()
    world.looks.clear()
    seen = Observation(level=Level.STANDBY, outdated=True)
    world.send(ResourceObserved(instance="VI_1", resource="disk", look=check.look, seen=seen))
    assert spoken(world).outdated == {"disk"}
    world.send(changed)
    assert spoken(world).outdated == frozenset()


def test_an_active_node_does_not_rest() -> None:
    said = spoken(settled(VrrpState.MASTER))
    assert (said.phase, said.rests, said.levels["disk"]) == (Phase.ACTIVE, False, Level.ACTIVE)


def test_a_node_that_stops_rests_when_the_last_one_has_stopped() -> None:
    world = settled(VrrpState.MASTER)
    world.say(VrrpState.BACKUP)
    assert not spoken(world).rests
    world.end_step(("VI_1", "guest"))
    assert (spoken(world).rests, spoken(world).levels["guest"]) == (False, Level.STANDBY)
    world.end_step(("VI_1", "disk"))
    assert spoken(world).rests


def test_nothing_rests_before_it_was_observed() -> None:
    assert not spoken(World(config=config(resource("disk")))).rests


def test_a_node_does_not_rest_beside_an_active_stray() -> None:
    world = settled(VrrpState.MASTER)
    world.reload(config(resource("guest")))
    world.say(VrrpState.BACKUP)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    assert (spoken(world).rests, spoken(world).strays) == (False, {"disk"})
    world.actual["VI_1", "disk"] = Level.STANDBY
    world.tick()
    world.settle()
    assert (spoken(world).rests, spoken(world).strays) == (True, frozenset())


def test_of_an_instance_that_is_not_configured_it_is_said_what_may_be_active() -> None:
    world = settled(VrrpState.MASTER)
    world.reload(Config(instances={}))
    said = words.left_behind(world.state, "VI_1", world.now)
    assert said is not None
    assert (said.rests, said.strays) == (False, {"disk", "guest"})
    assert not peers.serves(said)
    world.actual |= dict.fromkeys(world.actual, Level.STANDBY)
    while world.state.strays:
        world.tick()
        world.settle()
    assert words.left_behind(world.state, "VI_1", world.now) is None


def test_maintenance_is_said() -> None:
    world = settled(VrrpState.MASTER)
    assert not spoken(world).maintenance
    world.send(MaintenanceBegun(by="root", until=1e9))
    assert spoken(world).maintenance


def test_an_operators_standby_is_said() -> None:
    world = settled(VrrpState.BACKUP)
    instance = replace(world.instance, standby=Standby(by="root", at=world.now))
    said = words.spoken(world.state, instance, world.now)
    assert (said.standby, said.competes) == (True, False)


def test_a_refusal_is_said() -> None:
    world = World(config=config(resource("disk")))
    world.say(VrrpState.MASTER, vip=False)
    world.settle()
    said = spoken(world)
    assert (said.phase, said.refusal) == (Phase.REFUSED, world.instance.reason)
