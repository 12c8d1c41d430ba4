"""Two cores that hear each other, or not: never are both permitted to be active, in whatever order the words come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from failoverd.core.effects import FencePeer
from failoverd.core.events import PeerFenced, PeerReported
from failoverd.core.knowledge import PeerWord
from failoverd.core.spec import Config, Fence, Heartbeat, InstanceSpec
from failoverd.core.words import Clearance, Level, Phase, VrrpState
from tests.unit.core.world import World, config, resource

pytestmark = pytest.mark.timeout(600)

NODES = ("left", "right")
NAMES = st.sampled_from(NODES)
FENCE = Fence(agent="/usr/sbin/fence_ipmilan")


def site(node: str) -> Config:
    other = NODES[1 - NODES.index(node)]
    made = config(resource("disk", others=(other,)), resource("guest", "disk", others=(other,)), vips=())
    spec: InstanceSpec = replace(made.instances["VI_1"], others=(other,))
    heartbeat = Heartbeat(node=node, peers=(other,))
    return replace(made, instances={"VI_1": spec}, heartbeat=heartbeat, fences=dict.fromkeys(NODES, FENCE))


@dataclass
class Datagram:
    """What a node has said, and the newest datagram of the other that it had received then, by its time."""

    word: PeerWord
    echo: float | None


@dataclass
class Machine:
    """A node: its core, and what it has received. `heard`: the time of the other's newest datagram."""

    name: str
    now: float = 1000.0
    world: World = field(init=False)
    on: bool = True
    heard: float | None = None

    def __post_init__(self) -> None:
        self.world = World(site(self.name), now=self.now)
        self.world.say(VrrpState.BACKUP)
        self.world.settle()

    @property
    def serves(self) -> bool:
        levels = (self.world.actual["VI_1", name] for name in ("disk", "guest"))
        return self.on and (
            Level.ACTIVE in levels or any(s.verb.value == "activate" for s in self.world.steps.values())
        )


class Cluster(RuleBasedStateMachine):
    """One clock for both; a datagram takes as long as the test wants, or is lost; only power ends a node."""

    @initialize()
    def begin(self) -> None:
        self.nodes = {name: Machine(name) for name in NODES}
        self.sent: dict[str, list[tuple[float, Datagram]]] = {name: [] for name in NODES}

    def other(self, name: str) -> Machine:
        return self.nodes[NODES[1 - NODES.index(name)]]

    @rule(name=NAMES, word=st.sampled_from([VrrpState.MASTER, VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT]))
    def keepalived_says(self, name: str, word: VrrpState) -> None:
        """Of both at once MASTER as well: the adverts may be lost."""
        if self.nodes[name].on:
            self.nodes[name].world.say(word)

    @rule(name=NAMES)
    def a_node_speaks(self, name: str) -> None:
        node = self.nodes[name]
        if not node.on:
            return
        instance = node.world.instance
        rests = all(r.rests_at(Level.STANDBY) for r in instance.resources.values())
        word = PeerWord(
            at=0.0,
            vrrp=instance.vrrp,
            target=instance.target,
            phase=instance.phase,
            rests=rests,
            clearance=instance.clearance,
        )
        self.sent[name].append((node.world.now, Datagram(word, node.heard)))

    @precondition(lambda self: any(self.sent.values()))
    @rule(data=st.data())
    def a_datagram_arrives(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in NODES if self.sent[name]]))
        number = data.draw(st.integers(0, len(self.sent[name]) - 1))
        at, datagram = self.sent[name][number]
        del self.sent[name][: number + 1]  # the sequence is monotonic: what is older is not taken any more
        there = self.other(name)
        if there.on and name not in there.world.deaf:
            there.heard = at
            if datagram.echo is not None:
                word = replace(datagram.word, at=datagram.echo)
                event = PeerReported(peer=name, at=datagram.echo, words={"VI_1": word}, whole=True)
                there.world.send(event)

    @rule(name=NAMES, deaf=st.booleans())
    def the_heartbeat_fails_or_runs(self, name: str, *, deaf: bool) -> None:
        if self.nodes[name].on:
            self.nodes[name].world.hear(self.other(name).name, deaf=deaf)

    @rule(name=NAMES)
    def all_that_is_sent_is_lost(self, name: str) -> None:
        self.sent[name].clear()

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        """Both nodes have every deadline on the way; the clocks agree, as the words do not depend on that."""
        end = max(node.world.now for node in self.nodes.values()) + seconds + 0.001
        for node in self.nodes.values():
            while node.on and node.world.state.agenda.next <= end:
                node.world.tick()
            node.world.now = end

    @rule(name=NAMES, works=st.booleans())
    def work_ends(self, name: str, works: bool) -> None:
        world = self.nodes[name].world
        if self.nodes[name].on and world.looks:
            world.end_look(next(iter(world.looks)))
        elif self.nodes[name].on and world.steps:
            world.end_step(next(iter(world.steps)), works=works)

    @rule(name=NAMES)
    def all_work_ends(self, name: str) -> None:
        world = self.nodes[name].world
        while self.nodes[name].on and (world.looks or world.steps):
            if world.looks:
                world.end_look(next(iter(world.looks)))
            else:
                world.end_step(next(iter(world.steps)))

    @precondition(lambda self: any(node.on and node.world.fencings for node in self.nodes.values()))
    @rule(data=st.data(), off=st.booleans())
    def a_fencing_ends(self, data: st.DataObject, off: bool) -> None:
        found = [name for name, node in self.nodes.items() if node.on and node.world.fencings]
        name = data.draw(st.sampled_from(found))
        world = self.nodes[name].world
        effect: FencePeer = next(iter(world.fencings))
        del world.fencings[effect]
        if off:
            self.other(name).on = False
        world.send(PeerFenced(peer=effect.peer, fencing=effect.fencing, off=off, said="status"))

    @precondition(lambda self: not all(node.on for node in self.nodes.values()))
    @rule(name=NAMES)
    def a_node_boots(self, name: str) -> None:
        if not self.nodes[name].on:
            self.nodes[name] = Machine(name, now=self.other(name).world.now)
            self.sent[name].clear()

    @invariant()
    def never_two(self) -> None:
        """I22: in the whole cluster."""
        if hasattr(self, "nodes"):
            given = [n.name for n in self.nodes.values() if n.on and n.world.instance.clearance is Clearance.GIVEN]
            assert len(given) < len(NODES), "I22: both are permitted to be active"
            assert not all(node.serves for node in self.nodes.values()), "I22: both are active"


Cluster.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestCluster = Cluster.TestCase


def test_two_masters_that_hear_each_other_are_one_active_and_one_refused() -> None:
    cluster = Cluster()
    cluster.begin()
    for name in NODES:
        cluster.keepalived_says(name, VrrpState.MASTER)
    for _ in range(4):
        cluster.time_passes(0.1)
        for name in NODES:
            cluster.a_node_speaks(name)
            at, datagram = cluster.sent[name].pop()
            there = cluster.other(name)
            there.heard = at
            if datagram.echo is not None:
                word = replace(datagram.word, at=datagram.echo)
                there.world.send(PeerReported(peer=name, at=datagram.echo, words={"VI_1": word}, whole=True))
            cluster.all_work_ends(name)
    left, right = (cluster.nodes[name].world for name in NODES)
    assert left.instance.phase is Phase.ACTIVE
    assert right.instance.phase is Phase.REFUSED
    assert not right.fencings
