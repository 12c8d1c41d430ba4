"""Neighbour discovery (RFC 4861): a solicitation from the interface's own link-local address.

Never from ::, which is duplicate address detection: where the address is tentative on the other station, such a
solicitation makes it unusable there (RFC 4862).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection

from failoverd.ports.neighbours import interfaces
from failoverd.ports.neighbours.interfaces import Interface

ADDRESS_BYTES = 16
_SOLICITATION, _ADVERTISEMENT = 135, 136
#: SOL_ICMPV6 and ICMPV6_FILTER of linux/icmpv6.h: a bit for each type, set where it is dropped.
_FILTER = (58, 1)
_DROP_ALL = [0xFFFFFFFF] * 8
#: Of a neighbour's packet: a router would have lowered it.
_HOP_LIMIT = 255
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
_READ_BYTES = 2048

#: Type, code, checksum, flags, target.
_MESSAGE = struct.Struct("!BBHI16s")
#: The types of the options with the sender's and the target's MAC, and their length in units of 8 bytes.
_SOURCE_MAC, _TARGET_MAC = 1, 2
_OPTION_UNIT_BYTES = 8
_MAC_BYTES = 6


class Ndp:
    """The protocol of IPv6."""

    @staticmethod
    def opened(interface: Interface) -> socket.socket:
        """A socket that receives nothing yet."""
        ours = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
        try:
            Ndp.listen(ours, ())
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode() + b"\0")
            ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
            ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        except BaseException:
            ours.close()
            raise
        return ours

    @staticmethod
    def listen(ours: socket.socket, addresses: Collection[bytes]) -> None:
        """Receive advertisements from now on if there are addresses, and nothing else."""
        dropped = list(_DROP_ALL)
        if addresses:
            dropped[_ADVERTISEMENT >> 5] &= ~(1 << (_ADVERTISEMENT & 31))
        ours.setsockopt(*_FILTER, struct.pack("=8I", *dropped))

    @staticmethod
    def ask(ours: socket.socket, interface: Interface, address: bytes) -> None:
        """Send one solicitation. OSError: also if the interface has no usable link-local address."""
        source = interfaces.link_local(interface)
        option = struct.pack("!BB6s", _SOURCE_MAC, 1, interface.mac)
        message = _MESSAGE.pack(_SOLICITATION, 0, 0, 0, address) + option  # the kernel fills in the checksum
        group = socket.inet_ntop(socket.AF_INET6, _SOLICITED_NODE + address[-3:])
        place = struct.pack("=16sI", source, interface.index)
        ours.sendmsg([message], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, place)], 0, (group, 0, 0, interface.index))

    @staticmethod
    def received(ours: socket.socket) -> tuple[bytes, bytes] | None:
        """An address, and the MAC of the station that claims it; None: a packet that claims none."""
        message, extra, _, _ = ours.recvmsg(_READ_BYTES, socket.CMSG_SPACE(4))
        hops = [struct.unpack("=i", data)[0] for _, kind, data in extra if kind == socket.IPV6_HOPLIMIT]
        return claim(message) if hops == [_HOP_LIMIT] else None


def claim(message: bytes) -> tuple[bytes, bytes] | None:
    """The target of an advertisement and its MAC; None: it is none, or has no MAC."""
    if len(message) < _MESSAGE.size:
        return None
    kind, code, _, _, address = _MESSAGE.unpack_from(message)
    if (kind, code) != (_ADVERTISEMENT, 0):
        return None
    rest = message[_MESSAGE.size :]
    while len(rest) >= _OPTION_UNIT_BYTES:
        option, size = rest[0], rest[1] * _OPTION_UNIT_BYTES
        if not size:
            return None
        if option == _TARGET_MAC and size == _OPTION_UNIT_BYTES:
            return address, rest[2 : 2 + _MAC_BYTES]
        rest = rest[size:]
    return None
