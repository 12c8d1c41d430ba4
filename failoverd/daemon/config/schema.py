"""Derive a JSON Schema from the declared keys, check a table with it, and word each error for an operator.

Keys are declared once, as dataclasses of `option` fields (failoverd/core/options.py): the checks here, the manual and
the values are derived from them. Only this module knows jsonschema.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import jsonschema

from failoverd.daemon.config import addresses

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h)$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TYPES: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string", "minLength": 1},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
    frozenset[str]: {"type": "array", "items": {"type": "string"}},
    Mapping[str, Any]: {"type": "object"},
    Mapping[str, str]: {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
}

_FORMATS = jsonschema.FormatChecker(())

#: The formats of strings: why a string has not got it, None if it has.
_PROBLEMS: Mapping[str, Callable[[str], str | None]] = {
    "interface": addresses.interface_problem,
    "loopback": addresses.loopback_problem,
}

#: For unknown keys of a resource whose driver is unknown: every driver's keys are values, not tables.
VALUES = {"not": {"type": "object"}}

_Keys = TypeVar("_Keys")

#: The keys that lead to a value.
Path = tuple[str, ...]


def seconds(value: float | str) -> float:
    """A duration in seconds, from ``90``, ``"90s"``, ``"500ms"``, ``"5m"`` or ``"1h"``. ValueError otherwise."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration")
        return float(match[1]) * _SECONDS[match[2]]
    return float(value)


_kinds = functools.cache(typing.get_type_hints)


def _field_schema(field: dataclasses.Field[Any], kind: Any) -> dict[str, Any]:
    rules = dict(field.metadata["rules"])
    if rules.pop("unit", None) == "seconds":
        least, most = rules.pop("minimum", 0), rules.pop("maximum", None)
        numbers = {"type": "number"}
        words = {"type": "string", "pattern": _DURATION.pattern}
        return {"anyOf": [numbers, words], "duration": True, "least": least, "most": most, **rules}
    plain = _without_none(kind)
    if dataclasses.is_dataclass(plain):
        assert isinstance(plain, type)
        return {**schema(plain), **rules}
    if _is_enum(plain):
        return {"enum": sorted(member.value for member in plain), **rules}
    return {**_TYPES[plain], **rules}


def _without_none(kind: Any) -> Any:
    """X, of X and of X | None."""
    arguments = [a for a in typing.get_args(kind) if a is not type(None)]
    return arguments[0] if len(arguments) == 1 and type(None) in typing.get_args(kind) else kind


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


@functools.cache
def schema(*options: type) -> dict[str, Any]:
    """The JSON Schema of one table that has the keys of all these dataclasses."""
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
    """Every problem of `value`, as its place and a sentence with the expected value."""
    found: list[tuple[Path, str]] = []
    validator = jsonschema.Draft202012Validator(table, format_checker=_FORMATS)
    found += _impossible(value, table, at)
    for error in sorted(validator.iter_errors(value), key=lambda e: [str(p) for p in e.absolute_path]):
        where = (*at, *(str(part) for part in error.absolute_path))
        known = error.schema.get("properties", {})
        if error.validator == "additionalProperties":
            unknown = [key for key in error.instance if key not in known]
            found += [((*where, key), _unknown(where, key, error.instance[key], known)) for key in unknown]
        elif error.validator == "not":
            found.append((where, _unknown(where[:-1], where[-1], error.instance, known)))
        elif error.validator == "format":
            found.append((where, str(_PROBLEMS[error.validator_value](error.instance))))
        elif error.validator == "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            found += [((*where, key), f"missing; expected {_expected(known[key])}") for key in missing]
        else:
            found.append((where, f"expected {_expected(error.schema)}, found {shown(error.instance)}"))
    return list(dict.fromkeys(found))


def _has_format(problem: Callable[[str], str | None], value: object) -> bool:
    return not isinstance(value, str) or problem(value) is None


for _name, _problem in _PROBLEMS.items():
    _FORMATS.checks(_name)(functools.partial(_has_format, _problem))


def _impossible(value: Any, table: Mapping[str, Any], at: Path) -> list[tuple[Path, str]]:
    """Durations of valid syntax that are too short, too long, or not finite."""
    found: list[tuple[Path, str]] = []
    for key, rule in table["properties"].items() if isinstance(value, dict) else ():
        given = value.get(key)
        if "properties" in rule:
            found += _impossible(given, rule, (*at, key))
        if rule.get("duration") and isinstance(given, str | int | float) and not isinstance(given, bool):
            with suppress(ValueError):
                length, most = seconds(given), rule["most"]
                if not rule["least"] <= length < math.inf or (most is not None and length > most):
                    found.append(((*at, key), f"expected {_expected(rule)}, found {shown(given)}"))
    return found


def _unknown(where: Path, key: str, value: Any, known: Iterable[str]) -> str:
    if isinstance(value, dict) and len(where) > 1:  # [instance.eth0.10] are three tables
        near = difflib.get_close_matches(key, ["resource"] if where[:-1] == ("instance",) else known, n=1)
        if near:
            return f'unknown table; did you mean "{near[0]}"?'
        name = [*map(quoted, where[:-1]), f'"{where[-1]}.{key}"']
        return f"unknown table; quote a name that has a dot: [{'.'.join(name)}]"
    return f"unknown key; {suggest(key, known)}"


def quoted(key: str) -> str:
    """`key` in TOML syntax: quoted where it is not a bare key."""
    return key if key.replace("-", "").replace("_", "").isalnum() else f'"{key}"'


def suggest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown `word`: the closest known one, and all known ones."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}expected one of: {', '.join(names) or '(none)'}"


def shown(value: Any) -> str:
    """`value` in an error."""
    if isinstance(value, dict):
        return "a table"
    return f'"{value}"' if isinstance(value, str) else repr(value).lower() if isinstance(value, bool) else repr(value)


def _expected(rule: Mapping[str, Any]) -> str:
    if rule.get("duration"):
        least = f", {rule['least']} s at least" if rule["least"] else ""
        most = f", {rule['most']} s at most" if rule["most"] is not None else ""
        text = f'a duration, like 90, "90s" or "5m"{least}{most}'
    elif "enum" in rule:
        text = "one of " + ", ".join(f'"{word}"' for word in rule["enum"])
    elif rule.get("type") == "array":
        text = "a list of strings" + (", not empty" if rule.get("minItems") else "")
    elif "minProperties" in rule:
        text = f"a table with {rule['minProperties']} entries or more"
    else:
        text = {"string": "a string", "integer": "an integer", "boolean": "true or false", "object": "a table"}.get(
            rule.get("type", ""), "another value"
        )
        bounds = [
            f"{rule[key]} {word}" for key, word in (("minimum", "or more"), ("maximum", "or less")) if key in rule
        ]
        text += f" ({', '.join(bounds)})" if bounds else ""
    return f"{text}: {rule['description']}" if "description" in rule else text


def build(cls: type[_Keys], table: Mapping[str, Any]) -> _Keys:
    """An instance of `cls` from the keys of a valid table that are its own. ValueError: from its own checks."""
    return cls(**values(cls, table))


def values(cls: type, table: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a valid table that `cls` declares, by name, each in the type that it is declared with."""
    kinds = _kinds(cls)
    fields = [field for field in dataclasses.fields(cls) if field.name in table]
    return {field.name: _value(field, kinds[field.name], table[field.name]) for field in fields}


def _value(field: dataclasses.Field[Any], kind: Any, given: Any) -> Any:
    plain = _without_none(kind)
    if field.metadata["rules"].get("unit") == "seconds":
        return seconds(given)
    if dataclasses.is_dataclass(plain):
        assert isinstance(plain, type)
        return build(plain, given)
    if _is_enum(plain):
        return plain(given)
    if isinstance(given, list):
        return (frozenset if plain == frozenset[str] else tuple)(given)
    return given
