"""``failoverctl status``: at one look, what is wrong here; then all of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone

_PHASES = {
    "active": Tone.GOOD,
    "standby": Tone.GOOD,
    "promoting": Tone.BUSY,
    "demoting": Tone.BUSY,
}

#: Phases in which every resource is to be at its target's level, and every VIP where that target says.
_SETTLED = {"active": "active", "standby": "standby"}


def page(status: Mapping[str, Any], now: datetime) -> Page:
    """The daemon's ``status`` as a page; `now` has a zone."""
    instances: Mapping[str, Any] = status.get("instances") or {}
    return (_summary(status, instances), *(_instance(name, instances[name], now) for name in instances))


def _summary(status: Mapping[str, Any], instances: Mapping[str, Any]) -> Block:
    troubles = [each for each in status.get("troubles") or () if isinstance(each, Mapping)]
    strays = [each for each in status.get("strays") or () if isinstance(each, Mapping)]
    wrong = [*(["failoverd itself"] if troubles else []), *(name for name in instances if _wrong(instances[name]))]
    wrong += dict.fromkeys(name for stray in strays if (name := str(stray.get("instance", "?"))) not in wrong)
    moving = [name for name in instances if instances[name].get("phase") in ("promoting", "demoting")]
    if wrong:
        verdict = Cell(f"NEEDS ATTENTION: {', '.join(wrong)}", Tone.BAD)
    elif not instances:
        verdict = Cell("no instance is configured", Tone.BUSY)
    elif moving:
        verdict = Cell(f"moving: {', '.join(moving)}", Tone.BUSY)
    else:
        verdict = Cell("all is as it should be", Tone.GOOD)
    counts = status.get("events") or {}
    events = ", ".join(f"{counts.get(word, 0)} {word}" for word in ("accepted", "duplicate", "stale", "rejected"))
    notes = [Cell(f"failoverd {status.get('version', '?')}; events: {events}", Tone.FAINT)]
    notes += [Cell(f"trouble   {each.get('text', '?')}", Tone.BAD) for each in troubles]
    notes += [Cell(f"stray     {each.get('instance', '?')}: {each.get('text', '?')}", Tone.BAD) for each in strays]
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
    tone = Tone.BAD if _wrong(instance) else _PHASES.get(phase, Tone.BAD)
    said = instance.get("vrrp_state") or "nothing"
    doubt = Tone.PLAIN if said in ("MASTER", "BACKUP") else Tone.BUSY
    lacks = ", ".join(map(str, instance.get("degraded") or ()))
    title = (
        Cell(name, Tone.STRONG),
        Cell(phase.upper() + (f", WITHOUT {lacks}" if lacks else ""), tone),
        Cell(when.age(instance.get("since"), now), Tone.FAINT),
        Cell(f"(keepalived says {said}, target {instance.get('target') or 'none'})", doubt),
    )
    notes = []
    if instance.get("reason"):
        notes.append(Cell(f"reason    {instance['reason']}", Tone.PLAIN if phase in _SETTLED else tone))
    if instance.get("released"):
        notes.append(Cell(f"released  {instance['released']}; to take it back: failoverctl reset {name}", Tone.BAD))
    notes += [Cell(_rival(rival, now), Tone.BAD) for rival in instance.get("rivals") or ()]
    rows = [_vip(instance, vip) for vip in instance.get("vips") or ()]
    resources: Mapping[str, Any] = instance.get("resources") or {}
    rows += [_resource(instance, key, resources[key], now) for key in resources]
    return Block(title=title, notes=tuple(notes), rows=tuple(rows), label=name)


def _rival(rival: Mapping[str, Any], now: datetime) -> str:
    span = " to ".join(when.clock(rival.get(key), now.tzinfo) for key in ("from", "to"))
    if rival.get("gave_way"):
        return f"rival     was MASTER from {span} beside another"
    return f"rival     another MASTER was heard from {span}"


def _vip(instance: Mapping[str, Any], vip: Mapping[str, Any]) -> Row:
    present = vip.get("present")
    word = "unknown" if present is None else ("present" if present else "absent")
    wrong = _vip_wrong(instance, vip)
    bad = wrong is not None
    return Row(
        cells=(
            Cell("vip", Tone.FAINT),
            Cell(str(vip.get("address", "?"))),
            Cell(str(vip.get("interface", "?"))),
            Cell(word.upper() if bad else word, Tone.BAD if bad else Tone.PLAIN),
            Cell(""),
            Cell(wrong or "", Tone.BAD),
        )
    )


def _resource(instance: Mapping[str, Any], name: str, resource: Mapping[str, Any], now: datetime) -> Row:
    level = str(resource.get("level", "unknown"))
    wrong = _resource_wrong(instance, resource)
    bad = wrong is not None
    tone = Tone.BAD if bad else (Tone.GOOD if level == instance.get("target") else Tone.BUSY)
    told = "; ".join(part for part in (wrong, str(resource.get("detail") or "")) if part)
    return Row(
        cells=(
            Cell("resource", Tone.FAINT),
            Cell(name),
            Cell(str(resource.get("driver", "?"))),
            Cell(level.upper() if bad else level, tone),
            Cell(when.age(resource.get("since"), now), Tone.FAINT),
            Cell(told, Tone.BAD if bad else Tone.PLAIN),
        )
    )


def _wrong(instance: Mapping[str, Any]) -> bool:
    marks = ("released", "degraded", "alarm", "rivals")
    if instance.get("phase") not in _PHASES or any(instance.get(mark) for mark in marks):
        return True
    vips, resources = instance.get("vips") or (), (instance.get("resources") or {}).values()
    return any(_vip_wrong(instance, vip) is not None for vip in vips) or any(
        _resource_wrong(instance, resource) is not None for resource in resources
    )


def _vip_wrong(instance: Mapping[str, Any], vip: Mapping[str, Any]) -> str | None:
    """What is wrong with it, or None: where keepalived says MASTER it is here, elsewhere it is not."""
    said, present = instance.get("vrrp_state"), vip.get("present")
    if said is None or present is None:
        return None
    if said == "MASTER" and not present:
        return "should be here: keepalived says MASTER"
    if said != "MASTER" and present:
        return f"should not be here: keepalived says {said}"
    return None


def _resource_wrong(instance: Mapping[str, Any], resource: Mapping[str, Any]) -> str | None:
    """What is wrong with it (empty: its level says it), or None. Between two levels, only a failure is wrong."""
    level, phase = resource.get("level", "unknown"), instance.get("phase")
    if resource.get("alarm"):
        return str(resource["alarm"])
    if level == "failed":
        return ""
    if resource.get("obstacle") and phase == "standby":
        return f"could not take over: {resource['obstacle']}"
    wanted = _SETTLED.get(str(phase))
    if wanted is not None and level != wanted:
        return f"should be {wanted}"
    if phase in ("failed", "refused") and level == "unknown":
        return ""
    return None
