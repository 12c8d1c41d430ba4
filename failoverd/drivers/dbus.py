"""The door to D-Bus: the only place that imports pydbus and GLib. systemd's units, and what others have.

GLib delivers signals to a loop of its own, so one thread runs one, from the first use on; all calls are sent
from there and awaited here, and none blocks. pydbus makes the connection and subscribes to signals; calls go
straight to the connection below it, because its proxies introspect and wait.
What this must not do: block asyncio's loop, start a service by merely asking for it, or guess when it was not told.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydbus
from gi.repository import Gio, GLib

from failoverd import log
from failoverd.drivers import DriverError, NotStarted, TimedOut

SYSTEMD = "org.freedesktop.systemd1"
BUS = "org.freedesktop.DBus"

#: Seconds that one call may take; a job of systemd's is waited for as long as the caller likes.
ANSWER = 5.0

#: The owner, path and interface of an object.
_Object = tuple[str, str, str]

_MANAGER: _Object = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")
_DAEMON: _Object = (BUS, "/org/freedesktop/DBus", BUS)
_PROPERTIES = "org.freedesktop.DBus.Properties"
_logger = log.get("dbus")


class BusError(DriverError):
    """The other side answered with an error; `name` is D-Bus's name of it, or empty."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """What systemd says of a unit, in its own words. `result` and `tasks` (processes left) only of a failed one."""

    load: str
    active: str
    sub: str
    result: str = ""
    tasks: int | None = None


async def reset_failed_unit(name: str) -> None:
    """Have systemd forget that a unit failed, and how often it was started; BusError if it is not loaded."""
    await _connection.call(_MANAGER, "ResetFailedUnit", _string(name))


async def start_unit(name: str) -> str:
    """Start a unit, and wait for the job's end: ``done``, or why not (``failed``, ``canceled``, ``dependency`` …)."""
    return await _connection.job("StartUnit", name)


async def stop_unit(name: str) -> str:
    """Stop a unit, and wait for the job's end, as `start_unit`."""
    return await _connection.job("StopUnit", name)


async def kill_unit(name: str, signal: int) -> None:
    """Send `signal` to all processes of a unit."""
    await _connection.call(_MANAGER, "KillUnit", GLib.Variant("(ssi)", (name, "all", signal)))


async def unit_state(name: str) -> UnitState:
    """What systemd says of a unit. Never loaded or not there at all: `load` is ``not-found``."""
    (path,) = await _connection.call(_MANAGER, "LoadUnit", GLib.Variant("(s)", (name,)))
    load, active, sub = [
        await _property(path, f"{SYSTEMD}.Unit", key) for key in ("LoadState", "ActiveState", "SubState")
    ]
    result, tasks = "", None
    if active == "failed":
        kind = f"{SYSTEMD}.{name.rpartition('.')[2].capitalize()}"
        try:
            result = str(await _property(path, kind, "Result"))
            count = int(await _property(path, kind, "TasksCurrent"))
            tasks = count if count < 2**64 - 1 else None
        except BusError:
            pass  # not every type of unit has them
    return UnitState(load=load, active=active, sub=sub, result=result, tasks=tasks)


async def names() -> list[str]:
    """All names that somebody owns on the system bus."""
    (found,) = await _connection.call(_DAEMON, "ListNames", None)
    return [str(name) for name in found if not name.startswith(":")]


async def owner(name: str) -> int | None:
    """The pid of who owns the name; None when nobody does."""
    try:
        (pid,) = await _connection.call(_DAEMON, "GetConnectionUnixProcessID", _string(name))
    except BusError:
        return None
    return int(pid)


async def children(service: str, path: str) -> list[str]:
    """The names of the objects right below the object `path`."""
    (xml,) = await _connection.call((service, path, f"{BUS}.Introspectable"), "Introspect", None)
    try:
        nodes = ET.fromstring(xml).findall("node")  # noqa: S314 - its sender is trusted with more
    except ET.ParseError as error:
        raise BusError(f"{service} {path}: its introspection is no XML: {error}") from error
    return [name for node in nodes if (name := node.get("name"))]


async def properties(service: str, path: str, interface: str) -> dict[str, Any]:
    """All that the object has of the interface."""
    (found,) = await _connection.call((service, path, _PROPERTIES), "GetAll", _string(interface))
    return dict(found)


class NoBus(NotStarted):
    """There is no system bus to talk on."""


async def _property(path: str, interface: str, name: str) -> Any:
    (value,) = await _connection.call((SYSTEMD, path, _PROPERTIES), "Get", GLib.Variant("(ss)", (interface, name)))
    return value


def _string(text: str) -> GLib.Variant:
    return GLib.Variant("(s)", (text,))


class _Connection:
    """One connection to the system bus, made at the first use and again after it was lost.

    Everything that begins with ``_on`` and every function handed to `_there` runs in GLib's thread, and only
    there are `_bus`, `_ever`, `_jobs` and `_early` touched.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._bus: Any = None
        # A connection is never let go. As its last reference goes, with Python's lock held, GLib waits for a lock that
        # the thread which receives may have while it waits for Python's: all would stand still for ever.
        self._ever: list[Any] = []
        self._jobs: dict[str, list[concurrent.futures.Future[str]]] = {}  # systemd joins a job that is there already
        self._asking = 0
        self._early: dict[str, str] = {}

    async def call(self, where: _Object, method: str, arguments: Any) -> Any:
        """The answer's values. Raises NoBus, TimedOut, or BusError."""
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._there(lambda: self._send(answer, where, method, arguments))
        return await _awaited(answer, f"{where[0]} does not answer {method} within {ANSWER:g} s")

    async def job(self, method: str, unit: str) -> str:
        """Have systemd make a job of it, and wait for that job's result."""
        result: concurrent.futures.Future[str] = concurrent.futures.Future()
        started: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._there(lambda: self._start_job(started, result, method, unit))
        await _awaited(started, f"{SYSTEMD} does not answer {method} within {ANSWER:g} s")
        return await asyncio.wrap_future(result)

    def _there(self, what: Callable[[], None]) -> None:
        """Run `what` once in GLib's thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="glib", daemon=True)
            self._thread.start()

        def once() -> bool:
            what()
            return False

        GLib.idle_add(once, priority=GLib.PRIORITY_DEFAULT)

    def _run(self) -> None:
        """GLib's thread. It lives as long as the process, and so does what this object holds, even at the very end."""
        GLib.MainLoop().run()

    def _send(self, answer: concurrent.futures.Future[Any], where: _Object, method: str, arguments: Any) -> None:
        def on_answer(connection: Any, result: Any) -> None:
            try:
                values = connection.call_finish(result).unpack()
            except GLib.Error as error:
                _settle(answer, error=_explained(error, f"{where[0]} {method}"))
            else:
                _settle(answer, values)

        try:
            self._connected().con.call(
                *where, method, arguments, None,
                Gio.DBusCallFlags.NO_AUTO_START, int(ANSWER * 1000), None, on_answer,
            )  # fmt: skip
        except (GLib.Error, NoBus) as error:
            _settle(answer, error=error if isinstance(error, NoBus) else _explained(error, f"{where[0]} {method}"))

    def _connected(self) -> Any:
        if self._bus is not None and not self._bus.con.is_closed():
            return self._bus
        try:
            # A connection of our own, not Gio's shared one: that ends the process when the bus goes away.
            self._bus = pydbus.connect(Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None))
        except GLib.Error as error:
            raise NoBus(f"no system bus ({error.message}); is dbus.service running?") from error
        self._ever.append(self._bus.con)
        self._bus.con.connect("closed", self._on_closed)
        self._bus.subscribe(
            sender=SYSTEMD, iface=_MANAGER[2], signal="JobRemoved", object=_MANAGER[1], signal_fired=self._on_removed
        )
        # systemd sends its signals only to those who asked for them.
        self._send(concurrent.futures.Future(), _MANAGER, "Subscribe", None)
        return self._bus

    def _start_job(
        self, started: concurrent.futures.Future[Any], result: concurrent.futures.Future[str], method: str, unit: str
    ) -> None:
        def on_started(answer: concurrent.futures.Future[Any]) -> None:
            self._asking -= 1
            if answer.exception() is None:
                path = answer.result()[0]
                if path in self._early:
                    _settle(result, self._early[path])
                else:
                    self._jobs.setdefault(path, []).append(result)
            if self._asking == 0:
                self._early.clear()

        # The job may be removed before the answer that names it arrives; a job that nobody asks for now is not ours.
        self._asking += 1
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        answer.add_done_callback(on_started)
        answer.add_done_callback(lambda done: _settle(started, error=done.exception()))
        self._send(answer, _MANAGER, method, GLib.Variant("(ss)", (unit, "replace")))

    def _on_removed(self, _sender: str, _path: str, _interface: str, _signal: str, values: tuple[Any, ...]) -> None:
        _, path, _, result = values
        for waiting in self._jobs.pop(path, []):
            _settle(waiting, str(result))
        if self._asking:
            self._early[path] = str(result)

    def _on_closed(self, *_: Any) -> None:
        _logger.warning("the system bus went away")
        jobs, self._jobs, self._bus = self._jobs, {}, None
        for waiting in itertools.chain(*jobs.values()):
            _settle(waiting, error=NoBus("the system bus went away while a job of systemd's was awaited"))


async def _awaited(future: concurrent.futures.Future[Any], late: str) -> Any:
    try:
        async with asyncio.timeout(ANSWER + 1):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise TimedOut(late) from error


def _settle(future: concurrent.futures.Future[Any], value: Any = None, *, error: BaseException | None = None) -> None:
    """Give the future its end, unless whoever waited has gone."""
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _explained(error: Any, what: str) -> DriverError:
    name = Gio.DBusError.get_remote_error(error) or ""
    if error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.TIMED_OUT) or name.endswith((".NoReply", ".Timeout")):
        return TimedOut(f"{what}: no answer within {ANSWER:g} s")
    if name == f"{BUS}.Error.NameHasNoOwner":
        return BusError(f"{what}: nobody of that name is on the system bus; is this machine run by systemd?", name)
    return BusError(f"{what}: {error.message.removeprefix(f'GDBus.Error:{name}: ')}", name)


_connection = _Connection()
