"""A transition as a timeline: one bar per step with the waits before it, and the critical path.

All numbers are seconds since the transition began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from failoverd.ctl import when
from failoverd.ctl.page import Cell, Tone, clean

#: Steps nearer to each other than this follow one another: between them is the check at the end of a step.
_NEAR_S = 0.05

#: A wait that is shorter is not shown.
_VISIBLE_S = 0.005

#: Columns of the narrowest bar.
_MIN_BAR_CHARS = 20

#: Of longer names, the end is cut.
_MAX_NAME_CHARS = 24

#: The kinds of waits: the characters in a bar, on a terminal that has UTF-8 and in plain text, and the words.
WAITS = {
    "resource": ("·", ".", "another resource"),
    "vip": ("v", "v", "the VIP"),
    "quorum": ("w", "w", "the witnesses"),
    "peers": ("n", "n", "other nodes"),
    "room": ("p", "p", "room"),
    "retry": ("r", "r", "a retry"),
    "check": ("c", "c", "a check"),
}

#: The seconds from the begin of the transition to a time of the daemon's; to now for None.
_At = Callable[[str | None], float]

_TONES = {"done": Tone.GOOD, "running": Tone.BUSY, "interrupted": Tone.BUSY}


class Wait(NamedTuple):
    """A wait before a step. `names`: the resources that it waited for. `critical`: it is on the critical path."""

    kind: str
    names: tuple[str, ...]
    start: float
    end: float
    critical: bool = False

    def text(self, total: float) -> str:
        """The wait in words: "1.2 s for web-disk". `total`: how long the transition took."""
        what = ", ".join(self.names) or WAITS.get(self.kind, ("?", "?", self.kind))[2]
        return f"{when.part(self.end - self.start, total)} for {what}"


class Bar(NamedTuple):
    """One step, or a resource that waited and had none: then `outcome` is empty, and the bar ends where it begins.

    `critical`: it is on the critical path.
    """

    resource: str
    verb: str
    outcome: str
    detail: str
    commands: tuple[str, ...]
    start: float
    end: float
    waits: tuple[Wait, ...]
    critical: bool = False


class Timeline(NamedTuple):
    """`total`: how long the transition took, or has taken. `path`: the bars of the critical path, in order."""

    total: float
    bars: tuple[Bar, ...]
    path: tuple[Bar, ...]


def timeline(transition: Mapping[str, Any], now: datetime) -> Timeline:
    """The timeline of the daemon's answer to ``transition``. ValueError or TypeError: a time of it is malformed."""
    begun = datetime.fromisoformat(transition["started"])

    def at(stamp: str | None) -> float:
        return max(((now if stamp is None else datetime.fromisoformat(stamp)) - begun).total_seconds(), 0.0)

    steps = transition.get("steps") or ()
    over = transition.get("outcome") not in (None, "running")
    ends = [at(step["ended"]) for step in steps if step.get("ended")]
    last = at(transition["ended"]) if transition.get("ended") else max(ends, default=0.0) if over else at(None)
    waits = [each for each in _waits(transition, at) if each[1].end - each[1].start >= _VISIBLE_S]
    bars = _bars(steps, waits, at, last)
    total = max([last, *(bar.end for bar in bars)])
    path = _critical(bars)
    ends_before = [0.0, *(bar.end for bar in path)]
    marked = {id(bar): _marked(bar, since) for bar, since in zip(path, ends_before, strict=False)}
    return Timeline(
        total=total,
        bars=tuple(marked.get(id(bar), bar) for bar in bars),
        path=tuple(marked[id(bar)] for bar in path),
    )


def _marked(bar: Bar, since: float) -> Bar:
    """The bar as one of the critical path, on which the step before it ended at `since`."""
    waits = tuple(wait._replace(critical=wait.start >= since and wait.kind != "resource") for wait in bar.waits)
    return bar._replace(critical=True, waits=waits)


def _waits(transition: Mapping[str, Any], at: _At) -> Iterator[tuple[str, Wait]]:
    """The waits, each with its resource; none from a daemon that keeps none."""
    for wait in transition.get("waits") or ():
        start, end = at(wait["started"]), at(wait["ended"])
        yield str(wait["resource"]), Wait(kind=wait["kind"], names=tuple(wait["names"]), start=start, end=end)


def _bars(steps: Sequence[Mapping[str, Any]], waits: Sequence[tuple[str, Wait]], at: _At, last: float) -> list[Bar]:
    left = list(waits)
    bars = []
    for step in steps:
        start = at(step["started"])
        resource = str(step["resource"])
        mine = [each for each in left if each[0] == resource and each[1].start <= start]
        left = [each for each in left if each not in mine]
        bars.append(
            Bar(
                resource=resource,
                verb=str(step["verb"]),
                outcome=str(step.get("outcome") or "running"),
                detail=str(step.get("detail") or ""),
                commands=tuple(line for line in str(step.get("command") or "").split("\n") if line),
                start=start,
                end=max(at(step["ended"]) if step.get("ended") else last, start),
                waits=tuple(wait for _, wait in mine),
            )
        )
    for resource in dict.fromkeys(resource for resource, _ in left):
        mine_left = tuple(wait for other, wait in left if other == resource)
        end = mine_left[-1].end
        bars.append(
            Bar(resource=resource, verb="", outcome="", detail="", commands=(), start=end, end=end, waits=mine_left)
        )
    return bars


def _critical(bars: Sequence[Bar]) -> list[Bar]:
    """The critical path: from the step that ended last, back to each step for which the next one waited."""
    steps = [bar for bar in bars if bar.outcome]
    path: list[Bar] = []
    step = max(steps, key=lambda bar: bar.end, default=None)
    while step is not None:
        path.insert(0, step)
        step = _before(step, [bar for bar in steps if bar.end <= step.start and bar not in path])
    return path


def _before(step: Bar, earlier: Sequence[Bar]) -> Bar | None:
    """The step for which `step` waited; None: it waited for none."""
    wait = next((wait for wait in reversed(step.waits) if wait.kind not in ("vip", "quorum", "peers", "check")), None)
    if wait is None and (step.waits or step.start <= _NEAR_S):
        return None
    if wait is not None and wait.kind == "resource":
        earlier = [bar for bar in earlier if bar.resource in wait.names]
    elif wait is not None and wait.kind == "retry":
        earlier = [bar for bar in earlier if bar.resource == step.resource]
    return max(earlier, key=lambda bar: bar.end, default=None)


# ---------------------------------------------------------------- as lines of text


def lines(shown: Timeline, width: int, *, utf8: bool) -> Iterator[tuple[Cell, ...]]:
    """The timeline as lines of at most `width` columns, where that is possible."""
    names = [_name(bar.resource) for bar in shown.bars]
    first = max(map(len, names), default=0) + 3
    spans = [when.part(bar.end - bar.start, shown.total) if bar.outcome else "" for bar in shown.bars]
    ends = [
        f"{span:>{max(map(len, spans))}}  {bar.outcome or 'no step'}"
        for span, bar in zip(spans, shown.bars, strict=True)
    ]
    room = max(width - first - max(map(len, ends), default=0) - 2, _MIN_BAR_CHARS)
    yield (Cell(" " * first + _axis(shown.total, room), Tone.FAINT),)
    for bar, name, end in zip(shown.bars, names, ends, strict=True):
        tone = _TONES.get(bar.outcome, Tone.BAD if bar.outcome else Tone.FAINT)
        mark = Cell("* " if bar.critical else "  ", Tone.STRONG)
        label = Cell(name.ljust(first - 2), Tone.STRONG if bar.critical else Tone.PLAIN)
        yield (mark, label, *_drawn(bar, shown.total, room, tone, utf8=utf8), Cell(f"  {end}", tone))
    legend = [text for text in _legend(shown, utf8=utf8) if text]
    together = "  ".join(legend)
    for line in (together,) if len(together) + 4 <= width else legend:
        yield (Cell(f"    {line}", Tone.FAINT),)


def path_text(shown: Timeline, arrow: str = ">") -> str:
    """The critical path in words; empty without steps."""
    names = list(dict.fromkeys(bar.resource for bar in shown.path))
    tries = {name: sum(bar.resource == name for bar in shown.path) for name in names}
    return f" {arrow} ".join(name + (f" ({tries[name]} attempts)" if tries[name] > 1 else "") for name in names)


def _name(name: str) -> str:
    shown = clean(name)
    return shown if len(shown) <= _MAX_NAME_CHARS else f"{shown[: _MAX_NAME_CHARS - 2]}.."


def _axis(total: float, room: int) -> str:
    """Times above the bars: at the begin, the end, and as many between them as there is room for."""
    parts = max(min(room // 16, 4), 1) if total > 0 else 0
    axis = ""
    for part in range(parts):
        at = room * part // parts
        axis = axis.ljust(at) + when.part(total * part / parts, total)
    end = when.part(total, total)
    return axis.ljust(room - len(end) + 1)[: room - len(end)] + end


def _drawn(bar: Bar, total: float, room: int, tone: Tone, *, utf8: bool) -> Iterator[Cell]:
    scale = room / total if total > 0 else 0.0
    column = 0
    for wait in bar.waits:
        at, end = max(int(wait.start * scale), column), min(int(wait.end * scale), room - 1)
        if end > at:
            yield Cell(
                " " * (at - column) + WAITS.get(wait.kind, ("?", "?", ""))[0 if utf8 else 1] * (end - at), Tone.FAINT
            )
            column = end
    at = min(max(int(bar.start * scale), column), room - 1)
    if not bar.outcome:
        yield Cell(" " * (room - column))
        return
    length = max(min(round(bar.end * scale), room) - at, 1)
    yield Cell(" " * (at - column) + _step(utf8=utf8, critical=bar.critical) * length, tone)
    yield Cell(" " * (room - at - length))


def _step(*, utf8: bool, critical: bool) -> str:
    if utf8:
        return "█" if critical else "▒"
    return "#" if critical else "="


def _legend(shown: Timeline, *, utf8: bool) -> tuple[str, str]:
    """The meaning of the characters: of steps, and of waits."""
    kinds = {wait.kind for bar in shown.bars for wait in bar.waits}
    marks = [f"{_step(utf8=utf8, critical=True)} critical path"] if shown.path else []
    if any(bar.outcome and not bar.critical for bar in shown.bars):
        marks.append(f"{_step(utf8=utf8, critical=False)} other step")
    waits = [f"{chars[0 if utf8 else 1]} {chars[2]}" for kind, chars in WAITS.items() if kind in kinds]
    return "  ".join(marks), f"waiting for:  {'  '.join(waits)}" if waits else ""
