"""One guest: its level, and the two verbs, which look again and again until what they want is so or time is up.

A domain is absent only if Xen's whole table was read without it, every domain in that table has its name, and no xl
is at work that may start it in the next moment; everything else counts as "could not tell".
What this must not do: start a domain whose disks are not Primary and UpToDate here, or one that may be there already.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from failoverd.core.model import Observation
from failoverd.core.spec import FORCED_STOP, ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError, Refused, command
from failoverd.drivers.drbdstate import wire
from failoverd.drivers.xen import config, disk, events
from failoverd.drivers.xen.config import PATIENCE, Config
from failoverd.drivers.xen.domain import Condition, Domain, is_absent, why
from failoverd.drivers.xen.dying import Death
from failoverd.drivers.xen.look import Eye, Sight

#: Seconds between two looks at what is about to change, when nothing is heard of Xen: at first, and in the long run.
PAUSE = 0.2
LONGEST_PAUSE = 1.0

#: Seconds in which an observation waits for what cannot be told yet: a guest that is built or reboots, an xl that ends.
SETTLING = 2.0

#: Seconds of a step that are left for ending a tool that hangs, and for saying so.
RESERVE = 3.0

#: The part of an activation's time in which what is in the way of it may pass.
WAITING = 0.5

_LEVELS = {
    Condition.RUNNING: Level.ACTIVE,
    Condition.UNBORN: Level.UNKNOWN,
    Condition.REBOOTING: Level.UNKNOWN,
}
#: One that nobody can ask to shut down.
_SPEECHLESS = frozenset({Condition.CRASHED, Condition.PAUSED, Condition.SUSPENDED})

#: What is done about what was seen, in at most so many seconds. None: it could not be told what there is.
_Act = Callable[[Sight | None, float], Awaitable[None]]


class Guest:
    """One domain, by its configuration file."""

    def __init__(self, path: str, spec: ResourceSpec) -> None:
        self._path = path
        self._spec = spec
        self._eye = Eye(path)
        self._death = Death(self._eye)
        self._hungry = False  # an activation was refused for want of memory

    @property
    def subject(self) -> str:
        """What `watch` calls it."""
        return self._path

    async def observe(self) -> Observation:
        """Its level. A domain that reboots or is being built could become anything: UNKNOWN, if it stays so."""
        until = time.monotonic() + SETTLING
        while True:
            seen = await self._observe()
            if seen.level is not Level.UNKNOWN or time.monotonic() > until:
                return seen
            await events.bell.pause(PAUSE)

    async def activate(self) -> str | None:
        """Create it, unless it runs. What is left of an earlier one is cleaned up first."""
        it = await self._eye.file.read(PATIENCE)
        if objection := it.objection or await disk.objection(it.disks):
            raise Refused(f"{self._path}: {objection}")
        until = time.monotonic() + WAITING * self._spec.timeout
        if not await self._clear(it):
            if await self._make_way(it, until):
                return None
            await disk.check(it.disks)
            await self._find_memory(it, until)
        await self._must(self._create())
        return None

    async def deactivate(self) -> str | None:
        """Shut it down; when it is still there at its deadline, destroy it. Returns when it is gone."""
        start = time.monotonic()
        if await self._until_gone(self._ask(), start + self._spec.stop_timeout) is None:
            return None
        still = await self._until_gone(self._end, start + self._spec.stop_timeout + FORCED_STOP - RESERVE)
        if still is not None:
            raise DriverError(f"{self._name} is not gone: {still}; see xl list and /var/log/xen")
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """What a person would type to the same end."""
        if verb is Verb.ACTIVATE:
            return (shlex.join(self._create()),)
        shutdown, destroy = shlex.join(_shutdown(self._name)), shlex.join(_destroy(self._name))
        return (shutdown, f"{destroy}  # after {self._spec.stop_timeout:g} s")

    @property
    def _name(self) -> str:
        """Its name, or what it most probably is: for texts, not to act upon."""
        return self._eye.name or Path(self._path).stem

    def _create(self) -> tuple[str, ...]:
        return ("xl", "create", self._path)

    async def _observe(self) -> Observation:
        wire.warn()
        try:
            sight = await self._eye.look(PATIENCE)
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        if sight.domain is not None:
            named = "" if sight.domain.name in (None, self._eye.name) else f", by the name {sight.domain.name}"
            level = Level.UNKNOWN if named else _LEVELS.get(sight.domain.condition, Level.FAILED)
            if sight.domain.condition is Condition.DYING:
                events.look_again(self._path)
            why = await self._death.why(sight.domain)
            return Observation(level=level, detail=f"{sight.domain}{named}{why}")
        if sight.keepers:
            return Observation(level=Level.UNKNOWN, detail=f"{sight}, and may be about to start it")
        return Observation(level=Level.STANDBY, detail=str(sight), obstacle=await self._obstacle())

    async def _obstacle(self) -> str:
        """Why an activation would be refused now, as far as that can be seen without being asked for one."""
        try:
            it = await self._eye.file.read(PATIENCE)
            self._hungry = self._hungry and bool(await config.memory_missing(it))
        except Refused as error:
            return error.reason
        except DriverError:
            return ""
        objection = it.objection or await disk.objection(it.disks)
        return objection or (f"too little memory is free for {it.name}" if self._hungry else "")

    async def _clear(self, it: Config) -> bool:
        """Whether all is as it should be before a creation: asked at once, since every tool takes its time."""
        sight, disks, missing = await asyncio.gather(
            self._eye.look(PATIENCE), disk.check(it.disks), config.memory_missing(it), return_exceptions=True
        )
        return isinstance(sight, Sight) and sight.nothing and disks is None and missing == ""

    async def _make_way(self, it: Config, until: float) -> bool:
        """True when it runs, False when it is certain that there is nothing of it; waits for that `until` then."""
        destroyed: set[int] = set()
        rest = PAUSE
        while True:
            before = events.bell.count
            try:
                sight = await self._eye.look(PATIENCE)
                held = await self._death.hasten(sight.domain, PATIENCE)
                said = f"{it.name}: {sight}{held}; see xl list and /var/log/xen/xl-{it.name}.log"
            except DriverError as error:
                sight, said = None, error.reason
            domain = sight.domain if sight is not None else None
            if sight is not None and sight.nothing:
                return False
            if domain is not None and domain.name not in (None, it.name):
                raise DriverError(f"it is there by the name {domain.name}: {domain}; xl rename it back, or destroy it")
            if domain is not None and domain.condition is Condition.RUNNING:
                return True
            if domain is not None and domain.condition is Condition.PAUSED:
                await disk.check(it.disks)
                await self._must(("xl", "unpause", it.name))
                return True
            if sight is not None and sight.corpse and domain is not None and domain.id not in destroyed:
                destroyed.add(domain.id)
                await self._must(_destroy(_target(domain, it.name)), gone=True)
                continue
            if time.monotonic() > until:
                raise DriverError(said)
            rest = await _rest(rest, before)

    async def _find_memory(self, it: Config, until: float) -> None:
        """Wait for memory that another guest may be giving back just now."""
        while missing := await config.memory_missing(it):
            if time.monotonic() > until:
                self._hungry = True
                raise Refused(missing)
            await events.bell.pause(LONGEST_PAUSE)

    async def _until_gone(self, act: _Act, until: float) -> str | None:
        """Look and `act` until it is gone: None; or what it still is when the time is up."""
        rest = PAUSE
        while True:
            before = events.bell.count
            left = max(until - time.monotonic(), 1.0)
            try:
                sight = await self._eye.look(min(left / 3, PATIENCE))  # a look that hangs must leave time to act
                if sight.nothing:
                    return None
                still = str(sight) + await self._death.hasten(sight.domain, min(left / 3, PATIENCE))
            except DriverError as error:
                sight, still = None, error.reason
            if time.monotonic() >= until:
                return still
            try:
                await act(sight, max(until - time.monotonic(), 1.0))
            except DriverError as error:
                still = f"{still}; {error.reason}"
            if time.monotonic() >= until:
                return still
            rest = await _rest(rest, before, until)

    def _ask(self) -> _Act:
        """The graceful rung: ask each domain that appears by that name once; what cannot be asked is destroyed."""
        asked: set[int] = set()

        async def act(sight: Sight | None, seconds: float) -> None:
            if sight is None or sight.domain is None:
                return
            domain = sight.domain
            if domain.condition in _SPEECHLESS or sight.corpse:
                await self._must(_destroy(_target(domain, self._name)), seconds, gone=True)
            elif domain.condition is Condition.RUNNING and domain.id not in asked:
                await self._must(_shutdown(_target(domain, self._name)), seconds, gone=True)
                asked.add(domain.id)

        return act

    async def _end(self, sight: Sight | None, seconds: float) -> None:
        """The forced rung: destroy it; when only an xl that may start it is there, end that."""
        if sight is None:
            if self._eye.name is not None:  # never by a guess
                await self._must(_destroy(self._eye.name), seconds, gone=True)
            return
        if sight.domain is not None:
            await self._must(_destroy(_target(sight.domain, self._name)), seconds, gone=True)
            return
        for pid in sight.keepers:
            command.note(f"kill -KILL {pid}")
            await self._eye.end(pid)

    async def _must(self, argv: tuple[str, ...], seconds: float | None = None, *, gone: bool = False) -> None:
        """Run one xl. `gone`: that the domain is not there any more is no failure, the next look will say so."""
        done = await command.run(argv, timeout=seconds)
        if done.returncode != 0 and not (gone and is_absent(done.stderr)):
            said = why(done.stderr) or f"exit status {done.returncode}"
            raise DriverError(f"{shlex.join(argv)}: {said}")


async def _rest(seconds: float, before: int, until: float = float("inf")) -> float:
    """Wait a little, or until more than `before` happened to any domain; how long to wait the next time."""
    happened = await events.bell.pause(min(seconds, max(until - time.monotonic(), 0.0)), before)
    return PAUSE if happened else min(1.5 * seconds, LONGEST_PAUSE)


def _target(domain: Domain, name: str) -> str:
    """How xl is told which domain: by the name that it is known by, or by its number."""
    return name if domain.name == name else str(domain.id)


def _shutdown(target: str) -> tuple[str, ...]:
    # -F: a guest without Xen's own drivers gets the power button; to the others it makes no difference.
    return ("xl", "shutdown", "-F", target)


def _destroy(target: str) -> tuple[str, ...]:
    return ("xl", "destroy", target)
