"""What DRBD says of a resource here, as data: the one model of both generations, and the JSON of DRBD 9.

Fields that are not known are skipped; one that is missing makes the whole answer worthless, because half a truth may
look as if all were well. Nothing here touches the world.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRIMARY = "Primary"
SECONDARY = "Secondary"
UP_TO_DATE = "UpToDate"
STAND_ALONE = "StandAlone"
UNKNOWN = "Unknown"

_WITH_DATA = frozenset({"Inconsistent", "Outdated", "Consistent", UP_TO_DATE})


class Garbled(ValueError):
    """It is not what DRBD says; the text tells what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume here. `quorum` is None on 8.4, which has none. `client`: it is meant to have no disk here.

    `role`: its own, where it may be another than the resource's; None where it is the same.
    """

    number: int
    minor: int
    disk: str
    role: str | None = None
    quorum: bool | None = None
    client: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Minor:
    """A device of 8.4: its role, and how much of it is in sync (percent), None where it does not synchronise."""

    role: str
    percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerVolume:
    """A volume on a peer, and its replication. `percent`: how much of it is in sync, None when that is not told."""

    number: int
    replication: str
    disk: str
    percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A connection. On 8.4 every peer is called ``peer`` and has the number 0."""

    id: int
    name: str
    connection: str
    role: str
    volumes: tuple[PeerVolume, ...] = ()

    @property
    def connected(self) -> bool:
        """The nodes talk to each other."""
        return self.connection == "Connected"

    @property
    def replicating(self) -> bool:
        """They have also compared their data: from then on a disk that lacks any is not UpToDate."""
        return self.connected and bool(self.volumes) and all(volume.replication != "Off" for volume in self.volumes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource here, in DRBD's words. `suspended`: why its I/O stands still. Volumes and peers by number.

    `role`: on 8.4, where each volume has a role, the highest of them.
    """

    name: str
    role: str
    suspended: frozenset[str] = frozenset()
    volumes: tuple[Volume, ...] = ()
    peers: tuple[Peer, ...] = ()

    @property
    def primary(self) -> bool:
        """It is Primary, with every volume."""
        return self.role == PRIMARY and all(volume.role in (None, PRIMARY) for volume in self.volumes)

    @property
    def up_to_date(self) -> bool:
        """Every volume has a disk here, with the newest data that DRBD knows of."""
        return bool(self.volumes) and all(volume.disk == UP_TO_DATE for volume in self.volumes)

    @property
    def attached(self) -> bool:
        """Every volume has its disk here, with data of whatever age. An attach may take long."""
        return bool(self.volumes) and all(volume.disk in _WITH_DATA for volume in self.volumes)

    @property
    def client(self) -> bool:
        """It is meant to have no disk here: a tiebreaker, or one that works over the network."""
        return bool(self.volumes) and all(volume.client for volume in self.volumes)

    @property
    def disks(self) -> str:
        """The disk state, or the states by volume where they differ."""
        states = {volume.disk for volume in self.volumes}
        if len(states) <= 1:
            return next(iter(states), "no volume")
        return ", ".join(f"{volume.disk} (volume {volume.number})" for volume in self.volumes)

    @property
    def primaries(self) -> tuple[Peer, ...]:
        """The peers that are connected and Primary."""
        return tuple(peer for peer in self.peers if peer.connected and peer.role == PRIMARY)

    @property
    def minors(self) -> frozenset[int]:
        """The numbers of its devices: ``/dev/drbdMINOR``."""
        return frozenset(volume.minor for volume in self.volumes)

    @property
    def alone(self) -> tuple[Peer, ...]:
        """The peers that DRBD does not connect to by itself: not yet, or because it must not."""
        return tuple(peer for peer in self.peers if peer.connection == STAND_ALONE)

    @property
    def quorate(self) -> bool:
        """No volume lacks quorum. On 8.4, and where none is configured, that is always so."""
        return all(volume.quorum is not False for volume in self.volumes)

    @property
    def nine(self) -> bool:
        """DRBD 9 says this, which has quorum."""
        return any(volume.quorum is not None for volume in self.volumes)


def essence(view: Resource | None) -> Resource | None:
    """A view without how far it has synchronised, which changes every second and decides nothing."""
    if view is None:
        return None
    peers = (
        dataclasses.replace(peer, volumes=tuple(dataclasses.replace(volume, percent=None) for volume in peer.volumes))
        for peer in view.peers
    )
    return dataclasses.replace(view, peers=tuple(peers))


def parse(text: str, name: str) -> Resource | None:
    """The resource as ``drbdsetup status --json`` told it; None when it is not there, Garbled when that is unclear."""
    try:
        found = [it for it in json.loads(text) if it["name"] == name]
        return _resource(found[0]) if found else None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Garbled(f"its status is garbled: {error!r}") from error


def minors(page: str) -> Mapping[int, Minor]:
    """What the ``/proc/drbd`` of 8.4 tells of each minor that is configured."""
    found: dict[int, Minor] = {}
    minor = -1
    for line in page.splitlines():
        if start := re.match(r" *(\d+): cs:\w+ ro:(\w+)/", line):
            minor = int(start[1])
            found[minor] = Minor(role=start[2])
        elif minor in found and (percent := re.search(r"sync'ed: *(\d+(?:\.\d+)?)%", line)):
            found[minor] = dataclasses.replace(found[minor], percent=float(percent[1]))
    return found


def _resource(it: Mapping[str, Any]) -> Resource:
    reasons = ("user", "no-data", "fencing", "quorum")
    suspended = {reason for reason in reasons if _flag(it[f"suspended-{reason}"])}
    if _flag(it["suspended"]) and not suspended:
        suspended = {"for a reason unknown"}
    return Resource(
        name=_word(it["name"]),
        role=_word(it["role"]),
        suspended=frozenset(suspended),
        volumes=tuple(sorted(map(_volume, it["devices"]), key=lambda volume: volume.number)),
        peers=tuple(sorted(map(_peer, it["connections"]), key=lambda peer: peer.id)),
    )


def _volume(it: Mapping[str, Any]) -> Volume:
    return Volume(
        number=int(it["volume"]),
        minor=int(it["minor"]),
        disk=_word(it["disk-state"]),
        quorum=_flag(it["quorum"]),
        client=_flag(it["client"]),
    )


def _peer(it: Mapping[str, Any]) -> Peer:
    return Peer(
        id=int(it["peer-node-id"]),
        name=_word(it["name"]),
        connection=_word(it["connection-state"]),
        role=_word(it["peer-role"]),
        volumes=tuple(sorted(map(_peer_volume, it["peer_devices"]), key=lambda volume: volume.number)),
    )


def _peer_volume(it: Mapping[str, Any]) -> PeerVolume:
    return PeerVolume(
        number=int(it["volume"]),
        replication=_word(it["replication-state"]),
        disk=_word(it["peer-disk-state"]),
        percent=float(it["percent-in-sync"]),
    )


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no word")
    return value
