"""Announce with the metric of the role: bird reads a constant, and failoverd says which value it has.

bird.conf includes a file that failoverd generates, and uses the constant in a filter
(``bgp_med = failover_metric;``, ``ospf_metric1 = failover_metric;``, or ``if failover_metric > 100 then reject;``),
so a change of role refeeds that filter's routes and touches no session. For bird 1.6, 2 and 3.
What this must not do: write bird.conf, start or stop bird (that is driver ``unit``), or keep a session down.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shlex
from dataclasses import dataclass

from failoverd.core.model import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError, birdctl, birdinclude, option

_METRIC = {"minimum": 0, "maximum": 4294967295}
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "bird"`` resource."""

    symbol: str = option("The constant that bird's filters use, e.g. `failover_metric`.", pattern=_NAME)
    active: int = option("Its value while this node is MASTER.", **_METRIC)
    standby: int = option("Its value otherwise.", **_METRIC)
    include: str = option(
        "The file that failoverd writes and bird.conf includes (`include` at the beginning of a line, before the "
        "filters). Several resources may share one. The user that bird runs as must be able to read it.",
        default="/etc/bird/failoverd.conf",
        pattern="^/",
    )
    socket: str = option("Bird's control socket.", default=birdctl.DEFAULT_SOCKET, pattern="^/")
    protocol: str | None = option(
        "With `prefix`: ACTIVE also means that this prefix is exported to this protocol, if its session is up.",
        default=None,
        pattern=r"^[A-Za-z0-9_.:-]+$",
    )
    prefix: str | None = option("With `protocol`: the announced prefix, e.g. `192.0.2.0/24`.", default=None)

    def __post_init__(self) -> None:
        """Hold the keys against each other; ValueError says what is wrong."""
        if self.active == self.standby:
            raise ValueError("active, standby: must differ")
        if (self.protocol is None) != (self.prefix is None):
            raise ValueError("protocol, prefix: give both or neither")
        if self.prefix is not None:
            try:
                ipaddress.ip_network(self.prefix)
            except ValueError as error:
                raise ValueError(f"prefix: {error}") from error

    @property
    def owns(self) -> tuple[str, ...]:
        """What no other resource may change."""
        return (f"the constant {self.symbol} in {self.include}",)


def make(options: Options, spec: ResourceSpec) -> Bird:
    """The driver of one constant."""
    del spec  # every wait is bounded here or by the caller
    return Bird(options)


class Bird:
    """One constant of one bird."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._finding: asyncio.Task[birdinclude.Include] | None = None
        protocol, prefix = options.protocol, options.prefix
        self._route = (prefix, protocol) if protocol is not None and prefix is not None else None

    async def observe(self) -> Observation:
        """What bird runs with; when bird is dead, what it will start with."""
        try:
            async with birdctl.session(self._options.socket) as bird:
                return await self._look(bird)
        except birdctl.Absent:
            return await self._of_dead_bird()
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)

    async def activate(self) -> str | None:
        """Announce: give the constant its active value, and see the route exported if one is named."""
        try:
            return await (await self._include()).put(self._options.symbol, self._options.active, self._route)
        except birdctl.Absent as error:
            raise DriverError(f"{error.reason}; {await self._will_start_with()}; systemctl status bird") from error

    async def deactivate(self) -> str | None:
        """Repel: give the constant its standby value. A dead bird announces nothing, and will start with it."""
        try:
            return await (await self._include()).put(self._options.symbol, self._options.standby)
        except birdctl.Absent:
            return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """What a person would type to the same end."""
        options = self._options
        value = options.active if verb is Verb.ACTIVATE else options.standby
        edit = f"s/^define {options.symbol} = .*/define {options.symbol} = {value};/"
        questions = ["configure check", f"configure timeout {birdinclude.UNDO_AFTER}", f"eval {options.symbol}"]
        if self._route is not None and verb is Verb.ACTIVATE:
            questions.append(birdctl.show_exported(*self._route))
        questions.append("configure confirm")
        return (
            shlex.join(("sed", "-i", edit, options.include)),
            *(birdctl.birdc(options.socket, question) for question in questions),
        )

    async def _look(self, bird: birdctl.Session) -> Observation:
        options = self._options
        reply = await bird.evaluate(options.symbol)
        if reply.code != birdctl.EVALUATED:
            detail = f'bird knows no {options.symbol} ({reply.text}): bird.conf needs `include "{options.include}";`'
            return Observation(level=Level.FAILED, detail=detail)
        detail = f"{options.symbol} = {reply.text}"
        if reply.text == str(options.standby):
            return Observation(level=Level.STANDBY, detail=detail)
        if reply.text != str(options.active):
            detail += f", which is neither active ({options.active}) nor standby ({options.standby})"
            return Observation(level=Level.FAILED, detail=detail)
        reason = None if self._route is None else await bird.exported(*self._route)
        if reason is None or options.protocol is None:
            return Observation(level=Level.ACTIVE, detail=detail)
        state = await bird.down(options.protocol)
        if state is not None:  # it is announced the moment the session is up: there is nothing more to do here
            detail += f", but {birdinclude.not_up(options.protocol, state)}"
            return Observation(level=Level.ACTIVE, detail=detail)
        detail += f", but {options.prefix} is not exported to {options.protocol} ({reason})"
        return Observation(level=Level.FAILED, detail=detail)

    async def _include(self) -> birdinclude.Include:
        """Found once, since that asks a disk; who asks meanwhile has it in turn."""
        if self._finding is None:
            self._finding = asyncio.create_task(birdinclude.include(self._options.socket, self._options.include))
        try:
            return await asyncio.shield(self._finding)
        except OSError as error:
            self._finding = None
            raise DriverError(f"{self._options.include} cannot be looked for: {error.strerror}") from error

    async def _value(self) -> str | None:
        return (await (await self._include()).values()).get(self._options.symbol)

    async def _of_dead_bird(self) -> Observation:
        try:
            value = await self._value()
        except DriverError as error:
            return Observation(level=Level.FAILED, detail=f"bird is not running, and {error.reason}")
        level = Level.STANDBY if value == str(self._options.standby) else Level.FAILED
        return Observation(level=level, detail=f"bird is not running; {await self._will_start_with()}")

    async def _will_start_with(self) -> str:
        try:
            value = await self._value()
        except DriverError as error:
            return error.reason
        symbol, path = self._options.symbol, self._options.include
        return f"{path} does not define {symbol}" if value is None else f"it will start with {symbol} = {value}"
