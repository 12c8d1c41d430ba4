"""A page on a terminal, by rich; no other module imports rich, which is slow to import."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from failoverd.ctl.page import Block, Cell, Drawing, Page, Row, Tone, clean, widths

#: The narrowest last column of a table; on a narrower terminal, lines replace the table.
MIN_LAST_COLUMN_CHARS = 20


def draw(page: Page, width: int, *, utf8: bool = True) -> str:
    """Draw `page` for a terminal of `width` columns, without colours if NO_COLOR is set. `utf8`: it has UTF-8."""
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, color_system="standard", highlight=False, emoji=False
    )
    with console.capture() as drawn:
        for number, block in enumerate(page):
            if number:
                console.print()
            if isinstance(block, Drawing):
                for cells in block.draw(width - 2, utf8):
                    console.print(Text("  ") + Text("").join(map(_text, cells)), soft_wrap=True)
            else:
                _block(console, block, width)
    return drawn.get()


class Screen:
    """The whole terminal, until the end of this context; then it is as it was before."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, emoji=False)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._shown: object = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @property
    def rows(self) -> int:
        """The height of the terminal."""
        return self._console.height

    def show(self, page: Page) -> None:
        """Show `page` from its beginning, as far as it fits; nothing is written where nothing has changed."""
        width, height = self._console.size
        drawn = draw(page, width)
        if (drawn, width, height) == self._shown:
            return
        self._shown = (drawn, width, height)
        lines = list(Text.from_ansi(drawn.rstrip("\n")).wrap(self._console, width, overflow="fold"))
        if len(lines) > height:
            more = f"{len(lines) - height + 1} more lines: enlarge the terminal, or watch one instance"
            lines[height - 1 :] = [Text(more[:width], style="reverse")]
        self._live.update(Text("\n", overflow="fold").join(lines), refresh=True)


def _block(console: Console, block: Block, width: int) -> None:
    if block.title:
        console.print(Text(" ").join(_text(cell) for cell in block.title))
    for cell in block.notes:
        console.print(Padding(_text(cell), (0, 0, 0, 2)))
    headings: tuple[str, ...] = block.headings
    columns = widths(block)
    fits = width - sum(columns[:-1]) - 2 * len(columns) >= MIN_LAST_COLUMN_CHARS
    for below, rows in itertools.groupby(block.rows, key=lambda row: bool(row.below)):
        for some in ((row,) for row in rows) if below else (tuple(rows),):
            if fits:
                console.print(Padding(_table(columns, headings, some), (0, 0, 0, 2)))
            else:
                _lines(console, columns, headings, some)
            headings = ()
            for cell in some[0].below:  # not wrapped, so that it can be copied
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
    """Draw the rows as lines, which the terminal wraps: a table would squeeze a column, or lose it."""
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
