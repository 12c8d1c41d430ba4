"""Network namespaces and the links between them: the only module that calls `ip` to change anything.

The machine's own interfaces and addresses are never touched: both ends of every link are made inside namespaces.
"""

import subprocess
from collections.abc import Sequence

_IP_SECONDS = 20.0

# A node answers for addresses that come and go, on routes that change under it: no filter may get in the way.
# Duplicate address detection would only make every start a second longer.
_SYSCTLS = (
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv6.conf.default.accept_dad=0",
)


def ip(*batch: str, netns: str | None = None) -> None:
    """Run `ip` commands in order, in one process; `netns` None means the host's namespace."""
    argv = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    subprocess.run(argv, input="\n".join(batch), text=True, check=True, timeout=_IP_SECONDS)


def in_netns(netns: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in a network namespace."""
    return ["nsenter", f"--net=/run/netns/{netns}", *argv]


def make_netns(*names: str, forwarding: bool = False) -> None:
    """Make network namespaces with their loopback up; `forwarding` makes routers of them."""
    ip(*(f"netns add {name}" for name in names))
    sysctls = (*_SYSCTLS, f"net.ipv4.ip_forward={int(forwarding)}")
    for name in names:
        ip("link set lo up", netns=name)
        argv = in_netns(name, ["sysctl", "--quiet", "--write", *sysctls])
        subprocess.run(argv, check=True, timeout=_IP_SECONDS)


def remove_netns(*names: str) -> None:
    """Remove network namespaces."""
    ip(*(f"netns delete {name}" for name in names))
