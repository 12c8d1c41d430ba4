"""The metadata of a fence agent: the keys that it takes, and what is wrong with those that it is to get.

An agent ignores a key that it does not know, with a line on standard error. So a misspelt `plug` may name another
machine, or none; and the keys must be right before the agent gets them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

#: The keys of failoverd's own, and those that would make an agent do something else, or write secrets into a log.
RESERVED: Mapping[str, str] = {
    "action": "failoverd sets it",
    "option": "it is an old name of action, which failoverd sets",
    "delay": "failoverd waits itself, so that it can call the fencing off; use `delay` of the table instead",
    "help": "the agent would print its help and power nothing off",
    "version": "the agent would print its version and power nothing off",
    "verbose": "the agent would write the secrets into the log",
    "verbose_level": "the agent would write the secrets into the log",
    "debug": "the agent would write the secrets into a file",
    "debug_file": "the agent would write the secrets into a file",
}

#: An agent without one of them is not for the power of a machine, or cannot prove that it is off.
_ACTIONS: Mapping[str, str] = {
    "off": "it cannot power a machine off",
    "status": "it cannot prove that a machine is off",
    "reboot": "it cuts a machine off from its storage or network, and not from its power",
}
#: Agents whose `status` proves nothing, as failoverd needs it.
_UNPROVEN: Mapping[str, str] = {
    "fence_sbd": "its `status` shows the message on the shared disk, and not whether a machine has read it",
}
_TRUE, _FALSE = ("1", "yes", "on", "true"), ("0", "no", "off", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One key of an agent. `obsoletes`: an older name of it. `choices`: empty: any value of its `kind`."""

    name: str
    required: bool = False
    deprecated: bool = False
    obsoletes: str = ""
    kind: str = "string"
    has_default: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What an agent says of itself."""

    agent: str
    parameters: Mapping[str, Parameter]
    actions: frozenset[str]


def parse(text: str) -> Metadata:
    """The metadata that an agent has printed. ValueError: it is none."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - an agent is root's own program
    except ET.ParseError as error:
        raise ValueError(f"its metadata is not XML: {error}") from error
    parameters = {found.name: found for each in root.iterfind("parameters/parameter") if (found := _parameter(each))}
    actions = frozenset(each.get("name", "") for each in root.iterfind("actions/action"))
    if root.tag != "resource-agent" or not parameters:
        raise ValueError("its metadata is not that of a fence agent")
    return Metadata(agent=root.get("name", ""), parameters=parameters, actions=actions)


def _parameter(element: ET.Element) -> Parameter | None:
    content = element.find("content")
    given: Mapping[str, str] = {} if content is None else content.attrib
    choices = () if content is None else tuple(each.get("value", "") for each in content.iterfind("option"))
    name = element.get("name", "")
    if not name:
        return None
    return Parameter(
        name=name,
        required=element.get("required") == "1",
        deprecated=element.get("deprecated") == "1",
        obsoletes=element.get("obsoletes", ""),
        kind=given.get("type", "string"),
        has_default=given.get("default") is not None,
        choices=choices,
    )


def problems(known: Metadata, options: Mapping[str, str], secrets: Mapping[str, str]) -> list[str]:
    """All that is wrong with the keys of `options` and `secrets` for this agent, a sentence each."""
    lacking = [
        f"the agent has no action `{name}`: {text}" for name, text in _ACTIONS.items() if name not in known.actions
    ]
    if (why := _UNPROVEN.get(known.agent)) is not None:
        lacking.append(f"{known.agent} cannot prove that a machine is off: {why}; use the machine's power switch")
    return [*lacking, *_unfit(known, {**dict.fromkeys(secrets), **options}), *_missing(known, {*options, *secrets})]


def _unfit(known: Metadata, given: Mapping[str, str | None]) -> Iterator[str]:
    """The keys that the agent does not have, and the values that it would ignore. The value of a secret is None."""
    newer = {each.obsoletes: each.name for each in known.parameters.values() if each.obsoletes}
    for name, value in given.items():
        it = known.parameters.get(name)
        if it is None:
            taken = sorted(n for n, each in known.parameters.items() if not each.deprecated and n not in RESERVED)
            near = difflib.get_close_matches(name, taken, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"expected one of: {', '.join(taken)}"
            yield f"the agent has no key `{name}`, and would ignore it; {hint}"
        elif it.deprecated or name in newer:
            instead = f"use `{newer[name]}`" if name in newer else "remove it"
            if name == "port" and "ipport" in known.parameters:
                instead += ", or `ipport` for the port of the switch's own address"
            yield f"`{name}` is obsolete; {instead}"
        elif value is not None and (expected := _expected(it, value)):
            yield f"`{name}` expects {expected}, found {value}"


def _expected(it: Parameter, value: str) -> str:
    """What the agent expects instead of `value`; empty: nothing else."""
    if it.kind == "boolean" and value.lower() not in (*_TRUE, *_FALSE):
        return "true or false"
    if it.kind in ("integer", "second") and not value.removeprefix("-").isdecimal():
        return "an integer"
    if it.choices and value not in it.choices:
        return "one of: " + ", ".join(it.choices)
    return ""


def _missing(known: Metadata, given: set[str]) -> Iterator[str]:
    for name, it in known.parameters.items():
        needed = it.required and not it.deprecated and not it.has_default and name not in RESERVED
        if needed and name not in given and it.obsoletes not in given:
            yield f"the agent needs the key `{name}`"
