"""The figures in a file, for the textfile collector of node_exporter.

A process of its own replaces it as a whole: a disk that hangs must not hold a thread of the daemon, which could not be
killed then. The file is removed at the end, because node_exporter would go on to serve it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from failoverd.ports import command
from failoverd.ports.errors import DriverError, Hung, TimedOut
from failoverd.trouble import TroubleKind, troubles

#: Between two times that the file is written, at least, and at most: the second while nothing changes.
MIN_INTERVAL_S, HEARTBEAT_S = 1.0, 10.0

#: For one write.
WRITE_TIMEOUT_S = 5.0

#: Writes $1 by way of $2, which it makes itself (noclobber), since others may write into the directory.
_SCRIPT = 'umask 022; rm -f -- "$2" && set -C && cat >"$2" && mv -fT -- "$2" "$1"'


class Textfile:
    """Keeps `file` up to date with what `text` returns, while `run` runs.

    `interval` and `heartbeat`: MIN_INTERVAL_S and HEARTBEAT_S, in seconds.
    """

    def __init__(
        self,
        file: Path,
        text: Callable[[], Awaitable[bytes]],
        *,
        interval: float = MIN_INTERVAL_S,
        heartbeat: float = HEARTBEAT_S,
    ) -> None:
        self._file = file
        self._draft = file.with_name(f".{file.name}.new")
        self._text = text
        self._interval = interval
        self._heartbeat = heartbeat
        self._changed = asyncio.Event()
        self._hung: Hung | None = None

    def change(self) -> None:
        """Something has changed: the file is out of date."""
        self._changed.set()

    async def run(self) -> None:
        """Write the file until the caller cancels, and then remove it."""
        try:
            while True:
                self._changed.clear()
                if self._hung is None or self._hung.over():
                    await self._write(await self._text())
                await asyncio.sleep(self._interval)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._heartbeat - self._interval):
                        await self._changed.wait()
        finally:
            troubles.end(TroubleKind.METRICS_FILE)
            with suppress(DriverError):
                argv = ("rm", "-f", "--", str(self._file), str(self._draft))
                await command.run(argv, timeout=WRITE_TIMEOUT_S, whole=False)

    async def _write(self, text: bytes) -> None:
        self._hung = None
        argv = ("sh", "-c", _SCRIPT, "sh", str(self._file), str(self._draft))
        try:
            done = await command.run(argv, timeout=WRITE_TIMEOUT_S, input=text, whole=False)
            reason = ""
            if done.returncode != 0:
                reason = command.last_line(done.stderr) or f"exit status {done.returncode}"
        except TimedOut:
            reason = f"it took more than {WRITE_TIMEOUT_S:g} s"
        except DriverError as error:
            reason = error.reason
            self._hung = error if isinstance(error, Hung) else None
        if reason:
            why = f"cannot write {self._file} ({reason}), so Prometheus sees old figures"
            troubles.begin(TroubleKind.METRICS_FILE, why, directory=self._file.parent)
        else:
            troubles.end(TroubleKind.METRICS_FILE)
