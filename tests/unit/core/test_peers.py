"""What the core keeps of the words of other nodes, and from when each counts."""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.core import peers
from failoverd.core.events import PeerReported
from failoverd.core.knowledge import PeerWord
from failoverd.core.spec import Heartbeat
from failoverd.core.words import Phase
from tests.unit.core.world import World, config

HEARTBEAT = Heartbeat(peers=("right",))


def told(world: World, at: float, *, rests: bool = True, peer: str = "right", whole: bool = True) -> None:
    word = PeerWord(at=at, phase=Phase.STANDBY, rests=rests)
    world.send(PeerReported(peer=peer, at=at, words={"VI_1": word}, whole=whole))


def made() -> World:
    return World(config=replace(config(), heartbeat=HEARTBEAT))


def test_a_word_counts_from_the_time_at_which_it_was_true() -> None:
    world = made()
    told(world, 990.0)
    word = peers.word(world.state, "right", "VI_1")
    assert word is not None
    assert word.rests
    assert word.at == 990.0


def test_a_confirmation_without_a_change_makes_every_word_younger() -> None:
    world = made()
    told(world, 990.0)
    world.send(PeerReported(peer="right", at=995.0, whole=True))
    word = peers.word(world.state, "right", "VI_1")
    assert word is not None
    assert word.at == 995.0


def test_a_part_makes_no_other_word_younger() -> None:
    world = made()
    told(world, 990.0)
    world.send(PeerReported(peer="right", at=995.0, words={"VI_2": PeerWord(at=995.0)}))
    word, other = (peers.word(world.state, "right", name) for name in ("VI_1", "VI_2"))
    assert word is not None
    assert other is not None
    assert (word.at, other.at) == (990.0, 995.0)


def test_an_older_word_never_replaces_a_newer_one() -> None:
    world = made()
    told(world, 995.0, rests=False, whole=False)
    told(world, 990.0, whole=False)
    told(world, 980.0, whole=True)
    word = peers.word(world.state, "right", "VI_1")
    assert word is not None
    assert not word.rests
    assert word.at == 995.0


def test_an_instance_that_is_not_configured_there_has_no_word() -> None:
    world = made()
    told(world, 990.0)
    world.send(PeerReported(peer="right", at=995.0, words={"VI_1": None}, whole=True))
    assert peers.word(world.state, "right", "VI_1") is None


def test_a_node_that_is_not_configured_is_not_heard() -> None:
    world = made()
    told(world, 990.0, peer="stranger")
    assert world.state.peers == {}
    told(world, 990.0)
    world.reload(config())
    assert world.state.peers == {}


def test_a_node_is_silent_a_while_after_its_last_word() -> None:
    world = made()
    assert peers.heard_at(world.state, "right") == -math.inf
    assert peers.silent(world.state, "right", world.now)
    told(world, 999.0)
    assert not peers.silent(world.state, "right", 1001.5)
    assert peers.silent(world.state, "right", 1002.0)
