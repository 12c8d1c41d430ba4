"""How a key of the configuration is declared: once, where its value is used.

The schema, the manual and the values are all derived from the declaration. This module does not know how a key is read:
failoverd/daemon/config/ does.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(doc: str, **rules: Any) -> Any:
    """A dataclass field that is a key: its text for the manual, a default, and JSON Schema rules.

    Without `default` the key is required. ``unit="seconds"`` makes a float field a duration, written
    ``"90s"``, ``"5m"`` or a number of seconds. Every other keyword goes into the key's JSON Schema.
    """
    default = rules.pop("default", ...)
    metadata = {"doc": doc, "rules": rules}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)
