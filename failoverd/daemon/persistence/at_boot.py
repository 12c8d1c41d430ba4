"""The instances that were configured when the machine booted."""

from __future__ import annotations

from failoverd.records import records, text

_RECORD = "boot"


def configured(instances: frozenset[str]) -> frozenset[str]:
    """The instances of this boot's first daemon; `instances` are recorded and returned where this is the first."""
    known = records.read(_RECORD, lambda content: frozenset(map(text, content["instances"])))
    if known is None:
        records.write(_RECORD, {"instances": sorted(instances)})
        return instances
    return known
