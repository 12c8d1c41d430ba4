"""Turn the port and the file on and off, as the configuration has them. Neither can fail the start or a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from failoverd import log
from failoverd.daemon.config import addresses
from failoverd.daemon.config.keys import MetricsOptions
from failoverd.trouble import TroubleKind, troubles

if TYPE_CHECKING:
    from failoverd.daemon.metrics.textfile import Textfile

#: Between two attempts to listen at a port that is in use.
LISTEN_RETRY_INTERVAL_S = 5.0

#: How long the end of the daemon waits until the file is removed.
CLOSE_TIMEOUT_S = 2.0

_log = log.get("metrics")


class Exporter:
    """Hands out what `text` returns. Off until `configure` turns it on.

    `retry`: LISTEN_RETRY_INTERVAL_S, in seconds.
    """

    def __init__(self, text: Callable[[], Awaitable[bytes]], *, retry: float = LISTEN_RETRY_INTERVAL_S) -> None:
        self._text = text
        self._retry = retry
        self._options = MetricsOptions()
        self._server, self._writer = _Part(), _Part()
        self._textfile: Textfile | None = None

    def configure(self, options: MetricsOptions) -> None:
        """Use these options from now on."""
        before, self._options = self._options, options
        if options.listen != before.listen:
            self._server.replace(partial(self._serve, options.listen) if options.listen else None)
        if options.file != before.file:
            self._write(options.file)

    def _write(self, file: str | None) -> None:
        if file is None:
            self._textfile = None
            self._writer.replace(None)
            return
        from failoverd.daemon.metrics.textfile import Textfile

        self._textfile = Textfile(Path(file), self._text)
        self._writer.replace(self._textfile.run)

    def change(self) -> None:
        """The figures have changed."""
        if self._textfile is not None:
            self._textfile.change()

    async def close(self) -> None:
        """Stop listening, and remove the file."""
        for part in (self._server, self._writer):
            part.replace(None)
        if tasks := self._server.tasks | self._writer.tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)

    async def _serve(self, listen: str) -> None:
        from failoverd.daemon.metrics.scrapes import ScrapeServer

        host, port = addresses.loopback(listen)
        server = ScrapeServer(self._text)
        try:
            while True:
                try:
                    await server.open(host, port)
                except OSError as error:
                    reason = f"cannot listen at {listen} ({error.strerror or error}), so Prometheus gets no figures"
                    troubles.begin(TroubleKind.METRICS_PORT, reason, port=f":{port}")
                    await asyncio.sleep(self._retry)
                else:
                    break
            troubles.end(TroubleKind.METRICS_PORT)
            _log.info("metrics", listen=listen)
            await asyncio.get_running_loop().create_future()  # until the configuration or the daemon ends it
        finally:
            troubles.end(TroubleKind.METRICS_PORT)
            server.close()


class _Part:
    """Work that goes on until other work replaces it. The next begins when the last has ended."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def replace(self, work: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        """End the work that goes on, and begin this. None: no work."""
        for task in self.tasks:
            task.cancel()
        if work is not None:
            task = asyncio.create_task(self._do(work))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with self._turn:
            try:
                await work()
            except Exception:
                _log.exception("no more metrics; this is a bug of failoverd")
