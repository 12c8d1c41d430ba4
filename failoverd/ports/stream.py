"""The output of a program that does not end by itself, line by line. command.py starts and ends the program."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence

from failoverd.ports import command
from failoverd.ports.errors import DriverError

#: A longer line is an error: no healthy program writes one.
LINE_MAX_BYTES = 64 * 1024


class Ended(DriverError):
    """The program ended, could not be started, or wrote a line that is too long."""


class Lines:
    """The lines of a program that runs."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)
        self._text = shlex.join(argv)
        self._rest = b""
        self._lines: list[str] = []
        self._news = asyncio.Event()
        self._end_reason: str | None = None

    async def next(self, timeout: float | None = None) -> list[str]:
        """Wait for a line, and return all that came since the last call; empty if none came within `timeout` seconds.

        `timeout` None: no limit. Raises Ended if no more lines will come. Text after the last newline is dropped.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        lines, self._lines = self._lines, []
        if not lines and self._end_reason is not None:
            raise Ended(self._end_reason)
        if self._end_reason is None:
            self._news.clear()
        return lines

    async def run(self) -> None:
        """Run the program until it ends, or until this is cancelled."""
        try:
            done = await command.follow(self._argv, self._hear)
        except DriverError as error:
            self._end(error.reason)
        else:
            error_line = command.last_line(done.stderr)
            self._end(f"{self._text}: exit status {done.returncode}" + (f": {error_line}" if error_line else ""))
        finally:
            self._end(f"{self._text}: its output is no longer read")

    def _hear(self, data: bytes) -> None:
        if self._end_reason is not None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines += (line.decode(errors="replace") for line in lines)
        if len(self._rest) > LINE_MAX_BYTES:
            self._end(f"{self._text}: a line of its output is longer than {LINE_MAX_BYTES} bytes")
        elif lines:
            self._news.set()

    def _end(self, reason: str) -> None:
        """No more lines will come. The first reason counts."""
        self._end_reason = self._end_reason or reason
        self._news.set()


@contextlib.asynccontextmanager
async def following(argv: Sequence[str]) -> AsyncIterator[Lines]:
    """Run `argv` within this context. At its end the program is gone, or logged as hung."""
    lines = Lines(argv)
    task = asyncio.create_task(lines.run())
    try:
        yield lines
    finally:
        task.cancel()
        await asyncio.wait({task})
