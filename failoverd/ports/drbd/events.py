"""Parses the output of ``drbdsetup events2`` into the model: one dump, or a dump and the changes since.

On both generations each line is ``exists|create|change|destroy|rename|call|response OBJECT name:RESOURCE key:value…``,
and a dump ends with ``exists -``. Unknown verbs and objects are errors, and so is a change of an unknown object: then a
line was lost, and the caller must begin again with a dump. Unknown keys are skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

from failoverd.ports.drbd.status import (
    PRIMARY,
    STAND_ALONE,
    UNKNOWN,
    Garbled,
    Minor,
    Peer,
    PeerVolume,
    Resource,
    Volume,
)

_VERBS = frozenset({"exists", "create", "change", "destroy", "rename", "call", "response"})
_OBJECTS = frozenset({"resource", "device", "connection", "peer-device", "path", "helper"})

#: Reads the minors of DRBD 8.4 from /proc/drbd, for the properties that its events lack.
Minors = Callable[[], Mapping[int, Minor]]

_Fields = dict[str, str]
_Key = TypeVar("_Key")


@dataclasses.dataclass(slots=True)
class _Parts:
    """The fields of one resource: its own, by volume, by peer, and by peer and volume."""

    resource: _Fields
    devices: dict[str, _Fields] = dataclasses.field(default_factory=dict)
    connections: dict[str, _Fields] = dataclasses.field(default_factory=dict)
    peer_devices: dict[tuple[str, str], _Fields] = dataclasses.field(default_factory=dict)


class Fold:
    """The state of all resources after the lines so far. `complete`: the dump has ended."""

    def __init__(self) -> None:
        self.complete = False
        self._all: dict[str, _Parts] = {}
        self._asked: set[tuple[str, str]] = set()  # the resources and peers of which a handler fence-peer runs

    @property
    def names(self) -> frozenset[str]:
        """The names of the resources that are up."""
        return frozenset(self._all)

    @property
    def owners(self) -> dict[int, str]:
        """The name of the resource of each minor."""
        return {int(it["minor"]): name for name, parts in self._all.items() for it in parts.devices.values()}

    def take(self, line: str) -> str | None:
        """Apply a line, and return the name of its resource; None: it has none. Raises Garbled."""
        if line == "exists -":
            if self.complete:
                raise Garbled("a second dump in one stream")
            self.complete = True
            return None
        if line.startswith("- skipped "):
            raise Garbled("DRBD skipped events, because they were not read in time")
        verb, _, rest = line.partition(" ")
        kind, *pairs = rest.split() or [""]
        if verb not in _VERBS or kind not in _OBJECTS or not all(":" in pair for pair in pairs):
            raise Garbled(f"unknown event: {line[:200]!r}")
        fields = {key: value for key, _, value in (pair.partition(":") for pair in pairs)}
        try:
            self._apply(verb, kind, fields)
            return fields["name"]
        except KeyError as error:
            raise Garbled(f"an earlier event was lost ({error} is missing): {line[:200]!r}") from error

    def resource(self, name: str, minors: Minors = dict) -> Resource | None:
        """The current state of the resource; None: it is not up. Raises Garbled."""
        parts = self._all.get(name)
        if parts is None:
            return None
        try:
            return _resource(name, parts, minors)
        except (KeyError, ValueError) as error:
            raise Garbled(f"cannot parse the events of {name}: {error!r}") from error

    def asks(self, name: str) -> bool:
        """Whether DRBD has called its handler fence-peer for the resource, and that runs; no dump tells of it."""
        return any(resource == name for resource, _ in self._asked)

    def _apply(self, verb: str, kind: str, fields: _Fields) -> None:
        name = fields["name"]
        if kind == "helper" and fields.get("helper") == "fence-peer":
            (self._asked.add if verb == "call" else self._asked.discard)((name, fields.get("peer-node-id", "")))
        if kind in ("helper", "path") or verb in ("call", "response"):
            return
        if kind == "resource":
            self._apply_resource(verb, name, fields)
            return
        parts = self._all[name]
        if kind == "device":
            _change(parts.devices, fields["volume"], verb, fields)
            return
        peer = fields["peer-node-id"]
        if kind == "peer-device":
            if peer not in parts.connections:
                raise KeyError(peer)
            _change(parts.peer_devices, (peer, fields["volume"]), verb, fields)
            return
        _change(parts.connections, peer, verb, fields)
        if verb == "destroy":  # DRBD 9 sends no events for the peer-devices of the connection
            parts.peer_devices = {key: it for key, it in parts.peer_devices.items() if key[0] != peer}

    def _apply_resource(self, verb: str, name: str, fields: _Fields) -> None:
        if verb == "rename":
            raise Garbled(f"{name} was renamed")
        if verb == "destroy":
            del self._all[name]
        elif verb == "change":
            self._all[name].resource.update(fields)
        elif name in self._all:
            raise KeyError(f"destroy of the other {name}")
        else:
            self._all[name] = _Parts(resource=fields)


def whole(text: str) -> Fold:
    """Parse a complete dump (``events2 --now``). Raises Garbled."""
    fold = Fold()
    for line in text.splitlines():
        fold.take(line)
    if not fold.complete:
        raise Garbled("the dump of the events is incomplete")
    return fold


def parse(text: str, name: str, minors: Minors = dict) -> Resource | None:
    """The resource in a complete dump; None: it is not in there. Raises Garbled."""
    return whole(text).resource(name, minors)


def _change(them: dict[_Key, _Fields], key: _Key, verb: str, fields: _Fields) -> None:
    if verb == "destroy":
        del them[key]
    elif verb == "change":
        them[key].update(fields)
    elif key in them:
        raise KeyError(f"destroy of the other {key}")
    else:
        them[key] = fields


def _resource(name: str, parts: _Parts, minors: Minors) -> Resource:
    suspended = frozenset(parts.resource["suspended"].split(",")) - {"no"}
    role = parts.resource["role"]
    volumes = tuple(sorted((_volume(it) for it in parts.devices.values()), key=lambda volume: volume.number))
    eight = all(volume.quorum is None for volume in volumes)
    if eight and len(volumes) > 1 and role == PRIMARY:  # 8.4 reports only the highest role of its volumes
        by_minor = minors()
        volumes = tuple(dataclasses.replace(v, role=_role(by_minor.get(v.minor))) for v in volumes)
    numbers = {volume.number: volume.minor for volume in volumes}
    peers = []
    for number, it in parts.connections.items():
        its = (_peer_volume(v, numbers, minors) for (peer, _), v in parts.peer_devices.items() if peer == number)
        peers.append(
            Peer(
                id=int(number),
                name=it.get("conn-name", "peer"),
                connection=it["connection"],
                role=it["role"],
                volumes=tuple(sorted(its, key=lambda volume: volume.number)),
            )
        )
    if not peers and eight:
        # 8.4 always has its one peer. When it becomes StandAlone, a stream destroys it, and a dump still has it.
        peers.append(Peer(id=0, name="peer", connection=STAND_ALONE, role=UNKNOWN))
    return Resource(
        name=name,
        role=role,
        suspended=suspended,
        volumes=volumes,
        peers=tuple(sorted(peers, key=lambda peer: peer.id)),
    )


def _volume(it: _Fields) -> Volume:
    if ("quorum" in it) is not ("client" in it):  # DRBD 9 has both, 8.4 neither
        raise ValueError(f"volume {it['volume']} has only one of quorum and client")
    return Volume(
        number=int(it["volume"]),
        minor=int(it["minor"]),
        disk=it["disk"],
        quorum=_yes(it["quorum"]) if "quorum" in it else None,
        client="client" in it and _yes(it["client"]),
    )


def _peer_volume(it: _Fields, numbers: Mapping[int, int], minors: Minors) -> PeerVolume:
    number, replication = int(it["volume"]), it["replication"]
    percent = float(it["done"]) if "done" in it else None
    if percent is None and "Sync" in replication and number in numbers:  # the events of 8.4 lack it
        minor = minors().get(numbers[number])
        percent = minor.percent if minor is not None else None
    differs = None
    if replication == "Off" and number in numbers and (device := minors().get(numbers[number])) is not None:
        differs = device.out_of_sync
    return PeerVolume(
        number=number, replication=replication, disk=it["peer-disk"], percent=percent, out_of_sync=differs
    )


def _role(minor: Minor | None) -> str:
    return minor.role if minor is not None else UNKNOWN


def _yes(value: str) -> bool:
    return {"yes": True, "no": False}[value]
