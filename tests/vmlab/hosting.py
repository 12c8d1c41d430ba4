"""What the three hypervisors are configured as, as text: all of it is the same on each of them.

`web` and `vpn` are guests with a disk each. DRBD 9 replicates `vpn` on all three machines; the stock kernel's 8.4 joins
two, so there `web` is on left and right, and `vpn` on left and center: each has what the other may not start.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tests.lab.profiles import ACTIVE_METRIC, HOSTING, NODE_AS, PRIORITY, STANDBY_METRIC, UPSTREAM_ADDRESS, UPSTREAM_AS

NODES = ("left", "right", "center")
INSTANCE = HOSTING.follows
PREFIX = HOSTING.prefixes[0]
VIP = HOSTING.addresses[0]
BRIDGE = "br-public"
CLIENT = "10.77.0.99"
CLIENT_PORT = 4000

_PUBLIC = "10.77.0.{}"
_REPLICATION = "10.79.0.{}"
_NUMBER = {"left": 11, "right": 12, "center": 13}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One guest, and the DRBD resource of the same name that is its disk."""

    name: str
    minor: int
    disk: str
    """The machine's disk below DRBD."""
    number: int
    """Of its address."""
    nodes: dict[int, tuple[str, ...]]
    """Where it may run, with DRBD 8 and 9."""


def numbered(name: str, count: int) -> tuple[Guest, ...]:
    """As many guests, of that name and a number, on left and right."""
    return tuple(
        Guest(
            name=f"{name}{minor}",
            minor=minor,
            disk=f"vd{chr(ord('b') + minor)}",
            number=101 + minor,
            nodes=dict.fromkeys((8, 9), ("left", "right")),
        )
        for minor in range(count)
    )


GUESTS = {
    guest.name: guest
    for guest in (
        Guest(name="web", minor=0, disk="vdb", number=101, nodes={8: ("left", "right"), 9: ("left", "right")}),
        Guest(name="vpn", minor=1, disk="vdc", number=102, nodes={8: ("left", "center"), 9: NODES}),
    )
}


def promote(guest: Guest, generation: int) -> str:
    """drbdsetup's words that make its disk Primary."""
    return f"primary {_drbdsetup_name(guest, generation)}"


def demote(guest: Guest, generation: int) -> str:
    """drbdsetup's words that make its disk Secondary."""
    return f"secondary {_drbdsetup_name(guest, generation)}"


def _drbdsetup_name(guest: Guest, generation: int) -> str:
    """DRBD 8 knows minors, and 9 resources."""
    return str(guest.minor) if generation == 8 else guest.name


def networks(node: str) -> dict[str, str]:
    """The node's networks, with its address in each: that of the VIP and the guests, and that of DRBD."""
    number = _NUMBER[node]
    return {"service": f"{_PUBLIC.format(number)}/24", "replication": f"{_REPLICATION.format(number)}/24"}


def address(node: str) -> str:
    """The node's own address in the network of the VIP."""
    return _PUBLIC.format(_NUMBER[node])


def peers(node: str) -> tuple[str, ...]:
    """The addresses of the other nodes, as in [peers]."""
    return tuple(address(other) for other in NODES if other != node)


def files(generation: int, guests: Collection[Guest] = tuple(GUESTS.values())) -> dict[str, str]:
    """Every file that is configured, by its path; `generation` of DRBD: 8 or 9."""
    found = {
        "/etc/keepalived/keepalived.conf": keepalived(),
        "/etc/bird/bird.conf": _BIRD,
        "/root/.ssh/config": _SSH,
        "/etc/bird/failoverd.conf": f"define failover_metric = {STANDBY_METRIC};\n",
        "/etc/failoverd/failoverd.toml": failoverd(generation, guests),
        "/etc/drbd.d/global_common.conf": _DRBD_COMMON,
        "/etc/systemd/system/vmlab-bridge.service": _BRIDGE_UNIT,
        "/etc/systemd/system/vmlab-sampler.service": _SAMPLER_UNIT,
        "/etc/modprobe.d/drbd.conf": "options drbd disable_sendpage=1\n",
        "/etc/systemd/system/failoverd.service.d/vmlab.conf": _FAILOVERD_SERVICE,
        "/etc/systemd/system/systemd-udev-trigger.service.d/vmlab.conf": _UDEV_TRIGGER,
    }
    for guest in guests:
        found[f"/etc/drbd.d/{guest.name}.res"] = drbd(guest, generation)
        found[f"/etc/xen/{guest.name}.cfg"] = domain(guest)
    return found


def keepalived(follower: str = 'notify "/usr/libexec/failoverd/notify"') -> str:
    """keepalived.conf; `follower` is how it tells who follows it."""
    priorities = "\n".join(f"    @{node} priority {priority}" for node, priority in PRIORITY.items())
    return f"""global_defs {{
    script_user root
    enable_script_security
    enable_dbus
    reload_check_config
    vrrp_version 3
    vrrp_notify_fifo /run/failoverd/keepalived.fifo
}}
track_file {INSTANCE} {{
    file /run/failoverd/track/{INSTANCE}
    weight 0
}}
vrrp_instance {INSTANCE} {{
    state BACKUP
    nopreempt
    interface {BRIDGE}
    virtual_router_id 51
{priorities}
    advert_int 1
    track_file {{
        {INSTANCE}
    }}
    virtual_ipaddress {{
        {VIP}/32
    }}
    {follower}
}}
"""


_BIRD = f"""log syslog all;
router id from {_PUBLIC.format(0)}/24;
include "/etc/bird/failoverd.conf";
protocol device {{ }}
protocol static service {{
    ipv4;
    route {PREFIX} unreachable;
}}
protocol bgp upstream {{
    local as {NODE_AS};
    neighbor {UPSTREAM_ADDRESS} as {UPSTREAM_AS};
    connect delay time 1;
    connect retry time 2;
    error wait time 1, 2;
    hold time 12;
    ipv4 {{
        import none;
        export filter {{
            if source != RTS_STATIC then reject;
            bgp_med = failover_metric;
            accept;
        }};
    }};
}}
"""

# [peers] are asked by ssh, with the key that all machines let in. Emulated, a new connection takes seconds: one that is
# there already is shared.
_SSH = f"""Host {_PUBLIC.format("*")}
    ControlPath /run/ssh-%h
    StrictHostKeyChecking accept-new
"""

# An emulated machine is silent for a second now and then.
_DRBD_COMMON = """global { usage-count no; }
common {
    net { ping-int 2; ping-timeout 30; connect-int 3; }
}
"""

# Python alone needs a minute there when three machines boot at once.
_FAILOVERD_SERVICE = """[Service]
TimeoutStartSec=400s
WatchdogSec=120s
"""
# It looks at every device that there is, which costs an emulated dom0 half a minute.
_UDEV_TRIGGER = """[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net
"""


def drbd(guest: Guest, generation: int, *, quorum: bool = True) -> str:
    """A guest's resource; on three nodes DRBD 9 has a `quorum`, unless told otherwise."""
    nodes = guest.nodes[generation]
    nine = generation == 9
    options = "quorum majority; on-no-quorum io-error;" if quorum and len(nodes) > 2 else "quorum off;"
    text = [
        f"resource {guest.name} {{",
        "    protocol C;",
        f"    device /dev/drbd{guest.minor};",
        f"    disk /dev/{guest.disk};",
        "    meta-disk internal;",
    ]
    if nine:
        text += [f"    options {{ auto-promote no; {options} }}"]
        text += [f"    connection-mesh {{ hosts {' '.join(nodes)}; }}"]
    for number, node in enumerate(nodes):
        identity = f"node-id {number}; " if nine else ""
        address = f"address {_REPLICATION.format(_NUMBER[node])}:{7788 + guest.minor};"
        text += [f"    on {node} {{ {identity}{address} }}"]
    return "\n".join([*text, "}", ""])


# What a guest's kernel need not do; emulated, each takes some tenths of a second.
_QUICK = (
    "mitigations=off",
    "cryptomgr.notests",
    "audit=0",
    "lsm=",
    "noreplace-smp",
    "norandmaps",
    "initcall_blacklist=init_kprobe_trace",
)


def domain(guest: Guest, *words: str) -> str:
    """A guest's file for xl; `words` are more of what it is told (see site/guest-init).

    Its hotplug scripts cost an emulated machine little. Of Debian's own, some take longer there than libxl
    lets them, when eight guests are created at once.
    """
    block, vif = (f",script=/usr/local/lib/vmlab/xen-{kind}" for kind in ("block", "vif"))
    told = {"name": guest.name, "address": f"{_PUBLIC.format(guest.number)}/24", "client": CLIENT}
    extra = [*_QUICK, *(f"vmlab.{key}={value}" for key, value in told.items()), *words]
    return f"""name = "{guest.name}"
type = "pv"
kernel = "/srv/guest/vmlinux"
ramdisk = "/srv/guest/initrd.img"
extra = "console=hvc0 quiet {" ".join(extra)}"
memory = 96
vcpus = 1
cpu_weight = 8
disk = ["format=raw,vdev=xvda,access=rw{block},target=/dev/drbd{guest.minor}"]
vif = ["mac=00:16:3e:00:00:{guest.number:02x},bridge={BRIDGE}{vif}"]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
"""


def failoverd(
    generation: int, guests: Collection[Guest] = tuple(GUESTS.values()), *, timeout: str = "90s", quorum: str = ""
) -> str:
    """failoverd.toml; `timeout` is that of every activation but bird's. `quorum`: the keys of that table."""
    # A node that waits for a lease has data that was not replicated meanwhile.
    # Looks take an emulated Domain-0 long. What happens is told by events; these are for what makes none.
    peers = "\n".join(f'{node} = "{address(node)}"' for node in NODES)
    text = f"""[node]
check_interval = "2m"

[peers]
{peers}

[instance.{INSTANCE}]
vips = ["{VIP}/32"]
interface = "{BRIDGE}"
{
        quorum
        and f'''
[quorum]
{quorum}
'''
    }
[instance.{INSTANCE}.resource.prefix]
driver = "bird"
symbol = "failover_metric"
active = {ACTIVE_METRIC}
standby = {STANDBY_METRIC}
"""
    for guest in guests:
        nodes = ", ".join(f'"{node}"' for node in guest.nodes[generation])
        text += f"""
[instance.{INSTANCE}.resource.{guest.name}-disk]
driver = "drbd"
resource = "{guest.name}"
reconnect_grace = 6
{quorum and 'stale_after = "10m"'}
nodes = [{nodes}]
timeout = "{timeout}"
stop_timeout = "20s"

[instance.{INSTANCE}.resource.{guest.name}]
driver = "xen"
config = "/etc/xen/{guest.name}.cfg"
needs = ["{guest.name}-disk"]
nodes = [{nodes}]
timeout = "{timeout}"
stop_timeout = "30s"
restart = {{ max = 2, within = "10m" }}
on_failure = "release"
"""
    return text


_BRIDGE_UNIT = f"""[Unit]
Description=The bridge that guests and the VIP are on
DefaultDependencies=no
After=vmlab-network.service
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/vmlab-bridge {BRIDGE}

[Install]
WantedBy=multi-user.target
"""

BRIDGE_SCRIPT = """#!/bin/sh
# Puts eth0 into a bridge, which takes over its addresses.
set -e
addresses=$(ip -o -4 address show dev eth0 | awk '{ print $4 }')
ip link add "$1" type bridge forward_delay 0 stp_state 0 mcast_snooping 0
ip link set "$1" address "$(cat /sys/class/net/eth0/address)" up
ip address flush dev eth0
ip link set eth0 master "$1" up
for address in $addresses; do ip address add "$address" dev "$1"; done
"""

_SAMPLER_UNIT = f"""[Unit]
Description=Says what runs here
After=network.target xen.service

[Service]
ExecStart=/usr/bin/python3 -I -S /usr/local/lib/vmlab/sampler.py {CLIENT} {CLIENT_PORT} {VIP}
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
