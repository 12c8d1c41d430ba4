"""DRBD's connections, and the dead ones among them: by recorded words, and with real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from failoverd.ports.drbd import wire
from failoverd.ports.drbd.wire import Wire
from failoverd.ports.errors import DriverError
from failoverd.trouble import Troubles
from tests.unit.drivers.scripted import Programs
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE

SHOWN = "all-inconsistent/left.cmd.drbdsetup-show.txt"
TO_RIGHT = Wire(resource="vpn", local="10.10.0.1", local_port=7788, peer="10.10.0.2", peer_port=7788)
TO_CENTER = Wire(resource="vpn", local="10.10.0.1", local_port=7788, peer="10.10.0.3", peer_port=7788)
LOOK = "ss -Htan state fin-wait-1 src 10.10.0.1 dst 10.10.0.2 ( sport = :7788 or dport = :7788 )"
CURE = LOOK.replace("ss ", "ss -K ")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Programs(tmp_path / "bin", "drbdsetup", "ss", before="")


def test_recorded_wires() -> None:
    assert wire.parse("vpn", (NINE / SHOWN).read_text()) == (TO_CENTER, TO_RIGHT)
    assert wire.parse("vpn", (EIGHT / SHOWN).read_text()) == (TO_RIGHT,)


def test_ports_that_differ_and_addresses_with_colons() -> None:
    shown = "path {\n _remote_host ipv6 [fd00::2]:7791;\n _this_host ipv6 [fd00:0::1]:7790;\n }"
    (found,) = wire.parse("r", shown)
    assert found.dead[-4:] == ("[fd00::1]", "dst", "[fd00::2]", "( sport = :7790 or dport = :7791 )")


@pytest.mark.parametrize(
    "shown", ["", "resource r {\n _this_host {\n volume 0 {\n }\n }\n}\n", "_this_host ipv4 10.0.0.1:1;"]
)
def test_a_resource_without_a_connection_has_no_wire(shown: str) -> None:
    assert wire.parse("r", shown) == ()


def test_the_remedies_can_be_pasted() -> None:
    cure = "ss -K -Htan state fin-wait-1 src 10.10.0.1 dst 10.10.0.2 '( sport = :7788 or dport = :7788 )'"
    assert f"`{cure}` frees it" in str(TO_RIGHT)
    assert "'options drbd disable_sendpage=1' in /etc/modprobe.d/" in str(TO_RIGHT)


async def test_what_is_dead_is_found_and_ended(fake: Programs) -> None:
    fake.script("drbdsetup show vpn", f"cat {EIGHT / SHOWN}")
    fake.script(LOOK, "echo '0      5001   10.10.0.1:55014 10.10.0.2:7788'")
    fake.script(CURE, "echo '0      5001   10.10.0.1:55014 10.10.0.2:7788'")
    (found,) = await wire.dead("vpn")
    assert found == TO_RIGHT
    await wire.end(found)
    assert fake.told[-1] == CURE


async def test_nothing_is_dead(fake: Programs) -> None:
    fake.script("drbdsetup show vpn", f"cat {EIGHT / SHOWN}")
    fake.script(LOOK, "")
    assert await wire.dead("vpn") == ()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'SOCK_DESTROY answers: Operation not permitted' >&2", "SOCK_DESTROY answers: Operation not permitted"),
        ("exit 255", "exit status 255"),
    ],
)
async def test_a_kernel_that_does_not_end_it_is_an_error(fake: Programs, script: str, words: str) -> None:
    fake.script(CURE, script)
    with pytest.raises(DriverError, match=words):
        await wire.end(TO_RIGHT)


async def test_addresses_that_are_none_are_an_error(fake: Programs) -> None:
    fake.script("drbdsetup show vpn", "echo '_this_host ipv4 10.0.0:1; _remote_host ipv4 10.0.0.2:1;'")
    with pytest.raises(DriverError, match="cannot parse the output of drbdsetup show vpn"):
        await wire.dead("vpn")


def test_the_hazard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameter, troubles = tmp_path / "disable_sendpage", Troubles()
    monkeypatch.setattr(wire, "DISABLE_SENDPAGE", parameter)
    monkeypatch.setattr(wire, "troubles", troubles)
    wire.warn()
    assert not troubles.standing
    parameter.write_text("N\n")
    wire.warn()
    (trouble,) = troubles.standing
    assert trouble.text.startswith("DRBD sends the memory of guests without copying it")
    assert f"echo 1 >{parameter}; echo 'options drbd disable_sendpage=1' >/etc/modprobe.d/" in trouble.text
    parameter.write_text("Y\n")
    wire.warn()
    assert troubles.standing == ()


#: In a network namespace with nothing but a link to another, where what is sent is lost: closed connections of DRBD's,
#: of another resource's, and of somebody else's, of which each keeps what it has not sent. Prints what is left of them.
REAL = r"""
import asyncio, json, socket, subprocess, sys, time
from failoverd.ports.drbd import wire

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

def run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

def dead():
    return sorted(line.split()[3] for line in run("ss", "-Htan", "state", "fin-wait-1").splitlines())

other = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], **PIPES)
other.stdout.readline()
there = ("nsenter", "--net", "--target", str(other.pid))
run("ip", "link", "add", "r0", "type", "veth", "peer", "name", "r0", "netns", str(other.pid))
for where, number in (((), 1), (there, 2)):
    run(*where, "ip", "link", "set", "lo", "up")
    run(*where, "ip", "address", "add", f"10.10.0.{number}/24", "dev", "r0")
    run(*where, "ip", "address", "add", f"fd00::{number}/64", "dev", "r0", "nodad")
    run(*where, "ip", "link", "set", "r0", "up")
peer = subprocess.Popen([*there, sys.executable, "-c", '''
import socket
made = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in (7788, 7789, 22)]
print(flush=True)
input()
'''], **PIPES)
peer.stdout.readline()
ends = [(host, port) for host in ("10.10.0.2", "fd00::2") for port in (7788, 7789, 22)]
sockets = [socket.create_connection(end) for end in ends]
living = socket.create_connection(("10.10.0.2", 7788))
run(*there, "ip", "link", "set", "r0", "down")
for each in sockets:
    each.send(b"x" * 5000)
    each.close()
while len(dead()) < len(ends):
    time.sleep(0.01)
wires = [
    wire.Wire(resource="r", local=f"{network}1", local_port=7788, peer=f"{network}2", peer_port=7788)
    for network in ("10.10.0.", "fd00::")
]

async def end():
    for each in wires:
        assert await wire._output(("ss", "-Htan", *each.dead))
        await wire.end(each)
        assert not await wire._output(("ss", "-Htan", *each.dead))

asyncio.run(end())
living.send(b"x")  # nobody ended it
print(json.dumps(dead()))
peer.kill()
other.kill()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_only_the_dead_connections_of_the_wire_are_ended() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", REAL], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "10.10.0.2:22",
        "10.10.0.2:7789",
        "[fd00::2]:22",
        "[fd00::2]:7789",
    ]
