"""What ``drbdsetup events2`` says, folded into the model: one dump, or a dump and what changed since.

On both generations each line is ``exists|create|change|destroy|rename|call|response OBJECT name:RESOURCE key:value…``,
and a dump ends with ``exists -``. Verbs and objects that are not known are refused, and so is a change of what is not
there: a line was lost, and only reading everything again helps. Keys that are not known are skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

from failoverd.drivers.drbdstate.status import (
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

#: What 8.4 tells of its minors beside its events. It is asked for where the events do not tell it.
Minors = Callable[[], Mapping[int, Minor]]

_Fields = dict[str, str]
_Key = TypeVar("_Key")


@dataclasses.dataclass(slots=True)
class _Parts:
    """What was said of one resource: by volume, by peer, and by both."""

    resource: _Fields
    devices: dict[str, _Fields] = dataclasses.field(default_factory=dict)
    connections: dict[str, _Fields] = dataclasses.field(default_factory=dict)
    peer_devices: dict[tuple[str, str], _Fields] = dataclasses.field(default_factory=dict)


class Fold:
    """All resources as the lines so far have them. `complete`: the first dump has ended."""

    def __init__(self) -> None:
        self.complete = False
        self._all: dict[str, _Parts] = {}

    @property
    def names(self) -> frozenset[str]:
        """The resources that are up."""
        return frozenset(self._all)

    @property
    def owners(self) -> dict[int, str]:
        """The name of the resource that each minor is of."""
        return {int(it["minor"]): name for name, parts in self._all.items() for it in parts.devices.values()}

    def take(self, line: str) -> str | None:
        """Add a line; the name of the resource that it is about, if any. Garbled when it cannot be added."""
        if line == "exists -":
            if self.complete:
                raise Garbled("a second dump in one stream")
            self.complete = True
            return None
        if line.startswith("- skipped "):
            raise Garbled("DRBD was faster than its events were read, and skipped some")
        verb, _, rest = line.partition(" ")
        kind, *words = rest.split() or [""]
        if verb not in _VERBS or kind not in _OBJECTS or not all(":" in word for word in words):
            raise Garbled(f"not understood: {line[:200]!r}")
        fields = {key: value for key, _, value in (word.partition(":") for word in words)}
        try:
            self._apply(verb, kind, fields)
            return fields["name"]
        except KeyError as error:
            raise Garbled(f"a line before it was lost ({error} is not there): {line[:200]!r}") from error

    def resource(self, name: str, minors: Minors = dict) -> Resource | None:
        """The resource now, None when it is not up."""
        parts = self._all.get(name)
        if parts is None:
            return None
        try:
            return _resource(name, parts, minors)
        except (KeyError, ValueError) as error:
            raise Garbled(f"events of {name} are garbled: {error!r}") from error

    def _apply(self, verb: str, kind: str, fields: _Fields) -> None:
        name = fields["name"]
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
        if verb == "destroy":  # DRBD 9 does not tell of its peer-devices one by one
            parts.peer_devices = {key: it for key, it in parts.peer_devices.items() if key[0] != peer}

    def _apply_resource(self, verb: str, name: str, fields: _Fields) -> None:
        if verb == "rename":
            raise Garbled(f"{name} was renamed")
        if verb == "destroy":
            del self._all[name]
        elif verb == "change":
            self._all[name].resource.update(fields)
        elif name in self._all:
            raise KeyError(f"an end of the other {name}")
        else:
            self._all[name] = _Parts(resource=fields)


def whole(text: str) -> Fold:
    """A whole dump (``events2 --now``); Garbled when it is none."""
    fold = Fold()
    for line in text.splitlines():
        fold.take(line)
    if not fold.complete:
        raise Garbled("the dump of its events is not whole")
    return fold


def parse(text: str, name: str, minors: Minors = dict) -> Resource | None:
    """The resource in a whole dump; None when it is not there, Garbled when that is unclear."""
    return whole(text).resource(name, minors)


def _change(them: dict[_Key, _Fields], key: _Key, verb: str, fields: _Fields) -> None:
    if verb == "destroy":
        del them[key]
    elif verb == "change":
        them[key].update(fields)
    elif key in them:
        raise KeyError(f"an end of the other {key}")
    else:
        them[key] = fields


def _resource(name: str, parts: _Parts, minors: Minors) -> Resource:
    suspended = frozenset(parts.resource["suspended"].split(",")) - {"no"}
    role = parts.resource["role"]
    volumes = tuple(sorted((_volume(it) for it in parts.devices.values()), key=lambda volume: volume.number))
    eight = all(volume.quorum is None for volume in volumes)
    if eight and len(volumes) > 1 and role == PRIMARY:  # DRBD tells the highest role of all, and of no other change
        told = minors()
        volumes = tuple(dataclasses.replace(v, role=_role(told.get(v.minor))) for v in volumes)
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
        # 8.4 always has its one peer: a stream that saw it go StandAlone is told of its end, as a dump is not.
        peers.append(Peer(id=0, name="peer", connection=STAND_ALONE, role=UNKNOWN))
    return Resource(
        name=name,
        role=role,
        suspended=suspended,
        volumes=volumes,
        peers=tuple(sorted(peers, key=lambda peer: peer.id)),
    )


def _volume(it: _Fields) -> Volume:
    if ("quorum" in it) is not ("client" in it):  # DRBD 9 tells both, 8.4 neither
        raise ValueError(f"volume {it['volume']} is told of by halves")
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
    if percent is None and "Sync" in replication and number in numbers:  # 8.4 does not tell it
        minor = minors().get(numbers[number])
        percent = minor.percent if minor is not None else None
    return PeerVolume(number=number, replication=replication, disk=it["peer-disk"], percent=percent)


def _role(minor: Minor | None) -> str:
    return minor.role if minor is not None else UNKNOWN


def _yes(word: str) -> bool:
    return {"yes": True, "no": False}[word]
