"""What this daemon follows, for the next one, whose configuration may be another: what it drops may be active."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from failoverd import drivers, log
from failoverd.core.spec import ResourceSpec
from failoverd.daemon import schema
from failoverd.records import records

_RECORD = "followed"
_log = log.get("followed")


def remember(resources: Iterable[tuple[ResourceSpec, frozenset[str]]]) -> None:
    """Let the next daemon know of these resources, each with the things that it needs."""
    said = [_said(spec, needs) for spec, needs in resources]
    records.write(_RECORD, {"resources": said}, keep_old=True)  # what is looked at in vain does no harm


def recall() -> Iterator[tuple[ResourceSpec, frozenset[str]]]:
    """What an earlier daemon of this boot let us know."""
    found = records.read(_RECORD) or {"resources": ()}
    for said in found["resources"]:
        spec = ResourceSpec(
            instance=said["instance"],
            name=said["name"],
            driver=said["driver"],
            options=_options(said),
            moves=frozenset(said["moves"]),
        )
        yield spec, frozenset(said["needs"])


def _said(spec: ResourceSpec, needs: frozenset[str]) -> dict[str, Any]:
    return {
        "instance": spec.instance,
        "name": spec.name,
        "driver": spec.driver,
        "options": dataclasses.asdict(spec.options),
        "moves": sorted(spec.moves),
        "needs": sorted(needs),
    }


def _options(said: Mapping[str, Any]) -> Any:
    """As they were; None where this release's driver takes none like them: then nobody can look at it."""
    given = {key: value for key, value in said["options"].items() if value is not None}
    try:
        return schema.build(drivers.find(said["driver"]).options, given)
    except (LookupError, TypeError, ValueError) as error:
        _log.warning("what was followed is not understood", resource=said["name"], reason=repr(error))
        return None
