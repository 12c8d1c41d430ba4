"""Parser of ``xl list -v``: the domains and their states.

It is pure. It rejects a table with any deviation from the format, because a lost row would look like an absent domain.
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
#: xl prints this for a domain that has no name in xenstore, or not any more.
_NAMELESS = "(null)"

#: The prefix of libxl's errors: ``libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 8:``.
_WHERE = re.compile(r"(xc|libxl|xencall): error: (panic: )?(\w+\.c:\d+: ?(\w+: )?)?(Domain \d+:)?")


class Condition(enum.Enum):
    """The state of a domain that exists."""

    RUNNING = "running"
    PAUSED = "paused"
    UNBORN = "paused, and never ran yet"  # it is being built, or its creation was aborted, or it was created paused
    REBOOTING = "rebooting"
    SHUT_DOWN = "shut down"
    SUSPENDED = "suspended"
    CRASHED = "crashed"
    DYING = "dying"


#: The fifth letter of the state is the reason of a shutdown; `-`: the guest has powered itself off.
_REASONS = {
    "r": Condition.REBOOTING,
    "S": Condition.REBOOTING,
    "s": Condition.SUSPENDED,
    "c": Condition.CRASHED,
    "w": Condition.CRASHED,  # its watchdog has expired
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain. `name`: None if xenstore has none, because the domain is dying, or xenstored has lost its data."""

    name: str | None
    id: int
    uuid: str
    condition: Condition

    def __str__(self) -> str:
        return f"{self.condition.value} (domain {self.id})"


def parse(text: str) -> tuple[Domain, ...]:
    """All domains, Domain-0 among them. ValueError: `text` is not the complete output of ``xl list -v``."""
    head, *rows = text.split("\n")
    if not rows or rows.pop() != "" or _HEAD.fullmatch(head) is None:
        raise ValueError(f"unexpected output of `xl list -v`: {head[:80]!r}")
    domains = tuple(map(_domain, rows))
    ids = [domain.id for domain in domains]
    if 0 not in ids or len(set(ids)) != len(ids):
        raise ValueError("incomplete output of `xl list -v`")
    return domains


def _domain(line: str) -> Domain:
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError(f"unexpected line of `xl list -v`: {line[:80]!r}")
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
    return Condition.RUNNING  # also when it is blocked (b), or waits for a CPU (no letter)


def is_absent(said: str) -> bool:
    """Whether xl's standard error `said` reports that no domain has the given name or number."""
    return "is an invalid domain identifier" in said


def why(said: str) -> str:
    """The first two errors in xl's standard error `said`; the later ones follow from them."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Parsing config")]
    errors = [line for line in lines if _WHERE.match(line)] or lines
    return "; ".join(dict.fromkeys(_WHERE.sub("", line).strip() for line in errors[:2]))
