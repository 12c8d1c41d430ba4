"""The addresses of this machine, from the kernel: the only module that uses netlink (rtnetlink(7)).

It reads only the needed fields of each address. There may be thousands of addresses while a VIP waits, and a library
that makes objects of all of them takes twenty times as long.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

#: RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
_GROUPS = 0x1 | 0x10 | 0x100
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
#: struct nlmsghdr: length, type, flags, sequence number, port.
_HEADER = struct.Struct("=LHHLL")
#: struct ifaddrmsg: family, prefix length, flags, scope, interface.
_ADDRESS = struct.Struct("=BBBBL")
#: struct rtattr: length, type.
_ATTRIBUTE = struct.Struct("=HH")
#: For one read. The kernel's messages have half of this at most.
_READ_BYTES = 65536


class Interrupted(OSError):
    """The addresses changed during the kernel's answer (NLM_F_DUMP_INTR)."""


class Address(NamedTuple):
    """One address: in the kernel's own 4 or 16 bytes, the index of its interface, and IFA_F_ flags."""

    packed: bytes
    interface: int
    flags: int


class Removal(NamedTuple):
    """A removed address, as in `Address`, and the netlink port of the process that removed it; 0: the kernel did."""

    packed: bytes
    interface: int
    port: int


def notifications() -> socket.socket:
    """A socket that becomes readable when a link or an address changes."""
    notified = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    notified.bind((0, _GROUPS))
    return notified


def drain(notified: socket.socket) -> tuple[bool, list[Removal]]:
    """Read all notifications, and return the removals. False: some were lost, because the socket was full."""
    complete = True
    removed: list[Removal] = []
    while True:
        try:
            for kind, _, port, body in _messages(notified.recv(_READ_BYTES)):
                if kind == _RTM_DELADDR and (address := _address(body)) is not None:
                    removed.append(Removal(address.packed, address.interface, port))
        except BlockingIOError:
            return complete, removed
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            complete = False


def questions() -> socket.socket:
    """A socket for `addresses`. Each answer must be read to its end before the next request."""
    asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    asked.bind((0, 0))
    return asked


def addresses(asked: socket.socket) -> list[Address]:
    """All addresses of this machine. Raises OSError if the kernel reports an error, and Interrupted: retry then."""
    question = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    asked.send(_HEADER.pack(_HEADER.size + len(question), _RTM_GETADDR, flags, 1, 0) + question)
    found: list[Address] = []
    interrupted = False
    while True:
        for kind, flags, _, body in _messages(asked.recv(_READ_BYTES)):
            interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
            if kind == _NLMSG_ERROR:
                number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                raise OSError(number, os.strerror(number))
            if kind == _RTM_NEWADDR and (address := _address(body)) is not None:
                found.append(address)
            if kind == _NLMSG_DONE:
                if interrupted:
                    raise Interrupted(errno.EINTR, "the addresses changed during the answer")
                return found


def _messages(answer: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """Yields type, flags, port and body of each message in `answer`."""
    rest = memoryview(answer)
    while rest:
        length, kind, flags, _, port = _HEADER.unpack_from(rest)
        if length < _HEADER.size:
            raise OSError(errno.EBADMSG, "netlink sent a message without a length")
        yield kind, flags, port, rest[_HEADER.size : length]
        rest = rest[_aligned(length) :]


def _address(body: memoryview) -> Address | None:
    """The local address, which is not IFA_ADDRESS on a point-to-point link; None: the message has none."""
    _, _, flags, _, interface = _ADDRESS.unpack_from(body)
    local = remote = None
    rest = body[_ADDRESS.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            break
        if kind == _IFA_LOCAL:
            local = rest[_ATTRIBUTE.size : length]
        elif kind == _IFA_ADDRESS:
            remote = rest[_ATTRIBUTE.size : length]
        elif kind == _IFA_FLAGS:
            flags = int.from_bytes(rest[_ATTRIBUTE.size : length], sys.byteorder)
        rest = rest[_aligned(length) :]
    packed = local or remote
    return Address(bytes(packed), interface, flags) if packed else None


def _aligned(length: int) -> int:
    return (length + 3) & ~3
