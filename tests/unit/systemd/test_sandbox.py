"""What failoverd.service lets the commands of `exec` resources do, and how they say that it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "systemd" / "failoverd.service"
CONFINED = f"{sys.executable} {Path(__file__).parent / 'confined.py'} {UNIT}"

#: A machine of its own: network, and the place where `ip netns` keeps its names.
MACHINE = "ip link set lo up && mount -t tmpfs none /run && mkdir -p /run/netns && ip netns add other && "

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def confined(command: str) -> subprocess.CompletedProcess[str]:
    argv = ["unshare", "--net", "--mount", "sh", "-c", f"{MACHINE}{CONFINED} {command}"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def opens(*socket: str) -> str:
    """A command that opens a socket."""
    return f"{sys.executable} -c 'from socket import *; socket({', '.join(socket)})'"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(opens("AF_INET", "SOCK_RAW", "IPPROTO_ICMP"), id="ping"),
        pytest.param(opens("AF_PACKET", "SOCK_DGRAM"), id="arping"),
        pytest.param(opens("AF_INET", "SOCK_RAW", "IPPROTO_RAW"), id="iptables-legacy"),
        pytest.param(f"{sys.executable} -c 'import socket; socket.socket().bind((str(), 80))'", id="port 80"),
        "ip netns exec other ip link",
        "chroot --userspec=nobody: / true",
        "mount -t tmpfs none /mnt",
    ],
)
def test_what_exec_resources_usually_run_is_open(command: str) -> None:
    done = confined(command)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["unshare --user true", "mknod /run/node c 1 3", "chrt --batch 0 true"])
def test_what_is_refused_says_so_in_words_that_are_known(command: str) -> None:
    done = confined(command)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr


def test_who_is_in_the_sandbox_knows_it() -> None:
    asked = "import failoverd.osutil.processes as it; print(it.confined())"
    done = confined(f"{sys.executable} -c '{asked}'")
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
    outside = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert outside.stdout == "False\n"
