"""Until when each instance may be active here without a further answer of the witnesses, for the next daemon.

Other nodes count on it, so a daemon that is started again has no more time than the last one had left. Times are those
of CLOCK_BOOTTIME: they go on while nobody runs, and while the machine is suspended.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from failoverd.core import votes
from failoverd.core.model import State
from failoverd.osutil import boot
from failoverd.records import number, records

#: Seconds by which a recorded time may be too early: it is not written at each answer.
_RECORD_EVERY_S = 1.0

#: Seconds by which a time may seem to be earlier, because it went from one clock to another and back.
_ROUNDING_S = 0.01

_RECORD = "permits"


class Permits:
    """The times of all instances, and their record. -infinity: none is left. Made on the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, tuple[float, float]] = {}  # the core's time, and the machine's
        self._recorded: dict[str, float] = {}

    def recall(self) -> dict[str, float]:
        """What the last daemon of this boot has left of each instance, in seconds of the loop."""
        self._recorded = records.read(_RECORD, _parse) or {}
        passed = boot.uptime() - self._loop.time()
        self._known = {name: (until - passed, until) for name, until in self._recorded.items()}
        return {name: at for name, (at, _) in self._known.items()}

    def change(self, before: State, now: State) -> None:
        """Follow a change of the core's state."""
        if before.config.quorum is None and now.config.quorum is None and not self._known:
            return
        for name in self._moved(before, now):
            self._see(now, name)
        until = {name: real for name, (_, real) in self._known.items()}
        if until.keys() != self._recorded.keys() or any(
            _differs(self._recorded[name], at) for name, at in until.items()
        ):
            self._recorded = until
            records.write(_RECORD, {"until": {name: at if at > -math.inf else None for name, at in until.items()}})

    def _moved(self, before: State, now: State) -> Iterable[str]:
        """The instances whose time may be another one."""
        if before.config is not now.config:
            return self._known.keys() | now.instances.keys()
        return now.agenda.touched if before.votes is now.votes else now.agenda.voters.union(now.agenda.touched)

    def _see(self, now: State, name: str) -> None:
        at = votes.left_of(now, name)
        if at is None:
            self._known.pop(name, None)
        elif name not in self._known or self._known[name][0] != at:
            self._known[name] = at, at + boot.uptime() - self._loop.time()  # a loop that stalls later does not move it


def _differs(recorded: float, until: float) -> bool:
    return until < recorded - _ROUNDING_S or until >= recorded + _RECORD_EVERY_S


def _parse(content: Mapping[str, Any]) -> dict[str, float]:
    return {name: -math.inf if at is None else number(at) for name, at in content["until"].items()}
