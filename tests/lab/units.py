"""The systemd units of a node: what it starts, in which order, and nothing of what the host has enabled.

keepalived, bird and FRR run from Debian's own units, so that start limits, kill modes and time-outs are those that
users have. The laboratory adds targets, the echo responder and, until the package has one, failoverd's service.
"""

import shlex
import sys
from pathlib import Path

from .profiles import Agent, NodeName, Profile

#: Everything but keepalived: the first start of a laboratory stops here, so that it can choose the first MASTER.
NODE_TARGET = "node.target"
#: What a node boots into from then on.
VRRP_TARGET = "vrrp.target"

CONFIG = "/etc/failoverd/failoverd.toml"
ECHO_PORT = 7

_RESPONDER = Path(__file__).with_name("responder.py")


def units(profile: Profile, node: NodeName, *, agent: Agent) -> dict[str, str]:
    """The files below /etc/systemd, by name."""
    wanted = [
        *("dbus.socket", "dbus.service"),
        *("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service"),
        "responder.service",
    ]
    if profile.bird:
        wanted.append("bird.service")
    if profile.frr:
        wanted.append("frr.service")
    if agent == "failoverd":
        wanted.append("failoverd.service")
    # Ordered after frr.service although it starts nothing of it: that keeps the unit loaded, as on a machine where it
    # is enabled, and with it the start limit of Debian's unit (3 in 3 minutes), which systemd forgets otherwise.
    return {
        f"system/{NODE_TARGET}": f"""[Unit]
Description=A node of the laboratory, without VRRP
Requires=basic.target
After=basic.target
Wants={" ".join(wanted)}
""",
        f"system/{VRRP_TARGET}": f"""[Unit]
Description=A node of the laboratory
Requires={NODE_TARGET}
After={NODE_TARGET} frr.service
Wants=keepalived.service
""",
        "system/vpn.service": """[Unit]
Description=Stands for the guest vpn of examples/hosting: this kernel has neither DRBD nor Xen

[Service]
Type=exec
ExecStart=/usr/bin/sleep infinity
""",
        "system/responder.service": f"""[Unit]
Description=Answers the client's numbered packets

[Service]
Type=exec
ExecStart=/usr/bin/python3 -I -S {_RESPONDER} {ECHO_PORT} {node}
""",
        "system/failoverd.service": _failoverd(node),
        "system/keepalived.service.d/lab.conf": """[Unit]
After=dbus.service failoverd.service
StartLimitIntervalSec=0
""",
        # Storms of events are part of the stories, and so is what was logged about each of them.
        "journald.conf.d/lab.conf": """[Journal]
Storage=volatile
RuntimeMaxUse=64M
RateLimitIntervalSec=0
ReadKMsg=no
Audit=no
""",
    }


def _failoverd(node: NodeName) -> str:
    # As the package's. Before bird: a node that was MASTER when it died has the metric of a MASTER in bird's include.
    argv = [str(failoverd_bin("failoverd")), "--config", CONFIG, "--node", node, "--log-format", "json"]
    return f"""[Unit]
Description=Makes this machine follow its VIP
After=dbus.service
Wants=dbus.service
Before=keepalived.service bird.service

[Service]
Type=notify
ExecStart={shlex.join(argv)}
ExecReload=/bin/kill -HUP $MAINPID
TimeoutStartSec=20
KillMode=process
Restart=no

[Install]
WantedBy={VRRP_TARGET}
"""


def failoverd_bin(program: str) -> Path:
    """Where the console scripts of the environment are that runs the tests."""
    return Path(sys.prefix) / "bin" / program
