"""The screen of ``failoverctl status --watch``: the page of ``status``, with what runs, what waits, and every age."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import health, when
from failoverd.ctl.page import Block, Cell, Page, Row, Tone

#: Makes the block of one instance, as ``status`` shows it.
InstanceBlock = Callable[[str, Mapping[str, Any], datetime], Block]

#: Makes the block of the node.
NodeBlock = Callable[[Mapping[str, Any], Mapping[str, Any]], Block]

#: A VIP is observed whenever it changes; a failure of that makes it unknown.
_ON_CHANGE = "on change"


def page(
    answer: Mapping[str, Any], now: datetime, stale: str, *, rows: int, node: NodeBlock, instance: InstanceBlock
) -> Page:
    """The page for a screen of `rows` rows: the instances with problems first, then those that move.

    `stale`: why `answer`, which was received at `now`, may be out of date; empty: it is current.
    """
    instances: Mapping[str, Any] = answer["instances"]
    shown = sorted(instances, key=lambda name: _rank(instances[name]))[:rows]
    blocks = [_instance(instance(name, instances[name], now), instances[name], now, stale) for name in shown]
    return (_head(node(answer, instances), now, stale), *blocks)


def _rank(instance: Mapping[str, Any]) -> int:
    if health.problems(instance):
        return 0
    return 1 if instance.get("phase") in health.MOVING else 2


def _head(block: Block, now: datetime, stale: str) -> Block:
    if not stale:
        return block._replace(title=(*block.title, Cell("live; q: quit", Tone.FAINT)))
    since = Cell(f"STALE since {now:%H:%M:%S}:", Tone.BAD)
    why = Cell(f"{stale}. Everything below is as it was then. q: quit", Tone.BAD)
    was = Cell(f"then      {' '.join(cell.text for cell in block.title)}")
    return block._replace(title=(since, why), notes=(was, *block.notes))


def _instance(block: Block, instance: Mapping[str, Any], now: datetime, stale: str) -> Block:
    facts: Mapping[str, Any] = instance.get("why") or {}
    vips, resources = len(instance["vips"]), list(instance["resources"].items())
    rows = [_row(row, _ON_CHANGE, ()) for row in block.rows[:vips]]
    for row, (name, resource) in zip(block.rows[vips:], resources, strict=False):
        why = (facts.get("resources") or {}).get(name) or {}
        rows.append(_row(row, _observed(resource, now), tuple(_work(instance, resource, why, now))))
    rows += [_row(row, "-", ()) for row in block.rows[vips + len(resources) :]]
    title = (*block.title, Cell("STALE", Tone.BAD)) if stale else block.title
    notes = (*block.notes, *_notes(block, facts, now))
    headings = ("", "", "", "", "observed", "") if rows else ()
    return block._replace(title=title, notes=notes, rows=tuple(rows), headings=headings)


def _row(row: Row, observed: str, work: tuple[str, ...]) -> Row:
    """The row with the age of the observation for that of the level, and the work on the resource before its text."""
    *cells, _, last = row.cells
    tone = last.tone if last.tone is Tone.BAD or not work else Tone.BUSY
    text = "; ".join(filter(None, (*work, last.text)))
    return row._replace(cells=(*cells, Cell(observed, Tone.FAINT), Cell(text, tone)))


def _observed(resource: Mapping[str, Any], now: datetime) -> str:
    return "never" if resource.get("observed") is None else when.age(resource["observed"], now)


def _work(
    instance: Mapping[str, Any], resource: Mapping[str, Any], why: Mapping[str, Any], now: datetime
) -> Iterator[str]:
    """The step that runs, with its times; what it waits for; the next retry; drift."""
    step = resource.get("step")
    if step is not None:
        began = f" for {when.elapsed(why['step_since'], now)}" if why.get("step_since") else ""
        left = when.left(why.get("step_deadline"), now)
        yield f"{step}{began}, " + ("past its deadline" if why.get("overdue") else f"{left} left")
        return
    wanted = health.SETTLED.get(str(instance.get("phase")))
    if wanted is not None and resource.get("level") not in (wanted, "unknown"):
        yield "drift"
    if why.get("waits_for"):
        yield f"waits for {', '.join(why['waits_for'])}"
    if why.get("retry") == "time" and why.get("retry_at"):
        yield f"retry in {when.left(why['retry_at'], now)}"
    elif why.get("retry") == "change":
        yield "retry when its obstacle changes"
    elif why.get("retry") == "tool":
        yield "retry when its tool has ended"


def _notes(block: Block, facts: Mapping[str, Any], now: datetime) -> Iterator[Cell]:
    """The transition, the hold and the guards, as far as the block does not have them."""
    said = "\n".join(note.text for note in block.notes)
    if facts.get("transition") is not None:
        yield Cell(f"running   transition {facts['transition']}: {facts.get('cause')}", Tone.BUSY)
    if facts.get("crowded"):
        yield Cell("running   a step waits until others have ended, as [node] parallel requires", Tone.BUSY)
    if facts.get("hold"):
        left = f", {when.left(facts['vip_deadline'], now)} left" if facts.get("vip_deadline") else ""
        yield Cell(f"hold      waits for a VIP{left}", Tone.BUSY)
    for guard in facts.get("guards") or ():
        if str(guard["text"]) not in said:
            yield Cell(f"guard     {guard['text']}", Tone.BUSY)
