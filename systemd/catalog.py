"""Print the journal's catalog from the declarations in failoverd/alarms.py: ``make catalog``."""  # noqa: INP001 - run, not imported

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from failoverd.alarms import MESSAGES, Message

HEAD = """\
# Made by `make catalog` from failoverd/alarms.py. `journalctl -x` shows it; @NAME@ is a field of the line.
"""


def entry(message: Message) -> Iterator[str]:
    """Yield the lines of one entry, as systemd's catalog format (Journal Message Catalogs) has them."""
    yield f"-- {message.message_id}"
    yield f"Subject: {message.subject}: {message.title}"
    yield "Defined-By: failoverd"
    yield "Documentation: man:failoverd(8)"
    yield ""
    yield f"    {message.detail}"
    for paragraph in message.text.split("\n\n"):
        yield ""
        yield textwrap.fill(paragraph, 100, break_long_words=False, break_on_hyphens=False)
    yield ""
    yield from (f"    {command}" for command in message.remedy)


def catalog() -> str:
    """The whole file."""
    return HEAD + "".join(f"\n{line}\n" for line in ("\n".join(entry(message)) for message in MESSAGES))


if __name__ == "__main__":
    sys.stdout.write(catalog())
