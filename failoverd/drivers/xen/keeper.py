"""The xl processes that build a domain, or stay behind to see it through its reboots: while one lives, it may start it.

A domain that reboots is destroyed and built again by the ``xl create`` that once started it, which has stayed as a
daemon; between the two nothing of the domain is to be seen in Xen. What this must not do: end one without being told.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from failoverd import processes
from failoverd.drivers import DriverError

#: Only it may speak to Xen. A process of somebody else's, whatever it is called, starts nothing.
_ROOT = 0

#: Words of xl that bring a domain to life.
_VERBS = frozenset({"create", "restore", "migrate-receive"})

#: What such an xl writes to when it has become a daemon; the next one that is started renames it.
_LOG = re.compile(r"/xl-(?P<name>.*)\.log(\.\d+)?( \(deleted\))?")


def find(name: str | None, config: str) -> tuple[int, ...]:
    """The processes that may start the domain `name` (None: not known yet), whose file is `config`; no others.

    DriverError when that cannot be told.
    """
    try:
        pids = processes.called("xl")
    except OSError as error:
        raise DriverError(f"processes cannot be seen: {error}") from error
    return tuple(pid for pid in pids if _keeps(processes.PROC / str(pid), name, config))


def end(pid: int, name: str | None, config: str) -> None:
    """Kill one that `find` has found, unless it is none any more: its number may be another's by now."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            if _keeps(processes.PROC / str(pid), name, config):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _keeps(process: Path, name: str | None, config: str) -> bool:
    try:
        if processes.uid(int(process.name)) != _ROOT:
            return False
        words = os.fsdecode((process / "cmdline").read_bytes()).rstrip("\0").split("\0")[1:]
        if "-N" in words or _VERBS.isdisjoint(words):
            return False
        log = _LOG.fullmatch("/" + (process / "fd/1").readlink().name)
        if log is not None:
            return name is None or log["name"] == name
        return _reads(process, words, config)
    except OSError:  # it ended while it was looked at
        return False


def _reads(process: Path, words: list[str], config: str) -> bool:
    """Whether it builds a domain from `config`, or does not say from what."""
    home = (process / "cwd").readlink()
    files = [home / word for word in words if not word.startswith("-") and word not in _VERBS and "=" not in word]
    files = [file for file in files if file.is_file()]
    return not files or any(file.resolve() == Path(config).resolve() for file in files)
