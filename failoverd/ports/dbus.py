"""The port to D-Bus: the only module that imports pydbus and GLib. systemd's units, and the objects of other services.

GLib delivers signals to its own loop, so one thread runs such a loop from the first use on. All calls are sent from
there and awaited here, and none blocks. pydbus makes the connection and subscribes to signals; calls go directly to the
Gio connection below it, because pydbus's proxies introspect, and block.

It must not block asyncio's loop, nor start a service by a query, nor report a state that it did not receive.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import threading
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydbus
from gi.repository import Gio, GLib

from failoverd import log
from failoverd.ports.errors import DriverError, NotStarted, TimedOut

SYSTEMD = "org.freedesktop.systemd1"
BUS = "org.freedesktop.DBus"

#: For one call. For the end of a systemd job, the caller sets the deadline.
CALL_TIMEOUT_S = 5.0

#: Calls that are open at once. A system bus permits 128 for one connection.
MAX_OPEN_CALLS = 64

#: The owner, path and interface of an object.
_Object = tuple[str, str, str]
_Hear = Callable[[Mapping[str, Any]], None]

_MANAGER: _Object = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")
_DAEMON: _Object = (BUS, "/org/freedesktop/DBus", BUS)
_PROPERTIES = "org.freedesktop.DBus.Properties"
_logger = log.get("dbus")


class BusError(DriverError):
    """The service answered with an error. `name`: D-Bus's name of the error, or empty."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """The state of a unit, as systemd's properties LoadState, ActiveState and SubState have it.

    `result` and `tasks`, the number of processes that are left, are of a failed unit only; None: unknown. `passes`: the
    unit is inactive again as soon as its commands have ended: Type=oneshot without RemainAfterExit=yes.
    """

    load: str
    active: str
    sub: str
    result: str = ""
    tasks: int | None = None
    passes: bool = False


async def reset_failed_unit(name: str) -> None:
    """Reset a unit's failed state and its count of starts. Raises BusError if the unit is not loaded."""
    await _connection.call(_MANAGER, "ResetFailedUnit", _string(name))


async def start_unit(name: str) -> str:
    """Start a unit, and return the result of the job, as in systemd's JobRemoved: ``done``, ``failed`` or another."""
    return await _connection.job("StartUnit", name)


async def stop_unit(name: str) -> str:
    """Stop a unit, and return the result of the job, as `start_unit`."""
    return await _connection.job("StopUnit", name)


async def kill_unit(name: str, signal: int) -> None:
    """Send `signal` to all processes of a unit."""
    await _connection.call(_MANAGER, "KillUnit", GLib.Variant("(ssi)", (name, "all", signal)))


async def unit_state(name: str) -> UnitState:
    """The state of a unit. `load` is ``not-found`` if there is no such unit. Raises DriverError if systemd fails."""
    (path,) = await _connection.call(_MANAGER, "LoadUnit", _string(name))
    kind = f"{SYSTEMD}.{name.rpartition('.')[2].capitalize()}"
    load, active, sub, passes = await asyncio.gather(
        *(_property(path, f"{SYSTEMD}.Unit", key) for key in ("LoadState", "ActiveState", "SubState")),
        _passes(path, kind),
    )
    result, tasks = "", None
    if active == "failed":
        with contextlib.suppress(BusError):  # not every type of unit has them
            result = str(await _property(path, kind, "Result"))
            count = int(await _property(path, kind, "TasksCurrent"))
            tasks = count if count < 2**64 - 1 else None
    return UnitState(load=load, active=active, sub=sub, result=result, tasks=tasks, passes=passes)


async def _passes(path: str, kind: str) -> bool:
    if kind != f"{SYSTEMD}.Service":
        return False
    type_, remains = await asyncio.gather(*(_property(path, kind, key) for key in ("Type", "RemainAfterExit")))
    return type_ == "oneshot" and not remains


async def follow_unit(name: str, changed: Callable[[str, str], None]) -> None:
    """Call `changed` with a unit's ActiveState and SubState at every change of either, until cancelled.

    The first call has two empty strings: no change is missed from there on. Raises NoBus when the connection is lost.
    """
    (path,) = await _connection.call(_MANAGER, "LoadUnit", _string(name))
    last: tuple[str, str] | None = None

    def on_properties(properties: Mapping[str, Any]) -> None:
        nonlocal last
        now = properties.get("ActiveState", ""), properties.get("SubState", "")
        if now != last:  # other properties change as well, such as the status text, perhaps every second
            last = now
            changed(*now)

    await _connection.follow(path, f"{SYSTEMD}.Unit", on_properties)


async def names() -> list[str]:
    """All names on the system bus that have an owner."""
    (found,) = await _connection.call(_DAEMON, "ListNames", None)
    return [str(name) for name in found if not name.startswith(":")]


async def owner(name: str) -> int | None:
    """The pid of the owner of `name`; None if it has none."""
    try:
        (pid,) = await _connection.call(_DAEMON, "GetConnectionUnixProcessID", _string(name))
    except BusError:
        return None
    return int(pid)


async def children(service: str, path: str) -> list[str]:
    """The names of the objects directly below the object `path`."""
    (xml,) = await _connection.call((service, path, f"{BUS}.Introspectable"), "Introspect", None)
    try:
        nodes = ET.fromstring(xml).findall("node")  # noqa: S314 - its sender is trusted with more
    except ET.ParseError as error:
        raise BusError(f"{service} {path}: its introspection is not XML: {error}") from error
    return [name for node in nodes if (name := node.get("name"))]


async def properties(service: str, path: str, interface: str) -> dict[str, Any]:
    """All properties of the object in the interface."""
    (found,) = await _connection.call((service, path, _PROPERTIES), "GetAll", _string(interface))
    return dict(found)


class NoBus(NotStarted):
    """There is no connection to a system bus."""


async def _property(path: str, interface: str, name: str) -> Any:
    (value,) = await _connection.call((SYSTEMD, path, _PROPERTIES), "Get", GLib.Variant("(ss)", (interface, name)))
    return value


def _string(text: str) -> GLib.Variant:
    return GLib.Variant("(s)", (text,))


class _Connection:
    """One connection to the system bus, made at the first use and again after it was lost.

    Every method that begins with ``_on``, and every function passed to `_in_thread`, runs in GLib's thread. Only that
    thread uses the attributes of this object, except `_thread`.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._bus: Any = None
        # A connection is never freed. When its last reference is dropped, with the GIL held, GLib waits for a lock that
        # its receiving thread may hold while it waits for the GIL: a deadlock.
        self._all_connections: list[Any] = []
        self._jobs: dict[str, list[concurrent.futures.Future[str]]] = {}  # systemd joins a job that is there already
        self._starting = 0
        self._early: dict[str, str] = {}
        self._queue: deque[tuple[concurrent.futures.Future[Any], _Object, str, Any]] = deque()
        self._open = 0
        self._subscribed: Any = None
        self._followers: dict[tuple[str, str], dict[concurrent.futures.Future[Any], _Hear]] = {}

    async def call(self, where: _Object, method: str, arguments: Any) -> Any:
        """The values of the answer. Raises NoBus, TimedOut, or BusError."""
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._in_thread(lambda: self._send(answer, where, method, arguments))
        return await _awaited(answer, f"{where[0]} does not answer {method} within {CALL_TIMEOUT_S:g} s")

    async def job(self, method: str, unit: str) -> str:
        """Call a method that starts a systemd job, and wait for the result of the job. Raises as `call`."""
        result: concurrent.futures.Future[str] = concurrent.futures.Future()
        started: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._in_thread(lambda: self._start_job(started, result, method, unit))
        await _awaited(started, f"{SYSTEMD} does not answer {method} within {CALL_TIMEOUT_S:g} s")
        return await asyncio.wrap_future(result)

    async def follow(self, path: str, interface: str, changed: _Hear) -> None:
        """Call `changed` with the properties of an object that have changed, until cancelled; first with none.

        Raises NoBus when the connection is lost.
        """
        loop = asyncio.get_running_loop()
        lost: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def report(properties: Mapping[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(lambda: None if lost.done() else changed(properties))

        def begin() -> None:
            try:
                self._subscribe(self._connected())
            except NoBus as error:
                _settle(lost, error=error)
                return
            self._followers.setdefault((path, interface), {})[lost] = report
            report({})

        def end() -> None:
            self._followers.get((path, interface), {}).pop(lost, None)

        self._in_thread(begin)
        try:
            await asyncio.wrap_future(lost)
        finally:
            self._in_thread(end)

    def _in_thread(self, function: Callable[[], None]) -> None:
        """Run `function` once in GLib's thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="glib", daemon=True)
            self._thread.start()

        def once() -> bool:
            function()
            return False

        GLib.idle_add(once, priority=GLib.PRIORITY_DEFAULT)

    def _run(self) -> None:
        """GLib's thread. It never ends, and keeps this object alive until the process exits."""
        GLib.MainLoop().run()

    def _send(self, answer: concurrent.futures.Future[Any], where: _Object, method: str, arguments: Any) -> None:
        """Call, as soon as fewer than MAX_OPEN_CALLS are open."""
        self._queue.append((answer, where, method, arguments))
        self._send_queued()

    def _send_queued(self) -> None:
        while self._queue and self._open < MAX_OPEN_CALLS:
            queued = self._queue.popleft()
            if not queued[0].cancelled():
                self._call(*queued)

    def _call(self, answer: concurrent.futures.Future[Any], where: _Object, method: str, arguments: Any) -> None:
        def on_answer(connection: Any, result: Any) -> None:
            self._open -= 1
            try:
                values = connection.call_finish(result).unpack()
            except GLib.Error as error:
                _settle(answer, error=_driver_error(error, f"{where[0]} {method}"))
            else:
                _settle(answer, values)
            self._send_queued()

        try:
            self._connected().con.call(
                *where, method, arguments, None,
                Gio.DBusCallFlags.NO_AUTO_START, int(CALL_TIMEOUT_S * 1000), None, on_answer,
            )  # fmt: skip
        except (GLib.Error, NoBus) as error:
            _settle(answer, error=error if isinstance(error, NoBus) else _driver_error(error, f"{where[0]} {method}"))
        else:
            self._open += 1

    def _connected(self) -> Any:
        if self._bus is not None and not self._bus.con.is_closed():
            return self._bus
        try:
            # A connection of its own: Gio's shared one exits the process when the bus closes.
            self._bus = pydbus.connect(Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None))
        except GLib.Error as error:
            raise NoBus(f"no system bus ({error.message}); check: systemctl status dbus") from error
        self._all_connections.append(self._bus.con)
        self._bus.con.connect("closed", self._on_closed)
        self._bus.subscribe(
            sender=SYSTEMD, iface=_MANAGER[2], signal="JobRemoved", object=_MANAGER[1], signal_fired=self._on_removed
        )
        # systemd sends its signals only to subscribers, so this must be the first call.
        self._call(concurrent.futures.Future(), _MANAGER, "Subscribe", None)
        return self._bus

    def _subscribe(self, bus: Any) -> None:
        """Subscribe once for all objects, because the bus limits the subscriptions of a connection."""
        if self._subscribed is not bus:
            self._subscribed = bus
            bus.subscribe(
                sender=SYSTEMD, iface=_PROPERTIES, signal="PropertiesChanged", signal_fired=self._on_properties
            )

    def _on_properties(self, _sender: str, path: str, _interface: str, _signal: str, values: tuple[Any, ...]) -> None:
        for report in self._followers.get((path, values[0]), {}).values():
            report(values[1])

    def _start_job(
        self, started: concurrent.futures.Future[Any], result: concurrent.futures.Future[str], method: str, unit: str
    ) -> None:
        def on_started(answer: concurrent.futures.Future[Any]) -> None:
            self._starting -= 1
            if answer.exception() is None:
                path = answer.result()[0]
                if path in self._early:
                    _settle(result, self._early[path])
                else:
                    self._jobs.setdefault(path, []).append(result)
            if self._starting == 0:
                self._early.clear()

        # The job may end before the answer that names it arrives, so results are kept in _early while a call is open.
        self._starting += 1
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        answer.add_done_callback(on_started)
        answer.add_done_callback(lambda done: _settle(started, error=done.exception()))
        self._send(answer, _MANAGER, method, GLib.Variant("(ss)", (unit, "replace")))

    def _on_removed(self, _sender: str, _path: str, _interface: str, _signal: str, values: tuple[Any, ...]) -> None:
        _, path, _, result = values
        for waiting in self._jobs.pop(path, []):
            _settle(waiting, str(result))
        if self._starting:
            self._early[path] = str(result)

    def _on_closed(self, *_: Any) -> None:
        _logger.warning("lost the connection to the system bus")
        jobs, self._jobs, self._bus = self._jobs, {}, None
        followers, self._followers = self._followers, {}
        for waiting in itertools.chain(*jobs.values()):
            _settle(waiting, error=NoBus("lost the connection to the system bus during a systemd job"))
        for lost in itertools.chain(*followers.values()):
            _settle(lost, error=NoBus("lost the connection to the system bus"))


async def _awaited(future: concurrent.futures.Future[Any], late: str) -> Any:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S + 1):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise TimedOut(late) from error


def _settle(future: concurrent.futures.Future[Any], value: Any = None, *, error: BaseException | None = None) -> None:
    """Set the result or the error of the future, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _driver_error(error: Any, call: str) -> DriverError:
    name = Gio.DBusError.get_remote_error(error) or ""
    if error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.TIMED_OUT) or name.endswith((".NoReply", ".Timeout")):
        return TimedOut(f"{call}: no answer within {CALL_TIMEOUT_S:g} s")
    if name == f"{BUS}.Error.NameHasNoOwner":
        return BusError(f"{call}: not on the system bus; check that systemd is running: systemctl status", name)
    return BusError(f"{call}: {error.message.removeprefix(f'GDBus.Error:{name}: ')}", name)


_connection = _Connection()
