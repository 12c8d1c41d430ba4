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
from .conftest import ROOT, Package

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
    "/etc/keepalived/keepalived.conf": """
global_defs {
    script_user root
    vrrp_version 3
    vrrp_notify_fifo /run/failoverd/keepalived.fifo
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    advert_int 0.1
    virtual_ipaddress {
        192.0.2.1/32
    }
}
""",
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
