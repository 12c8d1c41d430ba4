"""The heartbeat between the failoverds of the hypervisors: its configuration, its key, and whether all are heard."""

from collections.abc import Mapping
from functools import partial

from tests.lab.waiting import wait_for

from . import hosting
from .hypervisor import SOON, Hypervisor

_KEY = "/etc/failoverd/heartbeat.key"
#: An emulated machine is silent for seconds now and then.
_INTERVAL = "4s"


def config() -> str:
    """The table [heartbeat] of all nodes."""
    named = ", ".join(f'{name} = "{hosting.address(name)}"' for name in hosting.NODES)
    return f'\n[heartbeat]\naddresses = {{ {named} }}\nkey_file = "{_KEY}"\ninterval = "{_INTERVAL}"\n'


def give_key(node: Hypervisor) -> None:
    """Give the node the key; failoverd reads it with its configuration."""
    node.machine.write(_KEY, "k" * 44, mode=0o600)


def wait_until_heard(nodes: Mapping[str, Hypervisor]) -> None:
    """Wait until each of them hears all the others."""
    for node in nodes.values():
        wait_for(f"{node.name} hears the others", partial(_hears_all, node), within=SOON, poll=node.poll)


def _hears_all(node: Hypervisor) -> bool:
    peers = (node.status()["heartbeat"] or {}).get("peers", {})
    return len(peers) == len(hosting.NODES) - 1 and not any(peer["silent"] for peer in peers.values())
