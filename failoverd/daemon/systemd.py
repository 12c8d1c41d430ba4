"""The only place that talks to the service manager: readiness, status text, and the sockets that it holds.

Without systemd (``NOTIFY_SOCKET`` and ``LISTEN_FDS`` unset) everything here does nothing.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from systemd import daemon


def tell(*, ready: bool = False, stopping: bool = False, status: str | None = None) -> None:
    """Tell systemd where the service stands; `status` is the line that ``systemctl status`` shows."""
    lines = []
    if ready:
        lines.append("READY=1")
    if stopping:
        lines.append("STOPPING=1")
    if status is not None:
        lines.append(f"STATUS={status}")
    with suppress(OSError):  # a stale NOTIFY_SOCKET is no reason to stop
        daemon.notify("\n".join(lines))


def sockets() -> dict[str, socket.socket]:
    """The listening sockets that systemd passed, by their ``FileDescriptorName=``; non-blocking."""
    found: dict[str, socket.socket] = {}
    for descriptor, name in daemon.listen_fds_with_names().items():
        found[name] = socket.socket(fileno=descriptor)
        found[name].setblocking(False)
    return found
