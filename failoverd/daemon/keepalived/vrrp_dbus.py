"""keepalived on D-Bus: the keepaliveds that are there, and the instances of each.

keepalived shows each vrrp_instance as an object at ``[NAMESPACE/][NAME/]Instance/INTERFACE/NUMBER/FAMILY``, with its
name and its state; NAMESPACE and NAME are its ``net_namespace`` and ``instance``, if configured. D-Bus does not show
sync groups. The name on the bus is SERVICE, or ``dbus_service_name`` of keepalived.conf.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from failoverd.core.words import VrrpState
from failoverd.ports import dbus
from failoverd.ports.errors import DriverError, TimedOut

#: keepalived's default name on the bus.
SERVICE = "org.keepalived.Vrrp1"

_ROOT = "/org/keepalived/Vrrp1"

#: Levels of objects below _ROOT, at most: all the parts of an instance's path.
_MAX_DEPTH = 6

#: The property `State`, as the states of keepalived's events. 0, "Init", is left out: no state yet.
_STATES = {
    1: VrrpState.BACKUP,
    2: VrrpState.MASTER,
    3: VrrpState.FAULT,
    97: VrrpState.DELETED,
    98: VrrpState.STOP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A vrrp_instance. `name`: in keepalived.conf. `state`: None while it has none.

    `path`: its object, which identifies the virtual router also after a change of name.
    """

    name: str
    path: str
    state: VrrpState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One keepalived on the bus. `trouble`: why it did not answer, one line; empty if it did."""

    name: str
    pid: int
    instances: tuple[Instance, ...] = ()
    trouble: str = ""


async def services(pids: Collection[int], *, within: float) -> list[Service]:
    """All keepaliveds on the bus with their instances: the owner of SERVICE, and each name that one of `pids` owns.

    `within`: seconds for the bus to answer, and then for each of them. Raises DriverError if there is no bus, or if it
    does not answer.
    """
    try:
        async with asyncio.timeout(within):
            owners = {name: await dbus.owner(name) for name in await dbus.names()}
    except TimeoutError as error:
        raise TimedOut(f"the system bus does not answer within {within:g} s") from error
    ours = {name: pid for name, pid in owners.items() if pid is not None and (name == SERVICE or pid in pids)}
    return list(await asyncio.gather(*(_service(name, pid, within) for name, pid in ours.items())))


async def _service(name: str, pid: int, within: float) -> Service:
    try:
        async with asyncio.timeout(within):
            paths = [path for path in await _leaves(name, _ROOT, _MAX_DEPTH) if path.split("/")[-4:-3] == ["Instance"]]
            return Service(name=name, pid=pid, instances=tuple([await _instance(name, path) for path in paths]))
    except TimeoutError:
        return Service(name=name, pid=pid, trouble=f"{name} does not answer within {within:g} s")
    except DriverError as error:
        return Service(name=name, pid=pid, trouble=f"{name} does not answer: {error.reason}")


async def _leaves(service: str, path: str, depth: int) -> list[str]:
    names = await dbus.children(service, path)
    if depth == 0 or not names:
        return [path]
    return [leaf for name in names for leaf in await _leaves(service, f"{path}/{name}", depth - 1)]


async def _instance(service: str, path: str) -> Instance:
    found = await dbus.properties(service, path, f"{SERVICE}.Instance")
    try:
        return Instance(name=str(found["Name"][0]), path=path, state=_STATES.get(found["State"][0]))
    except (LookupError, TypeError) as error:
        raise dbus.BusError(f"{path} is not a vrrp_instance: {found!r}") from error
