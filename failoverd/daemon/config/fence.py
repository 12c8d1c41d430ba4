"""The tables ``[fence.NODE]``: how each node is powered off, by a fence agent that another node runs.

Whether the agent takes the keys is not checked here: that depends on the machine. ports/fence/ asks the agent.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from failoverd.core.spec import Fence, FenceKeys
from failoverd.daemon.config import nodes, schema
from failoverd.daemon.config.files import Tables
from failoverd.daemon.config.keys import FENCE, FenceOptions
from failoverd.ports.fence import RESERVED

_AGENTS = "/usr/sbin"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: What systemd takes as the name of a credential, without its rarer characters.
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
#: Keys that have a secret value, and not the name of a program that prints it.
_SECRET = re.compile(r"passw(or)?d?(?!.*script)|secret|^(api_?key|token|community)$", re.IGNORECASE)
#: Of two tables that name the same machine.
_SAME = (
    "has the same agent, `options` and `secrets` as [fence.{twin}], so both name one machine; expected other options "
    "here, those that name {node} to the agent, such as `plug` or `ip`"
)
#: The keys of a table. Others in it may be the agent's.
_OWN = tuple(each.name for keys in FENCE for each in fields(keys))


def read(tables: Any, report: Tables) -> dict[str, Fence]:
    """How each node is powered off, by its name. `report` gets the problems, with their keys."""
    found: dict[str, Fence] = {}
    if isinstance(tables, dict):
        for key in [key for key, value in tables.items() if not isinstance(value, dict | list)]:
            report.problem(("fence", key), "expected a table for each node, such as [fence.left], and this key in it")
        tables = {key: value for key, value in tables.items() if isinstance(value, dict | list)}
    for node, whole, path in report.tables_in(tables, ("fence",)):
        foreign = [key for key in whole if key not in _OWN and not difflib.get_close_matches(key, _OWN, n=1)]
        for key in foreign:
            belongs = "secrets" if _SECRET.search(key) else "options"
            report.problem((*path, key), f"is no key of this table; if it is the agent's, expected in `{belongs}`")
        table = {key: value for key, value in whole.items() if key not in foreign}
        if report.check(table, schema.schema(*FENCE), path) or foreign:
            continue
        options = schema.build(FenceOptions, table)
        given, secrets = options.options or {}, options.secrets or {}
        wrong = [*_wrong_options(given), *_wrong_secrets(secrets)]
        wrong += [
            (("secrets", key), "is also in `options`; expected in one of them") for key in secrets if key in given
        ]
        for place, text in wrong:
            report.problem((*path, *place), text)
        if not wrong:
            agent = options.agent if options.agent.startswith("/") else f"{_AGENTS}/{options.agent}"
            values = {key: _text(value) for key, value in given.items()}
            times = schema.values(FenceKeys, table)
            made = Fence(agent=agent, options=values, secrets=dict(secrets), **times)
            if (twin := next((name for name, other in found.items() if _same_machine(made, other)), None)) is not None:
                report.problem(path, _SAME.format(twin=schema.quoted(twin), node=node))
            found[node] = made
    return found


def _same_machine(one: Fence, other: Fence) -> bool:
    """Whether the agent would get the same keys for both, and so power the same machine off."""
    return (one.agent, one.options, one.secrets) == (other.agent, other.options, other.secrets)


def others(fences: Mapping[str, Fence], node: str) -> dict[str, Fence]:
    """Those of the other nodes: no node powers itself off."""
    return {name: fence for name, fence in fences.items() if not nodes.carries((name,), node)}


def _wrong_options(given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in given.items():
        place = ("options", key)
        if (wrong := _wrong_key(key)) is not None:
            yield place, wrong
        elif not isinstance(value, str | int):
            yield place, f"expected a string, an integer, or true or false, found {schema.shown(value)}"
        elif isinstance(value, str) and not value.isprintable():
            yield place, "expected printable characters only"
        elif key == "method" and value == "cycle":
            yield place, 'expected "onoff": after a power cycle nothing proves that the node was off'
        elif _SECRET.search(key):
            yield place, "is a secret, and everybody may read this file; expected in `secrets`, as a credential's name"


def _wrong_secrets(given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in given.items():
        place = ("secrets", key)
        if (wrong := _wrong_key(key)) is not None:
            yield place, wrong
        elif not isinstance(value, str) or not _CREDENTIAL.fullmatch(value):
            yield place, 'expected the name of a credential, like "left-bmc"; see failoverd.toml(5), TABLE [fence.NODE]'


def _wrong_key(key: str) -> str | None:
    if not _KEY.fullmatch(key):
        return "no agent has such a key; expected letters, digits, - and _"
    if (why := RESERVED.get(key.replace("-", "_"))) is not None:
        return f"must not be set: {why}"
    return None


def _text(value: str | int) -> str:
    """As the agents read it: they know no true and false."""
    return str(int(value)) if isinstance(value, int) else value
