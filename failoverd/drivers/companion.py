"""A program that lives as long as we do, and talks with us through a socket. Part of command.py's door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence

from failoverd.drivers.command import PRIVATE
from failoverd.drivers.spawn import Born, Start


async def run(argv: Sequence[str], channel: socket.socket) -> None:
    """Start `argv` with `channel`, ours no more, as its standard input; return when it has ended.

    Nobody ends it: it has to when the other end of the channel is closed, and may hang in the kernel until then. Who is
    cancelled leaves it to itself. It is no tool, so it has no mark of a step. OSError when it cannot be started.
    """
    loop = asyncio.get_running_loop()
    born: asyncio.Future[Born] = loop.create_future()

    def tell(result: Born | OSError) -> None:
        if isinstance(result, OSError):
            born.set_exception(result)
        else:
            born.set_result(result)

    with contextlib.ExitStack() as descriptors:
        numbers = []
        for number in (channel.detach(), os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), os.dup(2)):
            descriptors.callback(os.close, number)
            numbers.append(number)
        environment = {key: value for key, value in os.environ.items() if key not in PRIVATE}
        Start(argv, environment, (numbers[0], numbers[1], numbers[2]), tell)
        descriptors.pop_all()  # they are closed when the program has them
    pid, pidfd = await asyncio.shield(born)
    ended = asyncio.Event()

    def reap() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)
        ended.set()

    loop.add_reader(pidfd, reap)
    await ended.wait()
