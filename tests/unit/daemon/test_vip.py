"""Real addresses on a real interface, in a network namespace."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping

import pytest

from failoverd.core.spec import InstanceSpec, Vip
from failoverd.daemon import netlink
from failoverd.daemon import vip as vip_module
from failoverd.daemon.vip import VipWatch

FOUR = Vip(address="192.0.2.1/32", interface="eth0")
SIX = Vip(address="2001:db8::1/64", interface="eth0")
ELSEWHERE = Vip(address="192.0.2.1/32", interface="eth1")

pytestmark = pytest.mark.usefixtures("own_network")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Watched:
    """A watch, and the last that it told of each VIP."""

    def __init__(self) -> None:
        self.told: dict[Vip, bool | None] = {}
        self.news = asyncio.Condition()
        self.watch = VipWatch(self._changed)

    def follow(self, *vips: Vip) -> None:
        self.watch.watch(vip_module.places([InstanceSpec(name="VI_1", vips=vips)]))

    def _changed(self, present: Mapping[Vip, bool | None]) -> None:
        self.told |= present
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def until(self, **expected: bool | None) -> None:
        named = {"four": FOUR, "six": SIX, "elsewhere": ELSEWHERE}
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(lambda: all(self.told.get(named[k], "-") is v for k, v in expected.items()))


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    made.follow(FOUR, SIX, ELSEWHERE)
    made.watch.start()
    await asyncio.wait_for(made.watch.ready.wait(), 10)
    yield made
    made.watch.close()


async def test_vips_are_seen_coming_and_going(watched: Watched) -> None:
    await watched.until(four=False, six=False, elsewhere=False)
    ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
    await watched.until(four=True, elsewhere=False)
    ip("addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    await watched.until(six=True)
    ip("addr", "del", "192.0.2.1/32", "dev", "eth0")
    await watched.until(four=False, six=True)


async def test_who_has_removed_an_address_is_known(watched: Watched) -> None:
    ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
    await watched.until(four=True)
    assert watched.watch.removers == {}
    with subprocess.Popen(["ip", "addr", "del", "192.0.2.1/32", "dev", "eth0"]) as removing:
        pass
    await watched.until(four=False)
    assert watched.watch.removers[FOUR].endswith(f"(process {removing.pid})")


async def test_the_kernel_removes_addresses_in_nobodys_name(watched: Watched) -> None:
    ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
    await watched.until(four=True)
    ip("link", "del", "eth0")
    await watched.until(four=False)
    assert watched.watch.removers == {}


@pytest.mark.parametrize("port", [0, 2**32 - 4096])
def test_a_port_that_tells_no_process(port: int) -> None:
    assert vip_module._remover(port) == ""


def test_a_port_has_the_number_of_its_process() -> None:
    assert vip_module._remover(os.getpid() | 3 << 22).endswith(f" (process {os.getpid()})")


async def test_a_tentative_address_is_not_usable_yet(watched: Watched) -> None:
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")
    tentative = Vip(address="2001:db8::2/64", interface="v0")
    watched.follow(tentative)
    ip("addr", "add", "2001:db8::2/64", "dev", "v0")
    shown = subprocess.run(["ip", "-6", "addr", "show", "dev", "v0"], check=True, capture_output=True, text=True)
    assert "tentative" in shown.stdout
    assert watched.told[tentative] is False
    async with asyncio.timeout(10), watched.news:
        await watched.news.wait_for(lambda: watched.told[tentative] is True)


async def test_an_address_of_a_link_that_vanishes_is_gone(watched: Watched) -> None:
    ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
    await watched.until(four=True)
    ip("link", "del", "eth0")
    await watched.until(four=False)


async def test_an_overflow_hides_nothing(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    watched.watch.close()
    plain = netlink.notifications

    def tiny() -> socket.socket:
        notified = plain()
        notified.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        return notified

    monkeypatch.setattr(netlink, "notifications", tiny)
    again = Watched()
    again.follow(FOUR, SIX)
    again.watch.start()
    try:
        await asyncio.wait_for(again.watch.ready.wait(), 10)
        batch = "".join(f"addr add 198.51.100.{n}/32 dev eth0\n" for n in range(1, 250))
        subprocess.run(["ip", "-batch", "-"], input=batch + "addr add 192.0.2.1/32 dev eth0\n", text=True, check=True)
        await again.until(four=True)
    finally:
        again.watch.close()
        watched.watch = VipWatch(lambda *_: None)
        watched.watch.start()


async def test_netlink_that_fails_is_unknown_and_tried_again(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    monkeypatch.setattr(vip_module, "_PAUSE", 0.01)
    failures = iter([OSError("no netlink"), OSError("no netlink")])
    plain = netlink.addresses

    def failing(asked: socket.socket) -> list[netlink.Address]:
        error = next(failures, None)
        if error is not None:
            raise error
        return plain(asked)

    monkeypatch.setattr(netlink, "addresses", failing)
    seen: list[bool | None] = []
    watched.watch._changed = lambda present: seen.extend(present.values())
    ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
    async with asyncio.timeout(10):
        while True not in seen:
            await asyncio.sleep(0.01)
    assert seen[0] is None


async def test_many_addresses_are_told_at_once(watched: Watched) -> None:
    many = [Vip(address=f"198.51.{number // 250}.{number % 250}/32", interface="eth0") for number in range(1000)]
    told: list[Mapping[Vip, bool | None]] = []
    watched.watch._changed = told.append
    watched.follow(*many)
    assert told == [dict.fromkeys(many, False)]
    batch = "".join(f"addr add {vip.address} dev eth0\n" for vip in many)
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    seen: dict[Vip, bool | None] = {}
    async with asyncio.timeout(10):
        while seen != dict.fromkeys(many, True):
            await asyncio.sleep(0.01)
            seen = {vip: present for each in told for vip, present in each.items()}
