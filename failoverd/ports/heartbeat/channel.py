"""One UDP socket for one other node, connected to it: the kernel passes on nothing that comes from elsewhere.

A flood under the node's own address costs the loop a bounded share of its time: after each turn the socket is left
unread for a while, and the kernel drops what it has no room for. With `only`, the kernel drops all of it but what
begins as the node's own datagrams do.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from failoverd.ports.heartbeat import datagram

#: Datagrams that are read in one turn of the loop.
_TURN = 16
#: The pause after a turn, as a multiple of the CPU time that it took: at most a fifth of the loop's time.
_PAUSE_FACTOR = 4.0
#: Errors of a send that say nothing about the socket itself: nobody listens there, or there is no room just now.
_PASSING = (errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM)
#: Those after which nothing can come either: it would be the answer to what was sent.
_DEAFENING = (errno.ENETUNREACH, errno.EPERM)

# linux/filter.h and linux/sock_diag.h, which Python's socket module lacks.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_UDP_HEADER_BYTES = 8
_WHOLE = 0xFFFFFFFF


class Address(NamedTuple):
    """An IPv4 or IPv6 address, and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Channel:
    """A socket from `own` to `peer`, opened at the first send and anew after an error. `received` gets each datagram.

    Attribute `trouble`: why nothing can be sent, in a person's words; empty while it can. `deaf`: why nothing can be
    received for a reason on this machine; None: it can.
    """

    def __init__(self, own: Address, peer: Address, received: Callable[[bytes], object]) -> None:
        self._own = own
        self._peer = peer
        self._received = received
        self._socket: socket.socket | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._prefix = b""
        self.trouble = ""
        self.deaf: str | None = ""

    def send(self, data: bytes) -> None:
        """Send one datagram if that is possible now; it may be lost, as any datagram may."""
        try:
            if self._socket is None:
                self._open()
            assert self._socket is not None
            try:
                self._socket.send(data)
            except ConnectionRefusedError as error:  # that of an earlier datagram
                self._failed(error)
                self._socket.send(data)
            else:
                self.trouble = ""
            self.deaf = None
        except OSError as error:
            self._failed(error)

    def only(self, prefix: bytes) -> None:
        """Let the kernel drop what does not begin with `prefix` (a multiple of 4 bytes); empty: it passes on all."""
        if prefix != self._prefix:
            self._prefix = prefix
            if self._socket is not None:
                self._filter(self._socket)

    @property
    def dropped(self) -> int:
        """The datagrams that the kernel has dropped since the socket was opened, modulo 2**32."""
        if self._socket is None:
            return 0
        data = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(data)[-1])

    def _filter(self, opened: socket.socket) -> None:
        if not self._prefix:
            opened.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            return
        program = ctypes.create_string_buffer(_program(self._prefix))
        length = (len(program) - 1) // _INSTRUCTION.size
        given = struct.pack("HP", length, ctypes.addressof(program))
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)

    def close(self) -> None:
        """Close the socket; the next send opens one."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        family = socket.AF_INET6 if ":" in self._own.host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # one socket for each node, on the same port
            opened.bind(self._own)
            opened.connect(self._peer)
            if self._prefix:
                self._filter(opened)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._read)

    def _failed(self, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            self.trouble = f"nothing listens on {self._peer} there"
        elif error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE) and self._socket is None:
            self.trouble = f"cannot use {self._own} here: {os.strerror(error.errno)}"
        elif error.errno != errno.EAGAIN:
            self.trouble = f"cannot send to {self._peer}: {error.strerror or error}"
        if error.errno not in _PASSING:
            self.close()
        if self._socket is None or error.errno in _DEAFENING:
            self.deaf = self.trouble or str(error)

    def _read(self) -> None:
        assert self._socket is not None
        began = time.thread_time()
        for _ in range(_TURN):
            if self._socket is None:  # closed by what was received
                return
            try:
                data = self._socket.recv(datagram.MAX_BYTES + 1)
            except BlockingIOError:
                break
            except OSError as error:  # that of an earlier send
                self._failed(error)
                continue
            self._received(data)
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._resume = loop.call_later(_PAUSE_FACTOR * (time.thread_time() - began), self._listen)

    def _listen(self) -> None:
        self._resume = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._read)


def _program(prefix: bytes) -> bytes:
    """The instructions of a classic BPF program that passes only datagrams that begin with the prefix.

    The kernel runs it on the packet from the UDP header on.
    """
    words = [word for (word,) in struct.iter_unpack("!I", prefix)]
    instructions = []
    for number, word in enumerate(words):
        to_end = 2 * (len(words) - number) - 1
        instructions.append(_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _UDP_HEADER_BYTES + 4 * number))
        instructions.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, to_end, word))
    instructions += [_INSTRUCTION.pack(_RETURN, 0, 0, _WHOLE), _INSTRUCTION.pack(_RETURN, 0, 0, 0)]
    return b"".join(instructions)
