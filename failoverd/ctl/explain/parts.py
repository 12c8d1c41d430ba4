"""The parts of the sentences: what is said of one thing, names and addresses in a row, and commands to paste."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from failoverd.command_text import failoverctl

#: More names than this are only counted.
_MAX_NAMED = 8

#: Whether keepalived.conf reports to failoverd.
NOTIFY = "grep -rnE 'notify|script_user' /etc/keepalived"

#: A command of failoverctl in a text of the daemon: it ends the text, or its part of it.
_COMMAND = re.compile(r"""failoverctl (?:accept|reset|acknowledge) (?:'[^']*'|"[^"]*"|[^;,()'"])+""")

Facts = Mapping[str, Any]


class Said(NamedTuple):
    """A sentence or more about one thing. `label`: what it is; `commands`: to paste; `bad`: it needs attention."""

    label: str
    text: str
    commands: tuple[str, ...] = ()
    bad: bool = False


def vips_of(facts: Facts, *, present: bool | None) -> list[Facts]:
    """The VIPs that are on their interface (True), are not (False), or could not be observed (None)."""
    return [vip for vip in facts.get("vips") or () if vip.get("present") is present]


def addresses(vips: Sequence[Facts]) -> str:
    """The VIPs in a row."""
    return names_of([f"{vip['address']} on {vip['interface']}" for vip in vips])


def names_of(names: Sequence[Any]) -> str:
    """The names in a row; many are only counted."""
    if len(names) > _MAX_NAMED:
        return f"{len(names)} of them"
    *most, last = map(str, names) if names else ("",)
    return f"{', '.join(most)} and {last}" if most else last


def show(vip: Facts) -> str:
    """The command that shows where the VIP is."""
    return f"ip address show dev {shlex.quote(str(vip['interface']))}"


def remove(vip: Facts) -> str:
    """The command that removes the VIP."""
    return f"ip address del {shlex.quote(str(vip['address']))} dev {shlex.quote(str(vip['interface']))}"


def reset(name: str, purpose: str = "") -> str:
    """The command that resets the instance; `purpose`: why an operator would."""
    return failoverctl("reset", name) + (f"  # {purpose}" if purpose else "")


def commands_in(text: str) -> tuple[str, ...]:
    """The commands of failoverctl that the daemon's own text names."""
    return tuple(dict.fromkeys(found.strip() for found in _COMMAND.findall(text)))
