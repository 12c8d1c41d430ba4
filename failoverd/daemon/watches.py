"""What drivers notice by themselves, as events: one watch for each driver that has one and is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from failoverd import drivers, log
from failoverd.core.events import Stirred
from failoverd.drivers import Driver

_log = log.get("watches")

#: Seconds for which changes are gathered: one often is a handful of lines.
GATHER = 0.05

#: Seconds before a watch that failed is started again.
PAUSE = 10.0

#: An instance's name, a resource's, and its driver's.
Key = tuple[str, str, str]


class Watches:
    """Follows what is configured; `report` takes what stirred, in the event loop."""

    def __init__(self, report: Callable[[Stirred], None]) -> None:
        self._report = report
        self._followed: dict[tuple[str, str | None], set[Key]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stirred: set[Key] = set()

    def configure(self, resources: Iterable[tuple[Key, Driver]]) -> None:
        """Follow these, and no others."""
        self._followed = {}
        for key, driver in resources:
            for subject in {None, getattr(driver, "subject", None)}:  # None: all of this driver
                self._followed.setdefault((key[2], subject), set()).add(key)
        names = {driver for driver, _ in self._followed}
        wanted = {name: watch for name in names if (watch := drivers.find(name).watch) is not None}
        for name in set(self._tasks) - set(wanted):
            self._tasks.pop(name).cancel()
        for name in set(wanted) - set(self._tasks):
            self._tasks[name] = asyncio.create_task(self._follow(name, wanted[name]))

    async def close(self) -> None:
        """Follow nothing any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, name: str, watch: drivers.Watch) -> None:
        """Keep a driver's watch going; whatever becomes of it, what it missed is looked at."""
        while True:
            try:
                await watch(partial(self._changed, name))
            except Exception:
                _log.exception("a driver's watch failed; this is a bug of failoverd", driver=name)
            self._changed(name, None)
            await asyncio.sleep(PAUSE)

    def _changed(self, name: str, subject: str | None) -> None:
        found = self._followed.get((name, subject), set())
        if found and not self._stirred:
            asyncio.get_running_loop().call_later(GATHER, self._tell)
        self._stirred |= found

    def _tell(self) -> None:
        stirred, self._stirred = self._stirred, set()
        for key in sorted(stirred):
            instance, resource, driver = key
            if key in self._followed.get((driver, None), ()):
                self._report(Stirred(instance=instance, resource=resource))
