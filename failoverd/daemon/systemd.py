"""The only place that talks to the service manager: readiness, status text, watchdog, and the sockets that it holds.

Without systemd (``NOTIFY_SOCKET`` and ``LISTEN_FDS`` unset) everything here does nothing.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from systemd import daemon


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
    with suppress(OSError):  # a stale NOTIFY_SOCKET is no reason to stop
        daemon.notify("\n".join(lines))


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
