"""Where DRBD's connections go over the network, and those of them that are dead and still hold memory.

DRBD sends a guest's pages without copying them. What was not sent yet when a connection broke during a write stays in a
socket that DRBD has closed (FIN-WAIT-1), for ever if that has no timer. Xen cannot take back a page that such a socket
holds: the guest goes on dying, its disk is open, and the node stays Primary. Nobody has any use of the socket, and to
end it is the cure. What this must not do: end another one.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from failoverd.drivers import DriverError, command
from failoverd.trouble import troubles

#: Whether DRBD copies what it sends, so that none of this can happen. It may be written at any time.
COPIES = Path("/sys/module/drbd/parameters/disable_sendpage")

#: What has it copy from the next boot on, and where that is said.
OPTION, OPTIONS = "options drbd disable_sendpage=1", "/etc/modprobe.d/drbd-xen.conf"

#: Seconds that one tool may take; each answers in 50 ms on a slow machine.
PATIENCE = 5.0

#: What the trouble is about.
_HAZARD = "DRBD and guests that end"

#: One end of a connection, as ``drbdsetup show`` has it: ``_this_host ipv4 10.0.0.1:7788;`` on DRBD 9, on 8.4 the same
#: in two lines and braces. The two ends of one follow each other.
_END = re.compile(r"\b_(this|remote)_host\s*(?:\{\s*address)?\s+ipv[46]\s+\[?([0-9a-f.:]+)(?:%\w+)?\]?:(\d+);")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Between which addresses and ports a resource is replicated: each side listens at its own."""

    resource: str
    local: str
    local_port: int
    peer: str
    peer_port: int

    @property
    def dead(self) -> tuple[str, ...]:
        """How ss is told which sockets: those of this wire, by either side's port, that DRBD here has closed."""
        ports = f"( sport = :{self.local_port} or dport = :{self.peer_port} )"
        return ("state", "fin-wait-1", "src", _host(self.local), "dst", _host(self.peer), ports)

    @property
    def cure(self) -> tuple[str, ...]:
        """The command that ends them. ss says on standard error what the kernel did not let it."""
        return ("ss", "-K", "-Htan", *self.dead)

    def __str__(self) -> str:
        """What is wrong where it is dead, and both remedies, each to be pasted."""
        return (
            f"a dead connection of DRBD resource {self.resource} to {self.peer} holds memory of the guest, which "
            f"`{shlex.join(self.cure)}` lets go, and {OPTION!r} in {OPTIONS} prevents"
        )


def understood(resource: str, shown: str) -> tuple[Wire, ...]:
    """The wires of a resource, from ``drbdsetup show``; none where it has no connection. ValueError: no addresses."""
    ends = [(side, str(ipaddress.ip_address(address)), int(port)) for side, address, port in _END.findall(shown)]
    found = []
    for one, other in zip(ends[::2], ends[1::2], strict=False):
        here, there = (one, other) if one[0] == "this" else (other, one)
        if (here[0], there[0]) == ("this", "remote"):
            found.append(Wire(resource=resource, local=here[1], local_port=here[2], peer=there[1], peer_port=there[2]))
    return tuple(found)


async def dead(resource: str) -> tuple[Wire, ...]:
    """The wires of the resource on which there are dead connections. DriverError when that cannot be seen."""
    show = ("drbdsetup", "show", resource)
    try:
        wires = understood(resource, await _said(show))
    except ValueError as error:
        raise DriverError(f"not understood: what {shlex.join(show)} says ({error})") from error
    return tuple([wire for wire in wires if await _said(("ss", "-Htan", *wire.dead))])


async def end(wire: Wire) -> None:
    """End the dead connections on it. DriverError when the kernel does not do that."""
    await _said(wire.cure)


def hazard() -> str:
    """What may keep guests from dying on this machine, with the remedy; empty when nothing can, or there is no DRBD."""
    try:
        copies = COPIES.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    if copies in ("Y", "1"):
        return ""
    return (
        "DRBD sends guests' memory without copying it: when replication was interrupted, a guest on it may never end, "
        f"nor a handover. Remedy: echo 1 >{COPIES}; echo {shlex.quote(OPTION)} >{OPTIONS}"
    )


def warn() -> None:
    """Have the hazard shown for as long as it is there."""
    if found := hazard():
        troubles.begin(_HAZARD, found)
    else:
        troubles.end(_HAZARD)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _said(argv: tuple[str, ...]) -> str:
    done = await command.run(argv, timeout=PATIENCE)
    if done.returncode != 0 or done.stderr.strip():
        said = command.last_line(done.stderr) or f"exit status {done.returncode}"
        raise DriverError(f"{shlex.join(argv)}: {said}")
    return done.stdout.strip()
