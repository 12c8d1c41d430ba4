"""One line of the table, and the table."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

#: Columns that the table may take where there is no terminal to ask.
_WIDTH = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured. `met` None: there is no target, the figure is only told."""

    what: str
    ours: str
    theirs: str = ""
    target: str = ""
    met: bool | None = None


def median(samples: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(samples)


def high(samples: Sequence[float]) -> float:
    """The 99th percentile: of a hundred samples, all but one are at most this."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def spread(samples: Sequence[float], unit: str = "ms") -> str:
    """Median, 99th percentile and number, for a reader."""
    return f"{median(samples):.2f} {unit} (p99 {high(samples):.2f}, n={len(samples)})"


def show(rows: Iterable[Row], load: float) -> None:
    """Print the table; `load` is the machine's load average before anything was measured."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "failoverd", "compared with", "target", "met?"):
        table.add_column(column)
    for row in rows:
        met = {None: "", True: "yes", False: "NO"}[row.met]
        table.add_row(row.what, row.ours, row.theirs, row.target, met, style="red" if row.met is False else None)
    console.print(table, markup=False)
    console.print(f"{os.cpu_count()} CPUs; load average at the start {load:.1f}: the more, the less all of this says")
