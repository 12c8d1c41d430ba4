"""A witness that answers pings: by a ping socket, by a raw socket, and by neither."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.ports.witness import icmp
from failoverd.ports.witness.icmp import Icmp
from failoverd.ports.witness.url import Endpoint
from tests.unit.ports.witness.stations import LONG, SHORT

NOBODY, EVERYBODY = "1 0", "0 2147483647"
_CAP_NET_RAW = 13
ADDRESSES = ["127.0.0.1", "::1"]

pytestmark = pytest.mark.usefixtures("own_network")


def ping(address: str) -> Icmp:
    return Icmp(Endpoint(host=address, port=0))


def sysctl(name: str, value: str) -> None:
    subprocess.run(["sysctl", "-qw", f"{name}={value}"], check=True)


@pytest.fixture
def _no_net_raw() -> Iterator[None]:
    """This thread without CAP_NET_RAW."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~(1 << _CAP_NET_RAW)
    assert libc.capset(header, without) == 0
    yield
    assert libc.capset(header, before) == 0


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.usefixtures("_no_net_raw")
async def test_a_ping_socket_needs_no_privilege(address: str) -> None:
    sysctl("net.ipv4.ping_group_range", EVERYBODY)
    answer = await ping(address).ask(LONG)
    assert answer.granted is True
    assert answer.said.startswith("answered in ")


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_raw_socket_where_ping_sockets_are_forbidden(address: str) -> None:
    sysctl("net.ipv4.ping_group_range", NOBODY)
    assert (await ping(address).ask(LONG)).granted is True


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.usefixtures("_no_net_raw")
async def test_neither_is_said_with_the_remedy(address: str) -> None:
    sysctl("net.ipv4.ping_group_range", NOBODY)
    answer = await ping(address).ask(LONG)
    assert answer.granted is None
    assert 'sysctl -w net.ipv4.ping_group_range="0 2147483647"' in answer.said


@pytest.mark.parametrize("groups", [NOBODY, EVERYBODY])
async def test_silence_is_no_answer_within_the_deadline(groups: str) -> None:
    sysctl("net.ipv4.ping_group_range", groups)
    sysctl("net.ipv4.icmp_echo_ignore_all", "1")
    answer = await ping("127.0.0.1").ask(SHORT)
    assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")


async def test_a_flood_of_other_packets_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    sysctl("net.ipv4.ping_group_range", NOBODY)

    async def always(*_: object) -> bytes:
        return b"E" + bytes(40)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_recv", always)
    answer = await ping("127.0.0.1").ask(SHORT)
    assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")


async def test_no_route_is_no_answer() -> None:
    sysctl("net.ipv4.ping_group_range", EVERYBODY)
    answer = await ping("192.0.2.1").ask(LONG)
    assert (answer.granted, answer.said) == (None, "network is unreachable")


async def test_many_pings_at_once_do_not_take_the_answers_of_others() -> None:
    sysctl("net.ipv4.ping_group_range", NOBODY)
    answers = await asyncio.gather(*(ping("127.0.0.1").ask(LONG) for _ in range(20)))
    assert {answer.granted for answer in answers} == {True}


@pytest.mark.parametrize("wrong", ["identifier", "sequence", "payload", "kind", "sender"])
async def test_an_answer_to_another_ping_does_not_count(wrong: str) -> None:
    """The kernel is silent, and the test answers in its place: wrongly to the first request, rightly to the second."""
    sysctl("net.ipv4.ping_group_range", NOBODY)
    sysctl("net.ipv4.icmp_echo_ignore_all", "1")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP) as peer:
        asking = asyncio.create_task(ping("127.0.0.1").ask(6.0))
        request = await _request(peer)
        identifier, sequence = int.from_bytes(request[4:6], "big"), int.from_bytes(request[6:8], "big")
        payload, kind = request[8:], 0
        if wrong == "sender":
            peer.bind(("127.0.0.2", 0))
        if wrong == "identifier":
            identifier ^= 1
        if wrong == "sequence":
            sequence += 1
        if wrong == "payload":
            payload = bytes(len(payload))
        if wrong == "kind":
            kind = 14  # timestamp reply, of the same form
        await loop.sock_sendto(peer, icmp.echo(kind, identifier, sequence, payload), ("127.0.0.1", 0))
        if wrong == "sender":
            peer.bind(("127.0.0.1", 0))
        again = await _request(peer)  # the wrong answer has not counted
        assert again[6:8] == b"\0\2"
        await loop.sock_sendto(peer, b"\0\0" + icmp.echo(0, *_numbers(again), again[8:])[2:], ("127.0.0.1", 0))
        assert (await asking).granted is True


def _numbers(request: bytes) -> tuple[int, int]:
    return int.from_bytes(request[4:6], "big"), int.from_bytes(request[6:8], "big")


async def _request(peer: socket.socket) -> bytes:
    async with asyncio.timeout(LONG):
        while True:
            message = icmp.ipv4_payload(await asyncio.get_running_loop().sock_recv(peer, 2048))
            if message[0] == 8:
                return message


@given(st.binary(max_size=100), st.booleans())
def test_any_packet_is_parsed(packet: bytes, raw: bool) -> None:
    message = icmp.ipv4_payload(packet) if raw else packet
    assert not icmp.answers(message, 0, 7, 1, os.urandom(24))
