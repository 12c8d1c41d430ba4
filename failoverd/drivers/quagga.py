"""The routing daemon, quagga or its successor FRR: run it on the MASTER only, or make it announce a better metric.

``mode = "unit"`` starts and stops its systemd unit. ``mode = "metric"`` (FRR) changes one number of the running
configuration through vtysh, and interrupts no session: the metric that a route-map entry sets (BGP's MED), or the cost
of OSPF interfaces.

It must not ``write memory``. The saved configuration belongs to the administrator and has the standby value, with which
a restarted daemon begins.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from failoverd.core.options import option
from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import Driver
from failoverd.ports import command, systemd_units, unix_socket
from failoverd.ports.errors import DriverError

#: Seconds that one vtysh may take; it answers in 30 ms.
VTYSH_TIMEOUT_S = 10.0

#: The directory of the sockets on which FRR's daemons accept vtysh.
VTY_SOCKETS = "/run/frr"

_METRIC = {"minimum": 0, "maximum": 4294967295}
_COSTLIEST = 65535
_NO_INTERFACE = "No such interface name"
_COST = re.compile(r"\bCost: (\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "quagga"`` resource."""

    mode: str = option(
        "`unit`: start and stop the daemon; `metric`: change a metric.", default="unit", enum=["unit", "metric"]
    )
    unit: str = option(
        "Mode `unit`: the unit, e.g. `frr.service`, `ospfd.service`. Do not enable it.", default="frr.service"
    )
    active: int | None = option("Mode `metric`: the value while this node is MASTER.", default=None, **_METRIC)
    standby: int | None = option(
        "Mode `metric`: the value otherwise, as in the saved configuration.", default=None, **_METRIC
    )
    route_map: str | None = option(
        'Mode `metric`, BGP: a permit entry of a route-map, `"NAME SEQUENCE"`; its `set metric` is changed.',
        default=None,
        pattern=r"^\S+ \d+$",
    )
    interfaces: tuple[str, ...] | None = option(
        "Mode `metric`, OSPF: the interfaces; the `ip ospf cost` of each is changed.",
        default=None,
        items={"type": "string", "format": "interface"},
        minItems=1,
    )
    vty_socket: str | None = option("The directory of the daemons' vty sockets, if not vtysh's default.", default=None)

    def __post_init__(self) -> None:
        """Check that the keys agree. ValueError, with the keys and the rule, if they do not."""
        if self.mode == "unit":
            systemd_units.check_name(self.unit)
            given = [key for key in ("active", "standby", "route_map", "interfaces") if getattr(self, key) is not None]
            if given:
                raise ValueError(f'{", ".join(given)}: only with mode = "metric"')
            return
        if self.active is None or self.standby is None or self.active == self.standby:
            raise ValueError('active, standby: mode = "metric" needs both, and they must differ')
        if (self.route_map is None) == (self.interfaces is None):
            raise ValueError('route_map, interfaces: mode = "metric" needs one of them')
        if self.interfaces is not None and not all(1 <= cost <= _COSTLIEST for cost in (self.active, self.standby)):
            raise ValueError(f"active, standby: an OSPF cost is 1 to {_COSTLIEST}")

    @property
    def owns(self) -> tuple[str, ...]:
        """The unit, the route-map entry, or the costs: no other resource may change them."""
        if self.mode == "unit":
            return (f"the unit {self.unit}",)
        if self.route_map is not None:
            return (f"the route-map entry {self.route_map}",)
        return tuple(dict.fromkeys(f"the OSPF cost of {name}" for name in self.interfaces or ()))


def make(options: Options, spec: ResourceSpec) -> Driver:
    """The driver of one routing daemon's unit, or of one metric."""
    if options.mode == "unit":
        return systemd_units.Unit(options.unit, spec.stop_timeout)
    assert options.active is not None
    assert options.standby is not None
    place: Place = Ospf(options.interfaces) if options.interfaces else Bgp(*(options.route_map or "").split())
    return Metric(place, options.active, options.standby, options.vty_socket)


class Missing(LookupError):
    """FRR's configuration lacks the place, or some of its interfaces. `rest`: those that exist; None if none does."""

    def __init__(self, text: str, rest: Place | None = None) -> None:
        super().__init__(text)
        self.rest = rest


class Place(Protocol):
    """The place of a metric in FRR's configuration: its daemon, and the vtysh commands that read and set it.

    A place may consist of several, as the costs of two interfaces.
    """

    @property
    def daemon(self) -> str: ...

    @property
    def show(self) -> tuple[str, ...]: ...

    def find(self, text: str) -> dict[str, int | None]:
        """The metric of each place, from the output of `show`; None where it is not set.

        Missing: FRR's configuration lacks the place. DriverError: the output is not in the expected format.
        """
        ...

    def change(self, value: int) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Bgp:
    """The metric that an entry of a route-map sets."""

    name: str
    sequence: str
    daemon: str = "bgpd"

    @property
    def show(self) -> tuple[str, ...]:
        """The command that shows this route-map alone, since a configuration may have 50,000 lines. FRR 8 has it."""
        return (f"show route-map {self.name} json",)

    def find(self, text: str) -> dict[str, int | None]:
        """Parse ``{"BGP": {NAME: {"rules": [{"sequenceNumber": 10, "type": "permit", "setClauses": ["metric 1"]}]}}}``.

        FRR 10 writes ``bgpd`` instead of ``BGP``. The output omits a route-map that does not exist.
        """
        try:
            ((_, told),) = json.loads(text).items()
            rules = told.get(self.name, {"rules": ()})["rules"]
            found = [it["setClauses"] for it in rules if (it["sequenceNumber"], it["type"]) == self._entry]
            metric = re.search(r"^metric (\d+)$", "\n".join(found[0]), re.MULTILINE) if found else None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DriverError(f"vtysh's answer to `{self.show[0]}` has an unexpected format ({error!r})") from error
        if not found:
            raise Missing(f"bgpd has no `route-map {self.name} permit {self.sequence}`")
        return {f"{self.name} {self.sequence}": None if metric is None else int(metric[1])}

    @property
    def _entry(self) -> tuple[int, str]:
        return int(self.sequence), "permit"

    def change(self, value: int) -> tuple[str, ...]:
        """The commands that set the metric. Without the soft clear, bgpd waits 5 s before it sends updates."""
        entry = f"route-map {self.name} permit {self.sequence}"
        return ("configure terminal", entry, f"set metric {value}", "end", "clear bgp * soft out")


@dataclass(frozen=True, slots=True)
class Ospf:
    """The OSPF cost of one interface or more."""

    interfaces: tuple[str, ...]
    daemon: str = "ospfd"

    @property
    def show(self) -> tuple[str, ...]:
        """The commands that show the current costs, one for each interface."""
        return tuple(f"show ip ospf interface {name}" for name in self.interfaces)

    def find(self, text: str) -> dict[str, int | None]:
        """Parse ``Router ID 192.0.2.1, Network Type BROADCAST, Cost: 10`` from the paragraph of each interface.

        Its first line is ``eth0 is up``; the others are indented. If OSPF is not enabled on the interface, the last
        line is the reason. An interface that does not exist has the line ``No such interface name`` only.
        """
        found = {
            name: re.search(rf"^{re.escape(name)} is .*(?:\n .*)*", text, re.MULTILINE) for name in self.interfaces
        }
        missing = [name for name, lines in found.items() if lines is None]
        if len(missing) != text.count(_NO_INTERFACE):
            raise DriverError(f"ospfd does not answer `{self.show[self.interfaces.index(missing[0])]}`")
        costs = {name: _COST.search(lines[0]) for name, lines in found.items() if lines is not None}
        there: dict[str, int | None] = {name: int(cost[1]) for name, cost in costs.items() if cost is not None}
        if len(there) == len(self.interfaces):
            return there
        why = {name: _NO_INTERFACE if lines is None else command.last_line(lines[0]) for name, lines in found.items()}
        raise Missing(
            "; ".join(f"{name}: {why[name]}" for name in self.interfaces if name not in there),
            rest=Ospf(tuple(there)) if there else None,
        )

    def change(self, value: int) -> tuple[str, ...]:
        """The commands that set the costs. ospfd sends a first change at once, others within 10 s (MinLSInterval)."""
        each = (line for name in self.interfaces for line in (f"interface {name}", f"ip ospf cost {value}", "exit"))
        return ("configure terminal", *each, "end")


class NotRunning(DriverError):
    """The daemon is not running, so it announces nothing."""


class NoPlace(DriverError):
    """FRR's configuration lacks the route-map entry or an interface. `rest`: as in Missing."""

    def __init__(self, reason: str, rest: Place | None) -> None:
        super().__init__(reason)
        self.rest = rest


class Metric:
    """One metric in FRR's running configuration."""

    def __init__(self, place: Place, active: int, standby: int, vty_socket: str | None) -> None:
        self._place = place
        self._active = active
        self._standby = standby
        self._vtysh = vtysh(place.daemon, vty_socket)
        self.subject = f"{vty_socket or VTY_SOCKETS}/{place.daemon}.vty"

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` when the daemon starts or ends. After a start it has the saved metric."""
        await unix_socket.follow(self.subject, changed)

    async def observe(self) -> Observation:
        """The current metric as a level; FAILED if it is neither of the two, or differs between interfaces.

        A daemon that does not run announces nothing, so it is STANDBY.
        """
        try:
            found = await self._look()
        except NotRunning as error:
            return Observation(level=Level.STANDBY, detail=error.reason, obstacle=error.reason)
        except NoPlace as error:
            return Observation(level=Level.FAILED, detail=error.reason)
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        level = (
            Level.ACTIVE if _all(found, self._active) else Level.STANDBY if _all(found, self._standby) else Level.FAILED
        )
        expected = f", neither active ({self._active}) nor standby ({self._standby})" if level is Level.FAILED else ""
        return Observation(level=level, detail=f"{self._place.daemon}: metric {_words(found)}{expected}")

    async def activate(self) -> str | None:
        """Announce with the active metric. DriverError: the daemon is not running, or FRR lacks the place."""
        if not _all(await self._look(), self._active):
            await self._set(self._active)
        return None

    async def deactivate(self) -> str | None:
        """Announce with the standby metric, on those interfaces that exist.

        If the current metric cannot be read, set it all the same, because it may be the active one. DriverError: FRR
        lacks a place.
        """
        with contextlib.suppress(NotRunning):
            try:
                found = await self._look()
            except NotRunning:
                raise
            except NoPlace as error:
                if error.rest is not None:
                    await self._ask(*error.rest.change(self._standby))
                raise
            except DriverError:
                found = {}
            if not _all(found, self._standby):
                await self._set(self._standby)
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The one vtysh command that sets the metric."""
        value = self._active if verb is Verb.ACTIVATE else self._standby
        return (shlex.join(asking(self._vtysh, *self._place.change(value))),)

    async def _look(self) -> dict[str, int | None]:
        """The current metrics. Call it before each change: vtysh would create a place that does not exist."""
        try:
            return self._place.find(await self._ask(*self._place.show))
        except Missing as error:
            text = f"{error}; correct it in FRR, or correct the resource's configuration"
            raise NoPlace(text, error.rest) from error

    async def _set(self, value: int) -> None:
        await self._ask(*self._place.change(value))

    async def _ask(self, *commands: str) -> str:
        done = await command.run(asking(self._vtysh, *commands), timeout=VTYSH_TIMEOUT_S)
        if done.returncode == 0:
            return done.stdout
        said = command.last_line(done.stderr) or command.last_line(done.stdout)
        if "failed to connect to any daemons" in said:
            raise NotRunning(f"{self._place.daemon} is not running")
        raise DriverError(f"vtysh: {said or f'exit status {done.returncode}'}")


def _all(found: Mapping[str, int | None], value: int) -> bool:
    return set(found.values()) == {value}


def _words(found: Mapping[str, int | None]) -> str:
    """The metric as text; if the places differ, each metric with its places."""
    places: dict[str, list[str]] = {}
    for place, value in found.items():
        places.setdefault("not set" if value is None else str(value), []).append(place)
    return ", ".join(places) if len(places) == 1 else ", ".join(f"{n} ({', '.join(at)})" for n, at in places.items())


def vtysh(daemon: str, vty_socket: str | None) -> tuple[str, ...]:
    """The beginning of the argv of vtysh. `-d` makes it connect to this daemon only."""
    return ("vtysh", *(("--vty_socket", vty_socket) if vty_socket else ()), "-d", daemon)


def asking(start: tuple[str, ...], *commands: str) -> tuple[str, ...]:
    """The argv that runs `commands` in one vtysh."""
    return (*start, *(word for line in commands for word in ("-c", line)))
