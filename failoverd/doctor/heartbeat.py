"""The heartbeat: this node has a key that it can use, and its own address and port."""

from __future__ import annotations

import errno
import os
import socket

from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.osutil import threads
from failoverd.ports.heartbeat import key
from failoverd.ports.heartbeat.channel import Address

_WHY = "This node says nothing by the heartbeat and receives nothing, so the others know nothing of it, nor it of them."


async def look(site: Site) -> list[Finding]:
    """All findings about [heartbeat]."""
    plan = site.configuration.heartbeat
    if plan is None:
        return []
    found = []
    if (problem := await threads.run(key.problem, plan.key_file)) is not None:
        found.append(Finding(code="heartbeat-key", about="heartbeat", wrong=str(problem), why=_WHY, fix=problem.remedy))
    match _unbindable(plan.own):
        case errno.EADDRNOTAVAIL:
            name = plan.core.node
            found.append(
                Finding(
                    code="heartbeat-address",
                    about="heartbeat",
                    wrong=f"{plan.own.host}, the address of {name} in [heartbeat], is not on this node",
                    why=_WHY,
                    where=str(site.configuration.files[0]),
                    fix=f'    addresses = {{ {name} = "…", … }}    # one that `ip address` shows here, and no VIP',
                )
            )
        case errno.EADDRINUSE:
            found.append(
                Finding(
                    code="heartbeat-port",
                    about="heartbeat",
                    wrong=f"another program has {plan.own}, the address and port of the heartbeat here",
                    why=_WHY,
                    fix=f"ss -lunp sport = {plan.own.port}    # end it; failoverd tries again by itself",
                )
            )
    return found


def _unbindable(address: Address) -> int | None:
    """Why failoverd could not receive there, as an error number; None: it could, or does.

    Without root's rights only the host counts: beside failoverd's own sockets no other user can have any.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            tried.bind((address.host, address.port if os.geteuid() == 0 else 0))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                raise
            return error.errno
    return None
