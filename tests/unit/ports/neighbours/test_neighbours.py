"""Who else has an address? Two real stations, in network namespaces that a veth connects."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from failoverd.ports.errors import DriverError
from failoverd.ports.neighbours import Neighbours, interfaces
from tests.lab.waiting import wait_for
from tests.unit.ports.witness.stations import LONG, SHORT

_CLONE_NEWNET = 0x40000000
OURS, PEERS, OTHERS = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
VIP4, VIP6 = "192.0.2.1", "2001:db8::1"
VIPS = [VIP4, VIP6]

pytestmark = pytest.mark.usefixtures("own_network")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30)


class Peer:
    """Another station, by the pid of a process in its namespace."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def do(self, *argv: str) -> None:
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv], check=True, timeout=30)

    def has(self, address: str) -> None:
        """From now on the station has the address."""
        self.do("ip", "address", "add", f"{address}/{128 if ':' in address else 32}", "dev", "eth0", *_nodad(address))

    def wait_for_link_local(self, interface: str) -> None:
        """Wait until an address of its interface is usable: the kernel sets it in its own time."""
        show = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", "-6", "address", "show", "dev", interface]
        show += ["scope", "link", "-tentative"]
        wait_for(f"the peer's {interface}", lambda: subprocess.check_output(show, timeout=30), within=LONG)

    def packets(self) -> socket.socket:
        """A socket in its namespace that receives every packet of its interface."""
        libc = ctypes.CDLL(None, use_errno=True)
        outside, inside = (
            os.open("/proc/thread-self/ns/net", os.O_RDONLY),
            os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY),
        )
        try:
            assert libc.setns(inside, _CLONE_NEWNET) == 0
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
            made.bind(("eth0", 3))
        finally:
            assert libc.setns(outside, _CLONE_NEWNET) == 0
            os.close(outside)
            os.close(inside)
        return made


def wait_for_link_local(interface: str) -> None:
    wait_for(interface, lambda: interfaces.link_local(interfaces.find(interface)), within=LONG)


def _nodad(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """The other end of eth0, whose link-local address, and ours, are usable."""
    request.getfixturevalue("own_network")
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is in its namespace
        made = Peer(process.pid)
        words = ["link", "add", "eth0", "address", OURS, "type", "veth"]
        ip(*words, "peer", "name", "eth0", "address", PEERS, "netns", str(process.pid))
        for name in ("all", "default", "eth0"):
            made.do("sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0")
            subprocess.run(["sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0"], check=True)
        made.do("ip", "link", "set", "eth0", "up")
        ip("link", "set", "eth0", "up")
        wait_for_link_local("eth0")
        made.wait_for_link_local("eth0")
        yield made
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
async def neighbours() -> AsyncIterator[Neighbours]:
    made = Neighbours()
    yield made
    await made.close()


@pytest.mark.parametrize("vip", VIPS)
async def test_a_station_that_has_it_is_named(peer: Peer, neighbours: Neighbours, vip: str) -> None:
    peer.has(vip)
    assert await neighbours.elsewhere(vip, "eth0", LONG) == PEERS
    assert await neighbours.elsewhere(f"{vip}/24", "eth0", LONG) == PEERS


@pytest.mark.parametrize("vip", VIPS)
async def test_it_is_named_too_if_this_machine_has_it(peer: Peer, neighbours: Neighbours, vip: str) -> None:
    peer.has(vip)
    ip("address", "add", vip, "dev", "eth0", *_nodad(vip))
    assert await neighbours.elsewhere(vip, "eth0", LONG) == PEERS


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("vip", VIPS)
async def test_an_address_of_this_machine_only_is_not_elsewhere(neighbours: Neighbours, vip: str) -> None:
    ip("address", "add", vip, "dev", "eth0", *_nodad(vip))
    assert await neighbours.elsewhere(vip, "eth0", SHORT) is None


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("vip", VIPS)
async def test_silence_is_no_answer(neighbours: Neighbours, vip: str) -> None:
    assert await neighbours.elsewhere(vip, "eth0", SHORT) is None


@pytest.mark.parametrize("vip", VIPS)
async def test_a_known_mac_does_not_count(peer: Peer, neighbours: Neighbours, vip: str) -> None:
    peer.has(vip)
    assert await neighbours.elsewhere(vip, "eth0", SHORT, known=[PEERS.upper()]) is None
    assert await neighbours.elsewhere(vip, "eth0", LONG, known=[OTHERS]) == PEERS


@pytest.mark.parametrize("vip", VIPS)
async def test_the_mac_of_another_interface_of_this_machine_does_not_count(
    peer: Peer, neighbours: Neighbours, vip: str
) -> None:
    ip("link", "add", "vrrp.51", "address", PEERS, "type", "bridge")
    peer.has(vip)
    assert await neighbours.elsewhere(vip, "eth0", SHORT) is None


async def test_many_are_asked_for_at_once(peer: Peer, neighbours: Neighbours) -> None:
    there = [f"192.0.2.{number}" for number in range(1, 30)] + [f"2001:db8::{number}" for number in range(1, 30)]
    for vip in there:
        peer.has(vip)
    absent = ["192.0.2.77", "2001:db8::77"]
    asked = [neighbours.elsewhere(vip, "eth0", LONG) for vip in there]
    asked += [neighbours.elsewhere(vip, "eth0", SHORT) for vip in absent]
    assert await asyncio.gather(*asked) == [PEERS] * len(there) + [None] * len(absent)
    assert len(neighbours._links) == len(VIPS)


async def test_the_station_hears_the_sender_0_0_0_0_and_never_the_sender_of_all_zeros(
    peer: Peer, neighbours: Neighbours
) -> None:
    with peer.packets() as heard:
        for vip in VIPS:
            assert await neighbours.elsewhere(vip, "eth0", SHORT) is None
        packets = list(_waiting(heard))
    probes = [packet for packet in packets if packet[12:14] == b"\x08\x06"]
    assert len(probes) == 3
    assert {packet[28:32] for packet in probes} == {bytes(4)}
    solicitations = [packet for packet in packets if packet[12:14] == b"\x86\xdd" and packet[54] == 135]
    assert len(solicitations) == 3
    own = interfaces.link_local(interfaces.find("eth0"))
    assert {(packet[22:38], packet[21]) for packet in solicitations} == {(own, 255)}


async def test_a_tentative_address_of_the_station_is_not_harmed(peer: Peer, neighbours: Neighbours) -> None:
    for name in ("accept_dad=1", "dad_transmits=100"):
        peer.do("sysctl", "-qw", f"net.ipv6.conf.eth0.{name}", f"net.ipv6.conf.all.{name}")
    peer.do("ip", "address", "add", f"{VIP6}/64", "dev", "eth0")
    assert await neighbours.elsewhere(VIP6, "eth0", SHORT) is None
    shown = subprocess.run(
        ["nsenter", f"--net=/proc/{peer.pid}/ns/net", "ip", "address", "show", "dev", "eth0", "to", VIP6],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "tentative" in shown
    assert "dadfailed" not in shown


async def test_an_idle_socket_receives_nothing(peer: Peer, neighbours: Neighbours) -> None:
    """A socket that is kept open would otherwise be full of what others have asked."""
    peer.has(VIP4)
    peer.has(VIP6)
    for vip in VIPS:
        assert await neighbours.elsewhere(vip, "eth0", LONG) == PEERS
    sockets = [link._socket for link in neighbours._links.values()]
    for link in neighbours._links.values():
        link._loop.remove_reader(link._socket)
    other = Neighbours()
    for vip in VIPS:
        assert await other.elsewhere(vip, "eth0", LONG) == PEERS
    await other.close()
    assert [packet for each in sockets for packet in _waiting(each)] == []


async def test_an_interface_that_was_made_anew_is_asked(peer: Peer, neighbours: Neighbours) -> None:
    ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", str(peer.pid))
    for vip in VIPS:
        with pytest.raises(DriverError):  # it is down
            await neighbours.elsewhere(vip, "eth1", SHORT)
    ip("link", "delete", "eth1")
    words = ["link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "address", OTHERS]
    ip(*words, "netns", str(peer.pid))
    ip("link", "set", "eth1", "up")
    peer.do("ip", "link", "set", "eth1", "up")
    wait_for_link_local("eth1")
    peer.wait_for_link_local("eth1")
    for vip in VIPS:
        peer.do("ip", "address", "add", vip, "dev", "eth1", *_nodad(vip))
        assert await neighbours.elsewhere(vip, "eth1", LONG) == OTHERS


async def test_an_interface_that_was_down_is_asked_again(peer: Peer, neighbours: Neighbours) -> None:
    for vip in VIPS:
        peer.has(vip)
        assert await neighbours.elsewhere(vip, "eth0", LONG) == PEERS
    ip("link", "set", "eth0", "down")
    for vip in VIPS:
        with pytest.raises(DriverError, match=f"cannot ask for {vip} on eth0: "):
            await neighbours.elsewhere(vip, "eth0", SHORT)
    ip("link", "set", "eth0", "up")
    wait_for_link_local("eth0")
    for vip in VIPS:
        assert await neighbours.elsewhere(vip, "eth0", LONG) == PEERS


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize(
    ("vip", "interface", "problem"),
    [
        (VIP4, "eth9", "cannot ask for 192.0.2.1 on eth9: there is no such interface"),
        (VIP4, "lo", "cannot ask for 192.0.2.1 on lo: the interface is not an Ethernet"),
    ],
)
async def test_what_cannot_be_asked_is_said(neighbours: Neighbours, vip: str, interface: str, problem: str) -> None:
    with pytest.raises(DriverError) as caught:
        await neighbours.elsewhere(vip, interface, SHORT)
    assert caught.value.reason == problem


@pytest.mark.usefixtures("peer")
async def test_without_a_link_local_address_nothing_is_sent(neighbours: Neighbours) -> None:
    ip("-6", "address", "flush", "dev", "eth0", "scope", "link")
    with pytest.raises(DriverError, match="the interface has no usable link-local address"):
        await neighbours.elsewhere(VIP6, "eth0", SHORT)


async def test_every_socket_is_closed(peer: Peer) -> None:
    peer.has(VIP4)
    before = set(Path("/proc/self/fd").iterdir())
    made = Neighbours()
    assert await made.elsewhere(VIP4, "eth0", LONG) == PEERS
    await made.close()
    assert len(set(Path("/proc/self/fd").iterdir())) <= len(before)


def _waiting(heard: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield heard.recv(2048)
        except BlockingIOError:
            return
