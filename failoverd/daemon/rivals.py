"""Other MASTERs that were beside this one, over a restart of the daemon: until somebody acknowledges them.

Times are those of CLOCK_MONOTONIC, which all daemons of one boot share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from failoverd import log
from failoverd.core.model import InstanceState, Rival
from failoverd.records import records

_RECORD = "rivals"
_log = log.get("rivals")


def remember(instances: Mapping[str, InstanceState]) -> None:
    """Let the next daemon know."""
    told = {name: [asdict(rival) for rival in i.rivals] for name, i in instances.items() if i.rivals}
    records.write(_RECORD, {"told": told})


def recall() -> dict[str, tuple[Rival, ...]]:
    """What an earlier daemon of this boot remembered, by instance; nothing, where it cannot be told."""
    found = records.read(_RECORD) or {"told": {}}
    try:
        return {str(name): tuple(Rival(**each) for each in told) for name, told in found["told"].items()}
    except (AttributeError, LookupError, TypeError, ValueError):
        _log.warning("what was recorded of other MASTERs is not understood")
        return {}
