"""Run a fence agent (package fence-agents): options on standard input, each run within its deadline, all of it ended.

An agent's exit status is trusted in one case only: 2 of the action `status` means that the machine is off. `off` may
succeed and leave the machine on, and an agent that gets a key that it does not know uses a default instead.
"""

from __future__ import annotations

import asyncio
import difflib
import re
import secrets
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from failoverd.core.spec import Fence
from failoverd.osutil import pidfd, processes, threads
from failoverd.ports import command
from failoverd.ports.command import Completed
from failoverd.ports.errors import DriverError, Hung, NotStarted
from failoverd.ports.fence import credentials, metadata

#: Of the names of agents.
_PREFIX = "fence_"

#: For the agent's metadata, which needs no network; and for its action `status`, where `off` has its own timeout.
METADATA_TIMEOUT_S, STATUS_TIMEOUT_S = 10.0, 20.0

#: For the search for processes that an agent has left behind.
_REST_TIMEOUT_S = 2.0
_ROUNDS, _ROUND_S = 10, 0.02

#: How old the answer to `status` may be: this process, or the machine, may have been stopped before it was read.
_PROOF_MAX_S = STATUS_TIMEOUT_S + 10.0

#: The exit status of `status`: the machine is on, and it is off.
_ON, _OFF = 0, 2

#: What an agent writes of a key that it does not take (fencing.py, _parse_input_stdin).
_IGNORED = re.compile(r"Parse error: Ignoring")
_ERROR = re.compile(r"^.*?\b(?:ERROR|CRITICAL): *(?=\S)")
_LINE_MAX_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What has become of a machine. `off`: it is proven to be off; `said`: one line for a person, without secrets.

    `hung`: the run that could not be ended, even by SIGKILL. `called_off`: nothing was done, since it was barred.
    """

    off: bool
    said: str
    hung: Hung | None = None
    called_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The answer to `status`. `on`: None: the agent does not know; `said`: one line for a person, without secrets."""

    on: bool | None
    said: str


async def power_off(fence: Fence, barred: Callable[[], str | None] = lambda: None) -> Report:
    """Power the machine off, and prove it. Never raises for what the agent does.

    It takes at most `fence.worst_case` seconds. Nothing is done where the agent would not take the keys as meant, or
    where `barred`, which is called just before, says why not.
    """
    try:
        if wrong := await _wrong_keys(fence):
            return Report(off=False, said=f"{fence.agent}: nothing was done: {wrong[0]}")
        agent = _Agent(fence)
    except DriverError as error:
        return Report(off=False, said=f"nothing was done: {error.reason}", hung=_hung(error))
    if (why := barred()) is not None:
        return Report(off=False, said=f"called off: {why}", called_off=True)
    try:
        done = await agent.run("off", fence.timeout)
        tried = _described("off", done.returncode, agent.line(done))
        if broken := done.returncode == _OFF:
            tried += ", which no agent returns that works"
    except Hung as error:
        return Report(off=False, said=agent.clean(error.reason), hung=error)
    except DriverError as error:
        tried, broken = agent.failure("off", error), False
    asked = _boottime()
    try:
        power = await agent.status()
    except Hung as error:
        return Report(off=False, said=agent.clean(error.reason), hung=error)
    said = f"{tried}; then {power.said}"
    if late := _boottime() - asked > _PROOF_MAX_S:
        said += ", but failoverd was stopped meanwhile"
    off = power.on is False and not broken and not late
    return Report(off=off, said=f"{fence.agent}: {'' if off else 'not proven to be off: '}{said}")


async def status(fence: Fence) -> Power:
    """Ask the agent whether the machine is on, which changes nothing. Never raises for what the agent does."""
    try:
        return await _Agent(fence).status()
    except DriverError as error:
        return Power(on=None, said=error.reason)


async def obstacles(fence: Fence) -> list[str]:
    """Why a fencing would do nothing, a sentence each: the agent is missing, or does not take the keys.

    It needs no secret, and asks the agent for its metadata only. Never raises for what the agent does.
    """
    try:
        return await _wrong_keys(fence)
    except DriverError as error:
        return [error.reason]


def lacking(fence: Fence) -> dict[str, credentials.CredentialUnusable]:
    """The credentials of the secrets that are of no use here now, by their names. Nobody but root learns that."""
    found = {}
    for name in fence.secrets.values():
        try:
            credentials.read(name)
        except credentials.CredentialUnusable as error:
            found[name] = error
        except DriverError:  # this is not root
            continue
    return found


async def _wrong_keys(fence: Fence) -> list[str]:
    """All that is wrong with the options and secrets by the agent's metadata. DriverError: it gives none."""
    try:
        done = await _ended((fence.agent,), "action=metadata\n", METADATA_TIMEOUT_S)
    except NotStarted as error:
        raise NotStarted(await _not_started(Path(fence.agent), error.reason)) from error
    try:
        known = metadata.parse(done.stdout)
    except ValueError as error:
        said = _described("metadata", done.returncode, command.last_line(done.stderr)) if done.returncode else ""
        reason = f"{fence.agent}: {error}" + (f" ({said})" if said else "")
        raise DriverError(f"{reason}; run: {shlex.quote(fence.agent)} -o metadata") from error
    return metadata.problems(known, fence.options, fence.secrets)


async def _not_started(agent: Path, reason: str) -> str:
    """Why the agent could not be started, with the remedy. `reason`: by the error of the kernel alone."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(_REST_TIMEOUT_S):
            if await threads.run(agent.is_dir):
                return f"{agent}: is a directory; expected the path of an agent, such as /usr/sbin/fence_ipmilan"
    return f"{reason}{await _instead(agent)}"


async def _instead(agent: Path) -> str:
    """What to use instead of an agent that is not there, to be added to a sentence; empty: it is there."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(_REST_TIMEOUT_S):
            names = await threads.run(lambda: [each.name for each in agent.parent.glob(f"{_PREFIX}*")])
            if agent.name not in names:
                ends = [name.removeprefix(_PREFIX) for name in names]
                near = difflib.get_close_matches(agent.name.removeprefix(_PREFIX), ends, n=1)
                return f"; did you mean {_PREFIX}{near[0]}?" if near else "; Debian has agents in fence-agents"
    return ""


class _Agent:
    """An agent with its options and secrets. DriverError: a secret cannot be read."""

    def __init__(self, fence: Fence) -> None:
        values = {key: credentials.read(name) for key, name in fence.secrets.items()}
        self._argv = (fence.agent,)
        self._hidden = sorted(values.values(), key=len, reverse=True)
        self._given = "".join(f"{key}={_quoted(value)}\n" for key, value in {**fence.options, **values}.items())

    async def run(self, action: str, timeout: float) -> Completed:
        """Run one action. DriverError: it did not end by itself in time, or could not be started."""
        return await _ended(self._argv, f"action={action}\n{self._given}", timeout)

    async def status(self) -> Power:
        """The answer to `status`. Raises Hung only."""
        try:
            done = await self.run("status", STATUS_TIMEOUT_S)
        except Hung:
            raise
        except DriverError as error:
            return Power(on=None, said=self.failure("status", error))
        said = _described("status", done.returncode, self.line(done))
        if _IGNORED.search(done.stderr):
            return Power(on=None, said=f"{said}, and it has ignored a key")
        return Power(on={_ON: True, _OFF: False}.get(done.returncode), said=said)

    def line(self, done: Completed) -> str:
        """The line of its output that says most: its error, or the last one."""
        stdout, stderr = self._hide(done.stdout), self._hide(done.stderr)
        errors = [line for line in stderr.splitlines() if _ERROR.match(line)]
        line = command.first_line(_ERROR.sub("", errors[0])) if errors else ""
        return self.clean(line or command.last_line(stdout) or command.last_line(stderr))

    def failure(self, action: str, error: DriverError) -> str:
        """Why one action has no exit status, without the agent's own name."""
        return f"`{action}`: {self.clean(error.reason).removeprefix(f'{self._argv[0]}: ')}"

    def _hide(self, text: str) -> str:
        for each in self._hidden:
            text = text.replace(each, "***")
        return text

    def clean(self, text: str) -> str:
        """The beginning of `text` for a person, without the secrets."""
        text = self._hide(text)
        return "".join(c if c.isprintable() else " " for c in text)[:_LINE_MAX_CHARS].strip()


def _boottime() -> float:
    """Seconds, also those of a machine that was suspended. The loop's clock leaves out the time of a stall."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _quoted(value: str) -> str:
    """As the agents read it: they remove blanks at both ends, and one pair of quotation marks."""
    return f'"{value}"' if value != value.strip() or value[:1] == value[-1:] == '"' else value


def _described(action: str, returncode: int, line: str) -> str:
    ended = f"exit status {returncode}" if returncode >= 0 else f"ended by {signal.Signals(-returncode).name}"
    if action == "status" and returncode in (_ON, _OFF):
        return "`status` says that it is " + ("off" if returncode == _OFF else "on")
    return f"`{action}`: {ended}" + (f", {line}" if line else "")


def _hung(error: DriverError) -> Hung | None:
    return error if isinstance(error, Hung) else None


class _Mark:
    """Marks the processes of one run, so that none of them is left."""

    def __init__(self) -> None:
        self.value = f"fence-{secrets.token_hex(16)}"

    def tool(self) -> tuple[str, Callable[[int], None]]:
        return self.value, lambda _pid: None


async def _ended(argv: tuple[str, ...], given: str, timeout: float) -> Completed:
    """Run the agent, and end all that it has left behind. Raises what `command.run` raises."""
    mark, since = _Mark(), processes.now()
    try:
        with command.marked(mark):
            return await command.run(argv, timeout=timeout, input=given.encode())
    finally:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_REST_TIMEOUT_S):
                await threads.run(_end_rest, f"{command.MARK}={mark.value}".encode(), since)


def _end_rest(mark: bytes, since: int) -> None:
    """Kill every process that has the mark, until none is left that could start another one.

    `since`: clock ticks at the start of the agent. Each of its processes is younger.
    """
    for _ in range(_ROUNDS):
        found = {pid: marked for pid in processes.everyone() if (marked := _marked(pid, mark, since)) is not False}
        if not found:
            return
        for pid in (pid for pid, marked in found.items() if marked):
            pidfd.kill(pid, partial(_is_meant, pid, mark, since))
        time.sleep(_ROUND_S)


def _is_meant(pid: int, mark: bytes, since: int) -> bool:
    return _marked(pid, mark, since) is True


def _marked(pid: int, mark: bytes, since: int) -> bool | None:
    """Whether the process has the mark; None: it is about to become another program, and has no environment yet."""
    try:
        if processes.started(pid) < since:
            return False
        environment = (processes.PROC / str(pid) / "environ").read_bytes()
    except (OSError, ValueError, IndexError):  # it has exited
        return False
    return mark in environment.split(b"\0") if environment else None
