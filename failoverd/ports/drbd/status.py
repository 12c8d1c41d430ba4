"""The state of a DRBD resource on this node: one model for both generations, and the parser of DRBD 9's JSON.

Unknown fields are skipped. A missing field makes the whole answer invalid, because the rest alone may look healthy. It
does no I/O.
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
    """DRBD's output cannot be parsed. The text names the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume on this node. `quorum`: None on 8.4, which has none. `client`: it is diskless by configuration.

    `role`: of the volume, if it may differ from the resource's; None: the resource's.
    """

    number: int
    minor: int
    disk: str
    role: str | None = None
    quorum: bool | None = None
    client: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Minor:
    """A device of DRBD 8.4. `percent`: the part of it that is in sync; None: no resync runs.

    `out_of_sync`: as of a PeerVolume.
    """

    role: str
    percent: float | None = None
    out_of_sync: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerVolume:
    """A volume on a peer. `replication`: DRBD's replication state. `percent`: the part in sync; None: not reported.

    `out_of_sync`: KiB in which the copies differ, as far as this node knows: what was written here while the peer was
    not connected is among them; None: not reported.
    """

    number: int
    replication: str
    disk: str
    percent: float | None = None
    out_of_sync: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer and its connection. On 8.4 the only peer has the name ``peer`` and the id 0."""

    id: int
    name: str
    connection: str
    role: str
    volumes: tuple[PeerVolume, ...] = ()

    @property
    def connected(self) -> bool:
        """The connection is up."""
        return self.connection == "Connected"

    @property
    def up_to_date(self) -> bool:
        """It is connected, and has every volume on a disk with the newest data."""
        return self.connected and bool(self.volumes) and all(volume.disk == UP_TO_DATE for volume in self.volumes)

    @property
    def disks(self) -> str:
        """The disk states of its volumes, each once."""
        return "/".join(dict.fromkeys(volume.disk for volume in self.volumes)) or "no volume"

    @property
    def replicating(self) -> bool:
        """The nodes have also compared their data: from then on a disk that lacks writes is not UpToDate."""
        return self.connected and bool(self.volumes) and all(volume.replication != "Off" for volume in self.volumes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource on this node, in DRBD's terms. `suspended`: the reasons for suspended I/O; empty: it is not suspended.

    Volumes and peers are ordered by number. `role`: on 8.4, where each volume has a role, the highest of them.
    """

    name: str
    role: str
    suspended: frozenset[str] = frozenset()
    volumes: tuple[Volume, ...] = ()
    peers: tuple[Peer, ...] = ()

    @property
    def primary(self) -> bool:
        """Every volume is Primary."""
        return self.role == PRIMARY and all(volume.role in (None, PRIMARY) for volume in self.volumes)

    @property
    def up_to_date(self) -> bool:
        """Every volume has a disk on this node, with the newest data that DRBD knows of."""
        return bool(self.volumes) and all(volume.disk == UP_TO_DATE for volume in self.volumes)

    @property
    def attached(self) -> bool:
        """Every volume has its disk on this node, with data of any age. An attach may take long."""
        return bool(self.volumes) and all(volume.disk in _WITH_DATA for volume in self.volumes)

    @property
    def client(self) -> bool:
        """The resource is diskless on this node by configuration: a tiebreaker, or a client over the network."""
        return bool(self.volumes) and all(volume.client for volume in self.volumes)

    @property
    def disks(self) -> str:
        """The disk state of all volumes, or the states by volume if they differ."""
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
        """The peers that are StandAlone: DRBD does not connect to them by itself."""
        return tuple(peer for peer in self.peers if peer.connection == STAND_ALONE)

    @property
    def quorate(self) -> bool:
        """No volume lacks quorum. Always true on 8.4, and if no quorum is configured."""
        return all(volume.quorum is not False for volume in self.volumes)

    @property
    def nine(self) -> bool:
        """The state is of DRBD 9, which has quorum."""
        return any(volume.quorum is not None for volume in self.volumes)


def essence(view: Resource | None) -> Resource | None:
    """The state without the progress of a resync, which changes every second, and says nothing of this node's data."""
    if view is None:
        return None
    peers = (
        dataclasses.replace(
            peer,
            volumes=tuple(dataclasses.replace(volume, percent=None, out_of_sync=None) for volume in peer.volumes),
        )
        for peer in view.peers
    )
    return dataclasses.replace(view, peers=tuple(peers))


def parse(text: str, name: str) -> Resource | None:
    """The resource in the output of ``drbdsetup status --json``; None: it is not in there. Raises Garbled."""
    try:
        found = [it for it in json.loads(text) if it["name"] == name]
        return _resource(found[0]) if found else None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Garbled(f"cannot parse DRBD's status: {error!r}") from error


def minors(page: str) -> Mapping[int, Minor]:
    """Each configured minor in the ``/proc/drbd`` of DRBD 8.4."""
    found: dict[int, Minor] = {}
    minor = -1
    for line in page.splitlines():
        if start := re.match(r" *(\d+): cs:\w+ ro:(\w+)/", line):
            minor = int(start[1])
            found[minor] = Minor(role=start[2])
        elif minor in found and (percent := re.search(r"sync'ed: *(\d+(?:\.\d+)?)%", line)):
            found[minor] = dataclasses.replace(found[minor], percent=float(percent[1]))
        elif minor in found and (differs := re.search(r" oos:(\d+)$", line)):
            found[minor] = dataclasses.replace(found[minor], out_of_sync=int(differs[1]))
    return found


def _resource(it: Mapping[str, Any]) -> Resource:
    reasons = ("user", "no-data", "fencing", "quorum")
    suspended = {reason for reason in reasons if _flag(it[f"suspended-{reason}"])}
    if _flag(it["suspended"]) and not suspended:
        suspended = {"unknown reason"}
    return Resource(
        name=_text(it["name"]),
        role=_text(it["role"]),
        suspended=frozenset(suspended),
        volumes=tuple(sorted(map(_volume, it["devices"]), key=lambda volume: volume.number)),
        peers=tuple(sorted(map(_peer, it["connections"]), key=lambda peer: peer.id)),
    )


def _volume(it: Mapping[str, Any]) -> Volume:
    return Volume(
        number=int(it["volume"]),
        minor=int(it["minor"]),
        disk=_text(it["disk-state"]),
        quorum=_flag(it["quorum"]),
        client=_flag(it["client"]),
    )


def _peer(it: Mapping[str, Any]) -> Peer:
    return Peer(
        id=int(it["peer-node-id"]),
        name=_text(it["name"]),
        connection=_text(it["connection-state"]),
        role=_text(it["peer-role"]),
        volumes=tuple(sorted(map(_peer_volume, it["peer_devices"]), key=lambda volume: volume.number)),
    )


def _peer_volume(it: Mapping[str, Any]) -> PeerVolume:
    return PeerVolume(
        number=int(it["volume"]),
        replication=_text(it["replication-state"]),
        disk=_text(it["peer-disk-state"]),
        percent=float(it["percent-in-sync"]),
        out_of_sync=int(it["out-of-sync"]) if "out-of-sync" in it else None,
    )


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a boolean")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is not a non-empty string")
    return value
