"""Reload the configuration while the daemon runs: in a thread, because its disk may hang.

A reload that fails must change nothing: the previous configuration stays in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from failoverd import log
from failoverd.daemon.config import ConfigError, Configuration
from failoverd.osutil import threads
from failoverd.trouble import TroubleKind, troubles

_log = log.get("reload")

#: How long reading the configuration may take, in seconds: its disk may hang.
READ_TIMEOUT_S = 20.0

_FAILED = "reload failed; still using the previous configuration"


class Reloads:
    """`load` reads the configuration and may block; `take` gets it in the loop, and may raise to reject it.

    An exception of either is logged, and is a trouble until a reload succeeds. A configuration that has not been read
    within READ_TIMEOUT_S is discarded.
    """

    def __init__(self, load: Callable[[], Configuration], take: Callable[[Configuration], None]) -> None:
        self._load = load
        self._take = take
        self._wanted = False
        self._reading: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Reload now; a request during a reload causes one more after it."""
        self._wanted = True
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    def close(self) -> None:
        """Cancel the reload."""
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
            async with asyncio.timeout(READ_TIMEOUT_S):
                read = await threads.run(self._load)
            self._take(read)
        except TimeoutError:
            self._fail(f"it could not be read within {READ_TIMEOUT_S:g} s")
        except ConfigError as error:
            for problem in error.problems:
                _log.error("configuration", problem=problem)
            self._fail(error.problems[0])
        except OSError as error:
            self._fail(str(error))
        except Exception:
            _log.exception("bug in failoverd")
            self._fail("bug in failoverd (see: journalctl -u failoverd)")
        else:
            troubles.end(TroubleKind.CONFIGURATION)

    def _fail(self, reason: str) -> None:
        _log.error(_FAILED, reason=reason)
        troubles.begin(TroubleKind.CONFIGURATION, f"{_FAILED}: {reason}")
