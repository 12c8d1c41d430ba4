"""What is wrong around failoverd itself, and with no instance: a record that cannot be written, a hook turned away.

Said once when it begins and once when it is over, however often it is found, and shown by ``failoverctl status`` for
as long as it stands.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from failoverd import log

#: Of the journal's line that says it.
MESSAGE_ID = "4133810515504c0bb1885212afea3de9"

_log = log.get("trouble")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """`about`: what it is about, a name that stays the same. `text`: what is wrong, with the remedy, in one line.

    `since`: in seconds since the epoch. `until`: when it is over if it is not found again, in monotonic seconds; None
    where somebody will say so.
    """

    about: str
    text: str
    since: float
    until: float | None = None


class Troubles:
    """What stands at present, the oldest first."""

    def __init__(self) -> None:
        self._standing: dict[str, Trouble] = {}

    @property
    def standing(self) -> tuple[Trouble, ...]:
        """All of it."""
        now = time.monotonic()
        for each in tuple(self._standing.values()):
            if each.until is not None and each.until <= now:
                self.end(each.about)
        return tuple(self._standing.values())

    def begin(self, about: str, text: str, *, lasts: float | None = None) -> None:
        """It is so. What stands already in the same words is not said again.

        `lasts`: seconds after which it is over, unless it begins again, where nobody would know that it is.
        """
        before = self._standing.get(about)
        until = None if lasts is None else time.monotonic() + lasts
        since = before.since if before is not None else time.time()
        self._standing[about] = Trouble(about=about, text=text, since=since, until=until)
        if before is None or before.text != text:
            _log.error("trouble", about=about, text=text, message_id=MESSAGE_ID)

    def end(self, about: str) -> None:
        """It is not, or not any more."""
        if self._standing.pop(about, None) is not None:
            _log.info("trouble is over", about=about)


#: Those of this process.
troubles = Troubles()
