"""Record the newest state of every instance for the next daemon of this boot.

One record, written before the change is acknowledged. It is on a tmpfs beside the sockets, and not in the history:
writing it takes microseconds and cannot hang on a disk, and a reboot discards it, as it must. If it cannot be written,
it is removed: an outdated state must not be taken for the newest one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failoverd.core.ordering import Newest
from failoverd.core.words import VrrpState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from failoverd.daemon.intake.errors import Rejections
    from failoverd.records import Records

_RECORD = "last-events"


class LastEvents:
    """The record among `records`. `recorded`: whether the record is complete."""

    def __init__(self, records: Records, rejections: Rejections) -> None:
        self._records = records
        self._rejections = rejections
        self._newest: dict[str, Newest] = {}
        self.recorded = True

    def restore(self) -> list[Newest]:
        """The states that were recorded in this boot; none after a boot, or if the record cannot be read."""
        found = self._records.read(_RECORD, self._understand) or []
        self._newest = {newest.name: newest for newest in found}
        return found

    def write(self, changed: Iterable[Newest]) -> bool:
        """Record the states that have changed. False: the record cannot be written; the next call retries it."""
        new = {newest.name: newest for newest in changed}
        if self.recorded and new.items() <= self._newest.items():
            return True
        self._newest |= new
        told = {name: [n.state.value if n.state else None, n.hook, n.fifo, n.since] for name, n in self._newest.items()}
        self.recorded = self._records.write(_RECORD, {"told": told})
        return self.recorded

    def _understand(self, told: dict[str, Any]) -> list[Newest]:
        return [newest for name, entry in told["told"].items() if (newest := self._parse(name, entry))]

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
        except (ValueError, TypeError, LookupError, ArithmeticError):
            self._rejections.trouble("discarded the recorded state of an instance: it is malformed", instance=name)
            return None
