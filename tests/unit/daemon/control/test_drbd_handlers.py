"""What DRBD's handlers get: a proof, the word of the peer, or nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from unittest.mock import ANY, Mock

import pytest

from failoverd.core.events import PeerFenced, PeerReported, Tick
from failoverd.core.knowledge import PeerWord
from failoverd.core.requests import PeerUnfenced
from failoverd.core.spec import Fence, Heartbeat, Quorum
from failoverd.core.words import Clearance, Level, Phase, Target, VrrpState
from failoverd.daemon.access import Peer
from failoverd.daemon.control.drbd_handlers import PATIENCE_S, DrbdHandlers
from failoverd.daemon.control.server import Refused
from failoverd.daemon.fencing import FOR_DRBD, Fencing
from failoverd.daemon.loop import CoreLoop
from failoverd.drivers.drbd import Options
from tests.unit.core.world import World, config, resource

ROOT = Peer(uid=0, gids=frozenset(), pid=os.getpid(), name="root")
FENCE = Fence(agent="/usr/sbin/fence_ipmilan")
AT_STANDBY = PeerWord(
    at=0.0,
    vrrp=VrrpState.BACKUP,
    target=Target.STANDBY,
    phase=Phase.STANDBY,
    rests=True,
    levels={"disk": Level.STANDBY, "guest": Level.STANDBY},
    outdated=frozenset({"disk"}),
)
GUEST_STILL_STOPS = replace(
    AT_STANDBY, phase=Phase.DEMOTING, rests=False, levels={"disk": Level.ACTIVE, "guest": Level.ACTIVE}
)
WAITS = replace(AT_STANDBY, target=Target.ACTIVE, phase=Phase.PROMOTING, clearance=Clearance.AWAITED)
PROMOTES = replace(AT_STANDBY, target=Target.ACTIVE, phase=Phase.PROMOTING, clearance=Clearance.GIVEN, rests=False)


class Site:
    """A node that is MASTER and active, whose disk is DRBD's web, and its handlers. `right` is the other one."""

    def __init__(
        self, quorum: Quorum | None = None, node: str = "left", *, delay: float = 0.0, votes: bool = True
    ) -> None:
        others = ("right",)
        disk = replace(resource("disk", others=others), driver="drbd", options=Options(resource="web"))
        made = config(disk, resource("guest", "disk", others=others), quorum=quorum)
        spec = replace(made.instances["VI_1"], others=others, quorum=votes)
        heartbeat = Heartbeat(node=node, peers=others)
        fences = {"left": FENCE, "right": replace(FENCE, delay=delay)}
        self.world = World(replace(made, instances={"VI_1": spec}, heartbeat=heartbeat, fences=fences))
        self.world.say(VrrpState.BACKUP)
        self.world.settle()
        self.tell(AT_STANDBY)
        self.world.say(VrrpState.MASTER)
        self.wait(0.1)
        self.tell(AT_STANDBY)
        self.world.settle()
        assert self.world.state.instances["VI_1"].phase is Phase.ACTIVE
        self.core = Mock(spec=CoreLoop)
        self.fencing = Mock(spec=Fencing, failures={})
        self.fencing.runs.return_value = False
        self._handlers = DrbdHandlers(self.core, self.fencing, lambda: self.world.now).handlers

    def tell(self, word: PeerWord) -> None:
        at = self.world.now
        self.world.send(PeerReported(peer="right", at=at, words={"VI_1": replace(word, at=at)}, whole=True))

    def wait(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.send(Tick())

    def fenced(self, *, off: bool, said: str = "status 2") -> None:
        self.fencing.runs.return_value = False
        self.fencing.failures = {} if off else {"right": said}
        self.world.send(PeerFenced(peer="right", fencing=-1, off=off, said=said))

    async def ask(
        self,
        verb: str = "fence-peer",
        *,
        resource: str = "web",
        host: str = "right",
        call: str = "1-2",
        by: Peer = ROOT,
    ) -> tuple[int | None, str]:
        self.core.state = self.world.state
        answer: Any = await self._handlers[verb]({"resource": resource, "peer": host, "id": call}, by)
        return answer["code"], answer["said"]


@pytest.fixture
def site() -> Site:
    return Site()


async def test_what_was_said_before_drbd_asked_proves_nothing(site: Site) -> None:
    assert await site.ask() == (None, "right may still say what it does")
    site.wait(0.2)
    assert (await site.ask())[0] is None
    site.tell(AT_STANDBY)
    assert await site.ask() == (4, "right says that VI_1.disk is at standby there, and outdated")
    assert (await site.ask(call="3-4"))[0] is None  # another loss
    site.fencing.begin.assert_not_called()


@pytest.mark.parametrize("word", [GUEST_STILL_STOPS, PROMOTES])
async def test_a_peer_that_lives_and_is_not_at_standby_is_no_answer_and_not_fenced(site: Site, word: PeerWord) -> None:
    await site.ask()
    for _ in range(20):
        site.wait(1.0)
        site.tell(word)
        assert (await site.ask())[0] is None
    site.fencing.begin.assert_not_called()
    site.wait(0.1)
    site.tell(AT_STANDBY)
    assert (await site.ask())[0] == 4


async def test_a_peer_at_standby_that_could_still_be_promoted_is_not_outdated(site: Site) -> None:
    await site.ask()
    site.wait(0.1)
    site.tell(replace(AT_STANDBY, outdated=frozenset({"guest"})))
    assert await site.ask() == (None, "right is at standby, and does not say yet that it would refuse its data")
    site.tell(AT_STANDBY)
    assert (await site.ask())[0] == 4
    site.fencing.begin.assert_not_called()


async def test_a_resource_at_standby_counts_while_another_still_stops(site: Site) -> None:
    await site.ask()
    site.wait(0.1)
    site.tell(replace(GUEST_STILL_STOPS, levels={"disk": Level.STANDBY, "guest": Level.ACTIVE}))
    assert (await site.ask())[0] == 4


@pytest.mark.parametrize(("node", "code"), [("left", 4), ("sinister", None)])
async def test_of_two_that_wait_for_each_other_one_goes_first(node: str, code: int | None) -> None:
    site = Site(node=node)
    await site.ask()
    site.wait(0.1)
    site.tell(WAITS)
    assert (await site.ask())[0] == code


async def test_a_silent_peer_is_fenced_and_only_the_proof_counts(site: Site) -> None:
    await site.ask()
    site.wait(2.0)
    assert (await site.ask())[0] is None
    site.fencing.begin.assert_not_called()
    site.wait(2.1)
    assert await site.ask() == (None, "right is being fenced")
    site.fencing.begin.assert_called_once_with("right", FOR_DRBD, ANY)
    site.fencing.runs.return_value = True
    site.wait(5.0)
    assert await site.ask() == (None, "right is being fenced")
    site.fenced(off=True)
    assert await site.ask() == (7, "right is off: status 2")
    assert (await site.ask(call="3-4"))[0] == 7  # for each of its resources
    site.fencing.begin.assert_called_once_with("right", FOR_DRBD, ANY)


async def test_a_fencing_that_failed_is_no_answer_and_the_next_loss_tries_again(site: Site) -> None:
    await site.ask()
    site.wait(4.0)
    await site.ask()
    site.fenced(off=False, said="the agent has no key `plg`")
    assert await site.ask() == (1, "right could not be fenced: the agent has no key `plg`")
    await site.ask(call="3-4")
    site.wait(4.0)
    await site.ask(call="3-4")
    assert site.fencing.begin.call_count == 2


async def test_a_fencing_that_is_called_off_is_asked_for_again_by_the_same_call(site: Site) -> None:
    await site.ask()
    site.wait(4.0)
    await site.ask()
    barred = site.fencing.begin.call_args.args[2]
    assert barred() is None
    site.tell(GUEST_STILL_STOPS)
    site.core.state = site.world.state
    assert barred() == "right may still say what it does"
    site.wait(4.0)
    assert await site.ask() == (None, "right is being fenced")
    assert site.fencing.begin.call_count == 2


async def test_a_fencing_that_is_called_off_is_an_end_for_none_of_the_calls_that_wait_for_it(site: Site) -> None:
    for call in ("1-2", "3-4"):
        await site.ask(call=call)
    site.wait(4.1)
    await site.ask()
    site.fencing.runs.return_value = True
    assert await site.ask(call="3-4") == (None, "right is being fenced")
    site.tell(GUEST_STILL_STOPS)
    site.core.state = site.world.state
    assert site.fencing.begin.call_args.args[2]() is not None
    site.fencing.runs.return_value = False
    assert [(await site.ask(call=call))[0] for call in ("1-2", "3-4")] == [None, None]
    site.wait(0.1)
    site.tell(AT_STANDBY)
    assert [(await site.ask(call=call))[0] for call in ("1-2", "3-4")] == [4, 4]


async def test_a_call_waits_for_a_fencing_as_long_as_that_takes(site: Site) -> None:
    await site.ask()
    site.wait(PATIENCE_S - 1.0)
    assert await site.ask() == (None, "right is being fenced")
    site.fencing.runs.return_value = True
    for _ in range(10):
        site.wait(60.0)
        assert await site.ask() == (None, "right is being fenced")
    site.fenced(off=False)
    assert await site.ask() == (1, "right could not be fenced: status 2")


async def test_a_call_waits_for_nothing_else_without_a_limit(site: Site) -> None:
    site.world.say(VrrpState.BACKUP)
    site.world.settle()
    await site.ask()
    site.wait(PATIENCE_S - 1.0)
    assert (await site.ask())[0] is None
    site.wait(1.0)
    assert await site.ask() == (1, "right is not fenced: this node is not MASTER")
    assert (await site.ask(call="3-4"))[0] is None  # another loss
    site.fencing.begin.assert_not_called()


async def test_a_node_that_is_to_win_a_cut_is_fenced_after_its_delay() -> None:
    site = Site(delay=60.0)
    await site.ask()
    site.wait(4.0)
    assert await site.ask() == (None, "right is silent, and fenced after a delay of 60 s")
    site.wait(55.9)
    assert (await site.ask())[0] is None
    site.fencing.begin.assert_not_called()
    site.wait(4.2)
    assert await site.ask() == (None, "right is being fenced")
    barred = site.fencing.begin.call_args.args[2]
    assert barred() is None
    site.tell(GUEST_STILL_STOPS)
    site.core.state = site.world.state
    assert barred() == "right may still say what it does"


async def test_a_call_has_as_long_as_without_a_delay_and_the_delay() -> None:
    site = Site(Quorum(witnesses=("icmp://192.0.2.254",), need=1, isolation_timeout=600.0), delay=60.0)
    await site.ask()
    site.wait(PATIENCE_S + 59.0)
    assert (await site.ask())[0] is None
    site.wait(1.0)
    assert (await site.ask())[0] == 1


async def test_a_node_that_is_no_master_fences_nobody(site: Site) -> None:
    site.world.say(VrrpState.BACKUP)
    site.world.settle()
    await site.ask()
    site.wait(4.0)
    assert await site.ask() == (None, "right is not fenced: this node is not MASTER")
    site.fencing.begin.assert_not_called()


async def test_the_witnesses_must_have_answered_since_drbd_asked() -> None:
    site = Site(Quorum(witnesses=("icmp://192.0.2.254",), need=1, isolation_timeout=60.0))
    await site.ask()
    site.wait(4.0)
    assert await site.ask() == (None, "right is not fenced before the witnesses have answered")
    site.fencing.begin.assert_not_called()
    site.wait(16.0)
    while site.world.asked:
        site.world.vote()
    assert (await site.ask())[0] is None
    site.fencing.begin.assert_called_once_with("right", FOR_DRBD, ANY)


async def test_nobody_is_fenced_for_an_instance_that_does_without_witnesses() -> None:
    site = Site(Quorum(witnesses=("icmp://192.0.2.254",), need=1, isolation_timeout=60.0), votes=False)
    await site.ask()
    site.wait(4.0)
    assert await site.ask() == (None, "right is not fenced: VI_1 has quorum = false")
    site.fencing.begin.assert_not_called()
    site.tell(AT_STANDBY)
    assert (await site.ask())[0] == 4


@pytest.mark.parametrize("host", ["right", "right.example.net"])
async def test_drbds_name_of_the_peer_may_have_its_domain(site: Site, host: str) -> None:
    site.fenced(off=True)
    assert (await site.ask(host=host))[0] == 7


@pytest.mark.parametrize(
    ("resource", "host", "said"),
    [
        ("db", "right", "no resource of failoverd.toml is DRBD's db"),
        ("disk", "right", "no resource of failoverd.toml is DRBD's disk"),
        ("web", "left", "left is no node of .heartbeat. that has VI_1.disk"),
        ("web", "center", "center is no node of .heartbeat. that has VI_1.disk"),
    ],
)
async def test_what_failoverd_does_not_know_is_refused(site: Site, resource: str, host: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        await site.ask(resource=resource, host=host)


@pytest.mark.parametrize("verb", ["fence-peer", "unfence-peer"])
async def test_it_is_for_root_only(site: Site, verb: str) -> None:
    with pytest.raises(Refused, match="root only"):
        await site.ask(verb, by=replace(ROOT, uid=1000))


async def test_a_peer_that_has_resynchronized_is_not_off(site: Site) -> None:
    assert await site.ask("unfence-peer") == (0, "right was not known to be off")
    site.core.dispatch.assert_not_called()
    site.fenced(off=True)
    assert await site.ask("unfence-peer") == (0, "right does not count as off any more")
    site.core.dispatch.assert_called_once_with(PeerUnfenced(peer="right", by="DRBD"))
