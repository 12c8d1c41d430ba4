"""The lease witness with a real etcd of three members, whatever happens to them.

In each story `Holders` checks every grant: no two nodes hold the lease at once.
"""

import asyncio
import base64
import random
import signal
import time
from collections.abc import Iterator

import pytest

from .etcd_cluster import MEMBERS, Cluster, Holders

TTL = 3.0
KEY = base64.b64encode(b"/failoverd/VI_1").decode()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


@pytest.fixture
def holders() -> Holders:
    return Holders(TTL)


async def test_one_node_holds_it_and_the_next_gets_it_at_its_release(cluster: Cluster, holders: Holders) -> None:
    left, right = holders.node("left", cluster.urls()), holders.node("right", cluster.urls())
    assert (await left.held()).said.startswith("granted by ")
    denied = await right.held(granted=False)
    assert denied.said == "held by left"
    assert (await left.held()).said.startswith("renewed by ")
    await left.release()
    assert (await right.hold()).said.startswith("granted by ")
    assert (await left.held(granted=False)).said == "held by right"


async def test_a_holder_that_is_gone_keeps_it_for_its_ttl(cluster: Cluster, holders: Holders) -> None:
    left, right = holders.node("left", cluster.urls()), holders.node("right", cluster.urls())
    await left.held()
    ends = holders.until["left"]
    await right.held(granted=False)
    await right.held()  # Holders checks that it is not too early
    assert time.monotonic() >= ends


async def test_a_holder_that_has_restarted_adopts_its_key(cluster: Cluster, holders: Holders) -> None:
    await holders.node("left", cluster.urls()).held()
    left, right = holders.node("left", cluster.urls()), holders.node("right", cluster.urls())
    assert (await left.held()).said.startswith("renewed by ")
    assert (await right.held(granted=False)).said == "held by left"
    await left.release()
    await right.held()


async def test_a_renewal_keeps_it_for_longer_than_its_ttl(cluster: Cluster, holders: Holders) -> None:
    left, right = holders.node("left", cluster.urls()), holders.node("right", cluster.urls())
    await left.held()
    end = time.monotonic() + 2 * TTL
    while time.monotonic() < end:
        if (await left.hold()).granted:
            assert (await right.hold()).granted is not True
        await asyncio.sleep(TTL / 10)


async def test_a_lease_that_is_revoked_behind_our_back_is_granted_again_or_denied(
    cluster: Cluster, holders: Holders
) -> None:
    left, right = holders.node("left", cluster.urls()), holders.node("right", cluster.urls())
    await left.held()
    _revoke(cluster)
    assert (await left.held()).said.startswith("granted by ")
    _revoke(cluster)
    holders.until.clear()  # another program has broken the promise, and no clock knows it
    await right.held()
    assert (await left.held(granted=False)).said == "held by right"


async def test_a_key_that_is_deleted_behind_our_back_is_written_again(cluster: Cluster, holders: Holders) -> None:
    left, right = holders.node("left", cluster.urls()), holders.node("right", cluster.urls())
    await left.held()
    cluster.post("m1", "kv/deleterange", {"key": KEY})
    assert (await left.held()).said.startswith("granted by ")
    assert (await right.held(granted=False)).said == "held by left"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("leads", [True, False])
async def test_one_member_that_dies_or_freezes_costs_nothing(
    cluster: Cluster, holders: Holders, how: signal.Signals, leads: bool
) -> None:
    leader = cluster.leader()
    assert leader is not None
    member = leader if leads else cluster.others(leader)[0]
    url = cluster.urls(member, *cluster.others(member))  # the victim is asked first
    left, right = holders.node("left", url), holders.node("right", url)
    await left.held()
    cluster.signal(member, how)
    await left.held()
    await right.held(granted=False)
    await left.release(timeout=10.0)
    await right.held()


async def test_a_member_that_is_cut_off_never_grants(cluster: Cluster, holders: Holders) -> None:
    leader = cluster.leader()
    assert leader is not None
    for member in (cluster.others(leader)[0], leader):
        majority = cluster.urls(*cluster.others(member))
        left, right = holders.node("left", majority), holders.node("right", cluster.urls(member))
        again = holders.node("left", cluster.urls(member))  # whose key the member still has
        await left.held()
        cluster.cut(member)
        await left.release(timeout=10.0)
        for _ in range(3):
            assert (await right.hold(timeout=1.0)).granted is not True
            assert (await again.hold(timeout=1.0)).granted is not True
        answer = await right.hold(timeout=20.0)  # it has time to answer: with an error
        assert answer.granted is None
        assert "HTTP status 50" in answer.said
        await holders.node("right", majority).held()
        cluster.cut(member, whole=False)
        await right.held()
        await right.release()


async def test_all_members_down_is_no_answer(cluster: Cluster, holders: Holders) -> None:
    left = holders.node("left", cluster.urls())
    await left.held()
    for member, number in zip(MEMBERS, (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL), strict=True):
        cluster.signal(member, number)
    answer = await left.hold(timeout=1.0)
    assert answer.granted is None
    assert answer.said.count("connection refused") == 2
    assert "no answer within" in answer.said


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_to_the_members_no_two_nodes_hold_it(
    cluster: Cluster, holders: Holders, seed: int
) -> None:
    """Members freeze or are cut off, one at a time; the nodes ask all of them or one, renew, release, or stop."""
    chance = random.Random(seed)  # noqa: S311
    urls = [cluster.urls(), *map(cluster.urls, MEMBERS)]
    begun = time.monotonic()

    def go_on() -> bool:
        granted = {name for name, answer in holders.answers if answer.granted}
        return time.monotonic() < begun + (15.0 if len(granted) > 1 else 120.0)

    async def node(name: str) -> None:
        while go_on():
            holder = holders.node(name, chance.choice(urls))
            for _ in range(chance.randrange(1, 20)):
                await holder.hold(timeout=chance.choice([0.3, 1.0]))
                await asyncio.sleep(chance.uniform(0, TTL / 5))
            if chance.random() < 0.5:
                await holder.release(timeout=1.0)
            await asyncio.sleep(chance.uniform(0, 2 * TTL))

    async def faults() -> None:
        while go_on():
            member = chance.choice(MEMBERS)
            if chance.random() < 0.5:
                cluster.signal(member, signal.SIGSTOP)
                await asyncio.sleep(chance.uniform(0, 2 * TTL))
                cluster.signal(member, signal.SIGCONT)
            else:
                cluster.cut(member)
                await asyncio.sleep(chance.uniform(0, 2 * TTL))
                cluster.cut(member, whole=False)
            await asyncio.sleep(chance.uniform(0, TTL))

    await asyncio.gather(node("left"), node("right"), node("center"), faults())
    granted = {name for name, answer in holders.answers if answer.granted}
    assert len(granted) > 1, holders.answers[-5:]


def _revoke(cluster: Cluster) -> None:
    (found,) = cluster.post("m1", "kv/range", {"key": KEY})["kvs"]
    cluster.post("m1", "lease/revoke", {"ID": found["lease"]})
