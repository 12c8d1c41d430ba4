"""``failoverctl drill``: each kind of fault that has happened on this node, with its expected and its real effect."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from failoverd.ctl import arguments, client, rehearsal, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone, clean
from failoverd.ctl.rehearsal import Leg
from failoverd.ctl.signals import Ended
from failoverd.ctl.verbs import Answer, Request, Run, Verb

_DETAILS = """\
From the history of this node: the last 1000 transitions. It runs nothing. The
time is the median, and the time that 95 % did not exceed. A fault that has not
happened here is not listed: rehearse it.

--live handover rehearses: it hands INSTANCE over to another node and back, with
all checks of `failoverctl handover`, and adds both to the table. The services
are interrupted twice.
"""


class _Fault(NamedTuple):
    """`event`: the fault; `expected`: its effect; `good`: the results that agree with it."""

    event: str
    expected: str
    good: tuple[str, ...]


class _Line(NamedTuple):
    """A line of the table. `good`: all cases ended as expected; `last`: the transition of the last one."""

    event: str
    expected: str
    observed: str
    time: str
    good: bool
    last: str


_ACTIVE = ("active", "overtaken", "running")
_STANDBY = ("standby", "overtaken", "running")

#: In the order of the table.
_FAULTS: Mapping[str, _Fault] = {
    "master": _Fault("other node gone: MASTER", "all active", _ACTIVE),
    "backup": _Fault("MASTER lost: BACKUP", "all at standby", _STANDBY),
    "fault": _Fault("keepalived: FAULT", "all at standby", _STANDBY),
    "stop": _Fault("keepalived stopped", "all at standby", _STANDBY),
    "keepalived-died": _Fault("keepalived died", "all at standby", _STANDBY),
    "keepalived-frozen": _Fault("keepalived frozen", "all at standby", ("refused", *_STANDBY)),
    "vip-removed": _Fault("VIP missing or removed", "all at standby", ("refused", "released", *_STANDBY)),
    "handover": _Fault("handover", "all at standby", _STANDBY),
    "double-master": _Fault("two nodes MASTER", "one gives way", (*_ACTIVE, "standby")),
    "event-missed": _Fault("event lost", "D-Bus shows it", (*_ACTIVE, "standby")),
    "drift": _Fault("resource drifted", "repaired", (*_ACTIVE, "standby")),
    "refused": _Fault("activation refused", "nothing unsafe", ("refused",)),
    "released": _Fault("mastership released", "another node", ("released",)),
    "step-failed": _Fault("step failed", "retry succeeds", ("done",)),
    "step-timed-out": _Fault("step timed out", "retry succeeds", ("done",)),
    "step-hung": _Fault("tool hung", "retry succeeds", ("done",)),
    "step-not-started": _Fault("tool not started", "retry succeeds", ("done",)),
    "step-in-use": _Fault("resource still in use", "retry succeeds", ("done",)),
    "failoverd-started": _Fault("failoverd restarted", "nothing changes", (*_ACTIVE, "standby")),
    "interrupted": _Fault("failoverd ended midway", "next completes it", ("interrupted",)),
}

_HEADINGS = ("event", "expected", "observed", "time")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--live", choices=("handover",), help="play it now: there and back")
    arguments.instance(parser, nargs="?")


def _instead(asked: argparse.Namespace) -> Run | None:
    if asked.markdown and getattr(asked, "json", False):
        asked.parser.error("--markdown and --json exclude each other")
    if asked.instance is not None and asked.live is None:
        asked.parser.error("INSTANCE is for --live; the table is of all instances")
    return _print_markdown if asked.markdown else None


def _params(asked: argparse.Namespace) -> dict[str, Any]:
    """After the rehearsal, so that the table has it."""
    asked.legs = _rehearse(asked)
    return {}


def _rehearse(asked: argparse.Namespace) -> list[Leg]:
    if asked.live is None:
        return []
    try:
        return rehearsal.there_and_back(asked.socket, asked.instance)
    except (KeyboardInterrupt, Ended):
        raise _Interrupted(
            "the rehearsal is interrupted, so another node may be active",
            "see: failoverctl status --all; to move mastership back: failoverctl handover, on that node",
        ) from None


class _Interrupted(client.CtlError):
    status = 130


def _page(answer: Answer, asked: argparse.Namespace, now: datetime) -> Page:
    table = _table(answer, now)
    legs: Sequence[Leg] = getattr(asked, "legs", ())
    if not legs:
        return table
    rows = tuple(_row(_played(leg)) for leg in legs)
    return (Block(title=(Cell("rehearsed now", Tone.STRONG),), headings=_HEADINGS, rows=rows), *table)


def _played(leg: Leg) -> _Line:
    seconds = "-" if leg.seconds is None else when.span(leg.seconds)
    return _Line(leg.event, leg.expected, leg.observed, seconds, leg.good, "")


def _table(answer: Answer, now: datetime) -> Page:
    title, lines = Cell(_title(answer, now), Tone.STRONG), _lines(answer)
    if not lines:
        return (Block(title=(title,), notes=(Cell("no fault has happened here yet"),)),)
    return (Block(title=(title,), headings=_HEADINGS, rows=tuple(map(_row, lines))),)


def _row(line: _Line) -> Row:
    show = Cell(f"failoverctl history show {line.last}", Tone.FAINT)
    return Row(
        cells=(
            Cell(line.event),
            Cell(line.expected, Tone.FAINT),
            Cell(line.observed, Tone.GOOD if line.good else Tone.BAD),
            Cell(line.time),
        ),
        below=() if line.good or not line.last else (show,),
    )


def _print_markdown(asked: argparse.Namespace) -> int:
    answer, now = client.ask(asked.socket, "drill", _params(asked)), datetime.now().astimezone()
    try:
        text = _markdown(answer, asked.legs, now)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise client.CtlError(f"cannot show the answer ({error}); --json prints it", client.OTHER_RELEASE) from error
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _markdown(answer: Answer, legs: Sequence[Leg], now: datetime) -> str:
    lines = [f"# {_escaped(_title(answer, now))}", ""]
    found = _lines(answer)
    if not found and not legs:
        return "\n".join((*lines, "No fault has happened here yet.", ""))
    table: list[tuple[str, ...]] = [_HEADINGS, ("---",) * len(_HEADINGS)]
    table += [(f"{each.event} (now)", *each[1:4]) for each in map(_played, legs)]
    table += [
        (each.event, each.expected, f"{each.observed} (last: transition {each.last})", each.time) for each in found
    ]
    return "\n".join((*lines, *(f"| {' | '.join(map(_escaped, row))} |" for row in table), ""))


def _escaped(text: str) -> str:
    return clean(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _title(answer: Answer, now: datetime) -> str:
    number, since = int(answer["transitions"]), when.clock(answer.get("since"), now.tzinfo)
    return (
        f"faults on {answer.get('node', '?')}: {number} transition{'s' * (number > 1)} since {since}"
        if number
        else "no transition"
    )


def _lines(answer: Answer) -> list[_Line]:
    faults = {str(fault["kind"]): fault for fault in answer["faults"]}
    known = [kind for kind in _FAULTS if kind in faults]
    return [_line(kind, faults[kind]) for kind in (*known, *sorted(faults.keys() - _FAULTS.keys()))]


def _line(kind: str, found: Mapping[str, Any]) -> _Line:
    fault = _FAULTS.get(kind) or _Fault(kind, "-", tuple(found["results"]))  # of a later daemon
    results, took = found["results"], found.get("time")
    return _Line(
        event=fault.event,
        expected=fault.expected,
        observed=", ".join(f"{count} {result}" for result, count in sorted(results.items(), key=_by_number)),
        time=_time(took) if took else "-",
        good=all(result in fault.good for result in results),
        last=str(found["last"]["transition"]),
    )


def _time(took: Mapping[str, Any]) -> str:
    median = when.span(took["median"])
    return median if took["samples"] == 1 else f"{median} (95 %: {when.span(took['p95'])})"


def _by_number(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


VERB = Verb(
    position=41,
    summary="list the faults that happened here, with their expected and real effect",
    details=_DETAILS,
    examples=(
        ("failoverctl drill --markdown", "the table, for a document"),
        ("failoverctl drill --live handover", "there and back, now"),
    ),
    arguments=_arguments,
    action=Request(verb="drill", params=_params, page=_page),
    instead=_instead,
)
