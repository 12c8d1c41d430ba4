"""The only place that talks to the service manager: readiness, status text, watchdog, and the sockets that it holds.

Without systemd (``NOTIFY_SOCKET`` and ``LISTEN_FDS`` unset) everything here does nothing. What systemd is told goes
through a thread: it may not read for as long as it reloads, or for ever, and its own library would wait with Python's
lock held.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from failoverd.outbox import Outbox
from systemd import daemon

#: The most messages that wait for systemd.
LIMIT = 100


def tell(*, ready: bool = False, stopping: float | None = None, alive: bool = False, status: str | None = None) -> None:
    """Tell systemd where the service stands; `status` is the line that ``systemctl status`` shows.

    `stopping`: it is, and needs up to so many seconds from now, whatever ``TimeoutStopSec=`` says. `alive`: feeds the
    watchdog.
    """
    lines = []
    if ready:
        lines.append("READY=1")
    if stopping is not None:
        lines += ["STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(stopping * 1e6)}"]
    if alive:
        lines.append("WATCHDOG=1")
    if status is not None:
        lines.append(f"STATUS={status}")
    if "NOTIFY_SOCKET" in os.environ:
        _outbox.put("\n".join(lines))


def _send(message: str) -> None:
    """What sd_notify(3) does. OSError: nobody listens there, which is no reason to stop."""
    path = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(message.encode(errors="backslashreplace"), f"\0{path[1:]}" if path.startswith("@") else path)


_outbox = Outbox("systemd", _send, LIMIT)


def watchdog() -> float | None:
    """Seconds within which systemd wants to be told that this process is alive; None: it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def sockets() -> dict[str, socket.socket]:
    """The listening sockets that systemd passed, by the name of their file (a socket unit names all alike).

    A FIFO is among them only so that systemd keeps it open; the intake opens it by itself, as it does without systemd.
    """
    found: dict[str, socket.socket] = {}
    for descriptor in daemon.listen_fds():
        if daemon.is_fifo(descriptor):
            os.close(descriptor)
            continue
        passed = socket.socket(fileno=descriptor)
        passed.setblocking(False)
        found[Path(passed.getsockname()).name] = passed
    return found
