"""Where each VIP is, and when it moves.

netlink is asked in a thread of its own, since the kernel answers when it likes. Whenever it notifies of a change,
whatever it is, all addresses are read again: an overflow of the notifications, or a message that came during a reading,
can therefore hide nothing. An address that is tentative (duplicate address detection under way) or that failed it is
not usable, so not present.
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
from pathlib import Path

from failoverd import log
from failoverd.core.spec import InstanceSpec, Vip
from failoverd.daemon import netlink

_log = log.get("vip")

#: IFA_F_DADFAILED and IFA_F_TENTATIVE of linux/if_addr.h.
_UNUSABLE = 0x08 | 0x40
#: The bits of a netlink port that are a pid, and the largest port that has one.
_PORTS_PID = 0x3FFFFF
_LAST_PORT = 0x7FFFFFFF
#: Seconds between two attempts to open a netlink socket; less than a VIP has to come back.
_PAUSE = 1.0
#: How often a reading that the kernel calls inconsistent is begun again at once.
_READINGS = 100

#: An address in its 4 or 16 bytes, and its interface.
Place = tuple[bytes, str]
#: Everything usable on this machine.
Usable = set[Place]


def places(instances: Iterable[InstanceSpec]) -> Mapping[Vip, Place]:
    """Where each VIP is to be looked for. ValueError: one of them is no address."""
    vips = (vip for instance in instances for vip in instance.vips)
    return {vip: (ipaddress.ip_interface(vip.address).packed, vip.interface) for vip in vips}


def usable(addresses: Iterable[netlink.Address], names: Mapping[int, str]) -> Usable:
    """Those that can be used; `names` are the interfaces by index."""
    return {
        (address.packed, names[address.interface])
        for address in addresses
        if not address.flags & _UNUSABLE and address.interface in names
    }


class VipWatch:
    """Tells `changed` in the event loop where VIPs are: once for all of them, then of those that move.

    `removers`: of those that were told last, who removed them, where that is known and was not keepalived.
    """

    def __init__(self, changed: Callable[[Mapping[Vip, bool | None]], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._vips: dict[Vip, bool | None] = {}
        self._places: dict[Vip, Place] = {}
        self._usable: Usable | None = None
        self._closing = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="netlink", daemon=True)
        self.removers: dict[Vip, str] = {}
        self.ready = asyncio.Event()

    def start(self) -> None:
        """Begin to watch. `ready` is set when the first reading was told."""
        self._thread.start()

    def watch(self, places: Mapping[Vip, Place]) -> None:
        """Set which VIPs are told, and tell them all, if anything is known."""
        self._places = dict(places)
        self._vips = dict.fromkeys(self._places)
        self._tell()

    def close(self) -> None:
        """Stop within a moment."""
        self._closing.set()
        self._wake.send(b"x")
        self._thread.join(timeout=2.0)
        self._wake.close()
        self._woken.close()

    def _tell(self, removers: Mapping[Place, str] | None = None) -> None:
        usable = self._usable
        seen = {vip: None if usable is None else place in usable for vip, place in self._places.items()}
        moved = {vip: present for vip, present in seen.items() if present is not self._vips[vip]}
        self._vips = seen
        self.removers = {
            vip: removers[self._places[vip]] for vip in moved if removers and self._places[vip] in removers
        }
        if moved:
            self._changed(moved)

    def _learn(self, found: Usable | None, removers: Mapping[Place, str]) -> None:
        self._usable = found
        self._tell(removers)
        self.ready.set()

    # ------------------------------------------------------------ in the thread

    def _post(self, found: Usable | None, removers: Mapping[Place, str]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._learn, found, removers)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with netlink.notifications() as notified, netlink.questions() as asked:
                    self._follow(notified, asked)
            except Exception as error:
                # Whatever it is: what cannot be seen is unknown, and is tried again.
                _log.error("netlink failed: the VIPs cannot be seen", error=str(error), again_in=_PAUSE)
                self._post(None, {})
                self._closing.wait(_PAUSE)

    def _follow(self, notified: socket.socket, asked: socket.socket) -> None:
        removers: dict[Place, str] = {}
        while True:
            self._post(_read(asked), removers)
            readable, _, _ = select.select([notified, self._woken], [], [])
            if self._woken in readable:
                return
            complete, removed = netlink.drain(notified)
            removers = _removers(removed) if removed else {}
            if not complete:
                _log.info("netlink notifications overflowed; all addresses are read again")


def _read(asked: socket.socket) -> Usable:
    """All usable addresses. What changes while it is being read is read again."""
    for _ in range(_READINGS):
        with suppress(netlink.Interrupted):
            return usable(netlink.addresses(asked), dict(socket.if_nameindex()))
    raise OSError(errno.EAGAIN, "the addresses change faster than they can be read")


def _removers(removed: Iterable[netlink.Removal]) -> dict[Place, str]:
    names = dict(socket.if_nameindex())
    found = {(each.packed, names.get(each.interface, "")): _remover(each.port) for each in removed}
    return {place: who for place, who in found.items() if who}


def _remover(port: int) -> str:
    """Who has this netlink port; empty where that is the kernel, keepalived, or not to be told.

    The kernel gives a process its own number as its first port, and libnl uses the lower 22 bits for it; further ports
    that the kernel gives are negative, and tell nothing.
    """
    pid = port & _PORTS_PID
    if not pid or port > _LAST_PORT:
        return ""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        program = Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return f"a program that has ended since (process {pid})"
    return "" if program == "keepalived" else f"{name} (process {pid})"
