"""What the failoverd of a lost Primary says by the heartbeat, and what follows for the data here.

It may vouch for itself, so that a promotion need not wait for it; or go on, so that the data here becomes outdated
(staleness.py, case 16). Silence proves neither.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from failoverd.drivers.drbd import policy, staleness
from failoverd.drivers.drbd.staleness import Loss, Record
from failoverd.ports.drbd import look
from failoverd.ports.drbd.status import Resource


class LostPrimary:
    """The words of the nodes `others` about the resource `name`. `vouch`, `serve`: as of drivers.Listens."""

    def __init__(self, name: str, others: tuple[str, ...]) -> None:
        self.vouch: Callable[[], Mapping[str, float]] = dict
        self.serve: Callable[[], Mapping[str, float]] = dict
        self._name = name
        self._others = others
        self._feared: tuple[Resource, Loss] | None = None  # it may go on, and has not said so

    def vouched(self, view: Resource, record: Record) -> float:
        """After when it has vouched for itself, in seconds of CLOCK_BOOTTIME; -infinity: it has not."""
        return -math.inf if record.loss is None else self._said(self.vouch(), view, record.loss)

    def goes_on(self) -> bool:
        """Whether it has said after the loss that it may be active, which `marked` has not seen yet."""
        return self._feared is not None and self._active(*self._feared)

    async def marked(self, view: Resource, record: Record) -> Record:
        """The record, which is saved, with the mark that it goes on with the consent of its handler fence-peer."""
        loss = staleness.feared(record)
        if loss is None or loss.alone or view.primary:
            self._feared = None
            return record
        self._feared = view, loss
        if not self.goes_on():
            return record
        self._feared, rules = None, await look.rules(self._name)
        record = staleness.load(self._name)  # DRBD's events may have changed it meanwhile
        if rules is None or not rules.fencing or record.loss is None or record.loss.noticed != loss.noticed:
            return record
        marked = dataclasses.replace(record, loss=dataclasses.replace(record.loss, alone=True))
        return marked if staleness.save(self._name, marked) else record

    def _active(self, view: Resource, loss: Loss) -> bool:
        return self._said(self.serve(), view, loss) > loss.noticed

    def _said(self, words: Mapping[str, float], view: Resource, loss: Loss) -> float:
        """After when it has said so; -infinity: it has not, or nobody knows which node it is.

        DRBD 8.4 does not tell its name, and has one peer only.
        """
        found = policy.named(loss.name, self._others) if view.nine else self._others
        return words.get(found[0], -math.inf) if len(found) == 1 else -math.inf
