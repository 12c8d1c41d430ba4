"""The kinds of faults that have happened on this node, and how each ended. ``process.py`` computes it.

A transition counts for the kind that its cause names, and beside that for each unusual end of itself or of a step.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from failoverd.daemon.history.sql import summary

#: The kind of a transition by its cause, as failoverd/core/ words it: the first that is found in it. None: no fault.
_CAUSES: tuple[tuple[str | None, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("double-master", r"\bwas MASTER too|an advert of another MASTER"),
        ("vip-removed", r"^MASTER, but |\bwas removed from \S+ by "),
        ("keepalived-died", r"^keepalived is gone"),
        ("keepalived-frozen", r"^keepalived is (frozen|stopped)"),
        ("event-missed", r"its event was missed$"),
        ("failoverd-started", r"^keepalived's (last state was|D-Bus reports) \S+$"),
        ("handover", r" hands mastership over: "),
        ("master", r"^keepalived reported MASTER"),
        ("backup", r"^keepalived reported BACKUP"),
        ("fault", r"^keepalived reported FAULT"),
        ("stop", r"^keepalived reported STOP"),
        ("drift", r"\bwas observed (active|standby|failed|unknown)\b|^the check of .* timed out$"),
    )
)

#: Only where the instance had reached its target does a changed resource mean drift; otherwise its retry begins.
_REACHED = ("active", "partial", "standby")

#: The unusual ends of a transition, by its outcome.
_OUTCOMES = {"refused": "refused", "released": "released", "interrupted": "interrupted"}

#: The unusual ends of a step, by its outcome.
_STEPS = {
    "failed": "step-failed",
    "timed-out": "step-timed-out",
    "hung": "step-hung",
    "not-started": "step-not-started",
    "in-use": "step-in-use",
}


class Case(NamedTuple):
    """One fault. `result`: how it ended; `seconds`: how long that took, None where nothing ended it."""

    kind: str
    transition: int
    at: float
    result: str
    seconds: float | None


class _Step(NamedTuple):
    resource: str
    verb: str
    started: float
    ended: float | None
    outcome: str


def faults(db: sqlite3.Connection) -> dict[str, Any]:
    """The number of transitions in the history and the time of the first, and each kind of fault, in no order."""
    steps: dict[int, list[_Step]] = {}
    query = "SELECT transition_id, resource, verb, started, ended, outcome FROM steps ORDER BY started, rowid"
    for number, *step in db.execute(query):
        steps.setdefault(number, []).append(_Step(*step))
    rows = db.execute(
        "SELECT id, instance, cause, started, ended, coalesce(outcome, 'running') FROM transitions ORDER BY id"
    ).fetchall()
    reached: dict[str, bool] = {}
    cases: list[Case] = []
    for number, instance, cause, started, ended, outcome in rows:
        seconds = None if ended is None else max(ended - started, 0.0)
        found = kind(cause)
        if found is not None and (found != "drift" or reached.get(instance)) and outcome != "running":
            cases.append(Case(found, number, started, outcome, seconds))
        if outcome in _OUTCOMES:
            cases.append(Case(_OUTCOMES[outcome], number, started, outcome, seconds))
        cases += _of_steps(number, steps.get(number, []))
        reached[instance] = outcome in _REACHED
    first = _iso(rows[0][3]) if rows else None
    return {"transitions": len(rows), "since": first, "faults": list(_summed(cases))}


def kind(cause: str) -> str | None:
    """The kind of fault that the cause of a transition names; None: it names none."""
    return next((kind for kind, pattern in _CAUSES if pattern.search(cause)), None)


def _of_steps(transition: int, steps: list[_Step]) -> Iterator[Case]:
    """The failed steps of a transition: the next successful step of the same resource ends the fault."""
    for place, step in enumerate(steps):
        if step.outcome not in _STEPS:
            continue
        later = (each for each in steps[place + 1 :] if (each.resource, each.verb) == (step.resource, step.verb))
        done = next((each for each in later if each.outcome == "done" and each.ended is not None), None)
        seconds = None if done is None or done.ended is None else max(done.ended - step.started, 0.0)
        yield Case(_STEPS[step.outcome], transition, step.started, "done" if done else "given up", seconds)


def _summed(cases: list[Case]) -> Iterator[Mapping[str, Any]]:
    for each in dict.fromkeys(case.kind for case in cases):
        same = [case for case in cases if case.kind == each]
        results: dict[str, int] = {}
        for case in same:
            results[case.result] = results.get(case.result, 0) + 1
        times = sorted(case.seconds for case in same if case.seconds is not None and case.result != "overtaken")
        last = max(same, key=lambda case: case.at)
        yield {
            "kind": each,
            "results": results,
            "time": summary(times) if times else None,
            "last": {"transition": last.transition, "at": _iso(last.at), "result": last.result},
        }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
