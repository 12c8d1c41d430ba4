"""The addresses of this machine, asked of the kernel: the only place that speaks netlink (rtnetlink(7)).

Only what is needed of each address is taken from the kernel's answer, because there may be thousands of them, and a
VIP waits for it: a library that makes objects of them all takes twenty times as long.
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
#: Largest message that is read, in bytes; the kernel's own are half as large at most.
_LARGEST = 65536


class Interrupted(OSError):
    """What was asked for changed while the kernel told it (NLM_F_DUMP_INTR)."""


class Address(NamedTuple):
    """One address: in the kernel's own 4 or 16 bytes, the index of its interface, and IFA_F_ flags."""

    packed: bytes
    interface: int
    flags: int


class Removal(NamedTuple):
    """An address that was removed, as `Address` has it, and the port of who asked for that: 0 is the kernel itself."""

    packed: bytes
    interface: int
    port: int


def notifications() -> socket.socket:
    """A socket that becomes readable when a link or an address changes."""
    notified = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    notified.bind((0, _GROUPS))
    return notified


def drain(notified: socket.socket) -> tuple[bool, list[Removal]]:
    """Take all notifications, of which removals alone matter. False: there were more than the socket could hold."""
    complete = True
    removed: list[Removal] = []
    while True:
        try:
            for kind, _, port, body in _messages(notified.recv(_LARGEST)):
                if kind == _RTM_DELADDR and (address := _address(body)) is not None:
                    removed.append(Removal(address.packed, address.interface, port))
        except BlockingIOError:
            return complete, removed
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            complete = False


def questions() -> socket.socket:
    """A socket for `addresses`. What it was asked is answered in full before it is asked again."""
    asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    asked.bind((0, 0))
    return asked


def addresses(asked: socket.socket) -> list[Address]:
    """All addresses of this machine. OSError where the kernel does not tell; Interrupted: ask again."""
    question = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    asked.send(_HEADER.pack(_HEADER.size + len(question), _RTM_GETADDR, flags, 1, 0) + question)
    found: list[Address] = []
    interrupted = False
    while True:
        for kind, flags, _, body in _messages(asked.recv(_LARGEST)):
            interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
            if kind == _NLMSG_ERROR:
                number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                raise OSError(number, os.strerror(number))
            if kind == _RTM_NEWADDR and (address := _address(body)) is not None:
                found.append(address)
            if kind == _NLMSG_DONE:
                if interrupted:
                    raise Interrupted(errno.EINTR, "the addresses changed while they were told")
                return found


def _messages(answer: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """Type, flags, port and body of each message in one answer."""
    rest = memoryview(answer)
    while rest:
        length, kind, flags, _, port = _HEADER.unpack_from(rest)
        if length < _HEADER.size:
            raise OSError(errno.EBADMSG, "netlink sent a message without a length")
        yield kind, flags, port, rest[_HEADER.size : length]
        rest = rest[_aligned(length) :]


def _address(body: memoryview) -> Address | None:
    """The local address, which on a point-to-point link is not IFA_ADDRESS; None: it has none."""
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
