"""Commands of the administrator, for a resource without a driver of its own.

`observe` and `deactivate` are optional. Without `observe`, the last step determines the level. Without `deactivate`,
the resource is a claim that a node cannot give back, as that of an address at a provider: the other node takes it, and
a deactivation only records that this node is standby.

It must not use a shell, and must not derive a level from any exit status except 0 and 3.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.core.options import option
from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.osutil import processes
from failoverd.ports import command
from failoverd.ports.errors import DriverError, NotStarted
from failoverd.records import number, records

#: The levels by exit status of `observe`, as for `status` in the LSB; UNKNOWN for any other.
LEVELS = {0: Level.ACTIVE, 3: Level.STANDBY}

OBSERVE_TIMEOUT_S = 10.0

#: Errors that a sandbox causes: the texts of EPERM and EAFNOSUPPORT, and sudo's message.
_REFUSED = ("Operation not permitted", "Address family not supported by protocol", "no new privileges")
_SANDBOX = "man 8 failoverd lists what it refuses, and how to open it"

#: The exit statuses of chroot(1) if it cannot change to the user, or cannot start the command.
_CHROOT_FAILED = frozenset({125, 126, 127})

_ARGV = {"type": "array", "items": {"type": "string"}}
_LEVEL = {Verb.ACTIVATE: Level.ACTIVE, Verb.DEACTIVATE: Level.STANDBY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "exec"`` resource: programs with their arguments, run without a shell."""

    activate: tuple[str, ...] = option(
        "Starts it, and exits 0 when it is up; also if it was already.", minItems=1, **_ARGV
    )
    deactivate: tuple[str, ...] = option(
        "Stops it, and exits 0 when it is down; also if it was already. Empty: this node cannot give it back, the "
        "other node takes it.",
        **_ARGV,
    )
    observe: tuple[str, ...] = option(
        "Observes it, changes nothing, and exits within 10 s: with 0 if it is up, 3 if it is down, and any other "
        "status if the state is unknown. The first line of its output is shown. Empty: the last step determines the "
        "level.",
        default=(),
        **_ARGV,
    )
    user: str | None = option("The user as whom the commands run; root if not given.", default=None)

    def __post_init__(self) -> None:
        """Check that each list names a program. ValueError, with the expected form, if one does not."""
        for name in ("activate", "deactivate", "observe"):
            argv = getattr(self, name)
            empty = name != "activate" and argv == ()
            if not empty and (isinstance(argv, str) or not argv or not argv[0]):
                raise ValueError(f'{name}: a list of words is expected, the program first: ["/usr/bin/tool", "start"]')

    @property
    def owns(self) -> tuple[str, ...]:
        """The record of the last step, if there is one: two resources must not share it.

        Nothing else, because failoverd does not know the effect of the commands.
        """
        known = f"what is remembered of `{self.seen_by}` (no `observe`, or no `deactivate`)"
        return (known,) if self.remembered else ()

    @property
    def remembered(self) -> bool:
        """Whether the last step is recorded, because `observe` or `deactivate` is missing."""
        return not (self.observe and self.deactivate)

    @property
    def seen_by(self) -> str:
        """The command that identifies the resource: two resources with the same command are one."""
        return shlex.join(self.as_user(self.observe or self.activate))

    def as_user(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """`argv`, run as `user`. chroot(1) resolves the name, because a user directory (LDAP) may not answer."""
        return argv if self.user is None else ("chroot", f"--userspec={self.user}:", "/", *argv)


def make(options: Options, spec: ResourceSpec) -> Exec:
    """The driver of one resource that these commands control."""
    del spec  # the caller limits both verbs
    return Exec(options)


class Exec:
    """One resource that commands start, stop and observe."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._argv = {Verb.ACTIVATE: options.activate, Verb.DEACTIVATE: options.deactivate}
        self._record = f"exec-{hashlib.sha256(options.seen_by.encode()).hexdigest()[:32]}"

    async def observe(self) -> Observation:
        """The result of the `observe` command, or of the last step if it is recorded. UNKNOWN if neither is known."""
        last = records.read(self._record, _understand) if self._options.remembered else None
        if not self._options.deactivate and (last is None or last.verb is Verb.DEACTIVATE):
            return Observation(level=Level.STANDBY, detail=_let_go(last))
        if not self._options.observe:
            return _done(last)
        try:
            done = await command.run(
                self._options.as_user(self._options.observe), timeout=OBSERVE_TIMEOUT_S, whole=False
            )
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        return seen(done)

    async def activate(self) -> str | None:
        """Run the `activate` command; DriverError if it does not exit 0."""
        await self._run(Verb.ACTIVATE)
        return None

    async def deactivate(self) -> str | None:
        """Run the `deactivate` command; DriverError if it does not exit 0. Without one, record that it is standby."""
        await self._run(Verb.DEACTIVATE)
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The one command of `verb`, or none."""
        return (shlex.join(self._options.as_user(self._argv[verb])),) if self._argv[verb] else ()

    async def _run(self, verb: Verb) -> None:
        self._remember(verb, done=False)
        if self._argv[verb]:
            done = await command.run(self._options.as_user(self._argv[verb]), whole=False)
            if done.returncode in _CHROOT_FAILED and self._options.user is not None:
                said = command.last_line(done.stderr)
                if said.startswith("chroot: "):
                    raise NotStarted(said)
            if done.returncode != 0:
                raise DriverError(why_not(done))
        self._remember(verb, done=True)

    def _remember(self, verb: Verb, *, done: bool) -> None:
        if self._options.remembered:
            records.write(self._record, {"verb": verb.value, "at": time.time(), "done": done})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """The last step. `at`: seconds since the epoch; `done`: False if it has failed, or has not ended."""

    verb: Verb
    at: float
    done: bool


def _understand(told: Mapping[str, Any]) -> _Last:
    return _Last(verb=Verb(told["verb"]), at=number(told["at"]), done=bool(told["done"]))


def _done(last: _Last | None) -> Observation:
    """The observation of a resource without `observe`. `last`: None if no step has run since the boot."""
    if last is None:
        return Observation(level=Level.UNKNOWN, detail="not observable, and no step since the boot")
    if not last.done:
        return Observation(level=Level.UNKNOWN, detail=f"not observable; {last.verb.value} failed at {_clock(last)}")
    return Observation(level=_LEVEL[last.verb], detail=f"done at {_clock(last)}, not observable")


def _let_go(last: _Last | None) -> str:
    return (
        f"deactivated at {_clock(last)}, the other node takes it"
        if last is not None
        else "not activated since the boot"
    )


def _clock(last: _Last) -> str:
    return time.strftime("%H:%M on %Y-%m-%d", time.localtime(last.at))


def seen(done: command.Completed) -> Observation:
    """The exit status of `observe` as a level, and the first line of its output as the detail."""
    said = command.first_line(done.stdout) or command.first_line(done.stderr)
    level = LEVELS.get(done.returncode, Level.UNKNOWN)
    return Observation(level=level, detail=said if level is not Level.UNKNOWN else _failed(done, said))


def why_not(done: command.Completed) -> str:
    """The reason why a command failed: its argv, its exit status and the last line of its output."""
    said = command.last_line(done.stderr) or command.last_line(done.stdout)
    return f"{shlex.join(done.argv)}: {_failed(done, said)}"


def _failed(done: command.Completed, said: str) -> str:
    words = f"exit status {done.returncode}" + (f": {said}" if said else "")
    refused = any(word in done.stdout + done.stderr for word in _REFUSED) and processes.confined()
    return f"{words}; perhaps refused by failoverd.service's sandbox ({_SANDBOX})" if refused else words
