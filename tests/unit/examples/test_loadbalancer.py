"""The load balancer pair at work: the example's own files on two nodes of the laboratory.

loadbalancer/README.md has a table of what is seen here.
"""

from collections.abc import Iterator

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

#: haproxy's own word: it serves at the VIP, and none of the servers is there in the laboratory.
_ASK = f"""
import http.client
connection = http.client.HTTPConnection("{_VIP}", timeout=2)
connection.request("GET", "/")
print(connection.getresponse().status)
"""


@pytest.fixture(name="pair")
def _pair() -> Iterator[Lab]:
    """left and right with the example's files, left is MASTER."""
    with Lab("hosting") as lab:
        for node in lab.nodes.values():
            node.systemctl("stop", "keepalived.service")
        # center is neither of the pair: it is the client.
        lab.center.run(["ip", "route", "add", f"{_VIP}/32", "dev", "eth0"])
        for node in (lab.left, lab.right):
            for file, installed in _INSTALLED.items():
                node.path(installed).write_text((EXAMPLES / "loadbalancer" / file).read_text())
            node.run(["install", "-D", str(REPOSITORY / "hooks/notify"), "/usr/libexec/failoverd/notify"])
            node.run(["install", "-d", "-o", "haproxy", "/run/haproxy"])  # as Debian's tmpfiles.d/haproxy.conf
            node.systemctl("restart", "failoverd.service")
            node.systemctl("start", "keepalived.service")
            _wait_for_service_by(lab, lab.left)
        yield lab


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_haproxy_is_where_the_vip_is_and_nowhere_else(pair: Lab) -> None:
    left, right = pair.left, pair.right

    # A planned move; what comes back stays BACKUP.
    left.systemctl("stop", "keepalived.service")
    _wait_for_service_by(pair, right)
    left.systemctl("start", "keepalived.service")
    pair.wait_for_phase("left", "standby")
    _wait_for_service_by(pair, right)

    # haproxy started by hand where the VIP is not: it cannot have the address.
    left.systemctl("start", "haproxy.service", check=False)
    assert _haproxy(left) != "active"
    left.systemctl("stop", "haproxy.service")

    # haproxy dies on the MASTER: systemd starts it again, and the VIP stays.
    dead = _main_pid(right)
    right.systemctl("kill", "--signal=KILL", "haproxy.service")
    pair.wait_for("haproxy is another", lambda: _main_pid(right), within=20, until=lambda pid: pid not in {dead, "0"})
    _wait_for_service_by(pair, right)

    # haproxy cannot start on the new MASTER: that is told, and the VIP stays. Mended and started, it is believed.
    config = left.path(_INSTALLED["haproxy.cfg"])
    good = config.read_text()
    config.write_text(good.replace("default_backend servers", "default_backend nobody"))
    right.systemctl("stop", "keepalived.service")
    pair.wait_for_phase("left", "failed")
    assert left.has_vip(_VIP)
    assert _haproxy(left) != "active"
    config.write_text(good)
    left.systemctl("reset-failed", "haproxy.service")
    left.systemctl("start", "haproxy.service")
    pair.wait_for_phase("left", "active", within=60)
    _wait_for_service_by(pair, left)

    # The MASTER loses its power.
    right.systemctl("start", "keepalived.service")
    pair.wait_for_phase("right", "standby")
    left.kill()
    _wait_for_service_by(pair, right)


def _wait_for_service_by(lab: Lab, node: Node) -> None:
    """Until `node` has VIP and haproxy, the client is answered, and the other has neither."""
    lab.wait_for(f"{node.name} has the VIP", lambda: node.has_vip(_VIP), within=15)
    lab.wait_for(f"haproxy runs on {node.name}", lambda: _haproxy(node) == "active", within=15)
    lab.wait_for(
        "the client is answered", lambda: lab.center.run(["python3", "-c", _ASK]).stdout.strip() == "503", within=15
    )
    other = lab.left if node is lab.right else lab.right
    if other.alive:
        lab.wait_for(f"no haproxy on {other.name}", lambda: _haproxy(other) == "inactive", within=15)
        assert not other.has_vip(_VIP)


def _haproxy(node: Node) -> str:
    return node.unit_state("haproxy.service")


def _main_pid(node: Node) -> str:
    return node.systemctl("show", "--property=MainPID", "--value", "haproxy.service").stdout.strip()
