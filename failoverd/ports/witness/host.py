"""The addresses of a witness, and a connection to it, within a deadline.

A lookup may hang for long. At most one runs for each host; a later caller waits for the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from typing import NamedTuple

from failoverd.osutil import threads

#: The share of a deadline that a lookup has where an earlier one has found addresses.
_LOOKUP_SHARE = 0.25

#: Addresses of one name that are tried.
_MAX_ADDRESSES = 4


class Address(NamedTuple):
    """A family and a socket address without its port, as getaddrinfo(3) returns them."""

    family: int
    place: tuple[str, int] | tuple[str, int, int, int]

    def at(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """The socket address with a port."""
        host, _, *rest = self.place
        return (host, port, *rest)  # type: ignore[return-value]


class Deadline:
    """The moment `timeout` seconds from now."""

    def __init__(self, timeout: float) -> None:
        self._end = time.monotonic() + timeout
        self.timeout = timeout

    def left(self) -> float:
        """The seconds until then; negative: it has passed."""
        return self._end - time.monotonic()

    def share(self, of: int) -> float:
        """The seconds for the next one of so many attempts that remain, each as long."""
        return self.left() / of


class Host:
    """A host by its address or name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lookup: asyncio.Task[list[Address]] | None = None
        self._known: list[Address] = []

    async def addresses(self, timeout: float) -> list[Address]:
        """At least one address, from a lookup, or from an earlier one if this one hangs or fails.

        OSError: there is none. TimeoutError: no lookup has ended within `timeout` seconds.
        """
        with contextlib.suppress(socket.gaierror):  # it is a name
            return _resolved(self.name, socket.AI_NUMERICHOST)
        if self._lookup is None:
            self._lookup = asyncio.create_task(self._look_up())
        seconds = timeout * _LOOKUP_SHARE if self._known else timeout
        await asyncio.wait({self._lookup}, timeout=seconds)
        if self._lookup.done():
            lookup, self._lookup = self._lookup, None
            try:
                self._known = lookup.result()
            except OSError as error:
                if not self._known:
                    raise OSError(error.errno, f"{self.name} has no address: {error.strerror}") from error
        if not self._known:
            raise TimeoutError(f"the lookup of {self.name} has not ended within {timeout:.3g} s")
        return self._known

    def close(self) -> None:
        """Abandon a lookup that runs."""
        if self._lookup is not None:
            self._lookup.cancel()

    async def _look_up(self) -> list[Address]:
        return await threads.run(_resolved, self.name, 0)


def _resolved(name: str, flags: int) -> list[Address]:
    # Bytes: for a string, Python loads its codec of international names first.
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, place) for family, _, _, _, place in found][:_MAX_ADDRESSES]  # type: ignore[arg-type]


async def connect(host: Host, port: int, timeout: float) -> socket.socket:
    """A TCP connection; the caller closes it. Each address has its share of `timeout` seconds.

    OSError: the error of the last address, or of the lookup. TimeoutError: no answer in time.
    """
    deadline = Deadline(timeout)
    addresses = await host.addresses(timeout)
    for number, address in enumerate(addresses):
        try:
            async with asyncio.timeout(deadline.share(len(addresses) - number)):
                return await _connected(address, port)
        except OSError:
            if number == len(addresses) - 1:
                raise
    raise AssertionError


async def _connected(address: Address, port: int) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(connection, address.at(port))
        # A free port on this machine may be the one that the kernel has given to this very socket.
        itself = connection.getsockname() == connection.getpeername()
    except OSError as error:
        connection.close()
        raise OSError(error.errno, os.strerror(error.errno or errno.EIO)) from error  # asyncio has replaced the text
    except BaseException:
        connection.close()
        raise
    if itself:
        connection.close()
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return connection


def goodbye(connection: socket.socket) -> None:
    """Close a connection by FIN, without a wait. Data that has arrived is read first, as the kernel else sends RST."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)
    connection.close()


def problem(error: Exception, timeout: float) -> str:
    """A line for a person: why there was no answer within `timeout` seconds."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return str(error) or f"no answer within {timeout:.3g} s"
    text = error.strerror if isinstance(error, OSError) else None
    return _uncapitalized(text or str(error))


def _uncapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]


def milliseconds(since: float) -> str:
    """The time since `since`, by time.monotonic, for a person."""
    return f"{(time.monotonic() - since) * 1000:.1f} ms"
