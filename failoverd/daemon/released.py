"""How mastership was given away, over a restart of the daemon. That it is, keepalived's track file says.

Times are those of CLOCK_MONOTONIC, which all daemons of one boot share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from failoverd import log
from failoverd.core.model import InstanceState, Release
from failoverd.records import records

_RECORD = "released"
_log = log.get("released")


def remember(instances: Mapping[str, InstanceState]) -> None:
    """Let the next daemon know."""
    told = {
        name: asdict(Release(why=i.released, at=i.released_at, times=i.releases))
        for name, i in instances.items()
        if i.releases
    }
    records.write(_RECORD, {"told": told})


def recall(away: Iterable[str], now: float) -> dict[str, Release]:
    """What an earlier daemon of this boot let us know; `away`: whose mastership is given away, as the files say.

    Of one that nobody told of, it counts as given away just `now`.
    """
    known = _told()
    unknown = Release(why="an earlier failoverd did it", at=now, times=1)
    found = {name: known[name] if name in known and known[name].why else unknown for name in away}
    back = {name: Release(why="", at=each.at, times=each.times) for name, each in known.items() if name not in found}
    return {**back, **found}


def _told() -> dict[str, Release]:
    told = (records.read(_RECORD) or {"told": {}})["told"]
    try:
        return {str(name): Release(**each) for name, each in told.items()}
    except (AttributeError, TypeError):
        _log.warning("what was recorded of mastership that was given away is not understood")
        return {}
