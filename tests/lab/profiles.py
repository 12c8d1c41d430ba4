"""Who is who in the laboratory: nodes, addresses, and the three ways in which mastership matters to the neighbours.

*hosting*: every node always announces the service's prefix; the metric (BGP MED) says who should get the traffic.
*metric*: six VIPs on three VLANs in one sync group; every node always announces the VLANs by OSPF, at a cost.
*router*: the same, but the routing daemon runs on the MASTER only.

All addresses are private or reserved for documentation and live inside the laboratory's namespaces.
"""

from dataclasses import dataclass, replace
from typing import Literal

NodeName = Literal["left", "right", "center"]
ProfileName = Literal["hosting", "metric", "router"]

#: What follows keepalived on the nodes: failoverd, the shell script that a user would write instead, or nothing.
Agent = Literal["failoverd", "script", "none"]

#: How keepalived tells the agent.
Source = Literal["fifo", "hook"]

NODES: tuple[NodeName, ...] = ("left", "right", "center")
#: Far apart: the priority is only worth skew_time, advert_int * (256 - priority) / 256 (RFC 9568, 6.1), and with an
#: advert every 0.1 s a step of 10 would be 4 ms, which a busy machine takes from one node and not from the other.
PRIORITY: dict[NodeName, int] = {"left": 250, "right": 150, "center": 50}
HOST_NUMBER: dict[NodeName, int] = {"left": 11, "right": 12, "center": 13}

UPSTREAM_ADDRESS = "10.77.0.1"
UPSTREAM_TO_CLIENT = "10.78.0.1"
CLIENT_ADDRESS = "10.78.0.2"
UPSTREAM_AS = 65000
NODE_AS = 65001

ACTIVE_METRIC = 100
STANDBY_METRIC = 300
#: OSPF's, of the VLANs.
ACTIVE_COST = 10
STANDBY_COST = 100


def node_address(node: NodeName) -> str:
    """The node's own address on the network that it shares with upstream."""
    return f"10.77.0.{HOST_NUMBER[node]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpInstance:
    """One `vrrp_instance`: its VIPs are in keepalived's notation, `ADDR/PLEN dev IFACE`."""

    name: str
    interface: str
    router_id: int
    vips: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one use of failoverd looks like on the wire."""

    name: ProfileName
    follows: str
    """The instance or sync group that failoverd follows."""
    instances: tuple[VrrpInstance, ...]
    vlans: tuple[int, ...]
    prefixes: tuple[str, ...]
    """What upstream is to learn."""
    bird: bool
    """Whether bird runs on the nodes (else only FRR)."""
    frr: bool
    """Whether FRR runs on all nodes (else only where the agent starts it)."""

    @property
    def vips(self) -> tuple[str, ...]:
        """Every VIP in keepalived's notation."""
        return tuple(vip for instance in self.instances for vip in instance.vips)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every VIP as a plain address."""
        return tuple(vip.partition("/")[0] for vip in self.vips)


def vlan_interface(vlan: int) -> str:
    """The name of a VLAN's interface on the nodes."""
    return f"eth0.{vlan}"


HOSTING = Profile(
    name="hosting",
    follows="VI_1",
    instances=(VrrpInstance(name="VI_1", interface="eth0", router_id=51, vips=("192.0.2.1/32 dev eth0",)),),
    vlans=(),
    prefixes=("192.0.2.0/24",),
    bird=True,
    frr=False,
)

_VLANS = (10, 20, 30)

ROUTER = Profile(
    name="router",
    follows="ROUTER",
    instances=tuple(
        VrrpInstance(
            name=f"VI_{vlan}",
            interface=vlan_interface(vlan),
            router_id=vlan,
            vips=tuple(f"10.{vlan}.0.{host}/24 dev {vlan_interface(vlan)}" for host in (1, 2)),
        )
        for vlan in _VLANS
    ),
    vlans=_VLANS,
    prefixes=tuple(f"10.{vlan}.0.0/24" for vlan in _VLANS),
    bird=False,
    frr=False,
)

METRIC = replace(ROUTER, name="metric", frr=True)

PROFILES: dict[ProfileName, Profile] = {"hosting": HOSTING, "metric": METRIC, "router": ROUTER}
