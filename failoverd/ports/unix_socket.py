"""The port to UNIX sockets of other programs: a connection, which ends when the program does.

It must not interpret the data.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

#: Between two attempts to reach a program that does not listen.
RECONNECT_INTERVAL_S = 0.5

_FULL_QUEUE_RETRY_INTERVAL_S = 0.02
_CONNECT_TIMEOUT_S = 3.0


def made() -> socket.socket:
    """A socket that is not connected yet; the caller closes it."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


async def connect(connection: socket.socket, path: str, seconds: float) -> None:
    """Connect to the program that listens at `path`. Raises OSError, and TimeoutError if its queue stays full."""
    # Not loop.sock_connect: for a full queue a UNIX socket returns EAGAIN, which asyncio takes for "in progress".
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.connect(path)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: the program does not accept a connection") from error
            await asyncio.sleep(_FULL_QUEUE_RETRY_INTERVAL_S)
        else:
            return


async def closed(connection: socket.socket) -> None:
    """Wait until the other side has closed the connection; its data until then is discarded."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(connection, 65536):
            pass
    except ConnectionError:
        pass


async def follow(path: str, changed: Callable[[], None]) -> None:
    """Call `changed` when the program that listens at `path` has started or ended; until cancelled.

    A program that listens and does not accept is busy: it has not ended.
    """
    gone = False
    while True:
        with made() as connection:
            try:
                await connect(connection, path, _CONNECT_TIMEOUT_S)
            except TimeoutError:
                pass
            except OSError:
                if not gone:
                    changed()
                gone = True
            else:
                changed()
                await closed(connection)
                changed()
                gone = True
        await asyncio.sleep(RECONNECT_INTERVAL_S)
