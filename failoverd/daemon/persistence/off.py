"""The nodes that are known to be off, for the next daemon: fenced with proof, and not heard or seen since.

Times are those of CLOCK_MONOTONIC, which all daemons of one boot share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from failoverd.core.knowledge import Off
from failoverd.records import number, records, text

_RECORD = "off"


def remember(off: Mapping[str, Off]) -> None:
    """Record these nodes, and no other."""
    records.write(_RECORD, {"nodes": {name: asdict(each) for name, each in off.items()}})


def recall() -> dict[str, Off]:
    """The nodes by name; empty where there is no record."""
    return records.read(_RECORD, _parse) or {}


def _parse(content: Mapping[str, Any]) -> dict[str, Off]:
    return {name: Off(at=number(each["at"]), said=text(each["said"])) for name, each in content["nodes"].items()}
