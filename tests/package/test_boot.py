"""A boot with the package among all that its units are ordered with, as each Debian ships it.

This kernel has no DRBD: what Debian's units and scripts do around it is real, and scripts play drbdadm and drbdsetup.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.waiting import wait_for

from . import chroot
from .chroot import Chroot
from .conftest import KEEPALIVED_CONF, ROOT, Package

#: Every daemon that failoverd drives, and DRBD in both ways in which Debian starts it.
ENABLED = (
    "bird.service",
    "drbd.service",
    "drbd@web.target",
    "failoverd.service",
    "failoverd.socket",
    "frr.service",
    "keepalived.service",
    "networking.service",
)
#: The other ways to have a network. None is there in this one, and to wait for them would take two minutes.
MORE_NETWORKS = (
    "NetworkManager-wait-online.service",
    "NetworkManager.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
)
#: Without a wfc-timeout, drbdadm waits for a peer that is dead.
SCRIPTS = {
    "/sbin/modprobe": "#!/bin/sh\n",
    "/sbin/drbdadm": """#!/bin/sh
[ "$1" != wait-con-int ] || exec sleep infinity
""",
    "/sbin/drbdsetup": """#!/bin/sh
[ "$1" != down ] || systemctl is-active failoverd.service >/root/failoverd-at-down
""",
}
FILES = {
    "/etc/network/interfaces": """
auto eth0 eth1
iface eth0 inet static
    address 192.0.2.11/24
iface eth1 inet manual
    up ip link set eth1 up
""",
    "/etc/bird/bird.conf": "router id 192.0.2.11;\nprotocol device { }\n",
    "/etc/keepalived/keepalived.conf": KEEPALIVED_CONF,
    "/etc/failoverd/failoverd.toml": """
[instance.VI_1]
vips = ["192.0.2.1/32"]
interface = "eth0"
[instance.VI_1.resource.web]
driver = "unit"
unit = "web.service"
""",
    # xen.service, which Debian makes of an init script, is after all file systems, and this one is after the network.
    "/etc/fstab": "192.0.2.99:/srv /srv nfs _netdev 0 0\n",
    # The limit of FRR's unit in Debian; and what is ordered with it keeps the unit loaded, and so its count.
    "/etc/systemd/system/web.service": """
[Unit]
StartLimitIntervalSec=3min
StartLimitBurst=3
[Service]
ExecStart=/bin/sleep infinity
""",
    "/etc/systemd/system/bird.service.d/web.conf": "[Unit]\nAfter=web.service\n",
}
ALERT = """
[alert]
command = ["sh", "-c", 'cat "$CREDENTIALS_DIRECTORY/page-token" - >/run/page']
[metrics]
listen = "127.0.0.1:9705"
file = "/var/lib/prometheus/node-exporter/failoverd.prom"
"""
SCRAPE = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9705/metrics').read().decode())"
WITHIN = 60


@pytest.fixture(name="alone", scope="module")
def _alone(debian: Path, package: Package) -> Iterator[Chroot]:
    """A node that boots alone: DRBD's peer does not come."""
    with chroot.machine(debian) as node:
        node.install(package.deb)
        for path, text in FILES.items():
            node.path(path).parent.mkdir(exist_ok=True)
            node.path(path).write_text(text)
        for path, script in SCRIPTS.items():
            node.path(path).unlink(missing_ok=True)
            node.path(path).write_text(script)
            node.path(path).chmod(0o755)
        node.run("systemctl", "enable", *ENABLED)
        node.boot()
        yield node


def test_a_node_that_boots_alone_serves_while_drbd_waits_for_its_peers(alone: Chroot) -> None:
    wait_for_phase(alone, "active")
    states = {unit: state(alone, unit) for unit in ("drbd", "drbd@web", "keepalived", "bird", "frr", "web")}
    assert states.pop("drbd") == "activating"
    assert set(states.values()) == {"active"}, states
    assert "cycle" not in alone.run("journalctl", "--boot", "_PID=1")


@pytest.mark.parametrize("unit", ["default.target", "failoverd.service"])
def test_systemd_finds_no_circle_and_no_other_mistake(alone: Chroot, unit: str) -> None:
    """systemd breaks a circle at boot by leaving out a unit of it: the network's target, or FRR."""
    alone.run("systemctl", "enable", *MORE_NETWORKS)
    assert alone.run("systemd-analyze", "--man=no", "verify", unit) == ""


def test_it_becomes_master_more_often_than_systemd_lets_its_unit_start(alone: Chroot) -> None:
    wait_for_phase(alone, "active")
    for _ in range(4):
        alone.run("systemctl", "stop", "keepalived.service")
        wait_for_phase(alone, "standby")
        alone.run("systemctl", "start", "keepalived.service")
        wait_for_phase(alone, "active")
    assert state(alone, "web") == "active"


def test_an_alert_has_its_credential_and_prometheus_its_figures_in_the_sandbox(alone: Chroot) -> None:
    manual = (ROOT / "docs/man/failoverd.toml.5.scd").read_text()
    (credential,) = re.findall(r"^```\n(\[Service\]\nLoadCredential=.*\n)```$", manual, re.MULTILINE)
    for path, text in {
        "/etc/systemd/system/failoverd.service.d/alert.conf": credential,
        "/etc/credstore/page-token": "secret\n",
        "/etc/failoverd/conf.d/alert.toml": ALERT,
    }.items():
        alone.path(path).parent.mkdir(exist_ok=True)
        alone.path(path).write_text(text)
    alone.run("mkdir", "-p", "/var/lib/prometheus/node-exporter")
    # systemd does this on a machine, and not in a container; without it a credential stays invisible.
    alone.run("mount", "--make-rshared", "/")
    alone.run("systemctl", "daemon-reload")
    alone.run("systemctl", "restart", "failoverd.service")
    assert "accepted the test" in alone.run("failoverctl", "alert", "test")
    assert alone.path("/run/page").read_text().startswith('secret\n{"version": 1, ')
    assert "failoverd_build_info{" in alone.run("python3", "-c", SCRAPE)
    file = alone.path("/var/lib/prometheus/node-exporter/failoverd.prom")
    wait_for("the file is there", file.exists, within=WITHIN)
    main = alone.run("systemctl", "show", "--property=MainPID", "--value", "failoverd.service").strip()
    namespaces = {alone.run("readlink", f"/proc/{pid}/ns/mnt") for pid in ("1", main)}
    assert len(namespaces) == 1, "a credential must not hide what a resource mounts"


def test_drbd_is_taken_down_when_failoverd_has_ended(alone: Chroot) -> None:
    wait_for("failoverd runs", lambda: state(alone, "failoverd"), until=lambda seen: seen == "active", within=WITHIN)
    alone.run("systemctl", "stop", "failoverd.socket", "failoverd.service", "drbd@web.service")
    assert alone.path("/root/failoverd-at-down").read_text() == "inactive\n"


def test_networkd_leaves_the_vip_alone_as_the_manual_says(alone: Chroot) -> None:
    manual = (ROOT / "docs/man/failoverd.8.scd").read_text()
    (keep,) = re.findall(r"^```\n(\[Network\]\nKeep.*\n)```$", manual, re.MULTILINE)
    file = alone.path("/etc/systemd/network/10-eth1.network")
    file.write_text(f"[Match]\nName=eth1\n{keep}Address=192.0.2.12/24\n")
    alone.run("systemctl", "restart", "systemd-networkd.service")
    wait_for("networkd has set its address", lambda: "192.0.2.12/24" in addresses(alone), within=WITHIN)
    alone.run("ip", "address", "add", "192.0.2.2/32", "dev", "eth1")
    # What it had configured is removed, and so would be what it had not.
    file.write_text(file.read_text().replace("192.0.2.12", "192.0.2.13"))
    alone.run("networkctl", "reload")
    wait_for("networkd has set the other one", lambda: "192.0.2.13/24" in addresses(alone), within=WITHIN)
    assert "192.0.2.2/32" in addresses(alone)


def addresses(machine: Chroot) -> str:
    return machine.run("ip", "address", "show", "eth1")


def wait_for_phase(machine: Chroot, phase: str) -> None:
    wait_for(
        f"failoverd is {phase}",
        lambda: json.loads(machine.run("failoverctl", "status", "--json"))["instances"]["VI_1"],
        until=lambda seen: seen["phase"] == phase,
        within=WITHIN,
    )


def state(machine: Chroot, unit: str) -> str:
    return machine.run("systemctl", "show", "--property=ActiveState", "--value", unit).strip()
