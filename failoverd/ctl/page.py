"""What is shown, before it is known where: a page of blocks, and its two renderings.

``plain`` is for pipes and logs: aligned, greppable, no escape sequence, ``!`` in the first column of what is wrong.
``terminal`` is the same page by rich, with colours. Both are pure; what tools and strangers sent cannot reach the
terminal as anything but text.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Tone(enum.Enum):
    """How a cell is to be taken; the value is rich's style."""

    PLAIN = ""
    STRONG = "bold"
    FAINT = "dim"
    GOOD = "green"
    BUSY = "yellow"
    BAD = "bold red"


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of text, on one line."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cells that line up with those of the block's other rows, and lines that follow beneath, never broken."""

    cells: tuple[Cell, ...]
    below: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A title, notes (a line each), and rows.

    `label` begins every line in plain text, so that a line found by grep says whose it is.
    """

    title: tuple[Cell, ...] = ()
    notes: tuple[Cell, ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    label: str = ""


Page = tuple[Block, ...]


def clean(text: str) -> str:
    """`text` without anything that would break the line or drive the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def plain(page: Page) -> str:
    """Text for a pipe; ends with a newline."""
    lines: list[str] = []
    for block in page:
        if lines:
            lines.append("")
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


def terminal(page: Page, width: int) -> str:
    """Text for a terminal of `width` columns, coloured unless NO_COLOR is set; ends with a newline."""
    from failoverd.ctl.page_rich import draw  # rich takes long to import, and a pipe needs none of it

    return draw(page, width)


def _mark(cells: tuple[Cell, ...]) -> str:
    return "! " if any(cell.text and cell.tone is Tone.BAD for cell in cells) else "  "


def widths(block: Block) -> list[int]:
    """How wide (characters) each column of `block` is."""
    lines = [block.headings, *(tuple(clean(cell.text) for cell in row.cells) for row in block.rows)]
    columns = max((len(line) for line in lines), default=0)
    return [max(len(line[column]) for line in lines if len(line) > column) for column in range(columns)]


def _aligned(texts: tuple[str, ...], columns: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(texts, columns, strict=False))
