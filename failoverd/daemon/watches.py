"""Turn the changes that drivers notice by themselves into events.

There is one watch for each driver in use that has one, and one for each subject that is followed by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial

from failoverd import drivers, log
from failoverd.core.events import ResourceChanged
from failoverd.drivers import Driver, Follows
from failoverd.ports.errors import DriverError

_log = log.get("watches")

#: Seconds for which changes are gathered: one change is often several lines.
GATHER_S = 0.05

#: Seconds until a watch that failed is started again.
RETRY_S = 10.0

#: The names of an instance, a resource and its driver.
Key = tuple[str, str, str]

#: A driver's name, and the subject that is followed; None: all subjects of this driver.
_Source = tuple[str, Hashable]


class Watches:
    """Follows the configured resources; `report` gets each change, in the event loop."""

    def __init__(self, report: Callable[[ResourceChanged], None]) -> None:
        self._report = report
        self._followed: dict[_Source, set[Key]] = {}
        self._tasks: dict[_Source, asyncio.Task[None]] = {}
        self._gathered: set[Key] = set()

    def configure(self, resources: Iterable[tuple[Key, Driver]]) -> None:
        """Follow these resources, and no others."""
        self._followed = {}
        wanted: dict[_Source, Callable[[], Awaitable[None]]] = {}
        for key, driver in resources:
            name, subject = key[2], getattr(driver, "subject", None)
            for each in {None, subject}:
                self._followed.setdefault((name, each), set()).add(key)
            if isinstance(driver, Follows):
                wanted.setdefault((name, subject), partial(driver.follow, partial(self._changed, name, subject)))
            elif (watch := drivers.find(name).watch) is not None:
                wanted.setdefault((name, None), partial(watch, partial(self._changed, name)))
        for source in set(self._tasks) - set(wanted):
            self._tasks.pop(source).cancel()
        for source in set(wanted) - set(self._tasks):
            self._tasks[source] = asyncio.create_task(self._follow(source, wanted[source]))

    async def close(self) -> None:
        """Follow nothing."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, source: _Source, work: Callable[[], Awaitable[None]]) -> None:
        """Restart the watch whenever it ends.

        Its resources are checked each time, because it may have missed a change.
        """
        while True:
            try:
                await work()
            except DriverError as error:
                _log.debug("cannot follow changes; retrying", driver=source[0], reason=error.reason, again_in=RETRY_S)
            except Exception:
                _log.exception("a driver's watch failed; this is a bug of failoverd", driver=source[0])
            self._changed(*source)
            await asyncio.sleep(RETRY_S)

    def _changed(self, name: str, subject: Hashable) -> None:
        found = self._followed.get((name, subject), set())
        if found and not self._gathered:
            asyncio.get_running_loop().call_later(GATHER_S, self._tell)
        self._gathered |= found

    def _tell(self) -> None:
        gathered, self._gathered = self._gathered, set()
        for key in sorted(gathered):
            instance, resource, driver = key
            if key in self._followed.get((driver, None), ()):
                self._report(ResourceChanged(instance=instance, resource=resource))
