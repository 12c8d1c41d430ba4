"""The quagga driver: a real FRR in a network namespace of its own, and recordings of what FRR says."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import Driver, Follows, quagga
from failoverd.ports import command, unix_socket
from failoverd.ports.errors import DriverError

SPEC = ResourceSpec(instance="VI_1", name="routing", driver="quagga", stop_timeout=20)
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings/frr"
BGP = {"mode": "metric", "route_map": "UP 10", "active": 100, "standby": 300}
OSPF = {"mode": "metric", "interfaces": ("eth0",), "active": 100, "standby": 300}

#: More than a pipe holds, as of a site with many customers.
LARGE = "".join(f"bgp as-path access-list CUSTOMER-{n} seq 5 permit _{n}_\n" for n in range(2000))
BGPD = f"""{LARGE}
router bgp 65001
 bgp router-id 10.99.0.1
 no bgp ebgp-requires-policy
 neighbor 10.99.0.2 remote-as 65002
 address-family ipv4 unicast
  neighbor 10.99.0.2 route-map UP out
route-map UP permit 10
 set metric 300
route-map UP permit 20
route-map UP deny 30
"""
OSPFD = """interface eth0
 ip ospf cost 300
interface eth1
 ip ospf cost 300
router ospf
 network 10.99.0.0/24 area 0
 network 10.98.0.0/24 area 0
"""
START = """
ip link set lo up
ip link add eth0 type veth peer name eth1
ip link set eth0 up
ip link set eth1 up
ip address add 10.99.0.1/24 dev eth0
ip address add 10.98.0.1/24 dev eth1
for daemon in zebra bgpd ospfd; do
    /usr/lib/frr/$daemon -d -f {d}/$daemon.conf -i {d}/$daemon.pid -z {d}/zserv.api --vty_socket {d} -P 0 || exit 1
done
until [ "$(vtysh --vty_socket {d} -d ospfd -c 'show ip ospf interface' | grep -c 'Internet Address')" = 2 ]; do
    sleep 0.1  # zebra has not told it yet what interfaces there are
done
echo ready
exec sleep 600
"""


def make(**keys: object) -> Driver:
    return quagga.make(quagga.Options(**keys), SPEC)  # type: ignore[arg-type]


@pytest.fixture
async def frr() -> AsyncIterator[Path]:
    if os.geteuid() != 0 or not Path("/usr/lib/frr/bgpd").exists():
        pytest.skip("needs root and frr")
    with tempfile.TemporaryDirectory(prefix="fo-frr-") as name:
        directory = Path(name)
        for daemon, text in (("zebra", ""), ("bgpd", BGPD), ("ospfd", OSPFD)):
            (directory / f"{daemon}.conf").write_text(text)
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "frr", "frr")
        # The end of the first process of the PID namespace is the end of all that is in it.
        process = await asyncio.create_subprocess_exec(
            "unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", START.replace("{d}", name),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                while await process.stdout.readline() != b"ready\n":
                    assert process.returncode is None
            yield directory
        finally:
            process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]


async def test_bgp_metric(frr: Path) -> None:
    driver = make(**BGP, vty_socket=str(frr))
    assert (await driver.observe()).level is Level.STANDBY
    with command.recording() as texts:
        assert await driver.activate() is None
    assert tuple(texts[1:]) == driver.commands(Verb.ACTIVATE)
    assert (await driver.observe()).level is Level.ACTIVE
    with command.recording() as texts:
        await driver.activate()
    assert len(texts) == 1  # it looked, and had nothing to do
    await driver.deactivate()
    assert (await driver.observe()).detail == "bgpd: metric 300"


async def test_an_entry_that_sets_nothing_yet(frr: Path) -> None:
    driver = make(**BGP | {"route_map": "UP 20"}, vty_socket=str(frr))
    assert (await driver.observe()).level is Level.FAILED
    await driver.deactivate()
    assert (await driver.observe()).level is Level.STANDBY


@pytest.mark.parametrize("entry", ["UP 11", "NOSUCH 10", "UP 30"])
async def test_an_entry_that_is_not_there_is_not_made(frr: Path, entry: str) -> None:
    driver = make(**BGP | {"route_map": entry}, vty_socket=str(frr))
    assert (await driver.observe()).level is Level.FAILED
    with command.recording() as texts, pytest.raises(DriverError, match="has no `route-map"):
        await driver.activate()
    assert len(texts) == 1


async def test_ospf_cost(frr: Path) -> None:
    driver = make(**OSPF, vty_socket=str(frr))
    assert (await driver.observe()).level is Level.STANDBY
    await driver.activate()
    assert (await driver.observe()).level is Level.ACTIVE
    await driver.deactivate()
    assert (await driver.observe()).detail == "ospfd: metric 300"
    third = make(**OSPF | {"standby": 200}, vty_socket=str(frr))
    assert (await third.observe()).detail == "ospfd: metric 300, neither active (100) nor standby (200)"


async def test_the_cost_of_many_interfaces(frr: Path) -> None:
    both = make(**OSPF | {"interfaces": ("eth0", "eth1")}, vty_socket=str(frr))
    assert (await both.observe()).level is Level.STANDBY
    with command.recording() as texts:
        await both.activate()
    assert tuple(texts[1:]) == both.commands(Verb.ACTIVATE)  # one vtysh for all of them
    assert (await both.observe()).level is Level.ACTIVE
    await make(**OSPF, vty_socket=str(frr)).deactivate()
    seen = await both.observe()
    assert seen.level is Level.FAILED  # half of it
    assert seen.detail == "ospfd: metric 300 (eth0), 100 (eth1), neither active (100) nor standby (300)"
    await both.deactivate()
    assert (await both.observe()).level is Level.STANDBY


@pytest.mark.parametrize(("name", "why"), [("nosuch", "No such interface"), ("lo", "OSPF not enabled")])
async def test_an_interface_without_ospf(frr: Path, name: str, why: str) -> None:
    driver = make(**OSPF | {"interfaces": ("eth0", name)}, vty_socket=str(frr))
    seen = await driver.observe()
    assert seen.level is Level.FAILED
    assert why in seen.detail
    with pytest.raises(DriverError, match=why):
        await driver.activate()


@pytest.mark.parametrize("name", ["nosuch", "lo"])
async def test_an_interface_without_ospf_leaves_no_other_with_the_good_metric(frr: Path, name: str) -> None:
    alone = make(**OSPF, vty_socket=str(frr))
    await alone.activate()
    with pytest.raises(DriverError, match=f"{name}: "):
        await make(**OSPF | {"interfaces": (name, "eth0")}, vty_socket=str(frr)).deactivate()
    assert (await alone.observe()).level is Level.STANDBY


async def test_a_dead_daemon_announces_nothing(tmp_path: Path) -> None:
    driver = make(**BGP, vty_socket=str(tmp_path))
    seen = await driver.observe()
    assert (seen.level, seen.detail, seen.obstacle) == (Level.STANDBY, "bgpd is not running", "bgpd is not running")
    assert await driver.deactivate() is None
    with pytest.raises(DriverError, match="bgpd is not running"):
        await driver.activate()


async def test_a_stopped_daemon_is_unknown(frr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quagga, "VTYSH_TIMEOUT_S", 0.5)
    os.kill(bgpd(frr), signal.SIGSTOP)
    assert (await make(**BGP, vty_socket=str(frr)).observe()).level is Level.UNKNOWN
    with pytest.raises(DriverError):
        await make(**BGP, vty_socket=str(frr)).deactivate()


async def test_that_a_daemon_has_come_or_gone_is_noticed(frr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix_socket, "RECONNECT_INTERVAL_S", 0.01)
    driver = make(**BGP, vty_socket=str(frr))
    assert isinstance(driver, Follows)
    news = asyncio.Event()
    task = asyncio.create_task(driver.follow(news.set))

    async def told() -> Level:
        await news.wait()
        news.clear()
        return (await driver.observe()).level

    async with asyncio.timeout(60):
        assert await told() is Level.STANDBY
        await driver.activate()
        assert not news.is_set()
        os.kill(bgpd(frr), signal.SIGKILL)
        assert await told() is Level.STANDBY
        (frr / "bgpd.vty").unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            lambda *_: None, frr / "bgpd.vty"
        )  # as good as a bgpd that was started again
        await news.wait()
        server.close()
    task.cancel()
    await asyncio.wait({task})


def bgpd(directory: Path) -> int:
    (pid,) = (int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if is_ours(path, directory))
    return pid


def is_ours(cmdline: Path, directory: Path) -> bool:
    with contextlib.suppress(OSError):
        words = cmdline.read_bytes().split(b"\0")
        return words[0].endswith(b"/bgpd") and f"{directory}/bgpd.conf".encode() in words
    return False


async def test_a_backup_that_cannot_look_gives_up_the_good_metric(
    frr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = make(**BGP, vty_socket=str(frr))
    await driver.activate()
    blind = tmp_path / "vtysh"
    blind.write_text('#!/bin/sh\ncase $* in *show*) echo "% trouble"; exit 1 ;; esac\nexec /usr/bin/vtysh "$@"\n')
    blind.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert (await driver.observe()).detail == "vtysh: % trouble"
        with pytest.raises(DriverError, match="% trouble"):  # towards ACTIVE it is a guard
            await driver.activate()
        await driver.deactivate()
    assert (await driver.observe()).level is Level.STANDBY


@pytest.mark.parametrize("version", ["8.4.4", "10.3"])
def test_recorded_route_map(version: str) -> None:
    text = (RECORDINGS / f"frr-{version}-route-map.json").read_text()
    assert quagga.Bgp("UP", "10").find(text) == {"UP 10": 300}
    assert quagga.Bgp("UP", "20").find(text) == {"UP 20": None}
    assert quagga.Bgp("UP", "50").find(text) == {"UP 50": None}  # set metric rtt
    for name, sequence in (("UP", "1"), ("U", "10"), ("U.", "10"), ("UP", "30")):
        with pytest.raises(LookupError, match="bgpd has no"):
            quagga.Bgp(name, sequence).find(text)
    with pytest.raises(LookupError, match="bgpd has no"):
        quagga.Bgp("NOSUCH", "10").find((RECORDINGS / f"frr-{version}-route-map-nosuch.json").read_text())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"BGP": []}', '{"BGP": {"UP": {}}}', '{"BGP": {"UP": {"rules": [1]}}}']
)
def test_an_answer_without_a_route_map_is_an_error(text: str) -> None:
    with pytest.raises(DriverError, match="has an unexpected format"):
        quagga.Bgp("UP", "10").find(text)


def test_an_answer_without_a_cost_is_an_error() -> None:
    with pytest.raises(DriverError, match="ospfd does not answer"):
        quagga.Ospf(("eth0",)).find("\n")


def test_recorded_cost() -> None:
    def recorded(what: str) -> str:
        return (RECORDINGS / f"frr-8.4.4-ospf-interface{what}.txt").read_text()

    assert quagga.Ospf(("eth0",)).find(recorded("")) == {"eth0": 100}
    with pytest.raises(LookupError, match="nosuch: No such interface name"):
        quagga.Ospf(("nosuch",)).find(recorded("-nosuch"))
    with pytest.raises(LookupError, match="lo: OSPF not enabled"):
        quagga.Ospf(("lo",)).find(recorded("-not-enabled"))


def test_unit_mode_is_the_default() -> None:
    driver = make()
    assert driver.commands(Verb.ACTIVATE)[-1] == "systemctl start frr.service"
    assert driver.commands(Verb.DEACTIVATE)[0] == "systemctl stop frr.service"


def test_commands() -> None:
    assert make(**OSPF).commands(Verb.DEACTIVATE) == (
        "vtysh -d ospfd -c 'configure terminal' -c 'interface eth0' -c 'ip ospf cost 300' -c exit -c end",
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"unit": "frr"}, 'expected e.g. "frr.service"'),
        ({"active": 1}, "active: only with mode"),
        (BGP | {"active": None}, "needs both"),
        (BGP | {"active": 300}, "must differ"),
        (BGP | {"interfaces": ("eth0",)}, "needs one of them"),
        (BGP | {"route_map": None}, "needs one of them"),
        (OSPF | {"standby": 70_000}, "1 to 65535"),
        (OSPF | {"active": 0}, "1 to 65535"),
    ],
)
def test_options_are_held_against_each_other(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(**keys)
