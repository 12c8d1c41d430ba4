"""Where each VIP is, and when it moves: the only place that speaks netlink.

pyroute2 runs in a thread of its own (inside a running asyncio loop its newest release refuses to work). Whenever the
kernel notifies of a change, whatever it is, all addresses are read again: an overflow of the notifications, or a
message that came during a reading, can therefore hide nothing. An address that is tentative (duplicate address
detection under way) or that failed it is not usable, so not present.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import select
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

from failoverd import log
from failoverd.core.model import Vip

_log = log.get("vip")

#: RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of rtnetlink(7).
_GROUPS = 0x1 | 0x10 | 0x100
#: IFA_F_DADFAILED and IFA_F_TENTATIVE of linux/if_addr.h.
_UNUSABLE = 0x08 | 0x40
#: Largest notification that is read, in bytes; what is in it does not matter.
_LARGEST = 65536
#: Seconds between two attempts to open a netlink socket; less than a VIP has to come back.
_PAUSE = 1.0
#: How often a reading that the kernel calls inconsistent is begun again at once.
_READINGS = 100

#: (address, interface) of everything usable on this machine.
Usable = set[tuple[str, str]]


def usable(messages: Iterable[Any], names: Mapping[int, str]) -> Usable:
    """The usable addresses in a dump of RTM_NEWADDR messages; `names` are the interfaces by index."""
    found: Usable = set()
    for message in messages:
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        flags = message.get_attr("IFA_FLAGS")
        if flags is None:
            flags = message["flags"]
        if address is not None and not flags & _UNUSABLE and message["index"] in names:
            found.add((str(ipaddress.ip_address(address)), names[message["index"]]))
    return found


class VipWatch:
    """Tells `changed(vip, present)` in the event loop: once for every VIP, then whenever one moves."""

    def __init__(self, changed: Callable[[Vip, bool | None], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._vips: dict[Vip, bool | None] = {}
        self._usable: Usable | None = None
        self._closing = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="netlink", daemon=True)
        self.ready = asyncio.Event()

    def start(self) -> None:
        """Begin to watch. `ready` is set when the first reading was told."""
        self._thread.start()

    def watch(self, vips: Iterable[Vip]) -> None:
        """Set which VIPs are told, and tell them all, if anything is known."""
        self._vips = dict.fromkeys(vips)
        self._tell()

    def close(self) -> None:
        """Stop within a moment."""
        self._closing.set()
        self._wake.send(b"x")
        self._thread.join(timeout=2.0)
        self._wake.close()
        self._woken.close()

    def _tell(self) -> None:
        for vip, was in self._vips.items():
            address = str(ipaddress.ip_interface(vip.address).ip)
            present = None if self._usable is None else (address, vip.interface) in self._usable
            if present is not was:
                self._vips[vip] = present
                self._changed(vip, present)

    def _learn(self, found: Usable | None) -> None:
        self._usable = found
        self._tell()
        self.ready.set()

    # ------------------------------------------------------------ in the thread

    def _post(self, found: Usable | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._learn, found)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with _notifications() as notified, IPRoute() as route:
                    self._follow(notified, route)
            except Exception as error:
                # Whatever pyroute2 raises: what cannot be seen is unknown, and is tried again.
                _log.error("netlink failed: the VIPs cannot be seen", error=str(error), again_in=_PAUSE)
                self._post(None)
                self._closing.wait(_PAUSE)

    def _follow(self, notified: socket.socket, route: IPRoute) -> None:
        while True:
            self._post(_read(route))
            readable, _, _ = select.select([notified, self._woken], [], [])
            if self._woken in readable:
                return
            _drain(notified)


def _read(route: IPRoute) -> Usable:
    """All usable addresses. What changes while it is being read is read again (NLM_F_DUMP_INTR of netlink(7))."""
    for _ in range(_READINGS):
        with suppress(NetlinkDumpInterrupted):
            return usable(route.get_addr(), dict(socket.if_nameindex()))
    raise OSError(errno.EAGAIN, "the addresses change faster than they can be read")


def _notifications() -> socket.socket:
    """A socket that becomes readable when a link or an address changes."""
    notified = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    notified.bind((0, _GROUPS))
    return notified


def _drain(notified: socket.socket) -> None:
    while True:
        try:
            notified.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            _log.info("netlink notifications overflowed; all addresses are read again")
