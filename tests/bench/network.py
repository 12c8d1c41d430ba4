"""A look into another network namespace, told by the kernel (rtnetlink(7)), so that nothing has to be asked twice."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
import time
from ipaddress import IPv4Address

_CLONE_NEWNET = 0x40000000
#: RTMGRP_IPV4_IFADDR, RTM_NEWADDR and IFA_LOCAL of <linux/rtnetlink.h> and <linux/if_addr.h>.
_ADDRESSES = 0x10
_NEW = 20
_LOCAL = 2
_MESSAGE = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


class Addresses:
    """Hears of every IPv4 address that appears in the namespace called `netns`."""

    def __init__(self, netns: str) -> None:
        # A thread of its own makes the socket: it changes its namespace, and is gone afterwards.
        made: list[socket.socket] = []
        thread = threading.Thread(target=lambda: made.append(_socket(netns)))
        thread.start()
        thread.join()
        self._socket = made[0]

    def forget(self) -> None:
        """What happened so far is of no interest."""
        while select.select([self._socket], [], [], 0)[0]:
            self._socket.recv(65536)

    def await_new(self, address: str, within: float) -> int:
        """When `address` appeared, in CLOCK_MONOTONIC nanoseconds; TimeoutError after `within` seconds."""
        give_up = time.monotonic() + within
        wanted = IPv4Address(address).packed
        while select.select([self._socket], [], [], max(0.0, give_up - time.monotonic()))[0]:
            at = time.monotonic_ns()
            if wanted in _new(self._socket.recv(65536)):
                return at
        raise TimeoutError(f"{address} did not appear within {within:g} s")

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def _socket(netns: str) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    there = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(there, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot look into {netns}")
    finally:
        os.close(there)
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    found.bind((0, _ADDRESSES))
    return found


def _new(data: bytes) -> set[bytes]:
    """The addresses of the RTM_NEWADDR messages in `data`."""
    found = set()
    while len(data) >= _MESSAGE.size:
        length, kind, *_ = _MESSAGE.unpack_from(data)
        at = _MESSAGE.size + _ADDRESS.size
        while kind == _NEW and at + _ATTRIBUTE.size <= length:
            size, what = _ATTRIBUTE.unpack_from(data, at)
            if what == _LOCAL:
                found.add(data[at + _ATTRIBUTE.size : at + size])
            at += max(_ATTRIBUTE.size, (size + 3) & ~3)
        data = data[(length + 3) & ~3 :]
    return found
