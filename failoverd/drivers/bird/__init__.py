"""Announce a route with a better metric on the MASTER, through a symbol of bird's filters.

failoverd writes the symbol's value into an include file of bird.conf. bird.conf uses the symbol in a filter:
``bgp_med = failover_metric;``, ``ospf_metric1 = failover_metric;``, or ``if failover_metric > 100 then reject;``.
So a change of the value refeeds that filter's routes and restarts no session. For bird 1.6, 2 and 3.

It must not write bird.conf, start or stop bird (driver ``unit`` does), or keep a session down.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from failoverd.core.options import option
from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers.bird import control_socket, include_file
from failoverd.ports.errors import DriverError, Refused

_METRIC = {"minimum": 0, "maximum": 4294967295}
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "bird"`` resource."""

    symbol: str = option("The symbol that bird's filters use, e.g. `failover_metric`.", pattern=_NAME)
    active: int = option("Its value while this node is MASTER.", **_METRIC)
    standby: int = option("Its value otherwise.", **_METRIC)
    include: str = option(
        "The file that failoverd writes and bird.conf includes (`include` at the beginning of a line, before the "
        "filters). Several resources may share one. The user that bird runs as must be able to read it.",
        default="/etc/bird/failoverd.conf",
        pattern="^/",
    )
    socket: str = option("Bird's control socket.", default=control_socket.DEFAULT_SOCKET, pattern="^/")
    protocol: str | None = option(
        "With `prefix`: ACTIVE also means that this prefix is exported to this protocol, if its session is up.",
        default=None,
        pattern=r"^[A-Za-z0-9_.:-]+$",
    )
    prefix: str | None = option("With `protocol`: the announced prefix, e.g. `192.0.2.0/24`.", default=None)
    require_session: bool = option(
        "With `protocol`: while its session is down, an activation is refused (see `on_refused`), and an active "
        "resource is failed. Otherwise the value is set all the same, and the session that is down is an alarm.",
        default=False,
    )

    def __post_init__(self) -> None:
        """Check that the keys agree. ValueError, with the keys and the rule, if they do not."""
        if self.active == self.standby:
            raise ValueError("active, standby: must differ")
        if (self.protocol is None) != (self.prefix is None):
            raise ValueError("protocol, prefix: give both or neither")
        if self.require_session and self.protocol is None:
            raise ValueError("require_session: needs protocol and prefix")
        if self.prefix is not None:
            try:
                ipaddress.ip_network(self.prefix)
            except ValueError as error:
                raise ValueError(f"prefix: {error}") from error

    @property
    def owns(self) -> tuple[str, ...]:
        """The symbol in its include file: no other resource may change it."""
        return (f"the constant {self.symbol} in {self.include}",)


#: Why a standby could not announce.
_DEAD = "bird is not running: systemctl start bird"


def make(options: Options, spec: ResourceSpec) -> Bird:
    """The driver of one symbol."""
    del spec  # this driver or the caller limits every wait
    return Bird(options)


class Bird:
    """One symbol of one bird."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._finding: asyncio.Task[include_file.Include] | None = None
        self._refusal = ""
        protocol, prefix = options.protocol, options.prefix
        self._route = (prefix, protocol) if protocol is not None and prefix is not None else None

    @property
    def subject(self) -> tuple[str, str | None]:
        """The control socket, and the protocol whose session `follow` follows; None: no session."""
        return self._options.socket, self._options.protocol

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` when bird starts or ends, and when the state of the session changes."""
        await control_socket.follow(self._options.socket, self._options.protocol, changed)

    async def observe(self) -> Observation:
        """The value that bird uses, as a level; if bird is not running, the value that it will start with.

        The first observation after a refusal has the refusal's reason as its obstacle, even if the session has come up
        meanwhile. Otherwise the obstacle would not change, and the refusal would not be retried.
        """
        refusal, self._refusal = self._refusal, ""
        try:
            async with control_socket.session(self._options.socket) as bird:
                seen = await self._look(bird)
                return replace(seen, obstacle=seen.obstacle or refusal)
        except control_socket.Absent:
            return await self._of_dead_bird()
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)

    async def activate(self) -> str | None:
        """Announce: give the symbol its active value, and verify that the route is exported, if one is named.

        A session that is down is no obstacle, unless it is required: the value must be set when the session comes up.
        Refused: the required session is down. DriverError: bird is not running, or does not use the value.
        """
        try:
            if self._options.require_session:
                await self._require_session()
            return await (await self._include()).put(self._options.symbol, self._options.active, self._route)
        except control_socket.Absent as error:
            raise DriverError(f"{error.reason}; {await self._will_start_with()}; systemctl status bird") from error

    async def deactivate(self) -> str | None:
        """Withdraw: give the symbol its standby value.

        If bird is not running, the value is in the include file, and bird starts with it. DriverError: bird runs and
        does not use the value.
        """
        try:
            return await (await self._include()).put(self._options.symbol, self._options.standby)
        except control_socket.Absent:
            return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """Commands of birdc and sed with the same effect."""
        options = self._options
        value = options.active if verb is Verb.ACTIVATE else options.standby
        edit = f"s/^define {options.symbol} = .*/define {options.symbol} = {value};/"
        questions = ["configure check", f"configure timeout {include_file.UNDO_TIMEOUT_S}", f"eval {options.symbol}"]
        first = []
        if self._route is not None and verb is Verb.ACTIVATE:
            questions.append(control_socket.show_exported(*self._route))
            if options.require_session:
                first.append(control_socket.show_protocol(self._route[1]))
        questions.append("configure confirm")
        return (
            *(control_socket.birdc(options.socket, question) for question in first),
            shlex.join(("sed", "-i", edit, options.include)),
            *(control_socket.birdc(options.socket, question) for question in questions),
        )

    async def _look(self, bird: control_socket.Session) -> Observation:
        options = self._options
        reply = await bird.evaluate(options.symbol)
        if reply.code != control_socket.EVALUATED:
            detail = (
                f'bird does not know {options.symbol} ({reply.text}): bird.conf needs `include "{options.include}";`'
            )
            return Observation(level=Level.FAILED, detail=detail)
        detail = f"{options.symbol} = {reply.text}"
        if reply.text == str(options.standby):
            obstacle = await self._unheard(bird) or await self._unwritable()
            return Observation(level=Level.STANDBY, detail=detail, obstacle=obstacle)
        if reply.text != str(options.active):
            detail += f", which is neither active ({options.active}) nor standby ({options.standby})"
            return Observation(level=Level.FAILED, detail=detail)
        return await self._announced(bird, detail)

    async def _announced(self, bird: control_socket.Session, detail: str) -> Observation:
        """The observation while the value is the active one: whether the session is up, and the route exported."""
        if unheard := await self._unheard(bird):
            if self._options.require_session:
                return Observation(level=Level.FAILED, detail=f"{detail}, but {unheard}", obstacle=unheard)
            return Observation(level=Level.ACTIVE, detail=detail, alarm=unheard)
        reason = None if self._route is None else await bird.exported(*self._route)
        if reason is None:
            return Observation(level=Level.ACTIVE, detail=detail)
        detail += f", but {self._options.prefix} is not exported to {self._options.protocol} ({reason})"
        return Observation(level=Level.FAILED, detail=detail)

    async def _unheard(self, bird: control_socket.Session) -> str:
        """The reason why no peer learns the prefix; empty if the session is up, or if no protocol is named."""
        if self._route is None:
            return ""
        prefix, protocol = self._route
        reason = await bird.not_up(protocol)
        return f"{reason}, so no peer learns {prefix}" if reason else ""

    async def _unwritable(self) -> str:
        """The reason why the include file could not be written; empty if it could."""
        try:
            async with asyncio.timeout(include_file.DISK_TIMEOUT_S):
                include = await self._include()
        except TimeoutError:
            return f"{self._options.include}: its disk does not answer within {include_file.DISK_TIMEOUT_S:.3g} s"
        except DriverError as error:
            return error.reason
        return await include.obstacle()

    async def _require_session(self) -> None:
        async with control_socket.session(self._options.socket) as bird:
            self._refusal = await self._unheard(bird)
        if self._refusal:
            raise Refused(self._refusal)

    async def _include(self) -> include_file.Include:
        """The include file, resolved once, because that reads a disk. Concurrent callers share one resolution."""
        if self._finding is None:
            self._finding = asyncio.create_task(include_file.include(self._options.socket, self._options.include))
        try:
            return await asyncio.shield(self._finding)
        except OSError as error:
            self._finding = None
            raise DriverError(f"{self._options.include}: cannot resolve the path: {error.strerror}") from error

    async def _value(self) -> str | None:
        return (await (await self._include()).values()).get(self._options.symbol)

    async def _of_dead_bird(self) -> Observation:
        try:
            value = await self._value()
        except DriverError as error:
            return Observation(level=Level.FAILED, detail=f"bird is not running, and {error.reason}")
        detail = f"bird is not running; {await self._will_start_with()}"
        if value == str(self._options.standby):
            return Observation(level=Level.STANDBY, detail=detail, obstacle=_DEAD)
        return Observation(level=Level.FAILED, detail=detail)

    async def _will_start_with(self) -> str:
        try:
            value = await self._value()
        except DriverError as error:
            return error.reason
        symbol, path = self._options.symbol, self._options.include
        return f"{path} does not define {symbol}" if value is None else f"it will start with {symbol} = {value}"
