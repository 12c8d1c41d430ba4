"""Watch the place of each VIP by netlink.

Netlink works in a thread of its own, because the kernel may answer late. After every notification all addresses are
read again, so an overflow of notifications, or a change during a reading, cannot hide a change. An address is not
usable, and so not present, while duplicate address detection is under way or after it failed.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from failoverd import log
from failoverd.core.spec import InstanceSpec, Vip
from failoverd.daemon.config import addresses
from failoverd.daemon.config.addresses import Place
from failoverd.ports import netlink
from failoverd.trouble import TroubleKind, troubles

_log = log.get("vip")


#: IFA_F_DADFAILED and IFA_F_TENTATIVE of linux/if_addr.h.
_FAILED, _TENTATIVE = 0x08, 0x40
#: The bits of a netlink port that are a pid, and the largest port that has one.
_PORTS_PID = 0x3FFFFF
_LAST_PORT = 0x7FFFFFFF
#: Seconds between two attempts to open a netlink socket; less than a VIP may be missing.
_RETRY_S = 1.0
#: Attempts at a reading that the kernel calls inconsistent.
_MAX_READINGS = 100


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One reading. `usable`: the usable addresses and their interfaces; `anywhere`: all addresses, as 4 or 16 bytes.

    `interfaces`: the names of all interfaces, and `names` by their indexes. `found`: the addresses as netlink reported
    them.
    """

    usable: frozenset[Place]
    anywhere: frozenset[bytes]
    interfaces: frozenset[str]
    names: Mapping[int, str]
    found: Sequence[netlink.Address]

    @cached_property
    def _flags(self) -> Mapping[bytes, Mapping[str, int]]:
        """The flags of each address by interface."""
        flags: dict[bytes, dict[str, int]] = {}
        for address in self.found:
            if (name := self.names.get(address.interface)) is not None:
                flags.setdefault(address.packed, {})[name] = address.flags
        return flags

    def instead(self, vip: Vip, place: Place) -> str:
        """The reason why a VIP is not usable at its place, as a predicate of its address.

        Empty if the address is nowhere.
        """
        packed, interface = place
        places = self._flags.get(packed, {}) if packed in self.anywhere else {}
        if (flags := places.get(interface)) is not None:
            if flags & _FAILED:
                return f"is not usable on {interface}: duplicate address detection failed, another station has it"
            return f"is not usable on {interface} yet: duplicate address detection is under way"
        if places:
            meant = f'if that is intended, configure vips = ["{vip.address} dev {min(places)}"]'
            return f"is on {' and '.join(sorted(places))}, not on {interface}; {meant}"
        return "" if interface in self.interfaces else f"is not here: there is no interface {interface}"


def places(instances: Iterable[InstanceSpec]) -> Mapping[Vip, Place]:
    """The place of each VIP. ValueError: one of them is no address."""
    return {vip: addresses.place(vip) for instance in instances for vip in instance.vips}


def seen(found: Sequence[netlink.Address], names: Mapping[int, str]) -> Seen:
    """Make a reading of the addresses; `names`: the interfaces by their indexes."""
    usable = frozenset(
        (address.packed, names[address.interface])
        for address in found
        if not address.flags & (_FAILED | _TENTATIVE) and address.interface in names
    )
    anywhere = frozenset(address.packed for address in found)
    return Seen(usable=usable, anywhere=anywhere, interfaces=frozenset(names.values()), names=names, found=found)


class VipWatch:
    """Calls `changed` in the event loop with the presence of VIPs: first of all of them, then of those that change.

    `True`: present; `False`: not present; `None`: it could not be observed. During a call of `changed`, `removers` has
    the programs, other than keepalived, that removed an address, where they are known; `instead` has the reasons why an
    address is not present. A VIP whose reason changes is reported again.
    """

    def __init__(self, changed: Callable[[Mapping[Vip, bool | None]], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._vips: dict[Vip, bool | None] = {}
        self._places: dict[Vip, Place] = {}
        self._instead: dict[Vip, str] = {}
        self._seen: Seen | None = None
        self._closing = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="netlink", daemon=True)
        self.removers: dict[Vip, str] = {}
        self.instead: dict[Vip, str] = {}
        self.ready = asyncio.Event()

    def start(self) -> None:
        """Begin to watch. `ready` is set after the first reading."""
        self._thread.start()

    def watch(self, places: Mapping[Vip, Place]) -> None:
        """Set the VIPs to report, and report all of them if a reading is known."""
        self._places = dict(places)
        self._vips = dict.fromkeys(self._places)
        self._instead = {}
        self._tell()

    def close(self) -> None:
        """Stop the thread, within 2 seconds."""
        self._closing.set()
        self._wake.send(b"x")
        self._thread.join(timeout=2.0)
        self._wake.close()
        self._woken.close()

    def _tell(self, removers: Mapping[Place, str] | None = None) -> None:
        seen = self._seen
        now = {vip: None if seen is None else place in seen.usable for vip, place in self._places.items()}
        instead = {
            vip: text
            for vip, place in self._places.items()
            if seen is not None and not now[vip] and (text := seen.instead(vip, place))
        }
        moved = {
            vip: present
            for vip, present in now.items()
            if present is not self._vips[vip] or instead.get(vip) != self._instead.get(vip)
        }
        self._vips, self._instead = now, instead
        self.instead = {vip: text for vip, text in instead.items() if vip in moved}
        self.removers = {
            vip: removers[self._places[vip]] for vip in moved if removers and self._places[vip] in removers
        }
        if moved:
            self._changed(moved)

    def _succeeded(self, found: Seen, removers: Mapping[Place, str]) -> None:
        troubles.end(TroubleKind.NETLINK)
        self._see(found, removers)

    def _failed(self, error: str) -> None:
        troubles.begin(TroubleKind.NETLINK, f"cannot observe the VIPs by netlink ({error}); retrying every second")
        self._see(None, {})

    def _see(self, found: Seen | None, removers: Mapping[Place, str]) -> None:
        self._seen = found
        self._tell(removers)
        self.ready.set()

    # ------------------------------------------------------------ in the thread

    def _post(self, tell: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop is closed
            self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with netlink.notifications() as notified, netlink.questions() as asked:
                    self._follow(notified, asked)
            except Exception as error:
                # Any error means the same: the VIPs are unknown, and the reading is retried.
                self._post(partial(self._failed, str(error)))
                self._closing.wait(_RETRY_S)

    def _follow(self, notified: socket.socket, asked: socket.socket) -> None:
        removers: dict[Place, str] = {}
        while True:
            self._post(partial(self._succeeded, _read(asked), removers))
            readable, _, _ = select.select([notified, self._woken], [], [])
            if self._woken in readable:
                return
            complete, removed = netlink.drain(notified)
            removers = _removers(removed) if removed else {}
            if not complete:
                _log.info("netlink notifications overflowed; reading all addresses again")


def _read(asked: socket.socket) -> Seen:
    """Read all addresses, again if they change meanwhile. OSError: they change faster than they can be read."""
    for _ in range(_MAX_READINGS):
        with suppress(netlink.Interrupted):
            return seen(netlink.addresses(asked), dict(socket.if_nameindex()))
    raise OSError(errno.EAGAIN, "the addresses change faster than they can be read")


def _removers(removed: Iterable[netlink.Removal]) -> dict[Place, str]:
    names = dict(socket.if_nameindex())
    found = {(each.packed, names.get(each.interface, "")): _remover(each.port) for each in removed}
    return {place: who for place, who in found.items() if who}


def _remover(port: int) -> str:
    """The program that has this netlink port; empty: it is the kernel or keepalived, or it cannot be known.

    The kernel uses a process's pid as its first port, and libnl uses the lower 22 bits for the pid. Further ports that
    the kernel chooses are negative, and identify no process.
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
