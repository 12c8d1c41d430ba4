"""The only place that talks to the service manager: readiness, status text, watchdog, and the sockets that it holds.

Without systemd (``NOTIFY_SOCKET`` and ``LISTEN_FDS`` unset) everything here does nothing. What systemd is told goes
through a thread: it may not read for as long as it reloads, or for ever, and its own library would wait with Python's
lock held.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import NamedTuple

from failoverd.outbox import Outbox
from failoverd.trouble import troubles
from systemd import daemon

_SOCKETS = "systemd's sockets"


def tell(*, ready: bool = False, stopping: float | None = None, alive: bool = False, status: str | None = None) -> None:
    """Tell systemd where the service stands; `status` is the line that ``systemctl status`` shows.

    `stopping`: it is, and needs up to so many seconds from now, whatever ``TimeoutStopSec=`` says. `alive`: feeds the
    watchdog.
    """
    if "NOTIFY_SOCKET" not in os.environ:
        return
    with _lock:
        if ready:
            _untold["READY"] = "1"
        if stopping is not None:
            _untold["STOPPING"], _untold["EXTEND_TIMEOUT_USEC"] = "1", str(int(stopping * 1e6))
        if alive:
            _untold["WATCHDOG"] = "1"
        if status is not None:
            _untold["STATUS"] = status
    _outbox.put(None)


def _send(_: None) -> None:
    """What sd_notify(3) does. OSError: nobody listens there, which is no reason to stop."""
    with _lock:
        message = "\n".join(f"{key}={value}" for key, value in _untold.items())
        _untold.clear()
    if message:
        path = os.environ["NOTIFY_SOCKET"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(message.encode(errors="backslashreplace"), f"\0{path[1:]}" if path.startswith("@") else path)


_lock = threading.Lock()
#: What systemd is to be told, the newest of each kind.
_untold: dict[str, str] = {}
#: One message is being sent, and whatever comes meanwhile goes into the next.
_outbox = Outbox("systemd", _send, 2)


def watchdog() -> float | None:
    """Seconds within which systemd wants to be told that this process is alive; None: it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None


class Passed(NamedTuple):
    """What systemd handed over: listening sockets by the name of their file, and a FIFO's descriptor, or None."""

    sockets: dict[str, socket.socket]
    fifo: int | None


def passed() -> Passed:
    """What systemd handed over. A socket unit names all of it alike.

    A socket whose file was removed is left out, since nobody reaches it: who needs it can make another.
    """
    sockets: dict[str, socket.socket] = {}
    fifo = None
    lost = []
    for descriptor in daemon.listen_fds():
        if daemon.is_fifo(descriptor):
            fifo = descriptor
            continue
        found = socket.socket(fileno=descriptor)
        found.setblocking(False)
        path = Path(found.getsockname())
        if reachable(path):
            sockets[path.name] = found
        else:
            lost.append(str(path))
            found.close()
    if lost:
        text = f"systemd's {' and '.join(lost)} were removed, and failoverd has made others"
        troubles.begin(_SOCKETS, f"{text}: systemctl restart failoverd.socket, which restarts failoverd too")
    return Passed(sockets, fifo)


def reachable(path: Path) -> bool:
    """Whether somebody listens for streams at `path`. Who does is not told of it: the wrong kind of socket asks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) == errno.EPROTOTYPE
