"""The load balancer pair at work: the example's own files on two nodes of the laboratory.

loadbalancer/README.md has a table of what is seen here. Debian's own HAProxy and keepalived run; a timer of that name
that does nothing stands for certbot's, and HAProxy's own word is what a client hears, since there is no server.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.node import Node

from .sandbox import EXAMPLES, REPOSITORY

_VIP = "203.0.113.10"
_INSTALLED = {
    "keepalived.conf": "/etc/keepalived/keepalived.conf",
    "haproxy.cfg": "/etc/haproxy/haproxy.cfg",
    "failoverd.toml": "/etc/failoverd/failoverd.toml",
}
_TIMER = "[Timer]\nOnCalendar=monthly\n"
_SERVICE = "[Service]\nExecStart=/bin/true\n"

#: Asks for ever, each time by a new connection, and prints a line for each: HAProxy's word, or what went wrong.
_ASK = """
import http.client, sys, time
while True:
    connection = http.client.HTTPConnection(sys.argv[1], timeout=3)
    try:
        connection.request("GET", "/")
        print(connection.getresponse().status, flush=True)
    except (OSError, http.client.HTTPException) as error:
        print(type(error).__name__, flush=True)
    connection.close()
    time.sleep(0.01)
"""
_SERVED = "503"


class Client:
    """Somebody who opens one connection after the other to the VIP."""

    def __init__(self, heard: Path) -> None:
        self._heard = heard

    def heard(self, since: int = 0) -> list[str]:
        """The answers, but for the first `since`."""
        return self._heard.read_text().split()[since:]


@pytest.fixture(name="pair")
def _pair() -> Iterator[Lab]:
    """left and right with the example's files, left is MASTER."""
    with Lab("hosting") as lab:
        for node in lab.nodes.values():
            node.systemctl("stop", "keepalived.service")
        # center is neither of the pair: it is the client.
        lab.center.run(["ip", "route", "add", f"{_VIP}/32", "dev", "eth0"])
        for node in (lab.left, lab.right):
            _install(node)
        for node in (lab.left, lab.right):
            node.systemctl("start", "keepalived.service")
            _wait_for_service_by(lab, lab.left)
        yield lab


@pytest.fixture(name="client")
def _client(pair: Lab, tmp_path: Path) -> Iterator[Client]:
    with _asking(pair.center, tmp_path / "heard") as client:
        yield client


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_the_site_is_served_whatever_becomes_of_one_node(pair: Lab, client: Client) -> None:
    left, right = pair.left, pair.right

    # Planned moves: HAProxy runs on both, so nobody is refused.
    asked = len(client.heard())
    left.systemctl("stop", "keepalived.service")
    _wait_for_service_by(pair, right)
    left.systemctl("start", "keepalived.service")
    pair.wait_for_phase("left", "standby")
    right.systemctl("stop", "keepalived.service")
    _wait_for_service_by(pair, left)
    right.systemctl("start", "keepalived.service")
    pair.wait_for_phase("right", "standby")
    pair.wait_for(
        "the client was served again", lambda: client.heard(asked), within=15, until=lambda h: _SERVED in h[-1:]
    )
    assert "ConnectionRefusedError" not in client.heard(asked)

    # What comes back stays BACKUP.
    assert _has_vip(left)

    # HAProxy hangs: its processes are there, and nothing but its silence tells.
    left.systemctl("kill", "--signal=STOP", "haproxy.service")
    _wait_for_service_by(pair, right)
    assert left.run(["killall", "-0", "haproxy"]).returncode == 0
    left.systemctl("kill", "--signal=CONT", "haproxy.service")
    pair.wait_for_phase("left", "standby")

    # HAProxy is stopped by hand.
    right.systemctl("stop", "haproxy.service")
    _wait_for_service_by(pair, left)

    # It does not come back, because its configuration is broken: the node stays out of it.
    config = right.path(_INSTALLED["haproxy.cfg"])
    good = config.read_text()
    config.write_text(good.replace("default_backend servers", "default_backend nobody"))
    right.systemctl("start", "haproxy.service", check=False)
    pair.wait_for("right is in FAULT", lambda: pair.messages("right", "keepalived.service"), within=15, until=_in_fault)
    config.write_text(good)
    right.systemctl("reset-failed", "haproxy.service")
    right.systemctl("start", "haproxy.service")
    pair.wait_for("right is BACKUP", lambda: pair.messages("right", "keepalived.service"), within=15, until=_is_backup)

    # failoverd ends: a MASTER goes on serving, its priority is lower.
    left.systemctl("stop", "failoverd.service")
    pair.wait_for(
        "keepalived on left knows",
        lambda: pair.messages("left", "keepalived.service"),
        within=30,
        until=lambda told: "Changing effective priority from 150 to 50" in told[-1][1],
    )
    assert _has_vip(left)
    left.systemctl("start", "failoverd.service")

    # The MASTER loses its power.
    left.kill()
    _wait_for_service_by(pair, right)


def _install(node: Node) -> None:
    for file, installed in _INSTALLED.items():
        node.path(installed).write_text((EXAMPLES / "loadbalancer" / file).read_text())
    for name, text in (("timer", _TIMER), ("service", _SERVICE)):
        node.path(f"/etc/systemd/system/certbot.{name}").write_text(text)
    node.run(["install", "-D", str(REPOSITORY / "hooks/notify"), "/usr/libexec/failoverd/notify"])
    node.run(["install", "-d", "-o", "haproxy", "/run/haproxy"])  # as Debian's tmpfiles.d/haproxy.conf
    node.run(["sysctl", "--load", str(EXAMPLES / "loadbalancer/sysctl.conf")])
    node.systemctl("daemon-reload")
    node.systemctl("start", "haproxy.service")
    node.systemctl("restart", "failoverd.service")


@contextmanager
def _asking(node: Node, heard: Path) -> Iterator[Client]:
    with (
        heard.open("w") as output,
        subprocess.Popen(
            node.inside([sys.executable, "-c", _ASK, _VIP]), stdin=subprocess.DEVNULL, stdout=output
        ) as asking,
    ):
        try:
            yield Client(heard)
        finally:
            asking.kill()


def _wait_for_service_by(lab: Lab, node: Node) -> None:
    """Until `node` has the VIP, the timer and a HAProxy that answers, and the other one neither VIP nor timer."""
    lab.wait_for(f"{node.name} has the VIP", lambda: _has_vip(node), within=15)
    lab.wait_for(f"the timer runs on {node.name}", lambda: _timer(node) == "active", within=15)
    lab.wait_for(f"{node.name} answers", lambda: _answers(node), within=15)
    other = lab.left if node is lab.right else lab.right
    if other.alive:
        lab.wait_for(f"no timer on {other.name}", lambda: _timer(other) == "inactive", within=15)
        assert not _has_vip(other)


def _has_vip(node: Node) -> bool:
    return node.has_vip(_VIP)


def _answers(node: Node) -> bool:
    asked = node.run(
        ["curl", "--silent", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}", f"http://{_VIP}/"]
    )
    return asked.stdout == _SERVED


def _timer(node: Node) -> str:
    return node.unit_state("certbot.timer")


def _in_fault(told: list[tuple[float, str]]) -> bool:
    return any("Entering FAULT STATE" in message for _, message in told)


def _is_backup(told: list[tuple[float, str]]) -> bool:
    return "Entering BACKUP STATE" in told[-1][1]
