"""Tools that an earlier daemon started and did not see the end of, because it was killed.

They are still at work on their resource, so nothing else may be until they have ended. Each process of a step carries
in its environment what it is for (`command.marked`), which survives the daemon and needs no file to be kept right.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from failoverd.core.model import Verb
from failoverd.drivers.command import MARK
from failoverd.drivers.process import LADDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a process is for. `deadline`: until when it may run, in seconds of CLOCK_MONOTONIC.

    `session`: that of the daemon, and so of the tools that it starts; what has one of its own is a tool no more.
    """

    runtime_dir: str
    instance: str
    resource: str
    verb: str
    deadline: float
    session: int = field(default_factory=partial(os.getsid, 0))

    def text(self) -> str:
        """As it stands in the environment."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """The tools that still run for one step."""

    mark: Mark
    pids: tuple[int, ...]

    @property
    def verb(self) -> Verb:
        """What they are doing."""
        return Verb(self.mark.verb)

    async def end(self) -> bool:
        """Wait for them until their deadline, then kill them. True when they ended by themselves."""
        left = max(0.0, self.mark.deadline - time.monotonic())
        if await self._ended(left):
            return True
        for number, seconds in LADDER:
            for pid in self.pids:
                with suppress(ProcessLookupError):
                    os.killpg(pid, number)
            if await self._ended(seconds):
                break
        return False

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(_ended(pid) for pid in self.pids))
        except TimeoutError:
            return False
        return True


async def _ended(pid: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def find(runtime_dir: Path) -> list[Leftover]:
    """The tools that a daemon with this runtime directory left behind, one entry for each resource.

    Only the tools themselves, each the leader of its process group: what they have started may live for ever, as the
    process does that ``xl create`` makes a daemon of, to watch its guest.
    """
    found: dict[tuple[str, str], Leftover] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (mark := _mark(int(entry.name))) and mark.runtime_dir == str(runtime_dir):
            key = (mark.instance, mark.resource)
            others = found[key].pids if key in found else ()
            found[key] = Leftover(mark=mark, pids=(*others, int(entry.name)))
    return list(found.values())


def _mark(pid: int) -> Mark | None:
    """What the process was started for; None when it is none of ours, or has ended."""
    with suppress(OSError, ValueError, TypeError):
        if os.getpgid(pid) == pid:
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(f"{MARK}=".encode()):
                    mark = Mark(**json.loads(variable.partition(b"=")[2]))
                    return mark if os.getsid(pid) == mark.session else None
    return None
