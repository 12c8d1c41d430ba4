"""A transition as one self-contained HTML page: no script, and nothing that is loaded from elsewhere.

Each step is a row with a bar, and opens to its waits, commands and output. The bars are SVG in per cent of the width:
they fit a phone and a wide screen. The colours follow prefers-color-scheme.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import when
from failoverd.ctl.page import clean
from failoverd.ctl.timeline import WAITS, Bar, Timeline, Wait, path_text

#: The narrowest bar, in per cent of the width.
_MIN_PERCENT = 0.6

#: The narrowest wait that has its words beside it, in per cent of the width.
_WORDS_PERCENT = 34.0

#: The text of a later mark on the axis ends there.
_LAST_PERCENT = 96.0

#: The most marks on the axis.
_MAX_TICKS = 5

_TONES = {
    "active": "good",
    "standby": "good",
    "done": "good",
    "running": "busy",
    "partial": "busy",
    "overtaken": "busy",
    "interrupted": "busy",
}

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f6f8fa; --text: #1f2328; --faint: #59636e; --line: #d1d9e0;
  --good: #1f883d; --busy: #9a6700; --bad: #cf222e; --wait: #818b98; --path: #0550ae; --on: #fff }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --card: #161b22; --text: #e6edf3; --faint: #9198a1;
  --line: #30363d; --good: #3fb950; --busy: #d29922; --bad: #f85149; --wait: #7d8590; --path: #79c0ff; --on: #0d1117 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 78rem; padding: 1.5rem 1rem 3rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { margin: 0 0 .75rem; font-size: 1.5rem; line-height: 1.25 }
.outcome { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; color: var(--on); font-size: .9rem;
  font-weight: 600; vertical-align: .2em }
.good { background: var(--good) } .busy { background: var(--busy) } .bad { background: var(--bad) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1.5rem }
dt { color: var(--faint) } dd { margin: 0; overflow-wrap: anywhere }
.axis, summary { display: grid; grid-template-columns: 15rem 1fr 5rem; column-gap: .75rem; align-items: center }
.axis { padding: 0 .5rem 0 1.5rem; color: var(--faint); font-size: .8rem }
.axis svg { grid-column: 2 }
details { border-top: 1px solid var(--line) }
details:last-of-type { border-bottom: 1px solid var(--line) }
summary { position: relative; padding: .3rem .5rem .3rem 1.5rem; cursor: pointer; list-style: none }
summary::-webkit-details-marker { display: none }
summary::before { content: "\\25b8"; position: absolute; left: .4rem; color: var(--faint) }
summary:hover .words, details[open] .words { stroke: var(--card) }
details[open] > summary::before { content: "\\25be" }
summary:hover, details[open] { background: var(--card) }
.name { overflow-wrap: anywhere; line-height: 1.25 }
.critical .name b { color: var(--path) }
.name small { display: block; color: var(--faint); font-size: .8rem }
.took { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
svg { display: block; width: 100%; overflow: visible }
rect.good { fill: var(--good) } rect.busy { fill: var(--busy) } rect.bad { fill: var(--bad) }
rect.wait { fill: url(#wait); stroke: var(--wait); stroke-width: 1 } #wait path { stroke: var(--wait) }
rect.path { fill: var(--path) } line { stroke: var(--line) }
text { fill: var(--faint); font: .75rem system-ui, sans-serif }
.words { stroke: var(--back); stroke-linejoin: round; stroke-width: 9; paint-order: stroke }
.more { padding: .25rem .5rem 1rem 1.5rem }
.more p { margin: .25rem 0; overflow-wrap: anywhere }
.more h2 { margin: .75rem 0 .25rem; color: var(--faint); font-size: .8rem; font-weight: 600 }
pre { margin: 0; padding: .6rem .75rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px;
  background: var(--back); font: .85rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.25rem; margin: 1rem 0 0; padding: 0; color: var(--faint);
  font-size: .85rem; list-style: none }
.legend li { display: flex; align-items: center; gap: .4rem } .legend svg { width: 1.75rem; height: 14px }
footer { margin-top: 2rem; color: var(--faint); font-size: .8rem }
@media (max-width: 40rem) {
  body { padding: 1rem .75rem 2rem } h1 { font-size: 1.3rem }
  dl { grid-template-columns: 1fr; gap: 0 } dt { font-size: .8rem } dd { margin: 0 0 .4rem }
  .axis, summary { grid-template-columns: 1fr auto; padding-left: 1.25rem; padding-right: .25rem; row-gap: .25rem }
  .axis svg, summary svg { grid-column: 1 / -1; grid-row: 2 } summary::before { left: .1rem; top: .3rem }
  .name small { display: inline; margin-left: .4rem } .more { padding-left: 1.25rem; padding-right: .25rem }
}
"""

#: The pattern of waits; a page has it once.
_PATTERN = (
    '<svg aria-hidden="true" style="position:absolute;width:0;height:0"><defs><pattern id="wait" width="6" height="6" '
    'patternUnits="userSpaceOnUse"><path d="M-1 7 7-1M2 10 10 2M-4 4 4-4" fill="none"/></pattern></defs></svg>'
)


def page(transition: Mapping[str, Any], shown: Timeline, now: datetime) -> str:
    """The page of the daemon's answer to ``transition``, with its timeline."""
    instance, target = transition.get("instance", "?"), transition.get("target", "?")
    outcome = str(transition.get("outcome") or "running")
    written = when.clock(now.isoformat(), now.tzinfo)
    title = f"Transition {transition.get('id', '?')}: {instance} to {target}"
    ticks = tuple(_ticks(shown.total))
    rows = "\n".join(_row(bar, shown.total, ticks) for bar in shown.bars)
    axis = f'<div class="axis"><svg height="18" aria-hidden="true">{_axis(ticks, shown.total)}</svg></div>'
    picture = f"{axis}\n{rows}\n{_legend(shown)}" if shown.bars else "<p>This transition had no step.</p>"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{_PATTERN}
<h1>{_text(title)} <span class="outcome {_TONES.get(outcome, "bad")}">{_text(outcome)}</span></h1>
<dl>
{"".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>{chr(10)}" for name, value in _facts(transition, shown, now))}</dl>
<main>
{picture}
</main>
<footer>failoverctl history show {_text(transition.get("id", "?"))}, written {written}</footer>
</body>
</html>
"""


def _facts(transition: Mapping[str, Any], shown: Timeline, now: datetime) -> Iterator[tuple[str, str]]:
    yield "cause", str(transition.get("cause") or "-")
    if transition.get("reason"):
        yield "reason", str(transition["reason"])
    yield "started", f"{when.clock(transition.get('started'), now.tzinfo)} {now.tzname() or ''}".rstrip()
    yield "took", when.part(shown.total, shown.total) if transition.get("ended") else "it has not ended"
    if shown.path:
        yield "critical path", path_text(shown, "\u2192")


def _row(bar: Bar, total: float, ticks: tuple[float, ...]) -> str:
    took = when.part(bar.end - bar.start, total) if bar.outcome else "-"
    what = f"{bar.verb} \u00b7 {bar.outcome}" if bar.outcome else "no step"
    label = f"{bar.resource}: {what}, from {when.part(bar.start, total)} to {when.part(bar.end, total)}"
    return (
        f"<details{_class('critical' if bar.critical else '')}><summary>"
        f'<span class="name"><b>{_text(bar.resource)}</b><small>{_text(what)}</small></span>'
        f'<svg height="30" role="img" aria-label="{_text(label)}">{_bars(bar, total, ticks)}</svg>'
        f'<span class="took">{_text(took)}</span></summary>'
        f'<div class="more">{"".join(_more(bar, total))}</div></details>'
    )


def _more(bar: Bar, total: float) -> Iterator[str]:
    told = ["On the critical path."] if bar.critical else []
    told += [f"Began after {when.part(bar.start, total)}."] if bar.outcome else []
    told += [f"Waited {', '.join(wait.text(total) for wait in bar.waits)}."] if bar.waits else []
    yield f"<p>{_text(' '.join(told))}</p>"
    if bar.commands:
        commands = "\n".join(map(_text, bar.commands))
        yield f"<h2>Commands</h2><pre>{commands}</pre>"
    if bar.detail:
        yield f"<h2>Output and observation</h2><pre>{_text(bar.detail)}</pre>"


def _bars(bar: Bar, total: float, ticks: tuple[float, ...]) -> str:
    parts = [f'<line x1="{_at(tick, total)}" x2="{_at(tick, total)}" y1="0" y2="30"/>' for tick in ticks]
    critical = [_place(wait.start, wait.end, total) for wait in bar.waits if wait.critical]
    for wait in bar.waits:
        place = _place(wait.start, wait.end, total)
        parts.append(f'<rect class="wait" {place} y="11" height="6">{_title(f"waits {wait.text(total)}")}</rect>')
    parts += [_words(wait, total) for wait in bar.waits if _percent(wait.end - wait.start, total) >= _WORDS_PERCENT]
    if bar.outcome:
        place, tone = _place(bar.start, bar.end, total), _TONES.get(bar.outcome, "bad")
        title = _title(f"{bar.verb} {bar.resource}: {bar.outcome}")
        parts.append(f'<rect class="{tone}" {place} y="5" height="18" rx="2">{title}</rect>')
        critical += [place] if bar.critical else []
    return "".join((*parts, *(f'<rect class="path" {place} y="25" height="3"/>' for place in critical)))


def _words(wait: Wait, total: float) -> str:
    return f'<text class="words" x="{_at(wait.start, total)}" dx="14" y="18">waits {_text(wait.text(total))}</text>'


def _place(start: float, end: float, total: float) -> str:
    width = max(_percent(end - start, total), _MIN_PERCENT)
    return f'x="{min(_percent(start, total), 100 - width):.2f}%" width="{width:.2f}%"'


def _title(text: str) -> str:
    return f"<title>{_text(text)}</title>"


def _axis(ticks: tuple[float, ...], total: float) -> str:
    texts = []
    for tick in ticks:
        percent = _percent(tick, total)
        anchor = "start" if tick == 0 else "end" if percent > _LAST_PERCENT else "middle"
        texts.append(f'<text x="{percent:.2f}%" y="13" text-anchor="{anchor}">{_text(when.part(tick, total))}</text>')
    return "".join(texts)


def _ticks(total: float) -> Iterator[float]:
    """Round times from 0 to `total`, _MAX_TICKS + 1 at most."""
    if total <= 0:
        yield 0.0
        return
    rough = total / _MAX_TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    for number in range(int(total / step) + 1):
        yield number * step


def _legend(shown: Timeline) -> str:
    outcomes = {bar.outcome for bar in shown.bars if bar.outcome}
    tones = sorted({_TONES.get(outcome, "bad") for outcome in outcomes})
    words = {"good": "done", "busy": "running or interrupted", "bad": "failed, refused or timed out"}
    items = [f'<svg><rect class="{tone}" width="100%" height="14" rx="1.5"/></svg>{words[tone]}' for tone in tones]
    kinds = [WAITS[kind][2] for kind in WAITS if any(wait.kind == kind for bar in shown.bars for wait in bar.waits)]
    if kinds:
        waits = '<svg><rect class="wait" y="4" width="100%" height="6" rx="1.5"/></svg>'
        items.append(f"{waits}waits for {_text(', '.join(kinds))}")
    if shown.path:
        items.append('<svg><rect class="path" y="6" width="100%" height="3"/></svg>critical path')
    return f'<ul class="legend">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _percent(seconds: float, total: float) -> float:
    return 100 * seconds / total if total > 0 else 0.0


def _at(seconds: float, total: float) -> str:
    return f"{_percent(seconds, total):.2f}%"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _text(value: object) -> str:
    """`value` without a character that means something in HTML, or that a browser does not show."""
    return html.escape(clean(str(value)))
