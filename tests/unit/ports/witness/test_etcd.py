"""The lease in etcd: which calls prove that it is held, and what follows from each answer.

tests/lab/test_etcd.py asks a real cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.ports.witness import http_wire
from failoverd.ports.witness.answer import Answer
from failoverd.ports.witness.etcd import Etcd
from failoverd.ports.witness.url import parse
from tests.unit.ports.witness.scripted_etcd import (
    HEADER,
    Member,
    b64,
    changing,
    failing,
    granting,
    keeping,
    reading,
)
from tests.unit.ports.witness.stations import LONG, SHORT, Talk, floods, free_port, frozen_station, reset, station


@contextlib.asynccontextmanager
async def cluster(*members: Talk, prefix: str = "") -> AsyncIterator[Etcd]:
    """A lease witness of the node left, with these members."""
    async with contextlib.AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(station(member)) for member in members]
        made = Etcd(parse(f"etcd://{','.join(f'127.0.0.1:{port}' for port in ports)}{prefix}"), "left")
        yield made
        await made.close()


async def held(*script: tuple[str, Any], ttl: float = 5.0, take: bool = True) -> tuple[Answer, Member]:
    """The answer of one cluster of one member to one call."""
    member = Member(*script)
    async with cluster(member) as etcd:
        answer = await etcd.hold("VI_1", ttl, LONG, take=take)
    member.done()
    return answer, member


async def test_a_free_key_is_created_with_a_lease_of_its_own() -> None:
    answer, member = await held(reading(), granting(77, 5), changing(succeeded=True))
    assert answer.granted is True
    assert answer.said.startswith("granted by 127.0.0.1:")
    (_, read), (_, grant), (_, change) = member.asked
    assert read == {"key": b64("/failoverd/VI_1")}  # without `serializable`: it is linearizable
    assert grant == {"TTL": "5"}
    assert change == {
        "compare": [{"key": b64("/failoverd/VI_1"), "target": "MOD", "result": "EQUAL", "mod_revision": "0"}],
        "success": [{"requestPut": {"key": b64("/failoverd/VI_1"), "value": b64("left"), "lease": "77"}}],
    }


async def test_a_key_of_another_node_is_a_denial_and_nothing_is_changed() -> None:
    answer, _ = await held(reading("right", lease=3))
    assert (answer.granted, answer.said) == (False, "held by right")


async def test_a_free_key_is_left_free_where_nothing_is_taken_and_an_own_one_is_renewed() -> None:
    answer, _ = await held(reading(), take=False)
    assert (answer.granted, answer.said) == (False, "held by nobody")
    answer, _ = await held(reading("left", lease=77), keeping(77, 5), take=False)
    assert answer.granted is True


@pytest.mark.parametrize("found", [reading(), reading("right", lease=3)])
async def test_a_look_is_answered_whoever_holds_it_and_takes_nothing(found: tuple[str, Any]) -> None:
    member = Member(found)
    async with cluster(member) as etcd:
        answer = await etcd.look("VI_1", LONG)
    member.done()
    assert answer.granted is True
    assert answer.said.startswith("answered by 127.0.0.1:")


async def test_a_look_at_a_member_without_a_leader_is_no_answer() -> None:
    member = Member(failing("kv/range", 503, "etcdserver: no leader", 14))
    async with cluster(member) as etcd:
        answer = await etcd.look("VI_1", LONG)
    assert answer.granted is None


@pytest.mark.parametrize(
    ("value", "name"), [("", "a key without a value"), ("a\nb", "held by a�b"), ("x" * 999, "x" * 80)]
)
async def test_any_other_value_is_a_denial_in_one_line(value: str, name: str) -> None:
    answer, _ = await held(reading(value))
    assert answer.granted is False
    assert answer.said.endswith(name)


async def test_a_node_that_was_faster_is_named() -> None:
    answer, _ = await held(reading(), granting(77, 5), changing(succeeded=False), reading("right", lease=3))
    assert (answer.granted, answer.said) == (False, "held by right")


async def test_the_key_of_an_earlier_failoverd_of_this_node_is_adopted() -> None:
    answer, member = await held(reading("left", lease=42), keeping(42, 5))
    assert answer.granted is True
    assert answer.said.startswith("renewed by ")
    assert member.asked[1] == ("lease/keepalive", {"ID": "42"})


async def test_each_renewal_reads_first() -> None:
    member = Member(
        *(reading(), granting(77, 5), changing(succeeded=True)), *(reading("left", lease=77), keeping(77, 5)) * 2
    )
    async with cluster(member) as etcd:
        for _ in range(3):
            assert (await etcd.hold("VI_1", 5.0, LONG)).granted is True
    member.done()


async def test_a_dead_lease_is_replaced_by_compare_and_swap() -> None:
    answer, member = await held(
        reading("left", lease=42, revision=6), keeping(42, None), granting(77, 5), changing(succeeded=True)
    )
    assert answer.granted is True
    (compared,) = member.asked[-1][1]["compare"]
    assert compared["mod_revision"] == "6"


async def test_a_dead_lease_whose_key_another_node_takes_meanwhile_is_a_denial() -> None:
    answer, _ = await held(
        reading("left", lease=42),
        keeping(42, None),
        granting(77, 5),
        changing(succeeded=False),
        reading("right", lease=3),
    )
    assert (answer.granted, answer.said) == (False, "held by right")


async def test_a_key_without_a_lease_gets_one() -> None:
    answer, _ = await held(reading("left"), granting(77, 5), changing(succeeded=True))
    assert answer.granted is True


async def test_a_shorter_lease_of_this_node_is_replaced() -> None:
    answer, member = await held(
        reading("left", lease=42), keeping(42, 5), granting(77, 10), changing(succeeded=True), ttl=9.5
    )
    assert answer.granted is True
    assert member.asked[2] == ("lease/grant", {"TTL": "10"})


async def test_a_ttl_that_the_cluster_raises_is_held() -> None:
    answer, _ = await held(reading(), granting(77, 2), changing(succeeded=True), ttl=1.0)
    assert answer.granted is True


async def test_a_ttl_that_the_cluster_lowers_is_not_held() -> None:
    answer, _ = await held(reading(), granting(77, 3))
    assert (answer.granted, answer.said) == (None, "the cluster grants 3 s, and not 5 s")


async def test_a_lease_that_ends_before_the_key_is_written_is_replaced() -> None:
    gone = failing("kv/txn", 404, "etcdserver: requested lease not found", 5)
    answer, _ = await held(
        *(reading(), granting(77, 5), gone),
        *(reading(), keeping(77, None), granting(78, 5), changing(succeeded=True)),
    )
    assert answer.granted is True


async def test_a_key_that_always_changes_is_no_answer() -> None:
    turn = (reading(), keeping(77, 5), changing(succeeded=False))
    answer, _ = await held(reading(), granting(77, 5), changing(succeeded=False), *turn * 3)
    assert (answer.granted, answer.said) == (None, "the key changes faster than it can be read")


# ------------------------------------------------------------ several members

#: The seconds of a call, of which a silent member takes half; the second for a machine on which the other one is slow.
CALLS = (2.0, 8.0)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([failing("kv/range", 503, "etcdserver: no leader", 14)], "HTTP status 503: etcdserver: no leader"),
        ([reading(), failing("lease/grant", 500, "context deadline exceeded", 2)], "HTTP status 500: context deadline"),
        ([reading("left", lease=4), ("lease/keepalive", {"error": {"message": "no leader"}})], "without result"),
        ([reading(), granting(77, 5), ("kv/txn", b"")], "the connection ended without an answer"),
    ],
)
async def test_after_an_error_the_next_member_begins_with_a_read(script: list[tuple[str, Any]], said: str) -> None:
    first, second = Member(*script), Member(reading("right"))
    async with cluster(first, second) as etcd:
        assert (await etcd.hold("VI_1", 5.0, LONG)).said == "held by right"
    first.done()
    second.done()
    async with cluster(Member(*script)) as etcd:
        answer = await etcd.hold("VI_1", 5.0, LONG)
        assert answer.granted is None
        assert said in answer.said


async def test_a_creation_without_an_answer_that_was_carried_out_is_found_by_the_next_member() -> None:
    for seconds in CALLS:
        first = Member(reading(), granting(77, 5), ("kv/txn", None))
        second = Member(reading("left", lease=77), keeping(77, 5))
        async with cluster(first, second) as etcd:
            if granted := (await etcd.hold("VI_1", 5.0, seconds)).granted:
                break
    assert granted is True
    second.done()


async def test_a_creation_without_an_answer_is_tried_with_the_same_lease() -> None:
    """Then a late one cannot write the key with a lease that nobody revokes."""
    for seconds in CALLS:
        first = Member(reading(), granting(77, 5), ("kv/txn", None))
        second = Member(reading(), keeping(77, 5), changing(succeeded=True), reading("left", lease=77), revoking(77))
        async with cluster(first, second) as etcd:
            granted = (await etcd.hold("VI_1", 5.0, seconds)).granted
            await etcd.release("VI_1", LONG)
        if granted:
            break
    assert granted is True
    second.done()
    assert second.asked[2][1]["success"][0]["requestPut"]["lease"] == "77"


async def test_the_member_that_answered_last_is_asked_first() -> None:
    for seconds in CALLS:
        silent = Member(*[("kv/range", None)] * 9)
        second = Member(*[reading("right")] * 3)
        async with cluster(silent, second) as etcd:
            granted = [(await etcd.hold("VI_1", 5.0, seconds)).granted for _ in range(3)]
        if granted == [False] * 3:
            break
    assert granted == [False] * 3
    second.done()
    assert silent.paths == ["kv/range"]


async def test_the_reason_of_each_member_is_said_in_the_same_words_each_time() -> None:
    with frozen_station() as frozen:
        refused = free_port()
        said = {frozen: "no answer within 0.2 s", refused: "connection refused"}
        for order in ((frozen, refused), (refused, frozen)):
            etcd = Etcd(parse("etcd://" + ",".join(f"127.0.0.1:{port}" for port in order)), "left")
            answer = await etcd.hold("VI_1", 5.0, 2 * SHORT)
            assert answer.granted is None
            assert answer.said == "; ".join(f"127.0.0.1:{port}: {said[port]}" for port in order)


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (reset, "connection reset by peer"),
        (floods(b"", b"\0" * 1000), "the answer is not HTTP/1.1"),
        (floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000), "the answer has more than 65536 bytes"),
        (Member(("kv/range", {"header": HEADER, "more": "x" * http_wire.BODY_MAX_BYTES})), "more than 65536 bytes"),
    ],
)
async def test_a_bad_answer_is_named(talk: Talk, said: str) -> None:
    async with cluster(talk) as etcd:
        answer = await etcd.hold("VI_1", 5.0, LONG)
    assert answer.granted is None
    assert said in answer.said


# ------------------------------------------------------------ release, names, concurrency


def revoking(lease: int) -> tuple[str, Any]:
    assert lease
    return "lease/revoke", {"header": HEADER}


async def test_a_release_revokes_the_lease() -> None:
    member = Member(reading(), granting(77, 5), changing(succeeded=True), reading("left", lease=77), revoking(77))
    async with cluster(member) as etcd:
        await etcd.hold("VI_1", 5.0, LONG)
        await etcd.release("VI_1", LONG)
    member.done()
    assert member.asked[-1] == ("lease/revoke", {"ID": "77"})


async def test_a_release_after_a_restart_finds_the_lease() -> None:
    member = Member(reading("left", lease=42), revoking(42))
    async with cluster(member) as etcd:
        await etcd.release("VI_1", LONG)
    member.done()
    assert member.asked[-1] == ("lease/revoke", {"ID": "42"})


async def test_a_release_of_a_key_without_a_lease_deletes_it() -> None:
    member = Member(reading("left", revision=6), changing(succeeded=True))
    async with cluster(member) as etcd:
        await etcd.release("VI_1", LONG)
    member.done()
    (compared,), (change,) = member.asked[1][1]["compare"], member.asked[1][1]["success"]
    assert compared["mod_revision"] == "6"
    assert change == {"requestDeleteRange": {"key": b64("/failoverd/VI_1")}}


@pytest.mark.parametrize("found", [reading(), reading("right", lease=3)])
async def test_a_release_leaves_the_key_of_another_node(found: tuple[str, Any]) -> None:
    member = Member(found)
    async with cluster(member) as etcd:
        await etcd.release("VI_1", LONG)
    member.done()


async def test_a_lease_that_has_ended_is_released() -> None:
    member = Member(
        *(reading(), granting(77, 5), changing(succeeded=True)),
        *(reading(), failing("lease/revoke", 404, "etcdserver: requested lease not found", 5)),
        *(reading(), granting(78, 5), changing(succeeded=True)),
    )
    async with cluster(member) as etcd:
        await etcd.hold("VI_1", 5.0, LONG)
        await etcd.release("VI_1", LONG)
        assert (await etcd.hold("VI_1", 5.0, LONG)).granted is True
    member.done()


async def test_a_release_without_an_answer_ends_at_its_deadline() -> None:
    async with cluster(Member(("kv/range", None))) as etcd:
        await etcd.release("VI_1", SHORT)


async def test_a_lease_whose_release_was_not_answered_is_replaced_when_it_is_needed_again() -> None:
    """The revocation may be carried out later, and would delete the key under which a node is active."""
    found = reading("left", lease=77)
    member = Member(found, ("lease/revoke", None), found, granting(78, 5), changing(succeeded=True))
    async with cluster(member) as etcd:
        await etcd.release("VI_1", SHORT)
        answer = await etcd.hold("VI_1", 5.0, LONG)
    member.done()
    assert answer.granted is True
    assert member.asked[-1][1]["success"][0]["requestPut"]["lease"] == "78"


async def test_a_release_waits_for_the_end_of_an_acquisition() -> None:
    member = Member(reading(), granting(77, 5), changing(succeeded=True), reading("left", lease=77), revoking(77))
    async with cluster(member) as etcd:
        holding = asyncio.create_task(etcd.hold("VI_1", 5.0, LONG))
        await asyncio.sleep(0)
        await etcd.release("VI_1", LONG)
        assert (await holding).granted is True
    member.done()


async def test_a_caller_that_cancels_leaves_no_turn_behind() -> None:
    member = Member(("kv/range", None), reading("right"))
    async with cluster(member) as etcd:
        holding = asyncio.create_task(etcd.hold("VI_1", 5.0, LONG))
        async with asyncio.timeout(LONG):
            while not member.asked:
                await asyncio.sleep(0.01)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert (await etcd.hold("VI_1", 5.0, LONG)).said == "held by right"


async def test_instances_have_keys_of_their_own() -> None:
    member = Member(reading("right"), reading("right"))
    async with cluster(member, prefix="/site") as etcd:
        await etcd.hold("VI/1", 5.0, LONG)
        await etcd.hold("ü", 5.0, LONG)
    assert [question["key"] for _, question in member.asked] == [b64("/site/VI%2F1"), b64("/site/%C3%BC")]


# ------------------------------------------------------------ any answer

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["header", "kvs", "result", "TTL", "ID", "value", "lease", "mod_revision", "error", "succeeded"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_JSON | st.binary(max_size=60), min_size=1, max_size=4), st.sampled_from([200, 404, 503]))
async def test_no_answer_of_a_member_raises_and_garbage_is_never_a_lease(answers: list[Any], status: int) -> None:
    rest = iter(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in rest:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.decode().partition("Content-Length: ")[2].split("\r\n")[0]))
            if isinstance(each, bytes):
                writer.write(each)
                return
            body = json.dumps(each).encode()
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    async with cluster(talk) as etcd:
        answer = await etcd.hold("VI_1", 5.0, LONG)
    assert answer.said
    if answer.granted is True:
        assert status == 200
        assert len(answers) > 1
