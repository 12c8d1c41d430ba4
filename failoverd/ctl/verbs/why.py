"""``failoverctl why``: in sentences, why each instance is as it is, and what happens next."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import arguments, explain, health
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
For each instance: keepalived's last event and its source, the decision that
follows from it, each refusal and failure with what would change it, and what
happens next, and when. Below a sentence are commands that you can paste.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance(parser, nargs="?")


def _params(asked: argparse.Namespace) -> dict[str, str]:
    return {} if asked.instance is None else {"instance": asked.instance}


def _page(answer: Answer, _asked: argparse.Namespace, now: datetime) -> Page:
    instances: Mapping[str, Any] = answer.get("instances") or {}
    strays = list(answer.get("strays") or ())
    blocks = [
        _instance(
            name,
            each,
            [stray for stray in strays if stray.get("instance") == name],
            explain.words(health.words(answer, name), now),
            now,
        )
        for name, each in instances.items()
    ]
    rest = tuple(row for stray in strays if stray.get("instance") not in instances for row in explain.stray(stray, now))
    if rest:
        blocks.append(Block(title=(Cell("no longer configured", Tone.STRONG),), rows=_rows(rest)))
    if not blocks:
        nothing = "no instance is configured; edit failoverd.toml, then: systemctl reload failoverd"
        return (Block(title=(Cell(nothing, Tone.BUSY),)),)
    return tuple(blocks)


def _instance(
    name: str,
    instance: Mapping[str, Any],
    strays: list[Mapping[str, Any]],
    words: tuple[explain.Said, ...],
    now: datetime,
) -> Block:
    phase = str(instance["phase"])
    tone = Tone.BAD if health.problems(instance) else Tone.BUSY if phase in health.MOVING else Tone.GOOD
    title = (
        Cell(name, Tone.STRONG),
        Cell(f"is {phase.upper()},", tone),
        Cell(explain.since(instance, now), Tone.FAINT),
    )
    said = (*explain.instance(name, instance, now), *words)
    return Block(
        title=title, rows=_rows((*said, *(row for stray in strays for row in explain.stray(stray, now)))), label=name
    )


def _rows(said: tuple[explain.Said, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(
            cells=(Cell(each.label, Tone.FAINT), Cell(each.text, Tone.BAD if each.bad else Tone.PLAIN)),
            below=tuple(Cell(command, Tone.STRONG) for command in each.commands),
        )
        for each in said
    )


VERB = Verb(
    position=12,
    summary="explain every instance, or one: causes, refusals, what comes next",
    details=_DETAILS,
    examples=(
        ("failoverctl why VI_1", "one instance, with its deadlines"),
        ("failoverctl why", "every instance"),
    ),
    arguments=_arguments,
    action=Request(verb="why", params=_params, page=_page),
)
