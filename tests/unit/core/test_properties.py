"""Arbitrary interleavings of events, outcomes, time-outs and restarts: the invariants hold after every step."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from failoverd.core.events import (
    LowerPriorityAdvert,
    PeerFenced,
    PeerReported,
    PeerUnverified,
    ResourceChanged,
    Stalled,
    Stopping,
    VipElsewhere,
    WishesFound,
)
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import Standby
from failoverd.core.requests import (
    Acknowledged,
    AsideEnded,
    AsideWanted,
    CheckAsked,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
    MaintenanceBegun,
    MaintenanceEnded,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    RivalsNoted,
    StandbyWanted,
)
from failoverd.core.spec import Config, Fence, Heartbeat, InstanceSpec, Quorum, ResourceSpec, Vip
from failoverd.core.words import (
    Clearance,
    Drift,
    Health,
    Keepalived,
    Level,
    OnFailure,
    Outcome,
    Phase,
    Standing,
    Target,
    VrrpState,
)
from tests.unit.core.world import Key, World


@pytest.fixture(scope="module", autouse=True)
def untraced() -> Iterator[None]:
    """Without coverage.py, which would double the time: the other tests of the core execute the same lines."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


WORDS = st.sampled_from(list(VrrpState))
#: The operator of a handover, whose standby ends by itself where no other node takes over.
HAND = "hand"
VIPS = (Vip(address="192.0.2.1/32", interface="eth0"), Vip(address="2001:db8::1/128", interface="eth0"))
QUORUMS = (
    None,
    None,
    Quorum(witnesses=("tcp://a",), need=1),
    Quorum(witnesses=("tcp://a",), need=1, takeover_after=45.0),
    Quorum(witnesses=("tcp://a", "icmp://b", "http://c"), need=2, isolation_timeout=6.0, timeout=0.5),
    Quorum(leases=("etcd://d",)),
    Quorum(witnesses=("tcp://a",), need=1, watchdog="/dev/watchdog"),
    Quorum(witnesses=("tcp://a",), leases=("etcd://d",), need=1, watchdog="/dev/watchdog"),
)


#: As the first and the last by name.
HEARTBEATS = tuple(Heartbeat(node=node, peers=("right", "third")) for node in ("left", "zebra"))
FENCE = Fence(agent="/usr/sbin/fence_ipmilan")


@st.composite
def resources(draw: st.DrawFn, instance: str) -> dict[str, ResourceSpec]:
    made: dict[str, ResourceSpec] = {}
    for name in "abcde"[: draw(st.integers(0, 5))]:
        needs = draw(st.frozensets(st.sampled_from(sorted(made)))) if made else frozenset()
        made[name] = ResourceSpec(
            instance=instance,
            name=name,
            driver="exec",
            needs=needs,
            others=draw(st.sampled_from([("right",), ("right", "third")])),
            retries=draw(st.integers(0, 2)),
            on_failure=draw(st.sampled_from(OnFailure)),
            drift=draw(st.sampled_from(Drift)),
            check_interval=draw(st.sampled_from([None, 1.0, 300.0])),
        )
    return made


@st.composite
def configs(draw: st.DrawFn) -> Config:
    instances = {
        name: InstanceSpec(
            name=name,
            vips=draw(st.sampled_from([(), VIPS[:1], VIPS])),
            preempt=draw(st.booleans()),
            health=draw(st.sampled_from(Health)),
            quorum=draw(st.sampled_from([True, True, True, False])),
            others=draw(st.sampled_from([(), ("right",), ("right", "third")])),
            resources=draw(resources(name)),
        )
        for name in ["VI_1", "VI_2"][: draw(st.integers(1, 2))]
    }
    return Config(
        instances=instances,
        parallel=draw(st.sampled_from([1, 2, 128])),
        quorum=draw(st.sampled_from(QUORUMS)),
        heartbeat=draw(st.sampled_from([None, *HEARTBEATS, *HEARTBEATS])),
        fences=dict.fromkeys(draw(st.sampled_from([(), ("left", "right"), ("left", "right", "third")])), FENCE),
    )


@st.composite
def peer_words(draw: st.DrawFn, at: float) -> PeerWord:
    """Whatever another node may say, true or not."""
    return PeerWord(
        at=at,
        vrrp=draw(st.sampled_from([None, *VrrpState])),
        target=draw(st.sampled_from([None, *Target])),
        phase=draw(st.sampled_from(Phase)),
        rests=draw(st.booleans()),
        levels=draw(st.dictionaries(st.sampled_from("abcde"), st.sampled_from(Level))),
        competes=draw(st.booleans()),
        standby=draw(st.booleans()),
        maintenance=draw(st.sampled_from([False, False, True])),
        standing=draw(st.sampled_from(Standing)),
        clearance=draw(st.sampled_from([Clearance.IDLE, *Clearance])),
        refusal=draw(st.sampled_from(["", "the data is old"])),
    )


class Node(RuleBasedStateMachine):
    world: World
    whole: Config
    stopped_with: dict[str, tuple[str, bool]]
    wanted: set[str]

    @initialize(config=configs(), dbus=st.booleans())
    def begin(self, config: Config, dbus: bool) -> None:
        self.whole = config
        self.wanted = set()
        self.world = World(config=config, dbus=dbus)

    @rule(data=st.data(), word=WORDS, vip=st.sampled_from([None, None, None, True, False]))
    def keepalived_says(self, data: st.DataObject, word: VrrpState, vip: bool | None) -> None:
        self.world.say(word, data.draw(st.sampled_from(sorted(self.world.config.instances))), vip=vip)

    @rule(data=st.data())
    def lower_priority_heard(self, data: st.DataObject) -> None:
        self.world.send(LowerPriorityAdvert(instance=data.draw(st.sampled_from(sorted(self.world.config.instances)))))

    @precondition(lambda self: self.world.vips)
    @rule(data=st.data())
    def another_station_has_a_vip(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        vip = data.draw(st.sampled_from(list(self.world.vips)))
        told = VipElsewhere(instance=name, vip=vip, station="02:00:00:00:00:02")
        directions = {n: i.direction for n, i in self.world.state.instances.items()}
        self.world.send(told)
        assert {n: i.direction for n, i in self.world.state.instances.items()} == directions, "it is an alarm only"

    @rule(data=st.data())
    def somebody_acknowledges(self, data: st.DataObject) -> None:
        self.world.send(RivalsNoted(instance=data.draw(st.sampled_from(sorted(self.world.config.instances)))))

    @rule(data=st.data())
    def somebody_wants_standby(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        if name not in self.world.wishes:
            self.wanted.add(name)
        self.world.send(StandbyWanted(instance=name, by="root"))

    @rule(data=st.data())
    def an_earlier_wish_is_found(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        if name not in self.world.wishes:
            self.wanted.add(name)
        wish = Standby(by="root", at=self.world.now)
        self.world.send(WishesFound(standby={name: wish}, maintenance=None))

    @rule(data=st.data())
    def somebody_ends_it(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.wanted.discard(name)
        self.world.send(OnlineWanted(instance=name, cause="root lets it be MASTER again"))
        self.stopped_with = self.mastership()  # the operator's own act, also while the daemon stops

    @precondition(lambda self: not self.world.state.stopping)
    @rule(data=st.data())
    def somebody_resets(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.send(Reset(instance=name, cause="root asked for a reset"))

    @invariant()
    def a_wish_lasts_until_an_operator_ends_it(self) -> None:
        """I19: over crashes, reloads, resets and all that keepalived reports; and it is never silent."""
        if not hasattr(self, "world"):
            return
        assert {name for name, wish in self.world.wishes.items() if wish.by != HAND} == self.wanted
        for name in self.wanted & self.world.state.instances.keys():
            instance = self.world.state.instances[name]
            assert name in self.world.released, "keepalived may be MASTER"
            assert "standby" in instance.reason + instance.alarm, "a wish is said"

    @precondition(lambda self: not self.world.state.stopping)
    @rule(data=st.data())
    def somebody_hands_over(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        until = self.world.now + data.draw(st.sampled_from([-1.0, 1.0, 100.0]))
        self.world.send(HandoverWanted(instance=name, by=HAND, id="left.1", until=until))

    @rule(data=st.data())
    def somebody_attends_the_handover(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.send(HandoverAttended(instance=name, id="left.1", until=self.world.now + 10.0))

    @rule(data=st.data(), handover=st.sampled_from(["right.1", "right.2"]), seconds=st.sampled_from([1.0, 15.0]))
    def another_node_hands_over(self, data: st.DataObject, handover: str, seconds: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.send(AsideWanted(instance=name, id=handover, until=self.world.now + seconds))

    @rule(data=st.data(), handover=st.sampled_from(["right.1", "right.2"]))
    def that_handover_ends(self, data: st.DataObject, handover: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.send(AsideEnded(instance=name, id=handover))

    @rule(data=st.data())
    def the_other_node_is_active(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.send(HandoverConfirmed(instance=name, id="left.1", by=HAND))
        self.stopped_with = self.mastership()

    @rule(data=st.data())
    def somebody_keeps_it_after_all(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        released = data.draw(st.booleans())
        cause = "root cancelled the handover"
        self.world.send(HandoverCancelled(instance=name, id="left.1", cause=cause, released=released))
        self.stopped_with = self.mastership()

    @rule(data=st.data())
    def somebody_wants_a_check(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.send(CheckAsked(instance=name, cause="root wants everything checked"))

    @precondition(lambda self: self.world.vips)
    @rule(data=st.data(), present=st.sampled_from([True, False, None]))
    def vip_moves_by_itself(self, data: st.DataObject, present: bool | None) -> None:
        vip = data.draw(st.sampled_from(list(self.world.vips)))
        self.world.move_vip(vip, present=present)

    @rule(data=st.data(), condition=st.sampled_from(Keepalived))
    def keepalived_is(self, data: st.DataObject, condition: Keepalived) -> None:
        names = data.draw(st.sets(st.sampled_from(sorted(self.world.config.instances)), min_size=1))
        changed = {name for name in names if self.world.keepalived.get(name) is not condition}
        if changed:
            self.world.see_keepalived(condition, *changed)

    @precondition(lambda self: self.world.steps)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(Outcome),
        works=st.booleans(),
        seen=st.sampled_from([None, None, *Level]),
    )
    def step_ends(self, data: st.DataObject, outcome: Outcome, works: bool, seen: Level | None) -> None:
        key = data.draw(st.sampled_from(list(self.world.steps)))
        self.world.end_step(key, outcome, works=works, seen=seen)

    @precondition(lambda self: self.world.steps)
    @rule(data=st.data())
    def step_succeeds(self, data: st.DataObject) -> None:
        self.world.end_step(data.draw(st.sampled_from(list(self.world.steps))))

    @precondition(lambda self: self.world.steps)
    @rule(data=st.data())
    def resource_uses_up_its_retries(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.world.steps)))
        while key in self.world.steps:
            self.world.end_step(key, Outcome.FAILED, works=False)
            self.world.tick()

    @rule(data=st.data())
    def mastership_is_lost_and_comes_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.config.instances)))
        self.world.say(VrrpState.BACKUP, name)
        self.world.say(VrrpState.MASTER, name)

    @precondition(lambda self: self.world.looks)
    @rule(data=st.data(), seen=st.sampled_from([None, None, None, *Level]))
    def look_ends(self, data: st.DataObject, seen: Level | None) -> None:
        self.world.end_look(data.draw(st.sampled_from(list(self.world.looks))), seen)

    @precondition(lambda self: self.world.stray_looks)
    @rule(data=st.data(), seen=st.sampled_from([None, None, None, Level.UNKNOWN]))
    def stray_look_ends(self, data: st.DataObject, seen: Level | None) -> None:
        self.world.end_stray_look(data.draw(st.sampled_from(list(self.world.stray_looks))), seen)

    @precondition(lambda self: self.world.state.strays)
    @rule(data=st.data())
    def operator_knows(self, data: st.DataObject) -> None:
        """What is on top is their own affair from now on."""
        name = data.draw(st.sampled_from(sorted({s.spec.instance for s in self.world.state.strays.values()})))
        self.world.dropped = {key: spec for key, spec in self.world.dropped.items() if key[0] != name}
        self.world.send(Acknowledged(instance=name))

    @precondition(lambda self: self.world.questions)
    @rule(data=st.data())
    def truth_is_told(self, data: st.DataObject) -> None:
        self.world.answer(data.draw(st.sampled_from(self.world.questions)))

    @precondition(lambda self: self.world.actual)
    @rule(data=st.data(), level=st.sampled_from([Level.ACTIVE, Level.STANDBY, Level.FAILED]))
    def resource_drifts(self, data: st.DataObject, level: Level) -> None:
        self.world.actual[data.draw(st.sampled_from(sorted(self.world.actual)))] = level

    @precondition(lambda self: self.world.actual)
    @rule(data=st.data(), obstacle=st.sampled_from(["", "", "the data is old", "bird is down"]))
    def obstacle_changes(self, data: st.DataObject, obstacle: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.actual)))
        self.world.obstacles[key] = obstacle
        instance = self.world.state.instances.get(key[0])
        if instance is not None and key[1] in instance.resources:
            self.world.send(ResourceChanged(instance=key[0], resource=key[1]))

    @precondition(lambda self: self.whole.quorum is not None)
    @rule(data=st.data(), granted=st.sampled_from([True, True, False, None]))
    def a_witness_changes(self, data: st.DataObject, granted: bool | None) -> None:
        quorum = self.whole.quorum
        assert quorum is not None
        names: list[str | Key] = [*quorum.witnesses]
        names += [(name, lease) for name in sorted(self.world.config.instances) for lease in quorum.leases]
        self.world.granted[data.draw(st.sampled_from(names))] = granted

    @precondition(lambda self: self.world.asked)
    @rule(data=st.data())
    def the_witnesses_answer(self, data: st.DataObject) -> None:
        self.world.vote(data.draw(st.sampled_from(self.world.asked)))

    @rule(data=st.data(), peer=st.sampled_from(["right", "third", "stranger"]), ago=st.sampled_from([0.0, 0.5, 60.0]))
    def another_node_says_something(self, data: st.DataObject, peer: str, ago: float) -> None:
        at = self.world.now - ago
        names = st.sampled_from([*sorted(self.whole.instances), "VI_9"])
        words = data.draw(st.dictionaries(names, st.one_of(st.none(), peer_words(at)), max_size=3))
        self.world.send(PeerReported(peer=peer, at=at, words=words, whole=data.draw(st.booleans())))

    @rule(seconds=st.sampled_from([1.0, 5.0, 600.0]))
    def the_process_stood_still(self, seconds: float) -> None:
        self.world.send(Stalled(seconds=seconds))

    @rule(data=st.data(), peer=st.sampled_from(["right", "third"]))
    def another_node_is_at_standby(self, data: st.DataObject, peer: str) -> None:
        """As a node that is not MASTER says it, a moment after it was asked."""
        self.world.now += 0.01
        names = data.draw(st.sets(st.sampled_from(sorted(self.whole.instances)), min_size=1))
        vrrp, standby = data.draw(st.sampled_from([(VrrpState.BACKUP, False), (VrrpState.FAULT, True)]))
        word = PeerWord(at=self.world.now, vrrp=vrrp, target=Target.STANDBY, phase=Phase.STANDBY, rests=True)
        words = dict.fromkeys(names, replace(word, standby=standby, competes=not standby))
        self.world.send(PeerReported(peer=peer, at=self.world.now, words=words, whole=True))

    @precondition(lambda self: self.world.fencings)
    @rule(data=st.data(), off=st.booleans())
    def a_fencing_ends(self, data: st.DataObject, off: bool) -> None:
        self.world.end_fencing(data.draw(st.sampled_from(list(self.world.fencings))), off=off)

    @rule(peer=st.sampled_from(["right", "third", "stranger"]), off=st.booleans())
    def a_fencing_ends_for_which_nobody_waits(self, peer: str, off: bool) -> None:
        """One that DRBD has asked for, or an earlier daemon."""
        self.world.send(PeerFenced(peer=peer, fencing=-1, off=off, said="status 2" if off else "no connection"))

    @rule(peers=st.sets(st.sampled_from(["right", "third"])))
    def fencing_works_or_not(self, peers: set[str]) -> None:
        self.world.unfenceable = peers

    @rule(peer=st.sampled_from(["right", "third", "stranger"]))
    def an_operator_switches_a_node_on(self, peer: str) -> None:
        self.world.send(PeerUnfenced(peer=peer, by="root"))

    @rule(peer=st.sampled_from(["right", "third", "stranger"]))
    def an_operator_confirms_that_a_node_is_off(self, peer: str) -> None:
        self.world.send(PeerConfirmedOff(peer=peer, by="root"))

    @rule(peer=st.sampled_from(["right", "third", "stranger"]))
    def something_comes_that_cannot_be_believed(self, peer: str) -> None:
        """A heartbeat of another key or format."""
        self.world.send(PeerUnverified(peer=peer))

    @rule(peer=st.sampled_from(["right", "third"]), deaf=st.booleans())
    def the_heartbeat_fails_or_runs(self, peer: str, *, deaf: bool) -> None:
        self.world.hear(peer, deaf=deaf)

    @precondition(lambda self: self.world.actual)
    @rule(data=st.data(), on=st.sampled_from([None, frozenset(), frozenset({"right"}), frozenset({"right", "third"})]))
    def a_driver_sees_other_nodes(self, data: st.DataObject, on: frozenset[str] | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.actual)))
        self.world.inactive_on[key] = on
        instance = self.world.state.instances.get(key[0])
        if instance is not None and key[1] in instance.resources:
            self.world.send(ResourceChanged(instance=key[0], resource=key[1]))

    @invariant()
    def a_lone_node_does_not_compete(self) -> None:
        """I21."""
        if hasattr(self, "world"):
            for name, instance in self.world.state.instances.items():
                if instance.alone_at is not None:
                    assert name in self.world.released
                    assert "alone" in instance.reason + instance.alarm

    @rule()
    def time_passes(self) -> None:
        self.world.tick()

    @rule()
    def daemon_is_killed_and_started(self) -> None:
        self.world.start()

    @precondition(lambda self: self.whole.quorum is not None and not self.world.state.stopping)
    @rule(data=st.data(), lives=st.lists(st.integers(0, 3), min_size=1, max_size=6))
    def a_node_that_serves_is_cut_off_and_its_failoverd_dies_again_and_again(
        self, data: st.DataObject, lives: list[int]
    ) -> None:
        world, quorum = self.world, self.whole.quorum
        assert quorum is not None
        world.granted.clear()
        world.say(VrrpState.MASTER, data.draw(st.sampled_from(sorted(world.config.instances))))
        world.settle()
        world.granted |= dict.fromkeys(quorum.witnesses)
        world.granted |= {(name, lease): None for name in world.config.instances for lease in quorum.leases}
        for deadlines in lives:
            world.start()
            for _ in range(deadlines):
                while world.questions or world.looks:
                    if world.questions:
                        world.answer(world.questions[0])
                    else:
                        world.end_look(next(iter(world.looks)))
                while world.asked:
                    world.vote()
                world.tick()

    @rule()
    def daemon_is_told_to_stop(self) -> None:
        self.stopped_with = self.mastership()
        self.world.send(Stopping())

    @invariant()
    def an_ending_daemon_leaves_mastership_where_it_is(self) -> None:
        """I14."""
        if self.world.state.stopping:
            assert self.stopped_with == self.mastership()

    def mastership(self) -> dict[str, tuple[str, bool]]:
        """Of every instance, whether failoverd has released mastership, and by a handover; wishes do not count."""
        instances = self.world.state.instances.items()
        return {name: (i.released, i.handover is not None and i.handover.given_at is not None) for name, i in instances}

    @precondition(lambda self: not self.world.state.stopping)
    @rule(data=st.data())
    def configuration_is_reloaded(self, data: st.DataObject) -> None:
        """Some resources of the first configuration, each with all that it needs; an instance may be left out."""
        instances = {}
        for name, spec in self.whole.instances.items():
            if name == "VI_1" or data.draw(st.booleans()):
                top = data.draw(st.frozensets(st.sampled_from(sorted(spec.resources)))) if spec.resources else ()
                kept = {r: each for r, each in spec.resources.items() if r in below(spec, top)}
                instances[name] = replace(spec, resources=kept)
        self.world.reload(replace(self.whole, instances=instances))

    @rule(seconds=st.sampled_from([1.0, 100.0, math.inf]))
    def maintenance_begins(self, seconds: float) -> None:
        self.world.send(MaintenanceBegun(by="root", until=self.world.now + seconds))

    @rule()
    def maintenance_ends(self) -> None:
        self.world.send(MaintenanceEnded(cause="root has ended the maintenance"))

    @invariant()
    def what_maintenance_holds_back_is_said(self) -> None:
        """I20."""
        if hasattr(self, "world"):
            for instance in self.world.state.instances.values():
                assert not instance.held_back or self.world.state.maintenance is not None
                assert instance.held_back in instance.reason

    @precondition(lambda self: not self.world.state.stopping)
    @rule()
    def everything_settles(self) -> None:
        self.world.settle()
        if self.world.state.maintenance is None:
            self.judge(self.world)

    @precondition(lambda self: not self.world.state.stopping)
    @rule()
    def everything_settles_after_maintenance(self) -> None:
        self.maintenance_ends()
        self.world.settle()
        self.judge(self.world)

    @precondition(lambda self: not self.world.state.stopping and self.world.state.maintenance is None)
    @rule()
    def a_crash_ends_in_the_same_place(self) -> None:
        """I6: settle as if nothing happened, and settle after a crash: the same phase, and the same levels."""
        lived, crashed = copy.deepcopy(self.world), copy.deepcopy(self.world)
        lived.settle()
        crashed.start()
        crashed.settle()
        for name, instance in lived.state.instances.items():
            other = crashed.state.instances[name]
            gave_up = any(r.given_up for r in instance.resources.values())
            if gave_up or instance.released or self.world.state.instances[name].released:
                continue  # a restart renews hope, and what was given away is tried again at a pace of its own
            if any(r.held for r in instance.resources.values()):
                continue  # a restart looks at once at what is no longer followed and could not be seen
            if any(key[0] == name and key[1] not in instance.spec.resources for key in self.world.steps):
                continue  # a step on a resource that is no longer configured goes on, and dies with the daemon
            if None in instance.vips.values() and instance.target is Target.ACTIVE:
                continue  # a restart forgets what was seen of a VIP before netlink fell silent, and undoes nothing
            if self.world.state.instances[name].handover is not None:
                continue  # a restart ends a handover
            if Clearance.MISSING in (instance.clearance, other.clearance):
                continue  # a restart knows no word of another node, and takes what is active for permitted
            if lived.out(name) and not crashed.out(name):
                continue  # a restart forgets what another node has promised
            keys = [(name, r) for r in instance.resources]
            if any(self.world.obstacles.get(key) and lived.told.get(key) is not lived.actual[key] for key in keys):
                continue  # a restart finds out that a check was wrong, and the obstacle forbids to repair it
            assert other.phase is instance.phase, (name, instance.reason, other.reason)

    def judge(self, world: World) -> None:
        """What a settled node looks like."""
        for name, instance in world.state.instances.items():
            levels = {r: world.told.get((name, r)) for r in instance.resources}
            refused_by_a_driver = instance.phase is Phase.REFUSED and instance.direction is Target.ACTIVE
            if instance.phase in (Phase.STANDBY, Phase.REFUSED) and not refused_by_a_driver:
                assert all(level is Level.STANDBY for level in levels.values()), levels
            if refused_by_a_driver:
                unseen = None in instance.vips.values()  # after maintenance, nothing is tried before the VIP is seen
                assert unseen or any(state.refused for state in instance.resources.values())
                assert instance.alarm, "a refusal is said aloud"
            if instance.phase is Phase.ACTIVE:
                assert instance.vrrp is VrrpState.MASTER
                lost = {r for r, state in instance.resources.items() if state.given_up}
                assert all(
                    level is Level.ACTIVE for r, level in levels.items() if r not in lost | blocked(instance.spec, lost)
                )
            if instance.phase is Phase.FAILED:
                assert instance.alarm, "a failure is said aloud"
            if instance.target is Target.STANDBY and instance.phase is not Phase.FAILED:
                assert instance.phase is Phase.STANDBY


def below(spec: InstanceSpec, names: Iterable[str]) -> set[str]:
    """These, and all that they need."""
    found: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        found.add(name)
        left |= spec.resources[name].needs - found
    return found


def blocked(spec: InstanceSpec, lost: set[str]) -> set[str]:
    """Those that need a lost one, near or far."""
    found = set(lost)
    for name, r in spec.resources.items():  # made in the order of their needs
        if r.needs & found:
            found.add(name)
    return found


#: When something is found, making it small takes longer than a test may.
pytestmark = pytest.mark.timeout(600)
Node.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestNode = Node.TestCase
