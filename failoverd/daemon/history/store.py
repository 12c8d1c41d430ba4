"""The durable history: events, transitions, and steps with their commands and outcomes.

It must never delay a transition, a start or a stop (I10): all of SQLite is in a process of its own (``process.py``)
behind a bounded queue (``link.py``), and the loop only appends to that queue. A disk that is slow, full, read-only or
hung costs entries, which are counted. Reads use the same queue and have a deadline.

Answers have times in ISO 8601 with a zone. Callers give those of events in seconds since the epoch, those of
transitions and steps in seconds of CLOCK_MONOTONIC. One offset converts all times of one transition, so its durations
are right even if the system time is set meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from failoverd.daemon.history.link import Launch, Link, StoreError
from failoverd.ports import companion

__all__ = ["Store", "StoreError"]

#: The most entries that wait for the disk.
QUEUE_MAX_ENTRIES = 10_000
#: Default deadline of a query, in seconds.
QUERY_TIMEOUT_S = 2.0
#: Longer texts are cut, in characters.
TEXT_MAX_CHARS = 8_000
#: Further commands of a step are only counted.
STEP_MAX_COMMANDS = 200
#: How many of the newest transitions keep their offset to the system time.
KEPT_OFFSETS = 1_000

#: -P and -s: it imports nothing from the working directory or from a user's own packages.
_PROGRAM = (sys.executable, "-P", "-s", "-m", "failoverd.daemon.history.process")


def _ahead() -> float:
    return time.time() - time.monotonic()


class Store:
    """The history below `state_dir`. No method blocks; only queries raise, and only StoreError.

    Call `start` once and `close` once, all in the event loop. `launch` starts the process. `queue`: how many entries
    may wait for the disk; further ones are dropped and counted. `ahead` returns the system time minus CLOCK_MONOTONIC,
    in seconds. `path`: the database.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        launch: Launch | None = None,
        queue: int = QUEUE_MAX_ENTRIES,
        ahead: Callable[[], float] = _ahead,
    ) -> None:
        self.path = state_dir / "history.db"
        program = (*_PROGRAM, str(self.path))
        self._link = Link(launch or partial(companion.run, program), queue)
        self._ahead = ahead
        self._offsets: dict[int, float] = {}

    def start(self) -> None:
        """Start the process, which opens the database and marks open transitions as interrupted.

        Call it only when this daemon holds the lock, so that no other daemon uses the state directory.
        """
        self._link.start()

    @property
    def dropped(self) -> int:
        """How many entries were lost since the start."""
        return self._link.dropped

    @property
    def trouble(self) -> str | None:
        """Why the history cannot be written now, in one line; None: it can."""
        return self._link.trouble

    def record_event(
        self, *, at: float, boot_id: str, kind: str, name: str, state: str, source: str, verdict: str
    ) -> None:
        """Add an event. `state`: as keepalived wrote it. `verdict`: accepted, stale, duplicate, ignored or rejected."""
        row = (at, *map(_clip, (boot_id, kind, name, state, source, verdict)))
        self._link.put("insert_event", row)

    def transition_started(self, id: int, *, instance: str, target: str, cause: str, at: float) -> None:
        """Add transition `id`, which has begun."""
        row = (id, _clip(instance), _clip(target), _clip(cause), self._wall(id, at))
        self._link.put("insert_transition", row)

    def transition_ended(self, id: int, *, outcome: str, reason: str, at: float) -> None:
        """Complete transition `id`."""
        told = (_clip(outcome), _clip(reason), self._wall(id, at))
        self._link.put("end_transition", id, told)

    def step_started(self, transition: int, *, resource: str, verb: str, started: float) -> None:
        """Add a step that has begun, so that a crash leaves a trace of it."""
        key = (transition, _clip(resource), verb, self._wall(transition, started))
        self._link.put("insert_step", key)

    def step_ended(
        self,
        transition: int,
        *,
        resource: str,
        verb: str,
        started: float,
        ended: float,
        outcome: str,
        commands: Sequence[str],
        detail: str,
    ) -> None:
        """Complete a step. `started`: as in `step_started`. `commands`: each pasteable, in order."""
        key = (transition, _clip(resource), verb, self._wall(transition, started))
        kept = [_clip(command) for command in commands[:STEP_MAX_COMMANDS]]
        if len(commands) > STEP_MAX_COMMANDS:
            kept.append(f"# and {len(commands) - STEP_MAX_COMMANDS} more")
        told = (self._wall(transition, ended), _clip(outcome), "\n".join(kept), _clip(detail))
        self._link.put("end_step", key, told)

    def waited(
        self, transition: int, *, resource: str, kind: str, names: Sequence[str], started: float, ended: float
    ) -> None:
        """Add a wait of a resource, which has ended. `names`: the resources for which it waited."""
        times = (self._wall(transition, started), self._wall(transition, ended))
        self._link.put("insert_wait", (transition, _clip(resource), kind, _clip("\n".join(names)), *times))

    async def history(self, n: int = 20, *, deadline: float = QUERY_TIMEOUT_S) -> list[dict[str, Any]]:
        """The newest `n` transitions with their steps, newest first, as ``history --json`` shows them."""
        found: list[dict[str, Any]] = await self._ask(deadline, "transitions", n)
        return found

    async def transition(self, id: int, *, deadline: float = QUERY_TIMEOUT_S) -> dict[str, Any] | None:
        """One transition with its steps and waits; None: there is none of that id."""
        found: dict[str, Any] | None = await self._ask(deadline, "transition", id)
        return found

    async def durations(
        self, instance: str, verb: str, *, deadline: float = QUERY_TIMEOUT_S
    ) -> dict[str, dict[str, Any]]:
        """For each resource of `instance`, how long its successful steps took: samples, median, p95 (seconds)."""
        found: dict[str, dict[str, Any]] = await self._ask(deadline, "durations", instance, verb)
        return found

    async def faults(self, *, deadline: float = QUERY_TIMEOUT_S) -> dict[str, Any]:
        """The kinds of faults that have happened, as ``drill --json`` shows them."""
        found: dict[str, Any] = await self._ask(deadline, "faults")
        return found

    async def first_free_id(self, *, deadline: float = QUERY_TIMEOUT_S) -> int:
        """The id for this daemon's first transition: the next unused one, or the Unix time if the query fails."""
        try:
            return int(await self._ask(deadline, "free_id"))
        except StoreError:
            return int(time.time())

    async def close(self, *, deadline: float = QUERY_TIMEOUT_S) -> bool:
        """Write the queued entries and exit, within `deadline` seconds. False: some are lost."""
        return await self._link.close(deadline)

    def _wall(self, transition: int, at: float) -> float:
        """`at` in seconds since the epoch, by the offset of that transition."""
        if transition not in self._offsets:
            self._offsets[transition] = self._ahead()
            if len(self._offsets) > KEPT_OFFSETS:
                del self._offsets[next(iter(self._offsets))]
        return at + self._offsets[transition]

    async def _ask(self, deadline: float, name: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(deadline):
                return await self._link.ask(name, *arguments)
        except TimeoutError:
            raise StoreError(f"cannot read the history within {deadline:g} s: the disk is slow or hangs") from None


def _clip(text: str) -> str:
    """Bound the memory, and escape what SQLite cannot store."""
    gap = f" [{len(text) - TEXT_MAX_CHARS} characters omitted]" if len(text) > TEXT_MAX_CHARS else ""
    return text[:TEXT_MAX_CHARS].encode("utf-8", "backslashreplace").decode() + gap
