"""The interface of all drivers, and the lookup of a driver by its name.

A driver is one module or package here. It observes one kind of resource, activates it, deactivates it, and names the
commands for this. It refuses an activation that is not safe for its own resource; the core decides for the instance.
This package contains drivers only: they reach programs and the kernel through failoverd/ports/.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Verb


@runtime_checkable
class Driver(Protocol):
    """One resource on this node. The caller limits every call by cancelling the coroutine.

    `activate` and `deactivate` are idempotent. They return when the tool reports success, and raise DriverError
    otherwise; the caller then observes, and trusts only the observation. They return an alarm (one line that an
    operator must act on) or None. `observe` raises nothing because of the resource's state: it returns Level.UNKNOWN
    if it cannot observe the resource.
    """

    async def observe(self) -> Observation: ...

    async def activate(self) -> str | None: ...

    async def deactivate(self) -> str | None: ...

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The commands that `verb` would run, in order, each ready to paste. Runs nothing."""
        ...


@runtime_checkable
class Accepts(Protocol):
    """A driver with a refusal that an operator may overrule, once."""

    async def accept(self, by: str) -> str:
        """Accept on behalf of the operator `by`; return one line about it. DriverError: there is nothing to accept."""
        ...


@runtime_checkable
class Replicates(Protocol):
    """A driver of a resource with copies on other nodes."""

    async def no_successor(self) -> str:
        """Why no other node could take over, as this node sees it; empty if one could. DriverError: unknown."""
        ...


@runtime_checkable
class Listens(Protocol):
    """A driver of a resource with copies on other nodes, which may tell of theirs by the heartbeat."""

    def listen(self, vouch: Callable[[], Mapping[str, float]], serve: Callable[[], Mapping[str, float]]) -> None:
        """Use `vouch`: the other nodes that say of the resource that it is at standby there, with nothing alone.

        And `serve`: those that say that it may be active there. Each with the time, in seconds of CLOCK_BOOTTIME, after
        which it has said so. It replaces no check.
        """
        ...

    def heard(self) -> None:
        """`vouch` and `serve` may return more than before."""
        ...


@runtime_checkable
class Foresees(Protocol):
    """A driver that can find, without a daemon, an error in its resource's configuration on this machine."""

    async def obstacle(self) -> str:
        """The error and its remedy; empty if there is none, or if the check is not possible."""
        ...


@runtime_checkable
class Follows(Protocol):
    """A driver that receives the changes of its resource."""

    @property
    def subject(self) -> Hashable:
        """The source of the changes. Drivers with an equal subject share one `follow`."""
        ...

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each change, until cancelled. DriverError: the resource cannot be followed."""
        ...


#: One source of changes for all resources of a driver. Until it is cancelled, it calls its argument with the `subject`
#: of each resource that has changed, or with None if any of them may have.
Watch = Callable[[Callable[[str | None], None]], Awaitable[None]]


class Options(Protocol):
    """A driver's keys: a frozen dataclass of `option` fields, whose ``__post_init__`` raises ValueError."""

    @property
    def owns(self) -> tuple[str, ...]:
        """All that the resource changes, as ``the unit web.service``; empty if unknown.

        Two resources that change the same thing give the same text.
        """
        ...


def moved_by(options: Options) -> frozenset[str]:
    """`owns` of the options; if that is empty, the command that observes the resource, or the options themselves."""
    return frozenset(options.owns or (str(getattr(options, "seen_by", options)),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A driver as its module defines it: the class ``Options``, ``make(options, spec)`` and perhaps ``watch``.

    `watch`: None if no source reports for all resources; the driver may then have a ``follow``. With either, it has a
    ``subject``.
    """

    options: type[Options]
    make: Callable[[Any, ResourceSpec], Driver]
    watch: Watch | None


@functools.cache
def names() -> tuple[str, ...]:
    """The names of all drivers, sorted. They are the names of this package's modules."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__)))


def find(name: str) -> Found:
    """The driver with this name; KeyError if there is none."""
    if name not in names():
        raise KeyError(name)
    module = importlib.import_module(f"{__name__}.{name}")
    return Found(options=module.Options, make=module.make, watch=getattr(module, "watch", None))
