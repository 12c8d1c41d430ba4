"""Fill what the program knows into a manual page: ``PYTHONPATH=. python3 docs/man/fill.py FILE.scd | scdoc``.

A line ``@keys MODULE.CLASS`` becomes one entry for each option that the class declares, so that the manual has the
types, defaults and texts that the configuration is checked with. ``@message NAME`` becomes the journal's MESSAGE_ID of
that matter. All else is as it is.
"""  # noqa: INP001  # it is run, not imported

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from failoverd.core.events import Matter
from failoverd.daemon import messages, schema

_TYPES = {"string": "string", "integer": "integer", "boolean": "true or false", "number": "number"}


def page(source: str) -> str:
    """`source`, filled."""
    source = re.sub(r"@message ([A-Z_]*[A-Z])", lambda found: message(found[1]), source)
    return re.sub(r"^@keys (\S+)\.(\w+)$", lambda found: keys(found[1], found[2]), source, flags=re.MULTILINE)


def message(name: str) -> str:
    """The MESSAGE_ID of a transition that is done, of a trouble, or of a matter. KeyError when there is none such."""
    others = {"DONE": messages.DONE, "TROUBLE": messages.TROUBLE}
    return others[name] if name in others else messages.MATTER[Matter[name]]


def keys(module: str, name: str) -> str:
    """The entries of one class of options."""
    options: type = getattr(importlib.import_module(module), name)
    return "\n\n".join(_entries(options))


def _entries(options: type) -> Iterator[str]:
    rules = schema.schema(options)["properties"]
    for field in dataclasses.fields(options):
        rule, doc = rules[field.name], field.metadata["doc"]
        text = _plain(f"{doc[0].upper()}{doc[1:].rstrip('.')}.")
        yield f"*{_plain(field.name)}* = _{_plain(_kind(rule))}_, {_default(field, rule)}\n\t{text}"


def _kind(rule: Mapping[str, Any]) -> str:
    if rule.get("duration"):
        return f"duration of at least {rule['least']:g} s" if rule["least"] else "duration"
    if "properties" in rule:
        return "table"
    if "enum" in rule:
        return " or ".join(f'"{word}"' for word in rule["enum"])
    if rule["type"] == "array":
        return "list of strings"
    if "maximum" in rule:
        return f"{_TYPES[rule['type']]} from {rule['minimum']} to {rule['maximum']}"
    return _TYPES[rule["type"]] + (f" of at least {rule['minimum']}" if "minimum" in rule else "")


def _default(field: dataclasses.Field[Any], rule: Mapping[str, Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "optional"
    if rule.get("duration"):
        value = f"{value:g}s"
    text = f'"{value}"' if isinstance(value, str) else "[]" if value == () else str(value).lower()
    return f"default *{_plain(text)}*"


def _plain(text: str) -> str:
    """`text` without anything that scdoc would take for formatting; what is in backticks becomes bold."""
    escaped = re.sub(r"([\\*_])", r"\\\1", text)
    return re.sub(r"`([^`]+)`", r"*\1*", escaped)


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1]).read_text(encoding="utf-8")))
