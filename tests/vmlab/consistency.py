"""What was heard outside: the numbers that guests told, and what hypervisors said of themselves; and the judgement.

A guest tells a number once it is on its disk (`ack`), and as it starts which number it found there (`start`), each
time with a word that is new at every start. A hypervisor tells what runs on it several times a second (`sample`).
"""

import json
import os
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from .hosting import GUESTS

_NAMES = {str(guest.minor): guest.name for guest in GUESTS.values()}

_RECORD = re.compile(r"(?P<at>\d+) (?:sample (?P<sample>\{.*)|.*\bvmlab: (?P<kind>start|ack|error) (?P<rest>.*))")

#: Seconds without a sample, after which nothing is concluded from those before and after it.
_BLIND_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a guest told. `life` is the word of its start; `at` seconds on CLOCK_MONOTONIC."""

    at: float
    kind: str
    guest: str
    life: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a hypervisor said. It was seen between `began` and `at` (seconds on CLOCK_MONOTONIC).

    `domains`: names of guests. `devices`: by minor, [connection, role, disk].
    """

    began: float
    at: float
    node: str
    boot: str
    vip: bool
    domains: tuple[str, ...]
    devices: dict[str, list[str]] = field(default_factory=dict)

    @property
    def things(self) -> frozenset[str]:
        """What must be on one node only."""
        primaries = (f"Primary of minor {minor}" for minor, seen in self.devices.items() if seen[1] == "Primary")
        return frozenset({*(f"domain {name}" for name in self.domains), *primaries})


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was heard in a stretch of time, in the order of time."""

    told: list[Told]
    samples: list[Sample]

    def of(self, node: str) -> list[Sample]:
        """The samples of one node."""
        return [sample for sample in self.samples if sample.node == node]

    def last(self, node: str) -> Sample | None:
        """The node's newest sample."""
        return next((sample for sample in reversed(self.samples) if sample.node == node), None)

    def lives(self, guest: str) -> list[Told]:
        """Each start of the guest."""
        return [told for told in self.told if told.guest == guest and told.kind == "start"]

    def acknowledged(self, guest: str) -> int:
        """How many numbers it told."""
        return sum(told.guest == guest and told.kind == "ack" for told in self.told)

    def lost(self) -> list[str]:
        """Each start that found less on its disk than had been told before."""
        found = []
        newest: dict[str, Told] = {}
        for told in self.told:
            before = newest.get(told.guest)
            if told.kind == "start" and before is not None and told.number < before.number:
                found.append(f"{told.guest} told {before.number}, and started again with {told.number}")
            if told.kind == "ack" and (before is None or told.number > before.number):
                newest[told.guest] = told
        return found

    def copies(self) -> list[str]:
        """Each sign of two copies: a life that goes on after a later one began; two nodes that have the same."""
        return [*self._overlapping_lives(), *self._in_two_places()]

    def _overlapping_lives(self) -> Iterator[str]:
        lives: dict[str, list[str]] = defaultdict(list)
        for told in self.told:
            known = lives[told.guest]
            if told.life not in known:
                known.append(told.life)
            elif told.life != known[-1]:
                yield f"{told.guest} {told.life} tells {told.number} after {known[-1]} has started"

    def _in_two_places(self) -> Iterator[str]:
        nodes = {sample.node for sample in self.samples}
        for node in nodes:
            others = [sample for sample in self.samples if sample.node != node]
            times = [sample.at for sample in others]
            for first, second in pairwise(self.of(node)):
                if first.boot != second.boot or second.at - first.at > _BLIND_SECONDS:
                    continue
                all_the_time = first.things & second.things
                # Seen wholly in between, so that nothing hangs on who was a little late.
                between = slice(bisect_left(times, first.at), bisect_right(times, second.began))
                for other in others[between]:
                    for thing in all_the_time & other.things if other.began >= first.at else ():
                        yield f"{thing} is on {node} and on {other.node} at {other.at:.2f}"


def read(records: Path, since: float = 0.0, last: int | None = None) -> Evidence:
    """What the listener wrote down after `since` (seconds on CLOCK_MONOTONIC); in the `last` so many bytes only."""
    with records.open("rb") as file:
        if last is not None:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last))
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    return understand((line for line in lines if line.endswith("\n")), since)


def understand(lines: Iterable[str], since: float = 0.0) -> Evidence:
    """The same, of lines. What is neither is left out."""
    evidence = Evidence([], [])
    for line in lines:
        record = _RECORD.match(line)
        if record is None or (at := int(record["at"]) / 1e9) < since:
            continue
        if record["sample"] is not None:
            evidence.samples.append(_sample(at, record["sample"]))
        else:
            guest, life, number = record["rest"].split()
            told = Told(at=at, kind=record["kind"], guest=guest, life=life, number=int(number))
            evidence.told.append(told)
    return evidence


def _sample(at: float, text: str) -> Sample:
    it = json.loads(text)
    return Sample(
        began=at - it["took"],
        at=at,
        node=it["node"],
        boot=it["boot"],
        vip=it["vip"],
        domains=tuple(_NAMES.get(minor, minor) for minor in it["guests"]),
        devices=it["devices"] or {},
    )
