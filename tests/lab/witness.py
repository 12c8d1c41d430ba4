"""Watches one failover from all sides: what happened, and when, as it happens.

Every moment is told by the program that it happened to: keepalived's log, failoverd's history, upstream's tables, the
client's records. So it does not matter how soon they are asked. Moments are CLOCK_MONOTONIC nanoseconds, as the
client's are.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import status_client
from .lab import Lab
from .profiles import NodeName
from .waiting import wait_for

_MASTER = "Entering MASTER STATE"

#: What is told is this old at least, so that everything is told in the order in which it happened.
_HOLD_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of failoverd's history, with the commands that it ran."""

    name: str
    started: int
    ended: int
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened; `below` has its details."""

    at: int
    who: str
    what: str
    below: tuple[str, ...] = ()


@dataclass(slots=True)
class Moments:
    """The moments of a failover; 0 is for what has not happened yet."""

    cut: int = 0
    master: int = 0
    told: int = 0
    steps: list[Step] = field(default_factory=list)
    metric: int = 0
    gone: int = 0
    last_answer: int = 0
    first_answer: int = 0

    @property
    def complete(self) -> bool:
        """Whether all that belongs to a failover has happened."""
        return bool(self.cut and self.master and self.told and self.metric and self.gone and self.first_answer)


class Witness:
    """Watches the failover from `dying` to `heir`."""

    def __init__(self, lab: Lab, *, dying: NodeName, heir: NodeName) -> None:
        self._lab = lab
        self._dying = dying
        self._heir = heir
        self._prefix = lab.profile.prefixes[0]
        self._facts: list[Fact] = []
        self._metrics = lab.upstream.route_metrics(self._prefix)
        self._known = max((transition["id"] for transition in status_client.transitions(lab.nodes[heir])), default=0)
        self.moments = Moments()

    def cut(self, at: int) -> None:
        """The node was cut at this moment: from now on facts are status_client."""
        self._see(at, self._dying, "killed: all its processes are gone, its link is cut")
        self.moments.cut = at

    def facts(self, within: float) -> Iterator[Fact]:
        """Everything that happens, in order, until the failover is complete; NotInTimeError after `within` seconds."""
        deadline = time.monotonic() + within
        done = False
        while not done:
            what = f"the failover is complete, of which was seen so far: {self.moments}"
            done, facts = wait_for(what, self._news, within=deadline - time.monotonic(), until=any)
            yield from facts

    def _news(self) -> tuple[bool, list[Fact]]:
        """Whether the failover is complete, and what is to be told by now."""
        done = self.moments.complete
        ripe = time.monotonic_ns() - (0 if done else _HOLD_NS)
        self._look_at_routes()
        self._look_at_history()
        self._look_at_log()
        self._look_at_client()
        if not self.moments.cut:
            return done, []
        told_now = sorted((fact for fact in self._facts if fact.at <= ripe), key=lambda fact: fact.at)
        self._facts = [fact for fact in self._facts if fact.at > ripe]
        return done, told_now

    def _see(self, at: int, who: str, what: str, below: tuple[str, ...] = ()) -> None:
        self._facts.append(Fact(at=at, who=who, what=what, below=below))

    def _look_at_routes(self) -> None:
        routes = {route.node: route for route in self._lab.upstream.routes(self._prefix)}
        before, now = self._metrics.get(self._heir), routes.get(self._heir)
        if not self.moments.metric and now is not None and now.med is not None and now.med != before:
            self.moments.metric = _monotonic(now.since)
            what = f"{self._heir} announces {self._prefix} with metric {now.med} (was {before})"
            self._see(self.moments.metric, "upstream", what)
        if not self.moments.gone and self._dying not in routes:
            self.moments.gone = _monotonic(self._lab.upstream.session_changed(self._dying))
            self._see(self.moments.gone, "upstream", f"{self._dying} is dead (BFD): no route by it any more")

    def _look_at_history(self) -> None:
        if self.moments.told:
            return
        for transition in status_client.transitions(self._lab.nodes[self._heir]):
            if transition["id"] > self._known and transition["ended"] is not None:
                self._learn(transition)

    def _learn(self, transition: dict[str, Any]) -> None:
        self.moments.told = _of_history(transition["started"])
        self._see(self.moments.told, self._heir, f"failoverd: {transition['cause']}")
        for each in transition["steps"]:
            commands = tuple(each["command"].splitlines())
            name = f"{each['verb']} {each['resource']}"
            started, ended = _of_history(each["started"]), _of_history(each["ended"])
            self.moments.steps.append(Step(name=name, started=started, ended=ended, commands=commands))
            what = f"failoverd: {name}: {each['outcome']} in {(ended - started) / 1e6:.0f} ms; {each['detail']}"
            self._see(ended, self._heir, what, commands)

    def _look_at_log(self) -> None:
        # Reading a journal takes long, so it is done only when it is known what is in it.
        if not self.moments.told or self.moments.master:
            return
        for at, message in self._lab.messages(self._heir, "keepalived.service"):
            if _MASTER in message and _monotonic(at) > self.moments.cut:
                self.moments.master = _monotonic(at)
                self._see(self.moments.master, self._heir, f"keepalived: {message}")

    def _look_at_client(self) -> None:
        if not self.moments.cut or self.moments.first_answer:
            return
        gap = self._lab.client.report(since=self.moments.cut).longest_gap
        if gap is not None and (gap.before, gap.after) == (self._dying, self._heir):
            self.moments.last_answer, self.moments.first_answer = gap.start, gap.end
            self._see(gap.end, "client", f"answered again, by {self._heir}")


def _monotonic(epoch: float) -> int:
    """A moment in seconds since the epoch, on the clock of everything else here."""
    return int(epoch * 1e9) - (time.time_ns() - time.monotonic_ns())


def _of_history(iso: str) -> int:
    """A moment as failoverd's history has it."""
    return _monotonic(datetime.fromisoformat(iso).timestamp())
