"""The real keepalived on a private bus, and what failoverd makes of what it says there."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from failoverd.core.words import VrrpState
from failoverd.daemon.keepalived import vrrp_dbus, vrrp_state
from failoverd.daemon.keepalived.vrrp_state import Bus
from failoverd.records import records
from tests.unit.daemon.running_daemon import RunningDaemon, wait_for
from tests.unit.privatebus import private_bus, started

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MASTER, BACKUP, DELETED = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.DELETED

INSTANCE = """vrrp_instance "{name}" {{
  interface eth{number}
  virtual_router_id 5{number}
  priority 150
  advert_int {advert}
  virtual_ipaddress {{
    10.9{number}.0.100/24
  }}
}}
"""

START = """
mount -t tmpfs none /run
mkdir -p /run/netns
ip netns add other
{enter} sh -ec '
ip link set lo up
ip link add eth0 type veth peer name eth1
for number in 0 1; do
  ip link set eth$number up
  ip address add 10.9$number.0.1/24 dev eth$number
done'
exec keepalived -n -l -P -f {conf} -p {conf}.p -r {conf}.v -c {conf}.c
"""


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    async with private_bus(monkeypatch) as (directory, _):
        yield directory


def configure(conf: Path, *names: str, extra: str = "", top: str = "") -> None:
    """Instances of these names: the first becomes MASTER, the others wait for half a minute."""
    text = [top, "global_defs {", "  enable_dbus", "  vrrp_version 3", f"  {extra}", "}"]
    text += [INSTANCE.format(name=name, number=n, advert=10 if n else 0.1) for n, name in enumerate(names)]
    conf.write_text("\n".join(text))


@asynccontextmanager
async def keepalived(conf: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One with that configuration, in a network of its own."""
    enter = "ip netns exec other" if "net_namespace" in conf.read_text() else ""
    process = await started("unshare", "--net", "--mount", "sh", "-ec", START.format(conf=conf, enter=enter))
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


class Alone:
    """A watch of one keepalived, which speaks for all; `owned`: what it was told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._pid = process.pid
        self.owned: dict[str, int] = {}

    @property
    def pids(self) -> frozenset[int]:
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children")
        return frozenset((self._pid, *map(int, children.read_text().split() if children.exists() else ())))

    def speakers(self, _: str) -> list[list[int]]:
        return [list(self.pids)]

    def owns(self, instance: str, pid: int) -> None:
        self.owned[instance] = pid


async def until(asked: Bus, states: dict[str, VrrpState | None]) -> None:
    """Ask until this is the answer."""
    async with asyncio.timeout(60):
        while {name: each.state for name, each in (await asked.ask(states)).items()} != states:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"extra": "dbus_service_name org.example.router"},
        {"top": "instance web"},
        {"top": "net_namespace other"},
        {"top": "net_namespace other\ninstance web", "extra": "dbus_service_name org.example.router"},
    ],
    ids=["plain", "dbus_service_name", "instance", "net_namespace", "all of it"],
)
async def test_it_is_understood_however_it_is_configured(bus: Path, tmp_path: Path, how: dict[str, str]) -> None:
    records.move(tmp_path)
    conf = bus / "keepalived.conf"
    configure(conf, "VI_1", "two x.y", **how)
    async with keepalived(conf) as process:
        alone = Alone(process)
        asked = Bus(alone, lambda _: None)
        asked.follow({"VI_1": (), "two x.y": (), "VG": ("VI_1",), "VI_9": ()})
        await until(asked, {"VI_1": MASTER, "two x.y": BACKUP, "VG": MASTER, "VI_9": None})
        assert set(alone.owned) == {"VI_1", "two x.y"}
        assert set(alone.owned.values()) <= alone.pids
        told = (await asked.ask(["VI_9"]))["VI_9"]
        assert told.doubt.startswith("keepalived has no instance VI_9: ")
        assert "VI_1, two x.y" in told.doubt


async def test_an_instance_that_is_renamed_or_removed_while_it_runs(bus: Path, tmp_path: Path) -> None:
    records.move(tmp_path)
    conf = bus / "keepalived.conf"
    configure(conf, "VI_1", "VI_2")
    async with keepalived(conf) as process:
        asked = Bus(Alone(process), lambda _: None)
        asked.follow({"VI_1": (), "VI_2": ()})
        await until(asked, {"VI_1": MASTER, "VI_2": BACKUP})
        configure(conf, "VI_X")
        process.send_signal(signal.SIGHUP)
        await until(asked, {"VI_1": MASTER, "VI_2": DELETED})
        # A failoverd that is started now knows it too.
        again = Bus(Alone(process), lambda _: None)
        again.follow({"VI_1": (), "VI_2": ()})
        told = await again.ask(["VI_1", "VI_2"])
        assert told["VI_1"].doubt.startswith("keepalived has renamed instance VI_1 to VI_X:")
        assert told["VI_2"].doubt.startswith("keepalived has no instance VI_2 any more: org.keepalived.Vrrp1 has VI_X")


async def test_who_does_not_answer_and_who_is_not_there(
    bus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.move(tmp_path)
    monkeypatch.setattr(vrrp_state, "_ANSWER_TIMEOUT_S", 0.3)
    conf = bus / "keepalived.conf"
    configure(conf, "VI_1")
    async with keepalived(conf) as process:
        alone = Alone(process)
        asked = Bus(alone, lambda _: None)
        await until(asked, {"VI_1": MASTER})
        for pid in alone.pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            told = (await asked.ask(["VI_1"]))["VI_1"]
        finally:
            for pid in alone.pids:
                os.kill(pid, signal.SIGCONT)
        assert (told.state, told.detail) == (None, f"{vrrp_dbus.SERVICE} does not answer within 0.3 s")
    told = (await asked.ask(["VI_1"]))["VI_1"]
    assert told.detail.startswith("no keepalived is on D-Bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
    monkeypatch.setattr("failoverd.ports.dbus._connection._bus", None)
    assert "no system bus" in (await asked.ask(["VI_1"]))["VI_1"].detail


async def test_what_another_says_under_a_name_of_its_own_is_no_answer(bus: Path) -> None:
    conf = bus / "keepalived.conf"
    configure(conf, "VI_1", extra="dbus_service_name org.example.stranger")
    async with keepalived(conf) as process:
        async with asyncio.timeout(60):
            while not await vrrp_dbus.services(Alone(process).pids, within=2):
                await asyncio.sleep(0.05)
        assert await vrrp_dbus.services((), within=2) == []


# ---------------------------------------------------------------- the whole daemon


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    made.instance()
    made.resource("web")
    yield made
    made.end()


async def test_an_instance_renamed_under_an_active_node_is_an_alarm_and_followed(
    bus: Path, node: RunningDaemon
) -> None:
    conf = bus / "keepalived.conf"
    configure(conf, "VI_1", extra=f"vrrp_notify_fifo {node.run_dir}/keepalived.fifo")
    node.start()
    async with keepalived(conf) as process:
        node.until("active")
        wait_for("it was met on D-Bus", lambda: "org.keepalived.Vrrp1 reports" in node.log.read_text())
        configure(conf, "VI_X", extra=f"vrrp_notify_fifo {node.run_dir}/keepalived.fifo")
        process.send_signal(signal.SIGHUP)
        alarm = wait_for("there is an alarm", lambda: node.ctl("reset", "VI_1") and node.instance_status()["alarm"])
        assert "keepalived has renamed instance VI_1 to VI_X" in alarm
        assert node.instance_status()["phase"] == "active"
        assert "NEEDS ATTENTION: VI_1" in node.ctl("status").stdout
        configure(conf, "VI_9", extra="vrrp_garp_master_repeat 1")
        conf.write_text(conf.read_text().replace("virtual_router_id 50", "virtual_router_id 99"))
        process.send_signal(signal.SIGHUP)
        wait_for("the resource is inactive", lambda: node.ctl("reset", "VI_1") and not (node.things / "web").exists())
        gone = node.until("standby")
        assert gone["vrrp_state"] == "DELETED"
        assert "org.keepalived.Vrrp1 has VI_9" in gone["alarm"]
