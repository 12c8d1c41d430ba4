"""The port to the service manager: readiness, status text, watchdog, and the sockets that it holds.

Without systemd (``NOTIFY_SOCKET`` and ``LISTEN_FDS`` unset) nothing here has an effect. systemd may not read while it
reloads, or may hang, so a message that it does not take at once is sent by a thread. sd_notify() of its own library
would block with the GIL held.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from failoverd.log.outbox import Outbox
from failoverd.trouble import TroubleKind, troubles
from systemd import daemon


def tell(*, ready: bool = False, stopping: float | None = None, alive: bool = False, status: str | None = None) -> None:
    """Report the state of the service to systemd. `status`: the line that ``systemctl status`` shows.

    `stopping`: the service is stopping and needs up to this number of seconds from now, also if ``TimeoutStopSec=`` is
    shorter; None: it is not. `alive`: feeds the watchdog.
    """
    if "NOTIFY_SOCKET" not in os.environ:
        return
    news = {}
    if ready:
        news["READY"] = "1"
    if stopping is not None:
        news["STOPPING"], news["EXTEND_TIMEOUT_USEC"] = "1", str(int(stopping * 1e6))
    if alive:
        news["WATCHDOG"] = "1"
    if status is not None:
        news["STATUS"] = status
    if _outbox.idle and _sent(news, socket.MSG_DONTWAIT):
        return
    with _lock:
        _unsent.update(news)
    _outbox.put(None)


def _send(_: None) -> None:
    with _lock:
        news = _unsent.copy()
        _unsent.clear()
    if news:
        _sent(news, 0)


def _sent(news: Mapping[str, str], flags: int) -> bool:
    """Send, as sd_notify(3) does. False: the socket is full and `flags` do not permit to wait. Other errors: True."""
    message = "\n".join(f"{key}={value}" for key, value in news.items()).encode(errors="backslashreplace")
    path = os.environ["NOTIFY_SOCKET"]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(message, flags, f"\0{path[1:]}" if path.startswith("@") else path)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


_lock = threading.Lock()
#: The newest value of each kind that has not been sent yet.
_unsent: dict[str, str] = {}
#: Sends one message at a time; all values that come meanwhile are in the next one.
_outbox = Outbox("systemd", _send, 2)


def watchdog() -> float | None:
    """The interval in seconds within which systemd expects `alive`; None: there is no watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None


class Passed(NamedTuple):
    """The descriptors from systemd. `sockets`: listening, by the name of their file. `fifo`: None if there is none."""

    sockets: dict[str, socket.socket]
    fifo: int | None


def passed() -> Passed:
    """The descriptors from systemd, by their files, because a socket unit gives all of them the same name.

    A socket whose file was removed is closed and left out, because no client can connect to it.
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
        reason = f"systemd's {' and '.join(lost)} were removed, so failoverd created others"
        troubles.begin(TroubleKind.SYSTEMD_SOCKETS, f"{reason}; the command restarts failoverd too")
    return Passed(sockets, fifo)


def reachable(path: Path) -> bool:
    """Whether a stream socket listens at `path`. Its owner does not notice: the probe is a socket of another type."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) == errno.EPROTOTYPE
