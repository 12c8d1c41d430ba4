"""``failoverctl status --all``: this node's answer, those of its peers, and the verdict across them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from failoverd.ctl import client, health, output, peers, waiting, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verdict import Grade, readable, serves, verdict

_ASKED = ("failoverctl", "status", "--json")
_SETTLED = {"active": Tone.GOOD, "standby": Tone.GOOD}
_TONES = {Grade.GOOD: Tone.GOOD, Grade.BUSY: Tone.BUSY, Grade.BAD: Tone.BAD}


class Cluster(NamedTuple):
    """What all nodes answered.

    `answers`: by node, this node's first; `missing`: of every other node, the reason why it has no answer that counts;
    `asked`: when.
    """

    answers: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, str]
    asked: datetime


def run(asked: argparse.Namespace) -> int:
    """Ask every node, and show the answers. Raises client.CtlError where this node does not answer."""
    cluster = gather(asked.socket)
    names = dict.fromkeys(name for answer in cluster.answers.values() for name in answer["instances"])
    if asked.instance is not None and asked.instance not in names:
        known = f"expected one of: {', '.join(sorted(names))}" if names else "none is configured"
        raise client.CtlError(f'no node that answered has an instance "{asked.instance}"', known)
    if getattr(asked, "json", False):
        at = cluster.asked.isoformat(timespec="seconds")
        missing = {node: {"error": why, "asked": at} for node, why in cluster.missing.items()}
        sys.stdout.write(json.dumps({**cluster.answers, **missing}, indent=2) + "\n")
    else:
        sys.stdout.write(output.drawn(page(cluster, asked.instance)))
    sys.stdout.flush()
    return 0


def gather(socket: str) -> Cluster:
    """The answers of this node, at its `socket`, and of the peers that it knows. Raises client.CtlError."""
    own = client.ask(socket, "status", {})
    ways = own.get("peers")
    if not isinstance(ways, Mapping):
        raise client.CtlError("this failoverd does not know its peers", client.OTHER_RELEASE)
    if not ways:
        raise client.CtlError(
            "failoverd.toml names no other node",
            'add them, the same on every node: [peers], then NAME = "ADDRESS" for each; see failoverd.toml(5)',
        )
    if (wrong := readable(own)) is not None:
        raise client.CtlError(f"cannot show the answer: {wrong}", client.OTHER_RELEASE)
    _check_owner(socket)
    moment = datetime.now().astimezone()
    answers: dict[str, Mapping[str, Any]] = {str(own["node"]): own}
    missing: dict[str, str] = {}
    for name, reply in _asked(ways).items():
        try:
            answers[name] = _trusted(name, peers.answered(reply), answers)
        except ValueError as error:
            missing[name] = str(error)
    return Cluster(answers, missing, moment)


def _asked(ways: Mapping[str, Any]) -> dict[str, peers.Reply]:
    shown = ""

    def progress(awaited: Sequence[str]) -> None:
        nonlocal shown
        shown = waiting.show(f"waiting for {', '.join(awaited)}", instead_of=shown)

    try:
        return peers.run(ways, _ASKED, progress=progress)
    finally:
        waiting.show("", instead_of=shown)


def _check_owner(socket: str) -> None:
    """The daemon's answer has commands that this process runs: only root's daemon, or one's own, may give them."""
    owner = os.stat(socket).st_uid  # noqa: PTH116  # pathlib is slow to import
    if owner not in (0, os.geteuid()):
        raise client.CtlError(f"{socket} is of user {owner}, whose commands are not run", "check --socket PATH")


def _trusted(name: str, answer: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """`answer`, if it is that of the peer `name`. ValueError otherwise."""
    if (wrong := readable(answer)) is not None:
        raise ValueError(wrong)
    node = str(answer["node"])
    twice = next((other for other, each in known.items() if each["node"] == node), None)
    if twice is not None:
        raise ValueError(f"the answer is that of {twice} once more; correct {name} in [peers]")
    if name not in (node, node.partition(".")[0]):
        raise ValueError(f"the answer is that of a node {node}; correct {name} in [peers]")
    return answer


def page(cluster: Cluster, only: str | None) -> Page:
    """The verdict on each instance, or on `only` one, then a row for each instance of each node."""
    answers, missing = cluster.answers, cluster.missing
    names = dict.fromkeys(name for answer in answers.values() for name in answer["instances"])
    names = {name: None for name in names if only in (None, name)}
    notes = []
    for name in names:
        judged = verdict(name, answers, missing)
        notes.append(Cell(f"{name}: {judged.text}", _TONES[judged.grade]))
    count = f"{len(answers) + len(missing)} nodes"
    title = Cell(f"{count}, {len(missing)} without an answer:" if missing else f"{count}:", Tone.STRONG)
    rows = [_row(node, name, answer, cluster.asked) for node, answer in answers.items() for name in names]
    at = f"{cluster.asked:%H:%M:%S}"
    # Only the moment of the request is known of such a node, and not since when it does not answer.
    nobody = Cell("NO ANSWER", Tone.BAD)
    rows += [_cells(node, "-", nobody, f"at {at}", "-", text=why) for node, why in missing.items()]
    headings = ("node", "instance", "phase", "since", "keepalived", "serves")
    verdicts = Block(title=(title,), notes=(*notes, *_differences(answers)))
    return (verdicts, Block(headings=headings, rows=tuple(rows), notes=tuple(_troubles(answers))))


def _row(node: str, name: str, answer: Mapping[str, Any], now: datetime) -> Row:
    instance = answer["instances"].get(name)
    if instance is None:
        return _cells(node, name, Cell("ABSENT", Tone.BAD), text="this node's configuration does not have it")
    problems = health.problems(instance)
    phase = str(instance["phase"])
    cell = Cell(phase.upper(), Tone.BAD) if problems else Cell(phase, _SETTLED.get(phase, Tone.BUSY))
    text = "; ".join((", ".join(serves(instance)) or "none", *(problem.text for problem in problems)))
    since, state = when.age(instance.get("since"), now), str(instance.get("vrrp_state") or "no state")
    return _cells(node, name, cell, since, state, text=text)


def _cells(node: str, name: str, phase: Cell, *facts: str, text: str) -> Row:
    """A row; `facts`: since when, and keepalived's state."""
    since, state = facts or ("-", "-")
    last = Cell(text, Tone.BAD if phase.tone is Tone.BAD else Tone.PLAIN)
    return Row(cells=(Cell(node, Tone.STRONG), Cell(name), phase, Cell(since, Tone.FAINT), Cell(state), last))


def _troubles(answers: Mapping[str, Mapping[str, Any]]) -> Iterator[Cell]:
    """What is wrong with a node as a whole."""
    for node, answer in answers.items():
        if maintained := health.maintenance(answer):
            yield Cell(f"{node}: maintenance {maintained}", Tone.BAD)
        for each in answer.get("troubles") or ():
            if isinstance(each, Mapping):
                yield Cell(f"{node}: trouble: {each.get('text', '?')}", Tone.BAD)


def _differences(answers: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """The nodes whose configurations or releases differ."""
    digests, releases = _by(answers, "digest"), _by(answers, "version")
    unknown = digests.pop(None, [])
    found = []
    if len(digests) > 1:
        found.append(Cell(f"the configurations differ: {_listed(digests)}", Tone.BAD))
    if unknown:
        found.append(Cell(f"no digest of the configuration, from an older failoverd: {', '.join(unknown)}", Tone.BUSY))
    if len(releases) > 1:
        found.append(Cell(f"the releases differ: {_listed(releases)}", Tone.BUSY))
    return found


def _by(answers: Mapping[str, Mapping[str, Any]], key: str) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for node, answer in answers.items():
        value = answer.get(key)
        found.setdefault(value if isinstance(value, str) else None, []).append(node)
    return found


def _listed(groups: Mapping[str | None, list[str]]) -> str:
    return "; ".join(f"{' and '.join(nodes)}: {value or 'unknown'}" for value, nodes in groups.items())
