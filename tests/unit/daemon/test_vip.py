"""Real addresses on a real interface, in a network namespace."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping

import pytest
from structlog.testing import capture_logs

from failoverd.core.spec import InstanceSpec, Vip
from failoverd.daemon import vip as vip_module
from failoverd.daemon.vip import VipWatch
from failoverd.ports import netlink
from failoverd.trouble import Troubles

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
        self.instead: dict[Vip, str] = {}
        self.news = asyncio.Condition()
        self.watch = VipWatch(self._changed)

    def follow(self, *vips: Vip) -> None:
        self.watch.watch(vip_module.places([InstanceSpec(name="VI_1", vips=vips)]))

    def _changed(self, present: Mapping[Vip, bool | None]) -> None:
        self.told |= present
        self.instead |= {vip: self.watch.instead.get(vip, "") for vip in present}
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def until(self, **expected: bool | None) -> None:
        named = {"four": FOUR, "six": SIX, "elsewhere": ELSEWHERE}
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: all(self.told.get(named[k], "-") is v for k, v in expected.items()))


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    made.follow(FOUR, SIX, ELSEWHERE)
    made.watch.start()
    await asyncio.wait_for(made.watch.ready.wait(), 60)
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
    async with asyncio.timeout(60), watched.news:
        await watched.news.wait_for(lambda: "duplicate address detection is under way" in watched.instead[tentative])
    async with asyncio.timeout(60), watched.news:
        await watched.news.wait_for(lambda: watched.told[tentative] is True)


async def test_what_is_so_of_a_vip_that_does_not_count_is_told(watched: Watched) -> None:
    await watched.until(four=False)
    assert watched.instead[FOUR] == ""
    assert watched.instead[ELSEWHERE] == "is not here: there is no interface eth1"
    ip("link", "add", "vrrp.51", "type", "veth", "peer", "name", "eth1")
    ip("addr", "add", "192.0.2.1/32", "dev", "vrrp.51")
    async with asyncio.timeout(60), watched.news:
        await watched.news.wait_for(lambda: "vrrp.51" in watched.instead[ELSEWHERE])
    meant = 'if that is intended, configure vips = ["192.0.2.1/32 dev vrrp.51"]'
    assert watched.instead[FOUR] == f"is on vrrp.51, not on eth0; {meant}"
    assert watched.instead[ELSEWHERE] == f"is on vrrp.51, not on eth1; {meant}"
    ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
    await watched.until(four=True, elsewhere=False)
    assert watched.instead[FOUR] == ""
    assert watched.instead[ELSEWHERE].startswith("is on eth0 and vrrp.51, not on eth1; ")


async def test_an_address_that_another_station_has_is_told_as_such(watched: Watched) -> None:
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")
    ip("addr", "add", "2001:db8::2/64", "dev", "v1", "nodad")
    duplicate = Vip(address="2001:db8::2/64", interface="v0")
    watched.follow(duplicate)
    ip("addr", "add", "2001:db8::2/64", "dev", "v0")
    why = "is not usable on v0: duplicate address detection failed, another station has it"
    async with asyncio.timeout(60), watched.news:
        await watched.news.wait_for(lambda: watched.instead[duplicate] == why)
    assert watched.told[duplicate] is False


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
        await asyncio.wait_for(again.watch.ready.wait(), 60)
        batch = "".join(f"addr add 198.51.100.{n}/32 dev eth0\n" for n in range(1, 250))
        subprocess.run(["ip", "-batch", "-"], input=batch + "addr add 192.0.2.1/32 dev eth0\n", text=True, check=True)
        await again.until(four=True)
    finally:
        again.watch.close()
        watched.watch = VipWatch(lambda *_: None)
        watched.watch.start()


async def test_netlink_that_fails_is_unknown_and_tried_again(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    monkeypatch.setattr(vip_module, "_RETRY_S", 0.01)
    monkeypatch.setattr(vip_module, "troubles", troubles := Troubles())
    failures = iter([OSError("no netlink")] * 5)
    plain = netlink.addresses

    def failing(asked: socket.socket) -> list[netlink.Address]:
        error = next(failures, None)
        if error is not None:
            raise error
        return plain(asked)

    monkeypatch.setattr(netlink, "addresses", failing)
    seen: list[bool | None] = []
    said: list[str] = []

    def changed(present: Mapping[Vip, bool | None]) -> None:
        seen.extend(present.values())
        said.extend(each.text for each in troubles.standing)

    watched.watch._changed = changed
    with capture_logs() as lines:
        ip("addr", "add", "192.0.2.1/32", "dev", "eth0")
        async with asyncio.timeout(60):
            while True not in seen:
                await asyncio.sleep(0.01)
    assert seen[0] is None
    assert set(said) == {"cannot observe the VIPs by netlink (no netlink); retrying every second; run: ip address show"}
    assert troubles.standing == ()
    assert [line["event"] for line in lines if line.get("about") == "netlink"] == ["trouble", "trouble is over"]


async def test_many_addresses_are_told_at_once(watched: Watched) -> None:
    many = [Vip(address=f"198.51.{number // 250}.{number % 250}/32", interface="eth0") for number in range(1000)]
    told: list[Mapping[Vip, bool | None]] = []
    watched.watch._changed = told.append
    watched.follow(*many)
    assert told == [dict.fromkeys(many, False)]
    batch = "".join(f"addr add {vip.address} dev eth0\n" for vip in many)
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    seen: dict[Vip, bool | None] = {}
    async with asyncio.timeout(60):
        while seen != dict.fromkeys(many, True):
            await asyncio.sleep(0.01)
            seen = {vip: present for each in told for vip, present in each.items()}
