"""The port to the other stations of a link, of which one may have an address too.

IPv4 is asked by an ARP probe (RFC 5227), IPv6 by a neighbour solicitation (RFC 4861). An answer is proof. Silence
proves nothing: a station may be set not to answer, and a packet may be lost. With keepalived's use_vmac all nodes have
the same MAC, so a VIP that two of them have is not seen.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from typing import Protocol

from failoverd.osutil import threads
from failoverd.ports.errors import DriverError
from failoverd.ports.neighbours import arp, interfaces, ndp
from failoverd.ports.neighbours.interfaces import Interface

#: Probes within one deadline: a single lost packet proves nothing.
_PROBES = 3

#: Packets that are read before other work of the loop has its turn.
_BATCH = 64


class _Protocol(Protocol):
    """ARP or neighbour discovery: `arp.py`, `ndp.py`."""

    @staticmethod
    def opened(interface: Interface) -> socket.socket:
        """A socket that receives nothing yet."""
        ...

    @staticmethod
    def listen(ours: socket.socket, addresses: Collection[bytes]) -> None:
        """Receive what concerns these addresses from now on, and nothing else."""
        ...

    @staticmethod
    def ask(ours: socket.socket, interface: Interface, address: bytes) -> None:
        """Send one probe."""
        ...

    @staticmethod
    def received(ours: socket.socket) -> tuple[bytes, bytes] | None:
        """An address, and the MAC of the station that claims it; None: a packet that claims none."""
        ...


class Neighbours:
    """It keeps one socket for each interface and protocol that was asked, since closing one takes milliseconds."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, type[_Protocol]], _Link] = {}

    async def elsewhere(
        self, address: str, interface: str, timeout: float, *, known: Collection[str] = ()
    ) -> str | None:
        """The MAC of another station that has the address; None: nobody has answered, which proves nothing.

        `known`: MACs that do not count, besides those of this machine. Raises DriverError if it cannot be asked.
        """
        packed = ipaddress.ip_interface(address).ip.packed
        protocol: type[_Protocol] = ndp.Ndp if len(packed) == ndp.ADDRESS_BYTES else arp.Arp
        try:
            link = await self._link(interfaces.find(interface), protocol)
            return await link.claimed(packed, timeout, {mac.lower() for mac in known})
        except OSError as error:
            raise DriverError(f"cannot ask for {address} on {interface}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Close the sockets."""
        links, self._links = self._links, {}
        await _close(links.values())

    async def _link(self, interface: Interface, protocol: type[_Protocol]) -> _Link:
        key = interface.name, protocol
        link = self._links.get(key)
        if link is not None and link.interface.index != interface.index:  # there was another one of this name
            del self._links[key]
            await _close([link])
            link = self._links.get(key)
        if link is None:
            link = self._links[key] = _Link(interface, protocol)
        link.interface = interface
        return link


async def _close(links: Collection[_Link]) -> None:
    """Close sockets, in a thread: the kernel waits until no processor uses them."""
    sockets = [link.left() for link in links]

    def close() -> None:
        for each in sockets:
            each.close()

    if sockets:
        await threads.run(close)


class _Link:
    """One interface and one protocol."""

    def __init__(self, interface: Interface, protocol: type[_Protocol]) -> None:
        self.interface = interface
        self._protocol = protocol
        self._waiting: dict[bytes, set[Callable[[str], None]]] = {}
        self._socket = protocol.opened(interface)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    async def claimed(self, address: bytes, timeout: float, known: Collection[str]) -> str | None:
        """The MAC that claims the address; None: none within `timeout` seconds."""
        found: asyncio.Future[str] = self._loop.create_future()

        def claim(mac: str) -> None:
            if not found.done() and mac not in known and mac not in interfaces.macs():
                found.set_result(mac)

        self._read()  # an error that waits would be the result of the next probe
        self._waiting.setdefault(address, set()).add(claim)
        try:
            self._protocol.listen(self._socket, self._waiting)
            for _ in range(_PROBES):
                self._protocol.ask(self._socket, self.interface, address)
                await asyncio.wait({found}, timeout=timeout / _PROBES)
                if found.done():
                    return found.result()
            return None
        finally:
            self._waiting[address].discard(claim)
            if not self._waiting[address]:
                del self._waiting[address]
            self._protocol.listen(self._socket, self._waiting)

    def left(self) -> socket.socket:
        """Receive nothing more: callers that wait get no answer. The socket, for the caller to close."""
        self._loop.remove_reader(self._socket)
        return self._socket

    def _read(self) -> None:
        for _ in range(_BATCH):
            try:
                claim = self._protocol.received(self._socket)
            except BlockingIOError:
                return
            except OSError:  # once after the interface has gone down; the next probe finds that out
                continue
            if claim is not None:
                address, mac = claim
                for hear in list(self._waiting.get(address, ())):
                    hear(mac.hex(":"))
