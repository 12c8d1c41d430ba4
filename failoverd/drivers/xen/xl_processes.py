"""The xl processes that may start a domain: those that build it, and the daemon of xl that restarts it at a reboot.

``xl create`` stays as a daemon. When the domain reboots, this daemon destroys it and builds it again; in between, Xen
has no such domain. This module must not end a process except by `end`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from failoverd.osutil import pidfd, processes
from failoverd.ports.errors import DriverError

#: Only root may use Xen, so another user's process of the same name starts no domain.
_ROOT = 0

#: The commands of xl that create a domain. xl accepts abbreviations.
_VERBS = ("create", "restore", "migrate-receive")

#: The log of xl's daemon. The next xl for the same domain renames it.
_LOG = re.compile(r"/xl-(?P<name>.*)\.log(\.\d+)?( \(deleted\))?")


def find(name: str | None, config: str) -> tuple[int, ...]:
    """The pids of the xl that may start the domain `name` (None: not known yet) with the file `config`.

    DriverError: the processes cannot be read.
    """
    try:
        pids = processes.called("xl")
    except OSError as error:
        raise DriverError(f"cannot read the processes: {error}") from error
    return tuple(pid for pid in pids if _keeps(processes.PROC / str(pid), name, config))


def end(pid: int, name: str | None, config: str) -> None:
    """Kill a process that `find` has returned, after a new check, because the pid may have been reused."""
    pidfd.kill(pid, lambda: _keeps(processes.PROC / str(pid), name, config))


def _keeps(process: Path, name: str | None, config: str) -> bool:
    try:
        if processes.uid(int(process.name)) != _ROOT:
            return False
        words = os.fsdecode((process / "cmdline").read_bytes()).rstrip("\0").split("\0")[1:]
        if "-N" in words or not any(map(_is_verb, words)):
            return False
        log = _LOG.fullmatch("/" + (process / "fd/1").readlink().name)
        if log is not None:
            return name is None or log["name"] == name
        return _reads(process, words, config)
    except OSError:  # it has ended meanwhile
        return False


def _is_verb(word: str) -> bool:
    return bool(word) and any(verb.startswith(word) for verb in _VERBS)


def _reads(process: Path, words: list[str], config: str) -> bool:
    """Whether the xl builds a domain from `config`, or names no file."""
    home = (process / "cwd").readlink()
    files = [home / word for word in words if not word.startswith("-") and not _is_verb(word) and "=" not in word]
    files = [file for file in files if file.is_file()]
    return not files or any(file.resolve() == Path(config).resolve() for file in files)
