"""A page as it goes to standard output: drawn on a terminal, plain in a pipe; and lines for standard error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable

from failoverd.ctl.page import Page, clean, plain


def drawn(page: Page) -> str:
    """`page` for standard output as it is now."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from failoverd.ctl import page_rich  # rich takes long to import, and a pipe needs none of it

        utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
        return page_rich.draw(page, shutil.get_terminal_size().columns, utf8=utf8)
    return plain(page)


def complain(lines: Iterable[str]) -> None:
    """Write `lines` to standard error. They may have text of a daemon, a peer or a file: see `page.clean`."""
    sys.stderr.write("".join(f"{clean(line)}\n" for line in lines))
