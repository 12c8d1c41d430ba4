"""What a program that goes on by itself says, line by line. The program is started and ended by command.py."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence

from failoverd.drivers import DriverError, command

#: The longest line, in bytes. No program that is well writes a longer one: what follows is not understood any more.
LONGEST = 64 * 1024


class Ended(DriverError):
    """The program ended, or could not be started."""


class Lines:
    """The lines of a program that runs."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)
        self._text = shlex.join(argv)
        self._rest = b""
        self._lines: list[str] = []
        self._news = asyncio.Event()
        self._why: str | None = None

    async def next(self, timeout: float | None = None) -> list[str]:
        """The lines that came since the last call, waiting for one; empty when none came within `timeout` seconds.

        Ended when there will be no more. What comes after the last newline is no line.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        lines, self._lines = self._lines, []
        if not lines and self._why is not None:
            raise Ended(self._why)
        if self._why is None:
            self._news.clear()
        return lines

    async def run(self) -> None:
        """Run the program until it ends, or until this is cancelled."""
        try:
            done = await command.follow(self._argv, self._hear)
        except DriverError as error:
            self._end(error.reason)
        else:
            said = command.last_line(done.stderr)
            self._end(f"{self._text}: exit status {done.returncode}" + (f": {said}" if said else ""))
        finally:
            self._end(f"{self._text}: it is not heard any more")

    def _hear(self, data: bytes) -> None:
        if self._why is not None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines += (line.decode(errors="replace") for line in lines)
        if len(self._rest) > LONGEST:
            self._end(f"{self._text}: it says a line of more than {LONGEST} bytes")
        elif lines:
            self._news.set()

    def _end(self, why: str) -> None:
        """There will be no more lines. The first reason is the one that counts."""
        self._why = self._why or why
        self._news.set()


@contextlib.asynccontextmanager
async def following(argv: Sequence[str]) -> AsyncIterator[Lines]:
    """Run `argv` for as long as this context lasts; at its end the program is gone, or named hung in the log."""
    lines = Lines(argv)
    task = asyncio.create_task(lines.run())
    try:
        yield lines
    finally:
        task.cancel()
        await asyncio.wait({task})
