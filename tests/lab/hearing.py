"""The heartbeat between the failoverds of a laboratory: its configuration, its key, and what each node has heard."""

from typing import Any

from . import status_client
from .lab import Lab
from .profiles import NODES, NodeName, node_address

_SECONDS = 30.0
_KEY = "/etc/failoverd/heartbeat.key"
_ADDRESSES = ", ".join(f'{name} = "{node_address(name)}"' for name in NODES)


def config(interval: str) -> str:
    """The table [heartbeat] of all nodes."""
    return f"""
[heartbeat]
addresses = {{ {_ADDRESSES} }}
key_file = "{_KEY}"
interval = "{interval}"
"""


def give_key(lab: Lab, name: NodeName, key: str = "k" * 44) -> None:
    """Give the node the key, and have failoverd read it."""
    file = lab.nodes[name].path(_KEY)
    file.write_text(key, encoding="ascii")
    file.chmod(0o600)
    lab.nodes[name].systemctl("reload", "failoverd.service")


def peer(lab: Lab, here: NodeName, there: NodeName) -> dict[str, Any]:
    """What `here` shows of `there`."""
    return dict(status_client.status(lab.nodes[here])["heartbeat"]["peers"][there])


def wait_until_heard(lab: Lab, *nodes: NodeName) -> None:
    """Wait until each of them hears all the others."""
    lab.wait_for(
        "all hear one another",
        lambda: [peer(lab, here, there)["silent"] for here in nodes for there in nodes if here != there],
        until=lambda silent: not any(silent),
        within=_SECONDS,
    )
