"""A page on a terminal; the only place that imports rich."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from failoverd.ctl.page import Block, Cell, Page, Row, Tone, clean, widths

#: The least room (columns) in which a row's last cell is still broken into lines by us.
LAST = 20


def draw(page: Page, width: int) -> str:
    """Draw `page` for a terminal of `width` columns; NO_COLOR is heeded."""
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, color_system="standard", highlight=False, emoji=False
    )
    with console.capture() as drawn:
        for number, block in enumerate(page):
            if number:
                console.print()
            _block(console, block, width)
    return drawn.get()


def _block(console: Console, block: Block, width: int) -> None:
    if block.title:
        console.print(Text(" ").join(_text(cell) for cell in block.title))
    for cell in block.notes:
        console.print(Padding(_text(cell), (0, 0, 0, 2)))
    headings: tuple[str, ...] = block.headings
    columns = widths(block)
    fits = width - sum(columns[:-1]) - 2 * len(columns) >= LAST
    for below, rows in itertools.groupby(block.rows, key=lambda row: bool(row.below)):
        for some in ((row,) for row in rows) if below else (tuple(rows),):
            if fits:
                console.print(Padding(_table(columns, headings, some), (0, 0, 0, 2)))
            else:
                _lines(console, columns, headings, some)
            headings = ()
            for cell in some[0].below:  # never broken by us, so that it can be copied
                console.print(Text("      ") + _text(cell), soft_wrap=True)


def _table(columns: list[int], headings: tuple[str, ...], rows: Iterable[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings), header_style="dim")
    for number, width in enumerate(columns):
        heading = headings[number] if number < len(headings) else ""
        last = number == len(columns) - 1
        table.add_column(heading, overflow="fold", no_wrap=not last, min_width=None if last else width)
    for row in rows:
        table.add_row(*(_text(cell) for cell in row.cells))
    return table


def _lines(console: Console, columns: list[int], headings: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Draw the same without a table: rather let the terminal break long lines than squeeze a column, or lose one."""
    heading = [tuple(Cell(text, Tone.FAINT) for text in headings)] if headings else []
    for cells in (*heading, *(row.cells for row in rows)):
        line = Text("  ")
        for cell, width in zip(cells, columns, strict=False):
            text = _text(cell)
            text.pad_right(width - len(text) + 2)
            line += text
        line.rstrip()
        console.print(line, soft_wrap=True)


def _text(cell: Cell) -> Text:
    return Text(clean(cell.text), style=cell.tone.value)
