"""The rivals of each instance, for the next daemon: a double master is recorded until an operator acknowledges it.

Times are those of CLOCK_MONOTONIC, which all daemons of one boot share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from failoverd.core.model import Rival, State
from failoverd.records import number, records

_RECORD = "rivals"


def remember(state: State) -> None:
    """Record the rivals, also those of instances that a reload has removed."""
    known = {name: each.rivals for name, each in state.removed.items()}
    known |= {name: instance.rivals for name, instance in state.instances.items()}
    content = {name: [asdict(rival) for rival in rivals] for name, rivals in known.items() if rivals}
    records.write(_RECORD, {"told": content})


def recall() -> dict[str, tuple[Rival, ...]]:
    """The rivals by instance; empty where there is no record."""
    return records.read(_RECORD, _parse) or {}


def _parse(content: Mapping[str, Any]) -> dict[str, tuple[Rival, ...]]:
    return {name: tuple(map(_rival, rivals)) for name, rivals in content["told"].items()}


def _rival(content: Mapping[str, Any]) -> Rival:
    """A record of an earlier failoverd has neither station nor peer."""
    return Rival(
        since=number(content["since"]),
        until=number(content["until"]),
        gave_way=bool(content["gave_way"]),
        station=str(content.get("station", "")),
        address=str(content.get("address", "")),
        decided=str(content.get("decided", "")),
        yielded=content.get("yielded") is True,
        peer=str(content.get("peer", "")),
    )
