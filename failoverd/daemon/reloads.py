"""The configuration read again while the daemon runs: in a thread, because its disk may hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from failoverd import log, threads
from failoverd.daemon.config import ConfigError, Configuration

_log = log.get("reload")


class Reloads:
    """`load` reads the configuration and may wait; `take` gets it in the loop, and may raise to refuse it.

    Whatever either raises is logged, and is no more than that: the configuration in force stays.
    """

    def __init__(self, load: Callable[[], Configuration], take: Callable[[Configuration], None]) -> None:
        self._load = load
        self._take = take
        self._wanted = False
        self._reading: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Read it; what was asked for while it is being read is read after that, once."""
        self._wanted = True
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    def close(self) -> None:
        """Take nothing more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                await self._once()
        finally:
            self._reading = None

    async def _once(self) -> None:
        try:
            self._take(await threads.run(self._load))
        except ConfigError as error:
            for problem in error.problems:
                _log.error("configuration", problem=problem)
            _log.error("the configuration has errors and was not taken; the one in force stays")
        except OSError as error:
            _log.error("the configuration cannot be read; the one in force stays", reason=str(error))
        except Exception:
            _log.exception("the configuration was not taken, the one in force stays; this is a bug of failoverd")
