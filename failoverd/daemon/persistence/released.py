"""The releases of mastership, for the next daemon: since when, why, and how often in a row; and who is aside.

It must not decide whether mastership is released; keepalived's track file does. Times are those of CLOCK_MONOTONIC,
which all daemons of one boot share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from failoverd.core.model import InstanceState, Release
from failoverd.records import number, records, text

_RECORD = "released"


def remember(instances: Mapping[str, InstanceState]) -> None:
    """Record the releases, and the instances for which this node is aside in a handover, or alone."""
    content = {
        name: asdict(Release(why=i.released, at=i.released_at, times=i.releases, unfit=i.unfit))
        for name, i in instances.items()
        if i.releases
    }
    aside = [name for name, i in instances.items() if i.aside is not None or i.alone_at is not None]
    records.write(_RECORD, {"told": content, "aside": aside})


def recall(away: Iterable[str], now: float, *, standby: Collection[str] = ()) -> dict[str, Release]:
    """The releases by instance. `away`: the instances whose track file releases mastership.

    One of `away` that has no record counts as released at `now`, unless it is one that an operator keeps in `standby`,
    that was aside in a handover (failoverctl asks again), or that was alone (the witnesses are asked again).
    """
    known, aside = records.read(_RECORD, _parse) or ({}, frozenset())
    unknown = Release(why="its track file released mastership when failoverd started", at=now, times=1)
    recorded = {name for name, each in known.items() if each.why}
    found = {name: known.get(name, unknown) for name in away if name in recorded or name not in (*standby, *aside)}
    found = {name: each if each.why else unknown for name, each in found.items()}
    back = {name: Release(why="", at=each.at, times=each.times) for name, each in known.items() if name not in found}
    return {**back, **found}


def _parse(content: Mapping[str, Any]) -> tuple[dict[str, Release], frozenset[str]]:
    aside = frozenset(map(text, content.get("aside", ())))  # absent in the record of an earlier release of failoverd
    return {name: _release(release) for name, release in content["told"].items()}, aside


def _release(content: Mapping[str, Any]) -> Release:
    return Release(
        why=text(content["why"]),
        at=number(content["at"]),
        times=int(number(content["times"])),
        unfit=content.get("unfit") is True,  # absent in the record of an earlier release of failoverd
    )
