"""Find the tools that a killed daemon left running, and wait for them.

They still work on their resource, so no other step may start on it until they have ended. Only a record in a directory
that only failoverd can write is trusted: it is written before the first tool of a step starts, and gets each tool's pid
and start time as soon as it runs. A tool that was started at the moment of the kill is found by the step's random
number in its environment.

This module must not end processes that a step left running on purpose.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from failoverd.core.words import Verb
from failoverd.osutil import pidfd, processes
from failoverd.ports import companion
from failoverd.ports.command import MARK
from failoverd.ports.process import LADDER
from failoverd.records import number, records, text

#: Seconds that failoverd waits for such a tool at most, whatever its record says.
MAX_WAIT_S = 3600.0

#: Tools of one step that the record keeps, the newest; no more run at once.
MAX_RECORDED_TOOLS = 64

_RECORD = "step-"

#: A process: its pid and its start time (clock ticks since boot), because pids are reused.
Identity = tuple[int, int]


class Flight:
    """A step in flight, with a record from its first tool on; `over` ends it.

    `things`: everything that it changes, because the next daemon may know the resource by another name. `deadline`: in
    seconds of CLOCK_MONOTONIC.
    """

    def __init__(self, *, instance: str, resource: str, things: frozenset[str], verb: Verb, deadline: float) -> None:
        self._id = secrets.token_hex(16)
        self._tools: deque[Identity] = deque(maxlen=MAX_RECORDED_TOOLS)
        self._unborn: set[int] = set()
        self._count = 0
        names = {"instance": instance, "resource": resource, "things": sorted(things)}
        self._fields = {**names, "verb": verb.value, "deadline": deadline}

    def tool(self) -> tuple[str, Callable[[int], None]]:
        """The value of the next tool's environment variable, and the function to call with its pid when it runs."""
        number, self._count = self._count, self._count + 1
        self._unborn.add(number)
        if number == 0:
            self._write()
        return f"{self._id}/{number}", partial(self._born, number)

    def over(self) -> None:
        """Remove the record: none of the step's tools runs any more."""
        if self._count:
            records.remove(_RECORD + self._id)

    def _born(self, number: int, pid: int) -> None:
        self._unborn.discard(number)
        with suppress(OSError):  # it has ended already
            self._tools.append((pid, processes.started(pid)))
            self._write()

    def _write(self) -> None:
        tools = {"tools": list(self._tools), "unborn": sorted(self._unborn), "count": self._count}
        records.write(_RECORD + self._id, {**self._fields, **_ourselves(), **tools})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The record of a step. `session`, `cgroup` and `words` (its command line) are those of its daemon.

    `tools`: those that are known to have run. `count`: the number of tools that were begun; the numbers in `unborn` are
    of those that may not have run yet.
    """

    id: str
    instance: str
    resource: str
    things: frozenset[str]
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
    """A running tool, which leads its process group. `pidfd` stays valid when the pid is reused."""

    pid: int
    pidfd: int

    def kill(self, number: int) -> None:
        """Signal its process group, whose number cannot be reused while the tool runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, 0)
            os.killpg(self.pid, number)

    def pipes(self) -> Iterator[int]:
        """The reading ends of the pipes into which the tool writes.

        Only pipes of its daemon are open for reading as well.
        """
        for descriptor in (1, 2):
            link = Path(f"/proc/{self.pid}/fd/{descriptor}")
            with suppress(OSError):
                if str(link.readlink()).startswith("pipe:") and processes.mode(self.pid, descriptor) == os.O_RDWR:
                    yield os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    async def ended(self) -> None:
        """Return when it has ended."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self.pidfd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """The tools that an earlier daemon left running on one resource: those of a step, and others that hung before it.

    `mark`: the step with the latest deadline. `things`: everything that they change. `on_record`: the names of all
    their records.
    """

    mark: Mark
    things: frozenset[str]
    tools: tuple[Tool, ...]
    on_record: tuple[str, ...]

    def beside(self, other: Orphan | None) -> Orphan:
        """Both together, for the same resource."""
        if other is None:
            return self
        mark = max(self.mark, other.mark, key=lambda it: it.deadline)
        return Orphan(
            mark=mark,
            things=self.things | other.things,
            tools=self.tools + other.tools,
            on_record=self.on_record + other.on_record,
        )

    @property
    def deadline(self) -> float:
        """The deadline of the wait, in seconds of CLOCK_MONOTONIC."""
        return min(self.mark.deadline, time.monotonic() + MAX_WAIT_S)

    async def end(self) -> bool:
        """Wait for the tools until their deadline, then kill them. Returns whether they ended by themselves."""
        readers = [asyncio.ensure_future(companion.read_on(pipe)) for tool in self.tools for pipe in tool.pipes()]
        ended = by_themselves = await self._ended(max(0.0, self.deadline - time.monotonic()))
        for signum, seconds in LADDER:
            if not ended:
                for tool in self.tools:
                    tool.kill(signum)
                ended = await self._ended(seconds)
        for reader in readers:
            reader.cancel()
        for tool in self.tools:
            os.close(tool.pidfd)
        if ended:  # else the next daemon must know of them too
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


def find() -> list[Orphan]:
    """The orphans of an earlier daemon, one for each resource on which tools still work. Never raises.

    It finds the tools only. Their own children may run without a limit, such as the daemon that ``xl create`` starts
    for its guest. A process that waits for a hanging disk before it becomes a tool is killed: it must never become one.
    """
    found: dict[tuple[str, str], Orphan] = {}
    marks = [mark for record in records.names(f"{_RECORD}*") if (mark := _mark(record)) is not None]
    pids = processes.everyone() if marks else []
    for mark in marks:
        ids = sorted({*mark.tools, *_unrecorded(mark, pids)})
        tools, key = [tool for identity in ids if (tool := _tool(identity)) is not None], (mark.instance, mark.resource)
        if tools:
            one = Orphan(mark=mark, things=mark.things, tools=tuple(tools), on_record=(_RECORD + mark.id,))
            found[key] = one.beside(found.get(key))
        else:
            records.remove(_RECORD + mark.id)
    return list(found.values())


def _mark(record: str) -> Mark | None:
    """Read the record; one that cannot be parsed, or is of another boot, is removed."""
    mark = records.read(record, partial(_understand, record.removeprefix(_RECORD)))
    if mark is None:
        records.remove(record)
    return mark


def _understand(step: str, fields: Mapping[str, Any]) -> Mark:
    return Mark(
        id=step,
        instance=text(fields["instance"]),
        resource=text(fields["resource"]),
        things=frozenset(map(text, fields.get("things", ()))),  # an earlier release recorded none
        verb=Verb(fields["verb"]),
        deadline=number(fields["deadline"]),
        session=int(number(fields["session"])),
        cgroup=text(fields["cgroup"]),
        words=text(fields["words"]),
        tools=tuple([(int(number(pid)), int(number(started))) for pid, started in fields["tools"]]),
        unborn=frozenset(map(number, fields["unborn"])),
        count=int(number(fields["count"])),
    )


def _unrecorded(mark: Mark, pids: list[int]) -> list[Identity]:
    """The tools that were started so shortly before the kill that the record lacks them: the first of each number."""
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
    """The start time of the process if the record's daemon may have started it, else None.

    OSError: it cannot be read.
    """
    if os.getpgid(pid) != pid or os.getsid(pid) != mark.session or pid in (mark.session, os.getpid()):
        return None
    process = processes.look(pid)
    if process is None or processes.cgroup(pid) != mark.cgroup:
        return None
    return process.started


def _which(pid: int, mark: Mark) -> int | None:
    """The number of the step's tool that the process is, or descends from; None: no tool of this step.

    ValueError: malformed.
    """
    start = f"{MARK}={mark.id}/".encode()
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if variable.startswith(start):
            return int(variable.removeprefix(start))
    return None


def _end_unborn(identity: Identity, mark: Mark) -> None:
    """Kill a process that is still a copy of its daemon, and waits for the disk of the program that it is to become."""
    pid, _ = identity
    if processes.unborn(pid) and _command_line(pid) == mark.words and (it := _tool(identity)) is not None:
        signal.pidfd_send_signal(it.pidfd, signal.SIGKILL)
        os.close(it.pidfd)


def _tool(identity: Identity) -> Tool | None:
    """The process, held by a pidfd so that its pid can mean no other; None: it has ended."""
    pid, started = identity

    def is_meant() -> bool:
        process = processes.look(pid)
        return process is not None and process.started == started

    held = pidfd.hold(pid, is_meant)
    return None if held is None else Tool(pid, held)


@cache
def _ourselves() -> dict[str, Any]:
    """The fields by which the next daemon recognises processes of this one."""
    return {"session": os.getsid(0), "cgroup": processes.cgroup("self"), "words": _command_line("self")}


def _command_line(pid: int | str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode("latin-1")
