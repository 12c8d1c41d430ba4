"""Programs that failoverd starts and does not end: they may outlive it. Part of the port to processes, command.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence

from failoverd import log
from failoverd.ports.spawn import Born, Start, environment

_log = log.get("command")

#: Reads a pipe until its last writer has closed it; the output is discarded.
READER = ("cat",)


async def run(argv: Sequence[str], channel: socket.socket) -> None:
    """Start `argv` with `channel` as its standard input, and return when it has ended. `channel` is closed here.

    failoverd does not end it: the program must end when the other end of the channel is closed. Cancellation leaves it
    running. It is not the tool of a step and has no mark. Raises OSError if it cannot be started.
    """
    await (await _begin(argv, channel.detach()))


async def read_on(pipe: int) -> None:
    """Let READER read `pipe`, a descriptor that is closed here, and return when it runs. An error is only logged.

    A background process of a tool would otherwise die by SIGPIPE or block on a full pipe. The reader may outlive
    failoverd.
    """
    os.set_blocking(pipe, True)
    try:
        await _begin(READER, pipe)
    except OSError as error:
        _log.warning("cannot read the output of a tool's background processes", reason=str(error))


async def _begin(argv: Sequence[str], stdin: int) -> asyncio.Future[None]:
    """Start `argv`; the future that is returned is done when the program has ended."""
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[None] = loop.create_future()
    ended: asyncio.Future[None] = loop.create_future()

    def on_start(result: Born | OSError) -> None:
        if isinstance(result, OSError):
            if not begun.cancelled():
                begun.set_exception(result)
            return
        pid, pidfd = result
        loop.add_reader(pidfd, reap, pid, pidfd)
        if not begun.cancelled():
            begun.set_result(None)

    def reap(pid: int, pidfd: int) -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)
        if not ended.cancelled():
            ended.set_result(None)

    with contextlib.ExitStack() as descriptors:
        descriptors.callback(os.close, stdin)
        devnull = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        descriptors.callback(os.close, devnull)
        stderr = os.dup(2)
        descriptors.callback(os.close, stderr)
        Start(argv, environment(), (stdin, devnull, stderr), on_start)
        descriptors.pop_all()  # Start closes them
    await begun
    return ended
