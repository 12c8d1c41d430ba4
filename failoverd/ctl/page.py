"""A page of blocks, independent of the output, and its rendering for pipes and logs.

Plain text is aligned and greppable, with ``!`` in the first column of a problem. Text from tools and users must not
reach a terminal unescaped: see `clean`. ``page_rich.py`` renders the same page with colours.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Tone(enum.Enum):
    """The meaning of a cell; the value is its style in rich."""

    PLAIN = ""
    STRONG = "bold"
    FAINT = "dim"
    GOOD = "green"
    BUSY = "yellow"
    BAD = "bold red"


class Cell(NamedTuple):
    """A text on one line."""

    text: str
    tone: Tone = Tone.PLAIN


class Row(NamedTuple):
    """Cells, aligned in columns with the other rows of the block, and lines below them, which are never wrapped."""

    cells: tuple[Cell, ...]
    below: tuple[Cell, ...] = ()


class Block(NamedTuple):
    """A title, notes (one line each), and rows.

    `label` begins every line in plain text, so that a line that grep finds names its subject; empty: no label.
    """

    title: tuple[Cell, ...] = ()
    notes: tuple[Cell, ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    label: str = ""


class Drawing(NamedTuple):
    """Lines that fill the width of the output, such as bars.

    `draw` returns them, each as cells without a space between them; it gets the width in columns, and whether the
    output has UTF-8.
    """

    draw: Callable[[int, bool], Iterable[tuple[Cell, ...]]]


Page = tuple[Block | Drawing, ...]

#: The width of a drawing in plain text.
PLAIN_COLUMNS = 100


def clean(text: str) -> str:
    """`text` with every character escaped that would break the line or control the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def plain(page: Page) -> str:
    """`page` as text without escape sequences; ends with a newline."""
    lines: list[str] = []
    for block in page:
        if lines:
            lines.append("")
        if isinstance(block, Drawing):
            drawn = block.draw(PLAIN_COLUMNS - 2, False)
            lines += [_mark(cells) + "".join(clean(cell.text) for cell in cells) for cells in drawn]
            continue
        if block.title:
            lines.append(_mark(block.title) + " ".join(clean(cell.text) for cell in block.title))
        label = f"{clean(block.label)}  " if block.label else ""
        lines += [f"{_mark((cell,))}{label}{clean(cell.text)}" for cell in block.notes]
        columns = widths(block)
        if block.headings:
            lines.append(f"  {label}{_aligned(block.headings, columns)}")
        for row in block.rows:
            texts = tuple(clean(cell.text) for cell in row.cells)
            lines.append(f"{_mark(row.cells)}{label}{_aligned(texts, columns)}")
            lines += [f"{_mark((cell,))}{label}    {clean(cell.text)}" for cell in row.below]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _mark(cells: tuple[Cell, ...]) -> str:
    return "! " if any(cell.text and cell.tone is Tone.BAD for cell in cells) else "  "


def widths(block: Block) -> list[int]:
    """The width of each column of `block`, in characters."""
    lines = [block.headings, *(tuple(clean(cell.text) for cell in row.cells) for row in block.rows)]
    columns = max((len(line) for line in lines), default=0)
    return [max(len(line[column]) for line in lines if len(line) > column) for column in range(columns)]


def _aligned(texts: tuple[str, ...], columns: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(texts, columns, strict=False))
