"""A witness that answers pings (RFC 792, RFC 4443).

A ping socket needs no privilege, but a group within net.ipv4.ping_group_range, which Debian 12 leaves empty. A raw
socket needs CAP_NET_RAW, and receives the answers to all pings of the machine.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from typing import NamedTuple

from failoverd.ports.witness import host
from failoverd.ports.witness.answer import Answer
from failoverd.ports.witness.host import Address, Deadline, Host
from failoverd.ports.witness.url import Endpoint

#: Echo requests within one deadline: a single lost packet proves nothing.
_ECHOES = 3
_PAYLOAD_BYTES = 24
_READ_BYTES = 2048

#: struct icmphdr of an echo: type, code, checksum, identifier, sequence number.
_HEADER = struct.Struct("!BBHHH")
_IPV4_MIN_BYTES = 20
#: SOL_RAW and ICMP_FILTER of linux/icmp.h, SOL_ICMPV6 and ICMPV6_FILTER of linux/icmpv6.h. A bit set is a type dropped.
_FILTER_V4, _FILTER_V6 = (255, 1), (58, 1)

_FORBIDDEN = (
    "a ping socket needs a group within net.ipv4.ping_group_range, and a raw socket needs CAP_NET_RAW: run "
    '`sysctl -w net.ipv4.ping_group_range="0 2147483647"`'
)


class _Family(NamedTuple):
    protocol: int
    request: int
    reply: int


_V4 = _Family(socket.IPPROTO_ICMP, 8, 0)
_V6 = _Family(socket.IPPROTO_ICMPV6, 128, 129)


class Icmp:
    """The witness of ``icmp://HOST``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._host = Host(endpoint.host)

    async def ask(self, timeout: float) -> Answer:
        """Ping each of its addresses, until one answers."""
        begin, deadline = time.monotonic(), Deadline(timeout)
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._host.addresses(timeout)
                for number, address in enumerate(addresses):
                    try:
                        await _ping(address, deadline.share(len(addresses) - number))
                        break
                    except OSError:
                        if number == len(addresses) - 1:
                            raise
        except PermissionError:
            return Answer(granted=None, said=_FORBIDDEN)
        except OSError as error:
            return Answer(granted=None, said=host.problem(error, timeout))
        return Answer(granted=True, said=f"answered in {host.milliseconds(begin)}")


async def _ping(address: Address, timeout: float) -> None:
    """Return when the address has answered. TimeoutError: it has not. PermissionError: there is no socket for it."""
    family = _V6 if address.family == socket.AF_INET6 else _V4
    ours, raw = _opened(address.family, family)
    with ours:
        ours.connect(address.place)  # the kernel then passes on what comes from there only, and errors
        identifier, payload = int.from_bytes(os.urandom(2), "big"), os.urandom(_PAYLOAD_BYTES)
        loop = asyncio.get_running_loop()
        for sequence in range(1, _ECHOES + 1):
            await loop.sock_sendall(ours, echo(family.request, identifier, sequence, payload))
            try:
                async with asyncio.timeout(timeout / _ECHOES):
                    while True:
                        packet = await loop.sock_recv(ours, _READ_BYTES)
                        message = ipv4_payload(packet) if raw and family is _V4 else packet
                        # On a ping socket the identifier is the kernel's, which passes on the answers to it only.
                        if answers(message, family.reply, identifier if raw else None, sequence, payload):
                            return
                        await asyncio.sleep(0)  # while packets wait, sock_recv never does
            except TimeoutError:
                if sequence == _ECHOES:
                    raise


def _opened(number: int, family: _Family) -> tuple[socket.socket, bool]:
    """A ping socket; or a raw socket, and True. PermissionError: neither is permitted."""
    try:
        return socket.socket(number, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, family.protocol), False
    except PermissionError:
        ours = socket.socket(number, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family.protocol)
    if family is _V4:
        ours.setsockopt(*_FILTER_V4, struct.pack("=I", ~(1 << family.reply) & 0xFFFFFFFF))
    else:
        passed = [0xFFFFFFFF] * 8
        passed[family.reply >> 5] &= ~(1 << (family.reply & 31))
        ours.setsockopt(*_FILTER_V6, struct.pack("=8I", *passed))
    return ours, True


def echo(kind: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo message of that type; `payload` of even length. For ICMPv6 the kernel fills in its own checksum."""
    plain = _HEADER.pack(kind, 0, 0, identifier, sequence) + payload
    return _HEADER.pack(kind, 0, _checksum(plain), identifier, sequence) + payload


def _checksum(message: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4_payload(packet: bytes) -> bytes:
    """The packet without its IPv4 header; empty if it has none that is complete."""
    length = (packet[0] & 0xF) * 4 if packet else 0
    return packet[length:] if length >= _IPV4_MIN_BYTES else b""


def answers(message: bytes, reply: int, identifier: int | None, newest: int, payload: bytes) -> bool:
    """Whether an ICMP message answers an echo request up to the sequence number `newest`. `identifier` None: any."""
    if len(message) < _HEADER.size:
        return False
    kind, code, _, echoed, sequence = _HEADER.unpack_from(message)
    if (kind, code) != (reply, 0) or (identifier is not None and echoed != identifier):
        return False
    return 0 < sequence <= newest and message[_HEADER.size :] == payload
