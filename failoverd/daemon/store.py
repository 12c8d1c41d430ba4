"""The durable history: what was heard, what was done about it, with which commands and what came of it.

All of SQLite happens in a process of its own (``store_process.py``), behind a bounded queue (``store_link.py``). The
loop only ever appends to that queue: a disk that is slow, full, read-only or hung costs entries, which are counted, and
never a transition, a start or a stop (I10). Reads go through the same queue, and give up at their deadline.

Times are wall-clock seconds since the epoch on the way in, ISO 8601 with a zone on the way out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from failoverd.daemon.store_link import Launch, Link, StoreError
from failoverd.drivers import companion

__all__ = ["Store", "StoreError"]

#: The most entries that wait for the disk.
QUEUE = 10_000

#: Seconds that a reader waits where nothing else was said.
DEADLINE = 2.0

#: The longest text (characters) and the most commands that are kept of one entry.
TEXT, COMMANDS = 8_000, 200

#: Neither the directory that the daemon was started in nor a user's own packages have a say.
_PROGRAM = (sys.executable, "-P", "-s", "-m", "failoverd.daemon.store_process")


class Store:
    """History under `state_dir`. Nothing here blocks or raises, but for the reads, which raise StoreError.

    `start` once, `close` once, all in the event loop. `launch` starts the process; tests give another. `queue`: how
    many entries may wait for the disk; what comes after them is dropped and counted. `path`: where it is.
    """

    def __init__(self, state_dir: Path, *, launch: Launch | None = None, queue: int = QUEUE) -> None:
        self.path = state_dir / "history.db"
        program = (*_PROGRAM, str(self.path))
        self._link = Link(launch or partial(companion.run, program), queue)

    def start(self) -> None:
        """Open the database, in its process. Transitions that are open in it are marked as interrupted.

        Call it only once this daemon is sure to be the only one on this state directory.
        """
        self._link.start()

    @property
    def dropped(self) -> int:
        """How many entries were not written since the start."""
        return self._link.dropped

    @property
    def trouble(self) -> str | None:
        """Why history is not being written now, in one line; None when it is."""
        return self._link.trouble

    def record_event(
        self, *, at: float, boot_id: str, kind: str, name: str, state: str, source: str, verdict: str
    ) -> None:
        """Keep what was heard: `state` is the word as heard, `verdict` what became of it (accepted, stale, …)."""
        row = (at, *map(_clip, (boot_id, kind, name, state, source, verdict)))
        self._link.put("insert_event", row)

    def transition_started(self, id: int, *, instance: str, target: str, cause: str, at: float) -> None:
        """Keep that transition `id` began."""
        row = (id, _clip(instance), _clip(target), _clip(cause), at)
        self._link.put("insert_transition", row)

    def transition_ended(self, id: int, *, outcome: str, reason: str, at: float) -> None:
        """Keep how transition `id` ended, and why."""
        told = (_clip(outcome), _clip(reason), at)
        self._link.put("end_transition", id, told)

    def step_started(self, transition: int, *, resource: str, verb: str, started: float) -> None:
        """Keep that a step began, so that it is seen after a crash."""
        key = (transition, _clip(resource), verb, started)
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
        """Keep how a step ended; `started` as `step_started` had it. `commands`: each pasteable, in order."""
        key = (transition, _clip(resource), verb, started)
        kept = [_clip(command) for command in commands[:COMMANDS]]
        if len(commands) > COMMANDS:
            kept.append(f"# and {len(commands) - COMMANDS} more")
        told = (ended, _clip(outcome), "\n".join(kept), _clip(detail))
        self._link.put("end_step", key, told)

    async def history(self, n: int = 20, *, deadline: float = DEADLINE) -> list[dict[str, Any]]:
        """The newest `n` transitions with their steps, newest first, as ``history --json`` shows them."""
        found: list[dict[str, Any]] = await self._ask(deadline, "transitions", n)
        return found

    async def transition(self, id: int, *, deadline: float = DEADLINE) -> dict[str, Any] | None:
        """One transition with its steps; None when there is none of that id."""
        found: dict[str, Any] | None = await self._ask(deadline, "transition", id)
        return found

    async def last_events(self, boot_id: str, *, deadline: float = DEADLINE) -> list[dict[str, Any]]:
        """Of each (kind, name) the last event that was accepted in this boot: at, kind, name, state, source."""
        found: list[dict[str, Any]] = await self._ask(deadline, "last_events", boot_id)
        return found

    async def first_free_id(self, *, deadline: float = DEADLINE) -> int:
        """The id for the first transition of this daemon. Never raises: unread history gives the unix time."""
        try:
            return int(await self._ask(deadline, "free_id"))
        except StoreError:
            return int(time.time())

    async def close(self, *, deadline: float = DEADLINE) -> bool:
        """Write what waits and end, within `deadline` seconds. False: the disk did not let it; what waited is lost."""
        return await self._link.close(deadline)

    async def _ask(self, deadline: float, name: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(deadline):
                return await self._link.ask(name, *arguments)
        except TimeoutError:
            raise StoreError(f"history could not be read within {deadline:g} s: the disk is slow or hangs") from None


def _clip(text: str) -> str:
    """Keep memory bounded, and what strangers sent within what SQLite takes."""
    gap = f" [{len(text) - TEXT} characters are left out]" if len(text) > TEXT else ""
    return text[:TEXT].encode("utf-8", "backslashreplace").decode() + gap
