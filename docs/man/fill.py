"""Print a manual page, with what the program knows: ``PYTHONPATH=. python3 docs/man/fill.py FILE.scd >FILE``.

A line ``@keys MODULE.NAME`` becomes one entry for each key that the class NAME, or each class of the tuple NAME,
declares, so that the manual has the types, defaults and texts that the configuration is checked with. ``@message NAME``
becomes the MESSAGE_ID of that message; a line ``@journal``, ``@troubles`` or ``@metrics`` the entries of all messages,
troubles or metrics. All else is as it is.
"""  # noqa: INP001  # it is run, not imported

from __future__ import annotations

import dataclasses
import enum
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from failoverd import alarms
from failoverd.daemon.config import schema
from failoverd.daemon.metrics.families import FAMILIES, Family
from failoverd.trouble import TroubleKind

#: For man(1): the page has tables for tbl; and on a terminal it is one page, so that a long table fits.
_HEAD = "'\\\" t\n.if n .pl 100000\n"

_TYPES = {"object": "table", "string": "string", "integer": "integer", "boolean": "true or false", "number": "number"}


def page(source: str) -> str:
    """`source`, filled."""
    source = re.sub(r"@message ([A-Z_]*[A-Z])", lambda found: message(found[1]), source)
    source = re.sub(r"^@troubles$", lambda _: troubles(), source, flags=re.MULTILINE)
    source = re.sub(r"^@metrics$", lambda _: metrics(), source, flags=re.MULTILINE)
    source = re.sub(r"^@journal$", lambda _: journal(), source, flags=re.MULTILINE)
    return re.sub(r"^@keys (\S+)\.(\w+)$", lambda found: keys(found[1], found[2]), source, flags=re.MULTILINE)


def message(name: str) -> str:
    """The MESSAGE_ID of the message with that code, in capitals. KeyError when there is none such."""
    return {each.code: each.message_id for each in alarms.MESSAGES}[name.lower().replace("_", "-")]


def journal() -> str:
    """The entries of all messages."""
    return "\n\n".join(map(_journal, alarms.MESSAGES))


def troubles() -> str:
    """The entries of all kinds of trouble."""
    return "\n\n".join(map(_trouble, TroubleKind))


def metrics() -> str:
    """The entries of all metrics."""
    return "\n\n".join(map(_metric, FAMILIES))


def _metric(each: Family) -> str:
    its = f" {{{_plain(', '.join(each.labels))}}}" if each.labels else ""
    return f"*{_plain(each.name)}*{its}\n\t{each.kind.value.capitalize()}. {_plain(each.text)}."


def _trouble(each: TroubleKind) -> str:
    remedy = re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), each.remedy)
    return f"*{each.code}*\n\t{_plain(each.title)}. *{_plain(remedy)}*"


def _journal(each: alarms.Message) -> str:
    commands = re.sub(r"@([A-Z]+)@", r"\1", "; ".join(each.remedy))
    severity = "" if each.severity is alarms.Severity.INFO else f" Severity: {each.severity.value}."
    return f"*{each.code}*, _{each.message_id}_\n\t{_plain(each.title)}.{severity} *{_plain(commands)}*"


def keys(module: str, name: str) -> str:
    """The entries of one class of keys, or of all classes of a table."""
    found = getattr(importlib.import_module(module), name)
    return "\n\n".join(_entries(*(found if isinstance(found, tuple) else (found,))))


def _entries(*classes: type) -> Iterator[str]:
    rules = schema.schema(*classes)["properties"]
    for field in (field for each in classes for field in dataclasses.fields(each)):
        rule, doc = rules[field.name], field.metadata["doc"]
        text = _plain(f"{doc[0].upper()}{doc[1:].rstrip('.')}.")
        yield f"*{_plain(field.name)}* = _{_plain(_kind(rule))}_, {_default(field, rule)}\n\t{text}"


def _kind(rule: Mapping[str, Any]) -> str:
    if rule.get("duration"):
        least = f" of at least {rule['least']:g} s" if rule["least"] else ""
        most = f"{' and' if least else ' of'} at most {rule['most']:g} s" if rule["most"] is not None else ""
        return f"duration{least}{most}"
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
    if isinstance(value, enum.Enum):
        value = value.value
    text = f'"{value}"' if isinstance(value, str) else "[]" if value in ((), frozenset()) else str(value).lower()
    return f"default *{_plain(text)}*"


def _plain(text: str) -> str:
    """`text` without anything that scdoc would take for formatting; what is in backticks becomes bold."""
    escaped = re.sub(r"([\\*_])", r"\\\1", text)
    return re.sub(r"`([^`]+)`", r"*\1*", escaped)


if __name__ == "__main__":
    filled = page(Path(sys.argv[1]).read_text(encoding="utf-8"))
    roff = subprocess.run(["/usr/bin/scdoc"], input=filled, stdout=subprocess.PIPE, text=True, check=True)
    sys.stdout.write(_HEAD + roff.stdout)
