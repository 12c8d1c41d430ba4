"""The configuration files of the laboratory's programs, as text: keepalived, bird, FRR and failoverd.

Nothing here touches the disk; node.py and upstream.py write what these functions return.
"""

import json
from collections.abc import Collection
from pathlib import Path

from .profiles import (
    ACTIVE_COST,
    ACTIVE_METRIC,
    NODE_AS,
    NODES,
    PRIORITY,
    STANDBY_COST,
    STANDBY_METRIC,
    UPSTREAM_ADDRESS,
    UPSTREAM_AS,
    Agent,
    NodeName,
    Profile,
    Source,
    VrrpInstance,
    node_address,
    vlan_interface,
)

REPOSITORY = Path(__file__).resolve().parents[2]

FIFO = "/run/failoverd/keepalived.fifo"
NOTIFY_SCRIPT = "/etc/keepalived/notify-script"
METRIC_INCLUDE = "/etc/bird/failoverd.conf"

# The fastest that two busy cores keep up with: a cut node is noticed after BFD_MS * BFD_MULTIPLIER.
_BFD_MS = 100
_BFD_MULTIPLIER = 5


def keepalived(
    profile: Profile,
    node: NodeName,
    *,
    repository: Path,
    agent: Agent,
    sources: Collection[Source],
    advert: float,
    track: bool,
) -> str:
    """keepalived.conf; `advert` is advert_int in seconds, `track` whether it watches the track files."""
    notify: list[str] = []
    if agent == "script":
        notify = [NOTIFY_SCRIPT]
    elif agent == "failoverd" and "hook" in sources:
        notify = [str(repository / "hooks/notify")]
    fifo = [f"    vrrp_notify_fifo {FIFO}"] if agent == "failoverd" and "fifo" in sources else []
    grouped = profile.follows not in {instance.name for instance in profile.instances}
    text = [
        "global_defs {",
        f"    router_id {node}",
        "    vrrp_version 3",
        "    enable_dbus",
        "    vrrp_higher_prio_send_advert true",
        "    script_user root",
        # The timers of two nodes are 4 ms apart: who is first must not be a matter of who gets a processor first.
        "    vrrp_rt_priority 50",
        # By default the kernel kills it then after 10 ms of work, also where its processor was taken away meanwhile.
        "    vrrp_rlimit_rttime 2000000",
        *fifo,
        "}",
    ]
    if track:
        for name in (instance.name for instance in profile.instances):
            text += [f"track_file {name} {{", f'    file "/run/failoverd/track/{name}"', "    weight 0", "}"]
    if grouped:
        text += [
            f"vrrp_sync_group {profile.follows} {{",
            "    group {",
            *(f"        {instance.name}" for instance in profile.instances),
            "    }",
            *(f'    notify "{command}"' for command in notify),
            "}",
        ]
    for instance in profile.instances:
        text += _vrrp_instance(instance, node, advert, [] if grouped else notify, track=track)
    return "\n".join(text) + "\n"


def _vrrp_instance(
    instance: VrrpInstance, node: NodeName, advert: float, notify: list[str], *, track: bool
) -> list[str]:
    return [
        f"vrrp_instance {instance.name} {{",
        f"    interface {instance.interface}",
        "    state BACKUP",
        "    nopreempt",
        f"    virtual_router_id {instance.router_id}",
        f"    priority {PRIORITY[node]}",
        f"    advert_int {advert:g}",
        "    virtual_ipaddress {",
        *(f"        {vip}" for vip in instance.vips),
        "    }",
        *(f'    notify "{command}"' for command in notify),
        *(["    track_file {", f"        {instance.name}", "    }"] if track else []),
        "}",
    ]


def metric(value: int) -> str:
    """The include file that carries a node's metric; failoverd writes the same."""
    return f"define failover_metric = {value};\n"


def notify_script(profile: Profile) -> str:
    """What a user would write instead of failoverd: `notify` gets TYPE NAME STATE PRIORITY."""
    if profile.bird:
        return f"""#!/bin/sh
case $3 in
MASTER) metric={ACTIVE_METRIC} ;;
*) metric={STANDBY_METRIC} ;;
esac
umask 022
echo "define failover_metric = $metric;" >{METRIC_INCLUDE}.new
mv {METRIC_INCLUDE}.new {METRIC_INCLUDE}
exec birdc configure
"""
    return """#!/bin/sh
case $3 in
MASTER) exec systemctl start frr.service ;;
*) exec systemctl stop frr.service ;;
esac
"""


def node_bird(node: NodeName) -> str:
    """bird.conf of a node: that of examples/hosting, with the laboratory's addresses and timers."""
    text = (REPOSITORY / "examples/hosting/bird.conf").read_text(encoding="utf-8")
    for theirs, ours in {
        # The VIP is on the same interface here.
        'router id from "eth0";': f"router id {node_address(node)};",
        "interval 300 ms; multiplier 3;": f"interval {_BFD_MS} ms; multiplier {_BFD_MULTIPLIER};",
        "local as 64500;": f"local {node_address(node)} as {NODE_AS};",
        # And a session that was lost is there again within a second.
        "neighbor 198.51.100.1 as 64496;": f"neighbor {UPSTREAM_ADDRESS} as {UPSTREAM_AS};\n"
        "    connect delay time 1;\n    connect retry time 1;\n    error wait time 1, 2;",
    }.items():
        if text.count(theirs) != 1:
            raise ValueError(f"examples/hosting/bird.conf has not one {theirs!r}")
        text = text.replace(theirs, ours)
    return text


def upstream_bird(profile: Profile) -> str:
    """bird.conf of the upstream router: BGP with every node that has bird, OSPF with every ospfd that is up."""
    peers = "\n".join(
        f"""protocol bgp {node} {{
    local {UPSTREAM_ADDRESS} as {UPSTREAM_AS};
    neighbor {node_address(node)} as {NODE_AS};
    passive on;
    error wait time 1, 2;
    bfd on;
    ipv4 {{ import all; export none; }};
}}"""
        for node in (NODES if profile.bird else ())
    )
    return f"""log "bird.log" all;
timeformat route iso long ms;
timeformat protocol iso long ms;
router id {UPSTREAM_ADDRESS};
protocol device {{ }}
protocol kernel {{
    ipv4 {{ import none; export where source ~ [ RTS_BGP, RTS_OSPF ]; }};
}}
protocol bfd {{
    interface "eth0" {{ interval {_BFD_MS} ms; multiplier {_BFD_MULTIPLIER}; }};
}}
protocol ospf v2 nodes {{
    ipv4 {{ import all; export none; }};
    area 0 {{
        interface "eth0" {{ hello 1; dead 4; wait 2; priority 10; bfd {"yes" if profile.frr else "no"}; }};
    }};
}}
{peers}
"""


def frr(profile: Profile, node: NodeName) -> str:
    """frr.conf: ospfd speaks to upstream, and the VLANs' prefixes are stub networks."""
    vlans = [vlan_interface(vlan) for vlan in profile.vlans]
    text = [
        f"hostname {node}",
        "log syslog informational",
        "bfd",
        " profile uplink",
        f"  detect-multiplier {_BFD_MULTIPLIER}",
        f"  receive-interval {_BFD_MS}",
        f"  transmit-interval {_BFD_MS}",
        " exit",
        "exit",
        "interface eth0",
        " ip ospf hello-interval 1",
        " ip ospf dead-interval 4",
        " ip ospf retransmit-interval 3",
        " ip ospf priority 0",
        *((" ip ospf bfd", " ip ospf bfd profile uplink") if profile.frr else ()),
        "exit",
        *(line for vlan in vlans if profile.frr for line in _at_a_cost(vlan)),
        "router ospf",
        f" ospf router-id {node_address(node)}",
        # The default tells a link that was just made 5 s late; bird drops what comes faster than once a second
        # (MinLSArrival, RFC 2328), and is told again only after the retransmit interval.
        " timers throttle lsa all 1100",
        *(f" passive-interface {interface}" for interface in vlans),
        " network 10.77.0.0/24 area 0",
        *(f" network {prefix} area 0" for prefix in profile.prefixes if vlans),
        "exit",
    ]
    return "\n".join(text) + "\n"


def _at_a_cost(interface: str) -> tuple[str, ...]:
    return (f"interface {interface}", f" ip ospf cost {STANDBY_COST}", "exit")


FRR_DAEMONS = """ospfd=yes
bfdd=yes
vtysh_enable=yes
zebra_options="  -A 127.0.0.1 -s 90000000"
ospfd_options="  -A 127.0.0.1"
bfdd_options="  -A 127.0.0.1"
"""


def failoverd(profile: Profile) -> str:
    """failoverd.toml, the same on every node."""
    quoted = [json.dumps(vip) for vip in profile.vips]
    text = [f"[instance.{profile.follows}]", "vips = [", *(f"    {vip}," for vip in quoted), "]"]
    text += [f'interface = "{profile.instances[0].interface}"', "preempt = false", ""]
    if profile.bird:
        text += [
            f"[instance.{profile.follows}.resource.prefix]",
            'driver = "bird"',
            'symbol = "failover_metric"',
            f"active = {ACTIVE_METRIC}",
            f"standby = {STANDBY_METRIC}",
            f'include = "{METRIC_INCLUDE}"',
            'protocol = "upstream"',
            f'prefix = "{profile.prefixes[0]}"',
        ]
    elif profile.frr:
        text += [
            f"[instance.{profile.follows}.resource.ospf]",
            'driver = "quagga"',
            'mode = "metric"',
            f"interfaces = {json.dumps([vlan_interface(vlan) for vlan in profile.vlans])}",
            f"active = {ACTIVE_COST}",
            f"standby = {STANDBY_COST}",
        ]
    else:
        text += [f"[instance.{profile.follows}.resource.ospf]", 'driver = "quagga"', 'unit = "frr.service"']
    return "\n".join(text) + "\n"
