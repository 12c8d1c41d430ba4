"""``failoverctl plan``: the steps of a promotion or demotion, in order, with their deadlines. Runs nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from failoverd.ctl import arguments, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verbs import Answer, Request, Verb

#: The state that keepalived would report, and the target that follows from it.
_TARGETS = {"master": "active", "backup": "standby"}

#: Other words for the same states.
_ROLES = {target: role for role, target in _TARGETS.items()}

_DETAILS = """\
Two times: "at most" is the sum of the deadlines and retries along the longest
chain, and of what comes before it (witnesses, other nodes, fencing), the limit
for a failing machine. "Expected" is from this node's history:
the median of the successful steps, and the time that 95 % did not exceed.
With `budget` in failoverd.toml, a plan that may take longer is marked.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance(parser)
    text = "the state that keepalived would report"
    parser.add_argument("role", metavar="|".join(_TARGETS), choices=tuple(_TARGETS), type=_role, help=text)


def _role(word: str) -> str:
    return _ROLES.get(word.lower(), word.lower())


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    steps = answer.get("steps") or ()
    worst, whole = when.span(answer.get("worst_case")), answer.get("expected")
    times = f"at most {worst}" if whole is None else f"expected {_expected(whole)}, at most {worst}"
    title = (
        Cell(f"plan: {answer.get('instance', '?')} to {answer.get('target', '?')},", Tone.STRONG),
        Cell(f"{times}; nothing was run"),
    )
    if not steps:
        return (Block(title=title, notes=(Cell("no steps: this instance has no resource on this node"),)),)
    notes = (
        Cell("the steps of a wave run in parallel; each step also waits for the resources that it needs", Tone.FAINT),
        *_before(answer),
        *_unknown(answer, steps),
        *_budget(answer),
    )
    headings = ("wave", "resource", "driver", "verb", "median", "95 %", "n", "at most", "needs")
    return (Block(title=title, notes=notes, headings=headings, rows=tuple(_step(step) for step in steps)),)


def _expected(found: Mapping[str, Any]) -> str:
    return f"{when.span(found['median'])} (95 %: {when.span(found['p95'])})"


#: What an activation waits for before its first step, with the names in place.
_BEFORE = {
    "witnesses": "before the first step the witnesses answer",
    "peers": "before the first step {} must have stopped, and say so",
    "fencing": "a node that is silent, or does not stop, is fenced: {}",
}


def _before(answer: Answer) -> Iterator[Cell]:
    for each in answer.get("before") or ():
        text = _BEFORE.get(each.get("what"), str(each.get("what"))).format(" and ".join(each.get("names") or ()))
        yield Cell(f"{text}: at most {when.span(each.get('worst_case'))}")


def _unknown(answer: Answer, steps: Sequence[Mapping[str, Any]]) -> Iterator[Cell]:
    """Why no expected time of the whole is known."""
    trouble = (answer.get("history") or {}).get("trouble")
    if trouble:
        yield Cell(f"the expected time is unknown: {trouble}", Tone.BUSY)
    elif "expected" in answer and answer["expected"] is None:
        names = ", ".join(str(step["resource"]) for step in steps if step.get("expected") is None)
        yield Cell(f"the expected time is unknown: no successful step of {names} is in the history", Tone.FAINT)


def _budget(answer: Answer) -> Iterator[Cell]:
    if (budget := answer.get("budget")) is None:
        return
    expected, worst = answer.get("expected") or {}, answer["worst_case"]
    late: list[str] = []
    for key, name in (("median", "median"), ("p95", "95 %")):
        if expected.get(key, 0) > budget and not late:
            late.append(f"the expected time ({name}) is {when.span(expected[key])}{_along(expected.get('chain'))}")
    if worst > budget:
        late.append(f"the worst case is {when.span(worst)}{_along(answer.get('worst_chain'))} (timeouts and retries)")
    for text in late:
        yield Cell(f"over the budget of {when.span(budget)}: {text}", Tone.BAD)
    if not late:
        yield Cell(f"within the budget of {when.span(budget)}, even in the worst case", Tone.GOOD)


def _along(chain: Sequence[str] | None) -> str:
    return f", along {' > '.join(map(str, chain))}" if chain else ""


def _step(step: Mapping[str, Any]) -> Row:
    already, expected = bool(step.get("already")), step.get("expected") or {}
    commands = tuple(Cell(line) for command in step.get("commands") or () for line in str(command).split("\n"))
    return Row(
        cells=(
            Cell(str(step.get("wave", "?")), Tone.STRONG),
            Cell(str(step.get("resource", "?"))),
            Cell(str(step.get("driver", "?"))),
            Cell(str(step.get("verb", "?"))),
            Cell(when.span(expected.get("median"))),
            Cell(when.span(expected.get("p95"))),
            Cell(str(expected.get("samples", 0)), Tone.FAINT),
            Cell(
                "already done" if already else when.span(step.get("worst_case")), Tone.GOOD if already else Tone.PLAIN
            ),
            Cell(", ".join(map(str, step.get("needs") or ())) or "-", Tone.FAINT),
        ),
        below=() if already else commands,
    )


VERB = Verb(
    position=40,
    summary="list the steps of a promotion or demotion; run nothing",
    details=_DETAILS,
    examples=(
        ("failoverctl plan VI_1 master", "the steps of a promotion on this node"),
        ("failoverctl plan VI_1 backup", "the steps of a demotion"),
    ),
    arguments=_arguments,
    action=Request(
        verb="plan",
        params=lambda asked: {"instance": asked.instance, "target": _TARGETS[asked.role]},
        page=_page,
    ),
)
