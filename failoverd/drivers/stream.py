"""What a program that goes on by itself says, line by line. The program is started and ended by command.py."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence

from failoverd.drivers import DriverError, command

#: Bytes without a newline that are taken for a line all the same: no program that is well writes such a line.
LONGEST = 64 * 1024


class Ended(DriverError):
    """The program ended, or could not be started."""


class Lines:
    """The lines of a program that runs."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)
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
            self._why = error.reason
        else:
            said = command.last_line(done.stderr)
            self._why = f"{shlex.join(self._argv)}: exit status {done.returncode}" + (f": {said}" if said else "")
        finally:
            self._news.set()

    def _hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        self._lines += (line.decode(errors="replace") for line in lines)
        if lines:
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
