"""The newest state of every instance, for the daemon's next life within this boot.

One record, written before the change is acknowledged. It lives beside the sockets, on a tmpfs, and not in the
history: writing it takes microseconds and cannot hang on a disk, and a reboot forgets it, as it must. Where it cannot
be written it is removed: nobody must take for the last word what is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failoverd.core.ordering import Newest
from failoverd.core.words import VrrpState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from failoverd.daemon.intake.errors import Complaints
    from failoverd.records import Records

_RECORD = "last-events"


class LastEvents:
    """The record among `records`. `recorded`: whether it tells all that is known."""

    def __init__(self, records: Records, complaints: Complaints) -> None:
        self._records = records
        self._complaints = complaints
        self._newest: dict[str, Newest] = {}
        self.recorded = True

    def restore(self) -> list[Newest]:
        """What was known when it was last written in this boot."""
        told = (self._records.read(_RECORD) or {}).get("told")
        entries = told.items() if isinstance(told, dict) else ()
        found = [newest for name, entry in entries if (newest := self._parse(name, entry))]
        self._newest = {newest.name: newest for newest in found}
        return found

    def write(self, changed: Iterable[Newest]) -> bool:
        """Whether all that is known is recorded, with what has changed."""
        new = {newest.name: newest for newest in changed}
        if self.recorded and new.items() <= self._newest.items():
            return True
        self._newest |= new
        told = {name: [n.state.value if n.state else None, n.hook, n.fifo, n.since] for name, n in self._newest.items()}
        self.recorded = self._records.write(_RECORD, {"told": told})
        return self.recorded

    def _parse(self, name: str, entry: Any) -> Newest | None:
        try:
            state, hook, fifo, since = entry
            return Newest(
                name=name,
                state=VrrpState(state) if state is not None else None,
                hook=(int(hook[0]), int(hook[1])) if hook else None,
                fifo=None if fifo is None else int(fifo),
                since=None if since is None else int(since),
            )
        except (ValueError, TypeError, LookupError):
            self._complaints.trouble("what was recorded of an instance is not understood", instance=name)
            return None
