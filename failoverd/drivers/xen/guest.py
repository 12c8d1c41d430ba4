"""One guest: its level and its two verbs, which act and observe until the goal is reached or the time is over.

A domain is absent only if the complete list of domains does not contain it, every domain in the list has its name, and
no xl runs that may start it. In any other doubt the level is UNKNOWN.

It must not start a domain whose disks are not Primary and UpToDate here, or a domain that may exist already.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers.xen import config, disk, events, files
from failoverd.drivers.xen.config import Config
from failoverd.drivers.xen.dying import Death
from failoverd.drivers.xen.look import DomainFinder, DomainView
from failoverd.ports import command, graceful_stop
from failoverd.ports.drbd import wire
from failoverd.ports.errors import DriverError, Refused
from failoverd.ports.xl.domain import Condition, Domain, is_absent, why
from failoverd.ports.xl.listing import XL_TIMEOUT_S

#: Seconds between two checks of a domain that is about to change, without an event of Xen: at first.
CHECK_INTERVAL_S = 0.2

#: The same, later.
LONGEST_CHECK_INTERVAL_S = 1.0

#: Seconds that an observation waits for a state that does not last: a guest that is built or reboots, an xl that ends.
SETTLING_TIMEOUT_S = 2.0

#: The part of an activation's time in which its obstacles may pass.
WAITING_SHARE = 0.5

_LEVELS = {
    Condition.RUNNING: Level.ACTIVE,
    Condition.UNBORN: Level.UNKNOWN,
    Condition.REBOOTING: Level.UNKNOWN,
}
#: The states in which a guest cannot react to `xl shutdown`.
_UNRESPONSIVE = frozenset({Condition.CRASHED, Condition.PAUSED, Condition.SUSPENDED})

#: Acts on an observation, within so many seconds. None: the domain could not be observed.
_Act = Callable[[DomainView | None, float], Awaitable[None]]


class Guest:
    """One domain, by its configuration file."""

    def __init__(self, path: str, spec: ResourceSpec) -> None:
        self._path = path
        self._spec = spec
        self._finder = DomainFinder(path)
        self._death = Death(self._finder)
        self._memory_refused = False  # the last activation was refused because Xen had too little memory

    @property
    def subject(self) -> str:
        """The configuration file, under which `watch` reports changes."""
        return self._path

    async def observe(self) -> Observation:
        """Observe the guest. A domain that reboots or is being built for longer than SETTLING_TIMEOUT_S is UNKNOWN."""
        until = time.monotonic() + SETTLING_TIMEOUT_S
        while True:
            seen = await self._observe()
            if seen.level is not Level.UNKNOWN or time.monotonic() > until:
                return seen
            await events.bell.pause(CHECK_INTERVAL_S)

    async def activate(self) -> str | None:
        """Create the domain, unless it runs; destroy the remains of an earlier one first.

        Refused: its configuration is not allowed, Xen has too little memory, or xl no room for its files. DriverError:
        its disks are not safe, it has another name, or its remains do not end in time.
        """
        it = await self._finder.file.read(XL_TIMEOUT_S)
        if obstacle := it.obstacle or await disk.obstacle(it.disks):
            raise Refused(f"{self._path}: {obstacle}")
        until = time.monotonic() + WAITING_SHARE * self._spec.timeout
        if not await self._clear(it):
            if await self._make_way(it, until):
                return None
            await disk.check(it.disks)
            await self._find_memory(it, until)
        if obstacle := await files.obstacle():
            raise Refused(obstacle)
        await self._must(self._create())
        return None

    async def deactivate(self) -> str | None:
        """Shut the guest down, and destroy it after `stop_timeout`. DriverError: the domain still exists after that."""
        still = await graceful_stop.stop(
            self._spec.stop_timeout,
            graceful=partial(self._until_gone, self._ask()),
            forced=partial(self._until_gone, self._end),
        )
        if still is not None:
            raise DriverError(f"{self._name} is not gone: {still}; see xl list and /var/log/xen")
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The commands of xl with the same effect."""
        if verb is Verb.ACTIVATE:
            return (shlex.join(self._create()),)
        shutdown, destroy = shlex.join(_shutdown(self._name)), shlex.join(_destroy(self._name))
        return graceful_stop.commands(self._spec.stop_timeout, graceful=shutdown, forced=destroy)

    @property
    def _name(self) -> str:
        """The name, or a guess from the file's name while it is unknown. No verb acts on a guess."""
        return self._finder.name or Path(self._path).stem

    def _create(self) -> tuple[str, ...]:
        return ("xl", "create", self._path)

    async def _observe(self) -> Observation:
        wire.warn()
        try:
            view = await self._finder.look(XL_TIMEOUT_S)
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        if view.domain is not None:
            named = "" if view.domain.name in (None, self._finder.name) else f", under the name {view.domain.name}"
            level = Level.UNKNOWN if named else _LEVELS.get(view.domain.condition, Level.FAILED)
            if view.domain.condition is Condition.DYING:
                events.look_again(self._path)
            why = await self._death.why(view.domain)
            return Observation(level=level, detail=f"{view.domain}{named}{why}")
        if view.xl_pids:
            return Observation(level=Level.UNKNOWN, detail=f"{view}, and may start it")
        return Observation(level=Level.STANDBY, detail=str(view), obstacle=await self._obstacle())

    async def _obstacle(self) -> str:
        """The reason why an activation would be refused now; empty if none is known. Memory counts after a refusal."""
        try:
            it = await self._finder.file.read(XL_TIMEOUT_S)
            self._memory_refused = self._memory_refused and bool(await config.memory_missing(it))
        except Refused as error:
            return error.reason
        except DriverError:
            return ""
        obstacle = it.obstacle or await disk.obstacle(it.disks) or await files.obstacle()
        return obstacle or (f"too little memory is free for {it.name}" if self._memory_refused else "")

    async def _clear(self, it: Config) -> bool:
        """Whether the domain can be created at once. The checks run concurrently, because each takes a tool's time."""
        view, disks, missing = await asyncio.gather(
            self._finder.look(XL_TIMEOUT_S), disk.check(it.disks), config.memory_missing(it), return_exceptions=True
        )
        return isinstance(view, DomainView) and view.nothing and disks is None and missing == ""

    async def _make_way(self, it: Config, until: float) -> bool:
        """Remove the remains of an earlier domain. True: the domain runs; False: it is certainly absent.

        `until`: in seconds of the monotonic clock. DriverError: neither is reached by then, or cannot be.
        """
        destroyed: set[int] = set()
        rest = CHECK_INTERVAL_S
        while True:
            before = events.bell.count
            try:
                view = await self._finder.look(XL_TIMEOUT_S)
                held = await self._death.hasten(view.domain, XL_TIMEOUT_S)
                said = f"{it.name}: {view}{held}; see xl list and /var/log/xen/xl-{it.name}.log"
            except DriverError as error:
                view, said = None, error.reason
            domain = view.domain if view is not None else None
            if view is not None and view.nothing:
                return False
            if domain is not None and domain.name not in (None, it.name):
                remedy = f"xl rename {domain.id} {it.name}, or xl destroy {domain.id}"
                raise DriverError(f"it exists under the name {domain.name}: {domain}; {remedy}")
            if domain is not None and domain.condition is Condition.RUNNING:
                return True
            if domain is not None and domain.condition is Condition.PAUSED:
                await disk.check(it.disks)
                await self._must(("xl", "unpause", it.name))
                return True
            if view is not None and view.dead and domain is not None and domain.id not in destroyed:
                destroyed.add(domain.id)
                await self._must(_destroy(_target(domain, it.name)), gone=True)
                continue
            if time.monotonic() > until:
                raise DriverError(said)
            rest = await _rest(rest, before)

    async def _find_memory(self, it: Config, until: float) -> None:
        """Wait for memory, because another guest may be ending just now. Refused: there is too little at `until`."""
        while missing := await config.memory_missing(it):
            if time.monotonic() > until:
                self._memory_refused = True
                raise Refused(missing)
            await events.bell.pause(LONGEST_CHECK_INTERVAL_S)

    async def _until_gone(self, act: _Act, until: float) -> str | None:
        """Observe and `act` until the domain is absent: None. At `until`, the last observation as text."""
        rest = CHECK_INTERVAL_S
        while True:
            before = events.bell.count
            left = max(until - time.monotonic(), 1.0)
            try:
                view = await self._finder.look(min(left / 3, XL_TIMEOUT_S))  # one that hangs must leave time to act
                if view.nothing:
                    return None
                still = str(view) + await self._death.hasten(view.domain, min(left / 3, XL_TIMEOUT_S))
            except DriverError as error:
                view, still = None, error.reason
            if time.monotonic() >= until:
                return still
            try:
                await act(view, max(until - time.monotonic(), 1.0))
            except DriverError as error:
                still = f"{still}; {error.reason}"
            if time.monotonic() >= until:
                return still
            rest = await _rest(rest, before, until)

    def _ask(self) -> _Act:
        """The graceful part of a stop: `xl shutdown`, once for each domain that appears under the name.

        It destroys a domain that cannot react. If the domain cannot be observed, it shuts the name down all the same:
        the guest may be healthy, and only xl list fail.
        """
        asked: set[int | None] = set()

        async def act(view: DomainView | None, seconds: float) -> None:
            if view is None:
                if self._finder.name is not None and not asked:
                    asked.add(None)
                    await self._must(_shutdown(self._finder.name), seconds, gone=True)
                return
            if view.domain is None:
                return
            domain = view.domain
            if domain.condition in _UNRESPONSIVE or view.dead:
                await self._must(_destroy(_target(domain, self._name)), seconds, gone=True)
            elif domain.condition is Condition.RUNNING and domain.id not in asked:
                await self._must(_shutdown(_target(domain, self._name)), seconds, gone=True)
                asked.add(domain.id)

        return act

    async def _end(self, view: DomainView | None, seconds: float) -> None:
        """The forced part of a stop: destroy the domain; if only an xl that may start it exists, kill that xl."""
        if view is None:
            if self._finder.name is not None:  # not self._name, which may be a guess
                await self._must(_destroy(self._finder.name), seconds, gone=True)
            return
        if view.domain is not None:
            await self._must(_destroy(_target(view.domain, self._name)), seconds, gone=True)
            return
        for pid in view.xl_pids:
            command.note(f"kill -KILL {pid}")
            await self._finder.end(pid)

    async def _must(self, argv: tuple[str, ...], seconds: float | None = None, *, gone: bool = False) -> None:
        """Run one xl. DriverError: it fails. `gone`: a domain that does not exist any more is not an error.

        `seconds`: its time limit; None: the caller's.
        """
        done = await command.run(argv, timeout=seconds)
        if done.returncode != 0 and not (gone and is_absent(done.stderr)):
            said = why(done.stderr) or f"exit status {done.returncode}"
            raise DriverError(f"{shlex.join(argv)}: {said}")


async def _rest(seconds: float, before: int, until: float = float("inf")) -> float:
    """Wait for `seconds`, or for a change after the count `before`, or `until`; return the next interval in seconds."""
    happened = await events.bell.pause(min(seconds, max(until - time.monotonic(), 0.0)), before)
    return CHECK_INTERVAL_S if happened else min(1.5 * seconds, LONGEST_CHECK_INTERVAL_S)


def _target(domain: Domain, name: str) -> str:
    """The domain as an argument of xl: its name, or its number if it has another name or none."""
    return name if domain.name == name else str(domain.id)


def _shutdown(target: str) -> tuple[str, ...]:
    # -F: a guest without Xen's drivers gets an ACPI power button event; for other guests it changes nothing.
    return ("xl", "shutdown", "-F", target)


def _destroy(target: str) -> tuple[str, ...]:
    return ("xl", "destroy", target)
