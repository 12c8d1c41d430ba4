"""``failoverctl status``: the problems of this node in the first line, then every instance."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.ctl import arguments, health, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verbs import Answer, Request, Run, Verb

_DETAILS = """\
A terminal shows tables. A pipe has one line for each VIP and resource; a line
that needs attention begins with `!`. Phases:
  standby, active        settled: every resource should have this level
  promoting, demoting    steps are running
  refused                keepalived reports MASTER, but activation is not safe
  failed                 a step used up its retries
  unknown                no reliable state is known; failoverd only watches
Each instance shows the reason for its phase. Past steps: failoverctl history

The exit status is 0 in every phase. For programs: --json
"""

_PHASE_TONES = {
    "active": Tone.GOOD,
    "standby": Tone.GOOD,
    "promoting": Tone.BUSY,
    "demoting": Tone.BUSY,
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance(parser, nargs="?")
    text = "ask the other nodes too, by ssh, as [peers] in failoverd.toml names them"
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--all", action="store_true", dest="all_nodes", help=text)
    text = "stay, and show each change; in a pipe one line for each, with --json one object"
    either.add_argument("--watch", action="store_true", help=text)


def _params(asked: argparse.Namespace) -> dict[str, str]:
    return {} if asked.instance is None else {"instance": asked.instance}


def _instead(asked: argparse.Namespace) -> Run | None:
    if asked.all_nodes:
        from failoverd.ctl import all_nodes  # it starts processes, which takes long to import

        return all_nodes.run
    return _watch if asked.watch else None


def _watch(asked: argparse.Namespace) -> int:
    from failoverd.ctl import live, watch  # they take long to import

    def draw(view: watch.View, rows: int) -> Page:
        whole = partial(_summary, now=view.now)
        node = whole if asked.instance is None else _strays
        return live.page(view.answer, view.now, view.stale, rows=rows, node=node, instance=_instance)

    return watch.run(asked, draw)


def page(answer: Answer, asked: argparse.Namespace, now: datetime) -> Page:
    """The node and all instances; or, where one instance was asked for, only that one and its strays."""
    instances: Mapping[str, Any] = answer.get("instances") or {}
    blocks = tuple(_with_words(answer, name, _instance(name, instances[name], now), now) for name in instances)
    if asked.instance is None:
        return (_summary(answer, instances, now=now), *blocks)
    strays = _strays(answer, instances)
    return (strays._replace(title=()), *blocks) if strays.notes else blocks


def _strays(answer: Answer, _instances: Mapping[str, Any]) -> Block:
    """The node, without a verdict on it: the answer has one instance and its strays only."""
    notes = tuple(_stray(stray) for stray in _each(answer, "strays"))
    if maintained := health.maintenance(answer):
        notes = (_maintenance(maintained), *notes)
    return Block(title=(Cell(f"node {answer.get('node', '?')}:", Tone.STRONG),), notes=notes)


def _maintenance(maintained: str) -> Cell:
    return Cell(f"maintenance {maintained}; to end it: failoverctl maintenance off", Tone.BAD)


def _each(status: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [each for each in status.get(key) or () if isinstance(each, Mapping)]


def _stray(stray: Mapping[str, Any]) -> Cell:
    return Cell(f"stray     {stray.get('instance', '?')}: {stray.get('text', '?')}", Tone.BAD)


def _witnesses(status: Mapping[str, Any], now: datetime) -> list[Cell]:
    """One line for each witness with its last answer, while they are asked; else one line for all."""
    quorum = status.get("quorum")
    if not isinstance(quorum, Mapping):
        return []
    witnesses: Mapping[str, Any] = quorum.get("witnesses") or {}
    if not quorum.get("asking"):
        return [Cell("witnesses are asked when keepalived reports MASTER", Tone.FAINT)]
    return [_vote("witness", name, vote, now) for name, vote in witnesses.items()]


def _fenced(status: Mapping[str, Any], now: datetime) -> list[Cell]:
    """One line for each other node that is known to be off, and for each fencing that runs or has failed."""
    found = []
    for name, off in (status.get("off") or {}).items():
        on = f"if it may be on again: {failoverctl('unfence', name)}"
        found.append(Cell(f"off       {name}, {when.age(off.get('since'), now)}: {off.get('said')}; {on}", Tone.BAD))
    for name, fencing in (status.get("fencings") or {}).items():
        begun = f"begun {when.age(fencing.get('asked'), now)}, for {fencing.get('instance')}"
        said = f"failed ({fencing.get('failed')}): {fencing.get('said')}" if fencing.get("failed") else ""
        runs = "it runs" if fencing.get("running") else ""
        text = "; ".join(filter(None, (begun, runs, said)))
        found.append(Cell(f"fencing   {name}: {text}", Tone.BAD if said else Tone.BUSY))
    return found


def _peers(status: Mapping[str, Any], now: datetime) -> list[Cell]:
    """One line for each other node of the heartbeat."""
    return [_peer(name, peer, now) for name, peer in health.peers(status).items()]


def _peer(name: str, peer: Mapping[str, Any], now: datetime) -> Cell:
    parts = [str(peer.get("address", "?"))]
    if peer.get("silent"):
        parts.append(f"silent since {when.moment(peer['word'], now)}" if peer.get("word") else "not heard yet")
        if peer.get("heard") and peer["heard"] != peer.get("word"):
            parts.append(f"its last datagram came {when.age(peer['heard'], now)}, and it does not hear this node")
    else:
        parts.append(f"heard {when.age(peer.get('word'), now)}")
    if peer.get("trouble"):
        parts.append(str(peer["trouble"]))
    if peer.get("ignored"):
        last = f"the last {when.age(peer.get('ignored_at'), now)}: {peer.get('ignored_why')}"
        parts.append(f"{peer['ignored']} datagrams ignored, {last}")
    return Cell(f"peer      {name}: {'; '.join(parts)}", Tone.BUSY if peer.get("silent") else Tone.PLAIN)


def _with_words(status: Mapping[str, Any], instance: str, block: Block, now: datetime) -> Block:
    """The instance with what the other nodes say of it."""
    found = health.words(status, instance).items()
    words = (Cell(f"word      {name} says: {health.said(word)}, {when.age(word['word'], now)}") for name, word in found)
    return block._replace(notes=(*block.notes, *words))


def _vote(label: str, name: str, vote: Mapping[str, Any], now: datetime) -> Cell:
    if vote.get("asked") is None:
        return Cell(f"{label:9} {name}: not asked yet", Tone.BUSY)
    tone = Tone.PLAIN if vote.get("granted") else Tone.BAD
    return Cell(f"{label:9} {name}: {vote.get('said')}, asked {when.age(vote['asked'], now)}", tone)


def _summary(status: Mapping[str, Any], instances: Mapping[str, Any], *, now: datetime) -> Block:
    troubles, strays = _each(status, "troubles"), _each(status, "strays")
    maintained = health.maintenance(status)
    wrong = [
        *(["maintenance"] if maintained else []),
        *(["failoverd itself"] if troubles else []),
        *(["the witnesses"] if health.silent_witnesses(status) else []),
        *(["standby"] if health.unconfigured_standby(status) else []),
        *(name for name in instances if health.problems(instances[name])),
    ]
    wrong += dict.fromkeys(name for stray in strays if (name := str(stray.get("instance", "?"))) not in wrong)
    moving = [name for name in instances if instances[name].get("phase") in ("promoting", "demoting")]
    if wrong:
        verdict = Cell(f"NEEDS ATTENTION: {', '.join(wrong)}", Tone.BAD)
    elif not instances:
        verdict = Cell("no instance is configured; edit failoverd.toml, then: systemctl reload failoverd", Tone.BUSY)
    elif moving:
        verdict = Cell(f"in transition: {', '.join(moving)}", Tone.BUSY)
    else:
        verdict = Cell("healthy", Tone.GOOD)
    counts = status.get("events") or {}
    events = ", ".join(f"{counts.get(word, 0)} {word}" for word in ("accepted", "duplicate", "stale", "rejected"))
    notes = [Cell(f"failoverd {status.get('version', '?')}; events: {events}", Tone.FAINT)]
    if maintained:
        notes.append(_maintenance(maintained))
    notes += _witnesses(status, now)
    notes += _fenced(status, now)
    notes += _peers(status, now)
    notes += [Cell(f"trouble   {each.get('text', '?')}", Tone.BAD) for each in troubles]
    notes += [_stray(each) for each in strays]
    notes += [Cell(f"standby   {text}", Tone.BAD) for text in health.unconfigured_standby(status)]
    history = status.get("history")
    if isinstance(history, Mapping) and history.get("trouble"):
        notes.append(Cell(f"history: {history['trouble']} ({history.get('dropped', 0)} entries lost)", Tone.BUSY))
    logged = status.get("log")
    if isinstance(logged, Mapping) and (logged.get("trouble") or logged.get("lost")):
        lost = f"{logged.get('lost', 0)} lines lost since the start"
        notes.append(Cell(f"log: {'; '.join(filter(None, (logged.get('trouble'), lost)))}", Tone.BUSY))
    return Block(title=(Cell(f"node {status.get('node', '?')}:", Tone.STRONG), verdict), notes=tuple(notes))


def _instance(name: str, instance: Mapping[str, Any], now: datetime) -> Block:
    phase = str(instance.get("phase", "unknown"))
    tone = Tone.BAD if health.problems(instance) else _PHASE_TONES.get(phase, Tone.BAD)
    state = instance.get("vrrp_state") or "no state"
    tone_of_state = Tone.PLAIN if state in ("MASTER", "BACKUP") else Tone.BUSY
    lacks = ", ".join(map(str, instance.get("degraded") or ()))
    title = (
        Cell(name, Tone.STRONG),
        Cell(phase.upper() + (f", WITHOUT {lacks}" if lacks else ""), tone),
        Cell(when.age(instance.get("since"), now), Tone.FAINT),
        Cell(f"(keepalived reports {state}, target {instance.get('target') or 'none'})", tone_of_state),
    )
    notes, reason, alarm = [], str(instance.get("reason") or ""), str(instance.get("alarm") or "")
    if reason:
        notes.append(Cell(f"reason    {reason}", Tone.PLAIN if phase in health.SETTLED else tone))
    if alarm not in reason:
        notes.append(Cell(f"alarm     {alarm}", Tone.BAD))
    if instance.get("obstacle"):
        notes.append(Cell(f"obstacle  could not take over: {instance['obstacle']}", Tone.BAD))
    if instance.get("unfit"):
        notes.append(Cell(f"unfit     does not compete for mastership: {instance.get('released')}", Tone.BAD))
    elif instance.get("released"):
        back = failoverctl("reset", name)
        notes.append(Cell(f"released  {instance['released']}; to take back mastership: {back}", Tone.BAD))
    if instance.get("standby"):
        kept = instance["standby"]
        since = when.age(kept.get("since"), now)
        end = failoverctl("online", name)
        notes.append(Cell(f"standby   by {kept.get('by', '?')}, {since}; to end it: {end}", Tone.BAD))
    if instance.get("stop_by"):
        end = when.moment(instance["stop_by"], now)
        notes.append(Cell(f"watchdog  resets this machine unless all is at standby by {end}", Tone.BAD))
    for node, said in (instance.get("promises") or {}).items():
        over = f"if that is over, or {node} was installed anew: {failoverctl('unfence', node)}"
        text = f"promise   needs no witness, because {node} was kept in standby {when.age(said, now)}; {over}"
        notes.append(Cell(text, Tone.FAINT))
    leases: Mapping[str, Any] = instance.get("leases") or {}
    notes += [_vote("lease", key, vote, now) for key, vote in leases.items()]
    notes += [Cell(_rival(rival, now), Tone.BAD) for rival in instance.get("rivals") or ()]
    rows = [_vip(instance, vip) for vip in instance.get("vips") or ()]
    resources: Mapping[str, Any] = instance.get("resources") or {}
    rows += [_resource(instance, key, resources[key], now) for key in resources]
    rows += [_nowhere(key, nodes) for key, nodes in (instance.get("elsewhere") or {}).items()]
    return Block(title=title, notes=tuple(notes), rows=tuple(rows), label=name)


def _rival(rival: Mapping[str, Any], now: datetime) -> str:
    span = " to ".join(when.clock(rival.get(key), now.tzinfo) for key in ("from", "to"))
    if rival.get("gave_way"):
        return f"rival     this node was MASTER beside another from {span}"
    if rival.get("station"):
        return f"rival     another station ({rival['station']}) had {rival.get('address')} too from {span}"
    return f"rival     {rival.get('peer') or 'another node'} was MASTER from {span}"


def _vip(instance: Mapping[str, Any], vip: Mapping[str, Any]) -> Row:
    present = vip.get("present")
    word = "unknown" if present is None else ("present" if present else "absent")
    wrong = health.vip_problem(instance, vip)
    bad = wrong is not None
    return Row(
        cells=(
            Cell("vip", Tone.FAINT),
            Cell(str(vip.get("address", "?"))),
            Cell(str(vip.get("interface", "?"))),
            Cell(word.upper() if bad else word, Tone.BAD if bad else Tone.PLAIN),
            Cell(""),
            Cell("; ".join(filter(None, (wrong, vip.get("detail")))), Tone.BAD if bad else Tone.PLAIN),
        )
    )


def _resource(instance: Mapping[str, Any], name: str, resource: Mapping[str, Any], now: datetime) -> Row:
    level = str(resource.get("level", "unknown"))
    wrong = health.resource_problem(instance, resource)
    bad = wrong is not None
    tone = Tone.BAD if bad else (Tone.GOOD if level == instance.get("target") else Tone.BUSY)
    text = "; ".join(part for part in (wrong, str(resource.get("detail") or "")) if part)
    return Row(
        cells=(
            Cell("resource", Tone.FAINT),
            Cell(name),
            Cell(str(resource.get("driver", "?"))),
            Cell(level.upper() if bad else level, tone),
            Cell(when.age(resource.get("since"), now), Tone.FAINT),
            Cell(text, Tone.BAD if bad else Tone.PLAIN),
        )
    )


def _nowhere(name: str, nodes: Sequence[str]) -> Row:
    """A resource that is configured on other nodes only, while this node is the active one."""
    text = f"active nowhere: configured on {', '.join(map(str, nodes)) or 'another node'} only"
    cells = ("resource", Tone.FAINT), (name, Tone.PLAIN), ("-", Tone.PLAIN), ("ABSENT", Tone.BAD), ("-", Tone.FAINT)
    return Row(cells=(*(Cell(word, tone) for word, tone in cells), Cell(text, Tone.BAD)))


VERB = Verb(
    position=10,
    summary="show every instance, or one: phase, VIPs and resources",
    details=_DETAILS,
    examples=(
        ("failoverctl status", "every instance, and every problem"),
        ("failoverctl status | grep '^!'", "only the problems"),
        ("failoverctl status VI_1", "one instance"),
        ("failoverctl status --all", "every node, and which one is active"),
        ("failoverctl status --watch", "live, until q or Ctrl-C"),
    ),
    arguments=_arguments,
    action=Request(verb="status", params=_params, page=page),
    instead=_instead,
)
