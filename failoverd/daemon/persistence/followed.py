"""The resources that this daemon follows, for the next one: what its configuration no longer has may be active.

It must not decide what a stray means; the core does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from failoverd import drivers, log
from failoverd.core.spec import ResourceSpec
from failoverd.daemon.config import schema
from failoverd.records import records, text

_RECORD = "followed"
_log = log.get("followed")


def remember(resources: Iterable[tuple[ResourceSpec, frozenset[str]]]) -> None:
    """Record the resources, each with everything that it needs."""
    content = [_content(spec, needs) for spec, needs in resources]
    records.write(_RECORD, {"resources": content}, keep_old=True)  # checking one too many does no harm


def recall() -> list[tuple[ResourceSpec, frozenset[str]]]:
    """The resources of this boot's previous daemon, each with everything that it needs."""
    return records.read(_RECORD, lambda content: [*map(_resource, content["resources"])]) or []


def _resource(content: Mapping[str, Any]) -> tuple[ResourceSpec, frozenset[str]]:
    spec = ResourceSpec(
        instance=text(content["instance"]),
        name=text(content["name"]),
        driver=text(content["driver"]),
        options=_options(content),
        moves=frozenset(map(text, content["moves"])),
    )
    return spec, frozenset(map(text, content["needs"]))


def _content(spec: ResourceSpec, needs: frozenset[str]) -> dict[str, Any]:
    return {
        "instance": spec.instance,
        "name": spec.name,
        "driver": spec.driver,
        "options": dataclasses.asdict(spec.options),
        "moves": sorted(spec.moves),
        "needs": sorted(needs),
    }


def _options(content: Mapping[str, Any]) -> Any:
    """The driver's options; None: this release's driver rejects them, so the resource cannot be observed."""
    given = {key: value for key, value in content["options"].items() if value is not None}
    try:
        return schema.build(drivers.find(content["driver"]).options, given)
    except (LookupError, TypeError, ValueError) as error:
        _log.warning("cannot parse the options of a recorded resource", resource=content["name"], reason=repr(error))
        return None
