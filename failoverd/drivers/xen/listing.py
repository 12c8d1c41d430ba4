"""All domains, as one ``xl list -v`` tells them, however many ask for them at once.

At most one runs. Who asks meanwhile waits for the next, which serves all who have asked by then: what anybody is told
was seen after they asked. For eight guests that stop at once, xl would else be most of what a machine does.
What this must not do: remember what was seen.
"""

from __future__ import annotations

import asyncio
import contextvars

from failoverd.drivers import DriverError, TimedOut, command
from failoverd.drivers.xen import domain
from failoverd.drivers.xen.config import PATIENCE

_Domains = tuple[domain.Domain, ...]


class Listing:
    """The one that runs, and the one that comes after it."""

    def __init__(self) -> None:
        self._running: asyncio.Task[_Domains] | None = None
        self._next: asyncio.Task[_Domains] | None = None

    async def read(self, timeout: float = PATIENCE) -> _Domains:
        """All domains. DriverError when they cannot be seen, completely and for certain, within `timeout` seconds."""
        if self._next is None or self._next.done():
            # It is nobody's own: not of the step of who happened to ask first.
            self._next = asyncio.create_task(self._list(self._running), context=contextvars.Context())
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._next)
        except TimeoutError as error:
            self._running = self._next = None  # whoever asks now does not wait for one that may hang
            raise TimedOut(f"xl list: no answer within {timeout:.3g} s") from error

    async def _list(self, before: asyncio.Task[_Domains] | None) -> _Domains:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._running = asyncio.current_task()
        if self._next is self._running:
            self._next = None
        return await _list()


async def _list() -> _Domains:
    done = await command.run(("xl", "list", "-v"), timeout=PATIENCE)
    if done.returncode != 0:
        said = domain.why(done.stderr) or f"exit status {done.returncode}"
        raise DriverError(f"xl list: {said}")
    if len(done.stdout) >= command.KEPT:
        raise DriverError("xl list: more domains than failoverd reads")
    try:
        return domain.parse(done.stdout)
    except ValueError as error:
        raise DriverError(str(error)) from error


#: The one listing of this process, as there is one Xen.
listing = Listing()
