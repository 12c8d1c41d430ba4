"""What the socket of one node lets in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from failoverd.ports.heartbeat.channel import Address, Channel
from tests.unit.daemon.running_daemon import PATIENCE

PREFIX = b"fo1\x01ABCDEFGH"


@dataclass
class Ends:
    """A channel, and the plain socket of the other node."""

    channel: Channel
    there: socket.socket
    received: list[bytes] = field(default_factory=list)

    def say(self, *datagrams: bytes) -> None:
        """Send these to the channel, which must have been opened, from where it was opened last."""
        here = self.there.recvfrom(100)[1]
        for data in datagrams:
            self.there.sendto(data, here)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        received: list[bytes] = []
        channel = Channel(Address("127.0.0.1", 0), Address(*there.getsockname()), received.append)
        yield Ends(channel, there, received)
        channel.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


STRANGE = (b"", b"fo1", PREFIX[:-1], PREFIX[:-1] + b"X rest", b"fo1\x02ABCDEFGH rest", b"x" * 60_000)


async def test_the_kernel_drops_what_begins_in_another_way(ends: Ends) -> None:
    ends.channel.send(b"opens it")
    ends.channel.only(PREFIX)
    ends.say(*STRANGE, PREFIX, PREFIX + b" rest" * 300)
    await until(lambda: len(ends.received) == 2)
    assert ends.received == [PREFIX, PREFIX + b" rest" * 300]
    assert ends.channel.dropped == len(STRANGE)


async def test_it_does_so_too_after_the_socket_was_opened_anew(ends: Ends) -> None:
    ends.channel.only(PREFIX)
    ends.channel.send(b"opens it")
    ends.say(*STRANGE, PREFIX)
    await until(lambda: ends.received)
    assert ends.received == [PREFIX]


async def test_an_empty_prefix_lets_all_in_again(ends: Ends) -> None:
    ends.channel.send(b"opens it")
    ends.channel.only(PREFIX)
    ends.channel.only(b"")
    ends.say(b"anything")
    await until(lambda: ends.received)
    assert (ends.received, ends.channel.dropped) == ([b"anything"], 0)


async def test_it_hears_while_its_socket_is_open_even_where_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        address = Address(*there.getsockname())
    channel = Channel(Address("127.0.0.1", 0), address, list[bytes]().append)
    assert channel.deaf == "", "nothing was sent yet"
    channel.send(b"opens it")
    channel.send(b"is refused")
    assert "nothing listens" in channel.trouble
    assert channel.deaf is None
    channel.close()


async def test_it_is_deaf_without_its_own_address() -> None:
    channel = Channel(Address("203.0.113.1", 0), Address("127.0.0.1", 9), list[bytes]().append)
    channel.send(b"lost")
    assert channel.deaf == "cannot use 203.0.113.1:0 here: Cannot assign requested address"


async def test_nothing_was_dropped_before_it_was_opened(ends: Ends) -> None:
    assert ends.channel.dropped == 0
