"""Tools that an earlier daemon started and did not see the end of, because it was killed.

They are still at work on their resource, so nothing else may be until they have ended. What is believed is a record
that only we can write: it is there before the first tool of a step starts, and has each tool's pid and start as soon as
it runs. One that was started in the very moment of the kill is found by the step's number in its environment, which
nobody can guess. What this must not do: end what a step left running on purpose.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from failoverd import processes
from failoverd.core.words import Verb
from failoverd.drivers.command import MARK
from failoverd.drivers.process import LADDER
from failoverd.records import records

#: Seconds for which a tool that was left running is awaited at the most, whatever its record says.
LONGEST = 3600.0

#: Tools of one step that are kept on record, the newest; no more are at work at once.
TOOLS = 64

_RECORD = "step-"

#: A process: its pid, and when it was started (clock ticks since boot), since pids come round again.
Identity = tuple[int, int]


class Flight:
    """A step in flight, with a record of it from its first tool on; `over` is its end.

    `deadline`: until when it may run, in seconds of CLOCK_MONOTONIC.
    """

    def __init__(self, *, instance: str, resource: str, verb: Verb, deadline: float) -> None:
        self._id = secrets.token_hex(16)
        self._tools: deque[Identity] = deque(maxlen=TOOLS)
        self._unborn: set[int] = set()
        self._count = 0
        self._said = {"instance": instance, "resource": resource, "verb": verb.value, "deadline": deadline}

    def tool(self) -> tuple[str, Callable[[int], None]]:
        """What the next tool has in its environment, and what is to be called with its pid as soon as it runs."""
        number, self._count = self._count, self._count + 1
        self._unborn.add(number)
        if number == 0:
            self._write()
        return f"{self._id}/{number}", partial(self._born, number)

    def over(self) -> None:
        """None of its tools is at work any more."""
        if self._count:
            records.remove(_RECORD + self._id)

    def _born(self, number: int, pid: int) -> None:
        self._unborn.discard(number)
        with suppress(OSError):  # it has ended: there is nothing to remember
            self._tools.append((pid, processes.started(pid)))
            self._write()

    def _write(self) -> None:
        ours = {"session": os.getsid(0), "cgroup": processes.cgroup("self"), "words": _words("self")}
        tools = {"tools": list(self._tools), "unborn": sorted(self._unborn), "count": self._count}
        records.write(_RECORD + self._id, {**self._said, **ours, **tools})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is on record of a step. `session`, `cgroup` and `words` (its command line) are its daemon's.

    `tools`: those that are known to have run. Of the first `count`, by number, all but the `unborn` are.
    """

    id: str
    instance: str
    resource: str
    verb: Verb
    deadline: float
    session: int
    cgroup: str
    words: str
    tools: tuple[Identity, ...]
    unborn: frozenset[float]
    count: int


@dataclass(frozen=True, slots=True)
class Tool:
    """One that still runs, and leads its process group; `pidfd` is it, whatever becomes of its number."""

    pid: int
    pidfd: int

    def kill(self, number: int) -> None:
        """Signal its group, whose number is its own for as long as it lives."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, 0)
            os.killpg(self.pid, number)

    async def ended(self) -> None:
        """Wait for its end."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self.pidfd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """The tools that still run for what was under way on one resource: a step, and others that hung before it.

    `mark`: of the one that has the most time left. `on_record`: the names of the records of all.
    """

    mark: Mark
    tools: tuple[Tool, ...]
    on_record: tuple[str, ...]

    def beside(self, other: Leftover | None) -> Leftover:
        """Both as one."""
        if other is None:
            return self
        mark = max(self.mark, other.mark, key=lambda it: it.deadline)
        return Leftover(mark=mark, tools=self.tools + other.tools, on_record=self.on_record + other.on_record)

    @property
    def deadline(self) -> float:
        """Until when they are awaited, in seconds of CLOCK_MONOTONIC."""
        return min(self.mark.deadline, time.monotonic() + LONGEST)

    async def end(self) -> bool:
        """Wait for them until their deadline, then kill them. True when they ended by themselves."""
        ended = by_themselves = await self._ended(max(0.0, self.deadline - time.monotonic()))
        for number, seconds in LADDER:
            if not ended:
                for tool in self.tools:
                    tool.kill(number)
                ended = await self._ended(seconds)
        for tool in self.tools:
            os.close(tool.pidfd)
        if ended:  # else the next daemon shall know of it too
            for record in self.on_record:
                records.remove(record)
        return by_themselves

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(tool.ended() for tool in self.tools))
        except TimeoutError:
            return False
        return True


def find() -> list[Leftover]:
    """What an earlier daemon left behind, one entry for each resource that tools still work on. Never raises.

    Only the tools themselves: what they have started may live for ever, as the process does that ``xl create`` makes a
    daemon of, to watch its guest. What has yet to become a tool, on a disk that hangs, is killed: it never does.
    """
    found: dict[tuple[str, str], Leftover] = {}
    marks = [mark for record in records.names(f"{_RECORD}*") if (mark := _mark(record)) is not None]
    pids = processes.everyone() if marks else []
    for mark in marks:
        ids = sorted({*mark.tools, *_unrecorded(mark, pids)})
        tools, key = [tool for identity in ids if (tool := _tool(identity)) is not None], (mark.instance, mark.resource)
        if tools:
            one = Leftover(mark=mark, tools=tuple(tools), on_record=(_RECORD + mark.id,))
            found[key] = one.beside(found.get(key))
        else:
            records.remove(_RECORD + mark.id)
    return list(found.values())


def _mark(record: str) -> Mark | None:
    """The record as it was written; one that says something else, or is of another boot, is removed."""
    said = records.read(record) or {}
    try:
        return Mark(
            id=record.removeprefix(_RECORD),
            instance=_text(said["instance"]),
            resource=_text(said["resource"]),
            verb=Verb(said["verb"]),
            deadline=_number(said["deadline"]),
            session=int(_number(said["session"])),
            cgroup=_text(said["cgroup"]),
            words=_text(said["words"]),
            tools=tuple([(int(_number(pid)), int(_number(started))) for pid, started in said["tools"]]),
            unborn=frozenset(map(_number, said["unborn"])),
            count=int(_number(said["count"])),
        )
    except (LookupError, ValueError, TypeError, AttributeError):
        records.remove(record)
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(value)
    return value


def _unrecorded(mark: Mark, pids: list[int]) -> list[Identity]:
    """The tools that were started so shortly before the kill that they are not on record: the first of each number."""
    found: dict[int, Identity] = {}
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            if (started := _ours(pid, mark)) is None:
                continue
            number = _which(pid, mark)
            if number is None:
                _end_unborn((pid, started), mark)
            elif number >= mark.count or number in mark.unborn:
                found[number] = min(found.get(number, (pid, started)), (pid, started), key=lambda it: it[::-1])
    return list(found.values())


def _ours(pid: int, mark: Mark) -> int | None:
    """When it was started, if that may have been by the daemon of the record. OSError when it cannot be seen."""
    if os.getpgid(pid) != pid or os.getsid(pid) != mark.session or pid in (mark.session, os.getpid()):
        return None
    process = processes.look(pid)
    if process is None or process.uid != os.geteuid() or processes.cgroup(pid) != mark.cgroup:
        return None
    return process.started


def _which(pid: int, mark: Mark) -> int | None:
    """Which of the step's tools it is, or descends from; None: of no tool of this step's. ValueError: garbage."""
    start = f"{MARK}={mark.id}/".encode()
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if variable.startswith(start):
            return int(variable.removeprefix(start))
    return None


def _end_unborn(identity: Identity, mark: Mark) -> None:
    """A process that is still what its daemon was, and waits for the disk of the program that it is to become."""
    pid, _ = identity
    if processes.unborn(pid) and _words(pid) == mark.words and (it := _tool(identity)) is not None:
        signal.pidfd_send_signal(it.pidfd, signal.SIGKILL)
        os.close(it.pidfd)


def _tool(identity: Identity) -> Tool | None:
    """The process, held so that no other can be taken for it; None when it has ended."""
    pid, started = identity
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):  # it has ended, or was never a pid
        return None
    with suppress(OSError, ValueError, IndexError):
        process = processes.look(pid)
        if process is not None and process.started == started:
            return Tool(pid, pidfd)
    os.close(pidfd)
    return None


def _words(pid: int | str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode("latin-1")
