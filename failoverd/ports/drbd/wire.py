"""Finds and ends DRBD's dead connections, which hold the memory of a guest.

DRBD sends a guest's pages without copying them. If a connection breaks during a write, the rest stays in a socket that
DRBD has closed (FIN-WAIT-1), without end if that socket has no timer. Xen cannot take back a page that such a socket
holds: the guest stays dying, its disk stays open, and the node stays Primary. Nothing uses the socket any more, so it
can be ended. This module must not end any other socket.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from failoverd.ports import command
from failoverd.ports.errors import DriverError
from failoverd.trouble import TroubleKind, troubles

#: Whether DRBD copies the data that it sends; then there are no such sockets. It can be written at any time.
DISABLE_SENDPAGE = Path("/sys/module/drbd/parameters/disable_sendpage")

#: The same from the next boot on: a line of MODPROBE_FILE.
MODPROBE_OPTION = "options drbd disable_sendpage=1"
MODPROBE_FILE = "/etc/modprobe.d/drbd-xen.conf"

#: For one call of drbdsetup or ss, which take 50 ms on a slow machine.
TOOL_TIMEOUT_S = 5.0

#: One end of a connection in the output of ``drbdsetup show``: ``_this_host ipv4 10.0.0.1:7788;`` on DRBD 9, the same
#: in two lines with braces on 8.4. The two ends of a connection follow each other.
_END = re.compile(r"\b_(this|remote)_host\s*(?:\{\s*address)?\s+ipv[46]\s+\[?([0-9a-f.:]+)(?:%\w+)?\]?:(\d+);")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The addresses and ports of a connection of a resource. Each side listens on its own."""

    resource: str
    local: str
    local_port: int
    peer: str
    peer_port: int

    @property
    def dead(self) -> tuple[str, ...]:
        """The arguments by which ss selects the sockets of this connection that DRBD on this node has closed."""
        ports = f"( sport = :{self.local_port} or dport = :{self.peer_port} )"
        return ("state", "fin-wait-1", "src", _host(self.local), "dst", _host(self.peer), ports)

    @property
    def cure(self) -> tuple[str, ...]:
        """The command that ends them. ss reports on standard error if the kernel does not permit that."""
        return ("ss", "-K", "-Htan", *self.dead)

    def __str__(self) -> str:
        """The error if the connection is dead, and both remedies, pasteable."""
        return (
            f"a dead connection of DRBD resource {self.resource} to {self.peer} holds memory of the guest: "
            f"`{shlex.join(self.cure)}` frees it, and {MODPROBE_OPTION!r} in {MODPROBE_FILE} prevents it"
        )


def parse(resource: str, output: str) -> tuple[Wire, ...]:
    """The connections in the output of ``drbdsetup show``; empty: none. Raises ValueError for an invalid address."""
    ends = [(side, str(ipaddress.ip_address(address)), int(port)) for side, address, port in _END.findall(output)]
    found = []
    for one, other in zip(ends[::2], ends[1::2], strict=False):
        here, there = (one, other) if one[0] == "this" else (other, one)
        if (here[0], there[0]) == ("this", "remote"):
            found.append(Wire(resource=resource, local=here[1], local_port=here[2], peer=there[1], peer_port=there[2]))
    return tuple(found)


async def dead(resource: str) -> tuple[Wire, ...]:
    """The dead connections of the resource. Raises DriverError if they cannot be read."""
    show = ("drbdsetup", "show", resource)
    try:
        wires = parse(resource, await _output(show))
    except ValueError as error:
        raise DriverError(f"cannot parse the output of {shlex.join(show)}: {error}") from error
    return tuple([wire for wire in wires if await _output(("ss", "-Htan", *wire.dead))])


async def end(wire: Wire) -> None:
    """End the dead sockets of the connection. Raises DriverError if the kernel does not permit that."""
    await _output(wire.cure)


def warn() -> None:
    """Show a trouble while DRBD's option lets a connection keep a guest from ending."""
    try:
        copies = DISABLE_SENDPAGE.read_text(encoding="ascii").strip() in ("Y", "1")
    except (OSError, ValueError):
        copies = True  # there is no DRBD
    if copies:
        troubles.end(TroubleKind.DRBD_SENDPAGE)
        return
    reason = (
        "DRBD sends the memory of guests without copying it, so a guest may never end after replication was "
        "interrupted, nor a handover"
    )
    troubles.begin(
        TroubleKind.DRBD_SENDPAGE, reason, parameter=DISABLE_SENDPAGE, option=MODPROBE_OPTION, file=MODPROBE_FILE
    )


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _output(argv: tuple[str, ...]) -> str:
    done = await command.run(argv, timeout=TOOL_TIMEOUT_S)
    if done.returncode != 0 or done.stderr.strip():
        error = command.last_line(done.stderr) or f"exit status {done.returncode}"
        raise DriverError(f"{shlex.join(argv)}: {error}")
    return done.stdout.strip()
