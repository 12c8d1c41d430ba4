"""A witness that accepts connections, and names whose lookup hangs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from failoverd.ports.witness.tcp import Tcp
from failoverd.ports.witness.url import Endpoint
from tests.unit.ports.witness.stations import LONG, SHORT, free_port, frozen_station, station


def tcp(port: int, name: str = "127.0.0.1") -> Tcp:
    return Tcp(Endpoint(host=name, port=port))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_connection_is_an_answer_and_is_closed_without_a_reset(address: str) -> None:
    received: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            received.put_nowait(await reader.read())
        except ConnectionError as error:
            received.put_nowait(error)

    async with station(talk, address) as port:
        answer = await tcp(port, address).ask(LONG)
        assert answer.granted is True
        assert answer.said.startswith("connected in ")
        assert await received.get() == b""


async def test_the_kernel_accepts_for_a_frozen_program() -> None:
    with frozen_station() as port:
        assert (await tcp(port).ask(LONG)).granted is True


async def test_a_refused_connection_is_no_answer() -> None:
    answer = await tcp(free_port()).ask(LONG)
    assert (answer.granted, answer.said) == (None, "connection refused")


async def test_a_full_queue_is_no_answer_within_the_deadline() -> None:
    with socket.socket() as listening, socket.socket() as first:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        first.connect(listening.getsockname())
        port = listening.getsockname()[1]
        answer = await tcp(port).ask(SHORT)
        assert (answer.granted, answer.said) == (None, "no answer within 0.2 s")


@pytest.mark.usefixtures("own_network")
async def test_no_route_is_no_answer() -> None:
    answer = await tcp(22, "192.0.2.1").ask(LONG)
    assert (answer.granted, answer.said) == (None, "network is unreachable")


@pytest.mark.usefixtures("own_network")
async def test_a_socket_that_connects_to_itself_is_no_answer() -> None:
    subprocess.run(["sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40001"], check=True)
    answer = await tcp(40000).ask(LONG)
    other = await tcp(40001).ask(LONG)
    assert (answer.granted, other.granted) == (None, None)
    assert {answer.said, other.said} <= {"connection refused", "cannot assign requested address"}


# ------------------------------------------------------------ names


class Resolver:
    """Lookups in their threads, each of which lasts until `free` is set, and then finds this machine or fails."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.lookups = 0
        self.error: OSError | None = None

    def getaddrinfo(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def look_up(name: bytes, *words: object, flags: int = 0, **more: object) -> Any:
            if flags & socket.AI_NUMERICHOST:
                return real(name, *words, flags=flags, **more)
            assert name == b"witness.example.net"
            self.lookups += 1
            self.free.wait(LONG)
            if self.error is not None:
                raise self.error
            return real(b"127.0.0.1", *words, **more)

        return look_up


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo(socket.getaddrinfo))
    yield made
    made.free.set()


NAME = "witness.example.net"


async def test_a_name_is_looked_up(resolver: Resolver) -> None:
    resolver.free.set()
    with frozen_station() as port:
        assert (await tcp(port, NAME).ask(LONG)).granted is True


async def test_a_lookup_that_hangs_counts_within_the_deadline_and_runs_once(resolver: Resolver) -> None:
    with frozen_station() as port:
        asked = tcp(port, NAME)
        for _ in range(3):
            answer = await asked.ask(SHORT)
            assert answer.granted is None
            assert answer.said.startswith("no answer within") or "lookup of witness.example.net has not" in answer.said
        assert resolver.lookups == 1
        resolver.free.set()
        assert (await asked.ask(LONG)).granted is True
        assert resolver.lookups == 1


async def test_the_last_known_address_is_asked_while_a_lookup_hangs(resolver: Resolver) -> None:
    resolver.free.set()
    with frozen_station() as port:
        asked = tcp(port, NAME)
        assert (await asked.ask(LONG)).granted is True
        resolver.free.clear()
        assert (await asked.ask(1.0)).granted is True


async def test_the_last_known_address_is_asked_when_a_lookup_fails(resolver: Resolver) -> None:
    resolver.free.set()
    with frozen_station() as port:
        asked = tcp(port, NAME)
        assert (await asked.ask(LONG)).granted is True
        resolver.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        assert (await asked.ask(LONG)).granted is True


async def test_a_name_without_an_address_is_said(resolver: Resolver) -> None:
    resolver.free.set()
    resolver.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    answer = await tcp(1, NAME).ask(LONG)
    assert answer.granted is None
    assert answer.said == "witness.example.net has no address: Name or service not known"


async def test_the_second_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(_name: bytes, *_words: object, flags: int = 0, **_more: object) -> list[object]:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with frozen_station() as port:
        assert (await tcp(port, NAME).ask(LONG)).granted is True
