"""The state as a series of changes, for ``failoverctl status --watch``: what a client has been sent, and what is next.

A piece is the difference from what was sent to the state of now, so the states between the two cost nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from failoverd.core.model import InstanceState, State
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.status import timestamp

#: Instances in one piece, at most: between two pieces, the loop does other work, and every other client has its turn.
MAX_INSTANCES = 16

#: Makes, of a state and the names of some instances, the answer to ``why`` with these instances only.
Report = Callable[[State, Sequence[str]], dict[str, Any]]


class Feed:
    """The changes for one client; `only`: the one instance that it wants, None: all."""

    def __init__(self, core: CoreLoop, report: Report, only: str | None) -> None:
        self._core = core
        self._report = report
        self._only = only
        self._turn = -1
        self._sent: dict[str, InstanceState] = {}
        self._names: list[str] | None = None
        self._head: dict[str, Any] = {}
        self.more = False

    def take(self) -> dict[str, Any]:
        """The next piece, and the time of it as ``at``; nothing else where nothing has changed.

        It is an answer to ``why`` that lacks the unchanged instances. With ``names``, the instances are these, in
        this order; without, the same as before. `more`: another piece is due at once.
        """
        at = {"at": timestamp(time.time())}
        self._turn, state = self._core.turn, self._core.state
        names = [name for name in state.instances if self._only in (None, name)]
        changed = [name for name in names if state.instances[name] is not self._sent.get(name)]
        now, self.more = changed[:MAX_INSTANCES], len(changed) > MAX_INSTANCES
        report = self._report(state, now)
        head = {key: value for key, value in report.items() if key != "instances"}
        if not now and names == self._names and head == self._head:
            return at
        if names != self._names:
            report["names"] = names
        self._names, self._head = names, head
        self._sent = {name: each for name, each in self._sent.items() if name in state.instances}
        self._sent |= {name: state.instances[name] for name in now}
        return report | at

    async def changed(self) -> None:
        """Wait until the core has handled an event since the last `take`."""
        await self._core.turned(self._turn)
