"""What a probe must know of this machine's interfaces: their MACs and link-local addresses."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_SIOCGIFHWADDR = 0x8927
#: struct ifreq: the name, and a struct sockaddr.
_IFREQ_BYTES = 40
_NAME_BYTES = 16
_ARPHRD_ETHER = 1
_MAC_BYTES = 6

#: The scope of a link-local address in /proc/net/if_inet6, and IFA_F_DADFAILED and IFA_F_TENTATIVE.
_LINK_SCOPE = 0x20
_UNUSABLE = 0x08 | 0x40


@dataclass(frozen=True, slots=True)
class Interface:
    """An Ethernet interface."""

    name: str
    index: int
    mac: bytes


def find(name: str) -> Interface:
    """OSError: there is none, or it has no MAC."""
    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            mac = _mac(asked, name)
    except OSError as error:
        raise OSError(errno.ENODEV, "there is no such interface") from error
    if mac is None:
        raise OSError(errno.EAFNOSUPPORT, "the interface is not an Ethernet")
    return Interface(name, index, mac)


def macs() -> set[str]:
    """The MACs of all interfaces of this machine."""
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                mac = _mac(asked, name)
            except OSError:  # it was removed meanwhile
                continue
            if mac is not None:
                found.add(mac.hex(":"))
    return found


def link_local(interface: Interface) -> bytes:
    """A usable link-local address of the interface. OSError: it has none, or none whose duplicate detection is over."""
    for line in Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii").splitlines():
        address, index, _, scope, flags, *_ = line.split()
        if int(index, 16) == interface.index and int(scope, 16) == _LINK_SCOPE and not int(flags, 16) & _UNUSABLE:
            return bytes.fromhex(address)
    raise OSError(errno.EADDRNOTAVAIL, "the interface has no usable link-local address")


def _mac(asked: socket.socket, name: str) -> bytes | None:
    request = os.fsencode(name)[: _NAME_BYTES - 1].ljust(_IFREQ_BYTES, b"\0")
    answer = fcntl.ioctl(asked, _SIOCGIFHWADDR, request)
    (kind,) = struct.unpack_from("=H", answer, _NAME_BYTES)
    begin = _NAME_BYTES + 2
    return answer[begin : begin + _MAC_BYTES] if kind == _ARPHRD_ETHER else None
