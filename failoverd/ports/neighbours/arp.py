"""ARP (RFC 826): a probe with the sender 0.0.0.0, which no station takes for a claim (RFC 5227)."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection

from failoverd.ports.neighbours.interfaces import Interface

_ETH_P_ARP = 0x0806
_SO_ATTACH_FILTER = 26
_PACKET_OUTGOING = 4
_BROADCAST = b"\xff" * 6
_READ_BYTES = 256

#: Hardware and protocol (Ethernet, IPv4) with their lengths, operation, sender's MAC and address, target's.
_MESSAGE = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
_REQUEST = 1
_SENDER_ADDRESS_AT = 14

#: struct sock_filter: code, jumps if true and if false, operand. BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALL_BYTES = 0xFFFFFFFF


class Arp:
    """The protocol of IPv4."""

    @staticmethod
    def opened(interface: Interface) -> socket.socket:
        """A socket that receives nothing yet."""
        ours = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        try:
            Arp.listen(ours, ())
            ours.bind((interface.name, _ETH_P_ARP))
        except BaseException:
            ours.close()
            raise
        return ours

    @staticmethod
    def listen(ours: socket.socket, addresses: Collection[bytes]) -> None:
        """Receive what claims one of these addresses from now on, and nothing else."""
        program = sender_filter(addresses)
        code = ctypes.create_string_buffer(program)
        fprog = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
        ours.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)

    @staticmethod
    def ask(ours: socket.socket, interface: Interface, address: bytes) -> None:
        """Send one probe."""
        message = _MESSAGE.pack(*_ETHERNET_IPV4, _REQUEST, interface.mac, bytes(4), bytes(6), address)
        ours.sendto(message, (interface.name, _ETH_P_ARP, 0, 0, _BROADCAST))

    @staticmethod
    def received(ours: socket.socket) -> tuple[bytes, bytes] | None:
        """An address, and the MAC of the station that claims it; None: a packet that claims none."""
        message, (_, _, direction, *_) = ours.recvfrom(_READ_BYTES)
        return None if direction == _PACKET_OUTGOING else claim(message)


def claim(message: bytes) -> tuple[bytes, bytes] | None:
    """The sender of an ARP request or reply, which claims its address; None: it is none, or has none."""
    if len(message) < _MESSAGE.size:
        return None
    *kind, _, mac, address, _, _ = _MESSAGE.unpack_from(message)
    if tuple(kind) != _ETHERNET_IPV4 or not any(address):
        return None
    return address, mac


def sender_filter(addresses: Collection[bytes]) -> bytes:
    """A program for the kernel (BPF) that passes on the ARP messages from these sender addresses."""
    if not addresses:
        return _INSTRUCTION.pack(_RETURN, 0, 0, 0)
    code = [_INSTRUCTION.pack(_LOAD, 0, 0, _SENDER_ADDRESS_AT)]
    for address in addresses:
        code.append(_INSTRUCTION.pack(_EQUAL, 0, 1, int.from_bytes(address, "big")))
        code.append(_INSTRUCTION.pack(_RETURN, 0, 0, _ALL_BYTES))
    code.append(_INSTRUCTION.pack(_RETURN, 0, 0, 0))
    return b"".join(code)
