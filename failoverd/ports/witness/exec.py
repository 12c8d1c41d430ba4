"""A witness that a program of the operator asks. Exit status 0 is its answer, its first line what it says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from failoverd.ports import command
from failoverd.ports.command import Completed
from failoverd.ports.errors import DriverError
from failoverd.ports.witness.answer import Answer


def obstacle(path: str) -> str | None:
    """Why the program cannot be run; None: nothing is seen. It may wait for a disk."""
    file = Path(path)
    if not file.exists():
        return f"{path}: not found"
    if not (file.is_file() and os.access(file, os.X_OK)):
        return f"{path}: not an executable file"
    return None


class Exec:
    """The witness of ``exec:///PATH``."""

    def __init__(self, path: str) -> None:
        self._argv = (path,)
        self._run: asyncio.Task[Completed] | None = None

    async def ask(self, timeout: float) -> Answer:
        """Run the program. One that has to be killed may need up to two seconds more, which no caller waits for."""
        if self._run is not None and not self._run.done():
            return Answer(granted=None, said="the program has not ended since the last time")
        self._run = asyncio.create_task(command.run(self._argv, timeout=timeout, whole=False))
        self._run.add_done_callback(lambda run: run.cancelled() or run.exception())
        try:
            await asyncio.wait({self._run}, timeout=timeout)
        except asyncio.CancelledError:
            self._run.cancel()
            raise
        if not self._run.done():
            return Answer(granted=None, said=f"no answer within {timeout:.3g} s")
        try:
            done = self._run.result()
        except DriverError as error:
            return Answer(granted=None, said=error.reason)
        said = command.first_line(done.stdout) or command.first_line(done.stderr)
        if done.returncode == 0:
            return Answer(granted=True, said=said or "exit status 0")
        status = f"exit status {done.returncode}" if done.returncode > 0 else f"ended by signal {-done.returncode}"
        return Answer(granted=None, said=f"{status}: {said}" if said else status)
