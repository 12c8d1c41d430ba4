"""From the dataclasses that declare options to JSON Schema, and from its verdicts to sentences for a person.

Options are declared once, as dataclasses of `drivers.option` fields; what is checked here, what the manual says and
what the program gets all come from there. Only this module knows jsonschema.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jsonschema

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h)$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TYPES: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string", "minLength": 1},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
}

#: A place in a configuration, as the keys that lead to it.
Path = tuple[str, ...]


def seconds(value: float | str) -> float:
    """A duration in seconds, from ``90``, ``"90s"``, ``"500ms"``, ``"5m"`` or ``"1h"``. ValueError otherwise."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{value!r} is no duration")
        return float(match[1]) * _SECONDS[match[2]]
    return float(value)


_kinds = functools.cache(typing.get_type_hints)


def _field_schema(field: dataclasses.Field[Any], kind: Any) -> dict[str, Any]:
    rules = dict(field.metadata["rules"])
    if rules.pop("unit", None) == "seconds":
        least = rules.pop("minimum", 0)
        numbers = {"type": "number"}
        words = {"type": "string", "pattern": _DURATION.pattern}
        return {"anyOf": [numbers, words], "duration": True, "least": least, **rules}
    arguments = [a for a in typing.get_args(kind) if a is not type(None)]
    plain = arguments[0] if len(arguments) == 1 and type(None) in typing.get_args(kind) else kind
    if dataclasses.is_dataclass(plain):
        assert isinstance(plain, type)
        return {**schema(plain), **rules}
    return {**_TYPES[plain], **rules}


@functools.cache
def schema(*options: type) -> dict[str, Any]:
    """The JSON Schema of one table that holds the options of all these dataclasses."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for cls in options:
        kinds = _kinds(cls)
        for field in dataclasses.fields(cls):
            properties[field.name] = {
                "description": field.metadata["doc"],
                **_field_schema(field, kinds[field.name]),
            }
            if field.default is dataclasses.MISSING:
                required.append(field.name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def problems(value: Any, table: Mapping[str, Any], at: Path) -> list[tuple[Path, str]]:
    """Everything that is wrong with `value`: where, and what was expected, in a sentence."""
    found: list[tuple[Path, str]] = []
    validator = jsonschema.Draft202012Validator(table)
    found += _impossible(value, table, at)
    for error in sorted(validator.iter_errors(value), key=lambda e: [str(p) for p in e.absolute_path]):
        where = (*at, *(str(part) for part in error.absolute_path))
        known = error.schema.get("properties", {})
        if error.validator == "additionalProperties":
            found += [((*where, key), _unknown(key, known)) for key in error.instance if key not in known]
        elif error.validator == "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            found += [((*where, key), f"missing; expected {_expected(known[key])}") for key in missing]
        else:
            found.append((where, f"expected {_expected(error.schema)}, found {_shown(error.instance)}"))
    return list(dict.fromkeys(found))


def _impossible(value: Any, table: Mapping[str, Any], at: Path) -> list[tuple[Path, str]]:
    """Durations that have the right form, but are too short, or no number."""
    found: list[tuple[Path, str]] = []
    for key, rule in table["properties"].items() if isinstance(value, dict) else ():
        given = value.get(key)
        if "properties" in rule:
            found += _impossible(given, rule, (*at, key))
        if rule.get("duration") and isinstance(given, str | int | float) and not isinstance(given, bool):
            with suppress(ValueError):
                if not rule["least"] <= seconds(given) < math.inf:
                    found.append(((*at, key), f"expected {_expected(rule)}, found {_shown(given)}"))
    return found


def _unknown(key: str, known: Iterable[str]) -> str:
    return f"unknown key; {suggest(key, known)}"


def suggest(word: str, known: Iterable[str]) -> str:
    """What may have been meant by `word`, and everything that can be."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}expected one of: {', '.join(names) or '(none)'}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    return f'"{value}"' if isinstance(value, str) else repr(value).lower() if isinstance(value, bool) else repr(value)


def _expected(rule: Mapping[str, Any]) -> str:
    if rule.get("duration"):
        least = f", {rule['least']} s at least" if rule["least"] else ""
        text = f'a duration, like 90, "90s" or "5m"{least}'
    elif "enum" in rule:
        text = "one of " + ", ".join(f'"{word}"' for word in rule["enum"])
    elif rule.get("type") == "array":
        text = "a list of strings" + (", not empty" if rule.get("minItems") else "")
    else:
        text = {"string": "a string", "integer": "an integer", "boolean": "true or false", "object": "a table"}.get(
            rule.get("type", ""), "another value"
        )
        bounds = [
            f"{rule[key]} {word}" for key, word in (("minimum", "or more"), ("maximum", "or less")) if key in rule
        ]
        text += f" ({', '.join(bounds)})" if bounds else ""
    return f"{text}: {rule['description']}" if "description" in rule else text


def _table(kind: Any) -> type:
    """The dataclass that a key's table becomes, from `kind`, which is that or None."""
    return next(each for each in typing.get_args(kind) if isinstance(each, type) and dataclasses.is_dataclass(each))


def build(cls: type, table: Mapping[str, Any]) -> Any:
    """An instance of `cls` from the keys of a valid table that are its own. ValueError: from its own checks."""
    values: dict[str, Any] = {}
    kinds = _kinds(cls)
    for field in dataclasses.fields(cls):
        if field.name in table:
            value = table[field.name]
            if field.metadata["rules"].get("unit") == "seconds":
                value = seconds(value)
            elif isinstance(value, Mapping):
                value = build(_table(kinds[field.name]), value)
            values[field.name] = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return cls(**values)
