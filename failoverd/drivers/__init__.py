"""What every driver is, and where one is found by its name.

A driver is one file here, or one folder: it observes one kind of resource, activates and deactivates it, and says which
commands that takes. It never decides. The modules named in DOORS are no drivers but what drivers go through: to
processes, to D-Bus and systemd's units, to bird's control socket and the file that it includes, to what DRBD says,
and to looks that many share.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from failoverd.core.model import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Verb

#: Modules beside the drivers that are doors, not drivers.
DOORS = frozenset(
    {
        "birdctl",
        "birdinclude",
        "command",
        "companion",
        "dbus",
        "drbdstate",
        "pipe",
        "process",
        "shared",
        "spawn",
        "stream",
        "systemd",
    }
)


class DriverError(Exception):
    """A step could not be done. `reason` is one line for a person, with the remedy where there is one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimedOut(DriverError):
    """A tool outlived its deadline and was ended; or the other side did not answer in time."""


class Hung(DriverError):
    """A tool outlived its deadline and SIGKILL (D state): it still runs, and nobody waits for it any more."""


class NotStarted(DriverError):
    """Nothing was done: a tool cannot be started, or there is no bus to ask on. It says nothing of the resource."""


class Refused(DriverError):
    """An activation that would not be safe now, for a reason that does not pass within its deadline."""


@runtime_checkable
class Driver(Protocol):
    """One resource on this node. All waiting is bounded by the caller, by cancelling the coroutine.

    `activate` and `deactivate` are idempotent and return when the tool said that it was done, or raise
    DriverError; the caller observes afterwards and believes only that. They return an alarm (one line that
    an operator must act on) or None. `observe` never raises for the state of the resource: what cannot be
    seen is Level.UNKNOWN.
    """

    async def observe(self) -> Observation: ...

    async def activate(self) -> str | None: ...

    async def deactivate(self) -> str | None: ...

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """What `verb` would run, pasteable, in order. Runs nothing."""
        ...


@runtime_checkable
class Accepts(Protocol):
    """A driver whose refusal an operator may overrule, once."""

    async def accept(self, by: str) -> str:
        """What was accepted, in one line, on behalf of `by`. DriverError when there is nothing to accept."""
        ...


#: Follows the things of one driver as they change, until it is cancelled: calls its argument with the `subject` of the
#: driver that should look again, or with None for all of them.
Watch = Callable[[Callable[[str | None], None]], Awaitable[None]]


def option(doc: str, **rules: Any) -> Any:
    """A dataclass field of a driver's Options: its text for the manual, a default, and JSON Schema rules.

    Without `default` the key is required. ``unit="seconds"`` makes a float field a duration, written
    ``"90s"``, ``"5m"`` or a number of seconds. Every other keyword goes into the key's JSON Schema.
    """
    default = rules.pop("default", ...)
    metadata = {"doc": doc, "rules": rules}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


class Options(Protocol):
    """A driver's keys: a frozen dataclass of `option` fields, whose ``__post_init__`` raises ValueError."""

    @property
    def owns(self) -> tuple[str, ...]:
        """All that the resource changes, in words that are the same for whoever changes it; empty when not known."""
        ...


def moved_by(options: Options) -> frozenset[str]:
    """All that is moved, in words that are the same for whoever moves it; where nobody knows, how it is looked at."""
    return frozenset(options.owns or (str(getattr(options, "seen_by", options)),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A driver as its module defines it: the class of its ``Options``, and ``make(options, spec)``.

    `watch`: None where there is nothing to follow. Drivers that are followed have a ``subject``.
    """

    options: type[Options]
    make: Callable[[Any, ResourceSpec], Driver]
    watch: Watch | None


@functools.cache
def names() -> tuple[str, ...]:
    """The names of all drivers, sorted: the modules of this package that are not doors."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in DOORS))


def find(name: str) -> Found:
    """The driver called `name`; KeyError when there is none."""
    if name not in names():
        raise KeyError(name)
    module = importlib.import_module(f"{__name__}.{name}")
    return Found(options=module.Options, make=module.make, watch=getattr(module, "watch", None))
