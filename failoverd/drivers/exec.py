"""The way to drive what has no driver of its own: three commands that an administrator names.

What this must not do: use a shell, or take an exit status that was not agreed upon for an answer.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from failoverd.core.model import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError, command, option

#: What `observe` exits with, as LSB's `status` does; anything else means that it could not tell.
LEVELS = {0: Level.ACTIVE, 3: Level.STANDBY}

#: Seconds that `observe` may take.
PATIENCE = 10.0

_ARGV = {"type": "array", "items": {"type": "string"}, "minItems": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "exec"`` resource: programs with their arguments, run without a shell."""

    activate: tuple[str, ...] = option("Starts it, and exits 0 when it is up; also when it already was.", **_ARGV)
    deactivate: tuple[str, ...] = option("Stops it, and exits 0 when it is down; also when it already was.", **_ARGV)
    observe: tuple[str, ...] = option(
        "Looks, changes nothing, and exits within 10 s: 0 when it is up, 3 when it is down; anything else means that "
        "it could not tell. The first line of its output is shown.",
        **_ARGV,
    )

    def __post_init__(self) -> None:
        """Hold each list to what a program can be started from; ValueError says what is wrong."""
        for name in ("activate", "deactivate", "observe"):
            argv = getattr(self, name)
            if isinstance(argv, str) or not argv or not argv[0]:
                raise ValueError(f'{name}: a list of words is expected, the program first: ["/usr/bin/tool", "start"]')

    @property
    def owns(self) -> tuple[str, ...]:
        """Nobody knows what the commands change."""
        return ()

    @property
    def seen_by(self) -> str:
        """What one looks at it with: where that is the same, so is what is moved."""
        return shlex.join(self.observe)


def make(options: Options, spec: ResourceSpec) -> Exec:
    """The driver of what these three commands drive."""
    del spec  # the caller bounds both verbs
    return Exec(options)


class Exec:
    """Something that three commands start, stop and look at."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def observe(self) -> Observation:
        """What the `observe` command says."""
        try:
            done = await command.run(self._options.observe, timeout=PATIENCE, whole=False)
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        return seen(done)

    async def activate(self) -> str | None:
        """Run the `activate` command."""
        await self._run(self._options.activate)
        return None

    async def deactivate(self) -> str | None:
        """Run the `deactivate` command."""
        await self._run(self._options.deactivate)
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The one command that `verb` is."""
        return (shlex.join(self._options.activate if verb is Verb.ACTIVATE else self._options.deactivate),)

    async def _run(self, argv: tuple[str, ...]) -> None:
        done = await command.run(argv, whole=False)
        if done.returncode != 0:
            raise DriverError(why_not(done))


def seen(done: command.Completed) -> Observation:
    """The exit status as a level, and the first thing said as its detail."""
    said = command.first_line(done.stdout) or command.first_line(done.stderr)
    level = LEVELS.get(done.returncode, Level.UNKNOWN)
    detail = said if level is not Level.UNKNOWN else f"exit status {done.returncode}" + (f": {said}" if said else "")
    return Observation(level=level, detail=detail)


def why_not(done: command.Completed) -> str:
    """Why a command failed, in its own last words."""
    said = command.last_line(done.stderr) or command.last_line(done.stdout)
    return f"{shlex.join(done.argv)}: exit status {done.returncode}" + (f": {said}" if said else "")
