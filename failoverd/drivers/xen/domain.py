"""What Xen says of its domains, as data: the table of ``xl list -v``, and what each of its states means.

Nothing here touches the world. What is not exactly such a table is refused as a whole, because a row that is missing
would look like a domain that is not there.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_HEAD = re.compile(r"Name +ID +Mem +VCPUs\s+State\s+Time\(s\)\s+UUID\b.*")
_ROW = re.compile(
    r"(?P<name>\S.*?) +(?P<id>\d+) +\d+ +\d+ +"
    r"(?P<state>[r-][b-][p-][s-](?P<reason>[-rscwS?])[d-]) +(?P<seconds>\d+\.\d) "
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b.*"
)
#: What xl prints for the name of a domain that has none in xenstore (any more).
_NAMELESS = "(null)"

#: Where in libxl an error came up: ``libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 8:``.
_WHERE = re.compile(r"(xc|libxl|xencall): error: (panic: )?(\w+\.c:\d+: ?(\w+: )?)?(Domain \d+:)?")


class Condition(enum.Enum):
    """What a domain that is there is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    UNBORN = "paused, and never ran yet"  # it is being built, or its creation was broken off, or it was created paused
    REBOOTING = "rebooting"
    SHUT_DOWN = "shut down"
    SUSPENDED = "suspended"
    CRASHED = "crashed"
    DYING = "dying"


#: The letter in the fifth place says why a domain has shut down; `-`: its guest powered it off.
_REASONS = {
    "r": Condition.REBOOTING,
    "S": Condition.REBOOTING,
    "s": Condition.SUSPENDED,
    "c": Condition.CRASHED,
    "w": Condition.CRASHED,  # its watchdog ran out
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain. `name` is None when xenstore has none for it: it is dying, or xenstored has lost what it knew."""

    name: str | None
    id: int
    uuid: str
    condition: Condition

    def __str__(self) -> str:
        return f"{self.condition.value} (domain {self.id})"


def parse(text: str) -> tuple[Domain, ...]:
    """All domains, the first of them Domain-0. ValueError when it is not the whole answer of ``xl list -v``."""
    head, *rows = text.split("\n")
    if not rows or rows.pop() != "" or _HEAD.fullmatch(head) is None:
        raise ValueError(f"not what `xl list -v` prints: {head[:80]!r}")
    domains = tuple(map(_domain, rows))
    ids = [domain.id for domain in domains]
    if 0 not in ids or len(set(ids)) != len(ids):
        raise ValueError("not all of what `xl list -v` prints")
    return domains


def _domain(line: str) -> Domain:
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError(f"not a line of `xl list -v`: {line[:80]!r}")
    return Domain(
        name=None if row["name"] == _NAMELESS else row["name"],
        id=int(row["id"]),
        uuid=row["uuid"],
        condition=_condition(row["state"], row["reason"], float(row["seconds"])),
    )


def _condition(state: str, reason: str, seconds: float) -> Condition:
    if "d" in state:
        return Condition.DYING
    if reason in _REASONS:
        return _REASONS[reason]
    if state[3] == "s" or reason != "-":
        return Condition.SHUT_DOWN
    if state[2] == "p":
        return Condition.PAUSED if seconds > 0 else Condition.UNBORN
    return Condition.RUNNING  # also when it waits (b), or waits for a processor (no letter at all)


def is_absent(said: str) -> bool:
    """Whether what xl said on standard error means that there is no domain of that name."""
    return "is an invalid domain identifier" in said


def why(said: str) -> str:
    """What tells most of what xl said on standard error: the first two errors, which the others follow from."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Parsing config")]
    errors = [line for line in lines if _WHERE.match(line)] or lines
    return "; ".join(dict.fromkeys(_WHERE.sub("", line).strip() for line in errors[:2]))
