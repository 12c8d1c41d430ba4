"""A daemon that has nothing to do, and how soon one is there."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from tests.lab import wait_for

from .daemon import Daemon
from .row import Row, median

_STARTS = 8
_LIBRARIES = "structlog, pydbus, systemd"
#: Seconds in which nothing happens any more before it is watched, and the least that it is watched for.
_REST = 1.0
_WATCH = 30.0
_LARGEST = 60.0


def starts() -> list[Row]:
    """From exec to READY=1, beside an interpreter that only imports the libraries."""
    ours, theirs = [], []
    for _ in range(_STARTS):
        with Daemon() as daemon:
            daemon.instance()
            daemon.sleeper("thing", 0)
            daemon.start()
            ours.append(daemon.seconds_to_ready)
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", f"import {_LIBRARIES}"], check=True, timeout=30, cwd="/")
        theirs.append(time.monotonic() - started)
    return [
        Row(
            what="exec to READY=1",
            ours=f"{median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f}, n={len(ours)})",
            theirs=f"import {_LIBRARIES} {median(theirs):.2f} s ({min(theirs):.2f} to {max(theirs):.2f})",
            target="0.60 s",
            met=median(ours) <= 0.6,
        )
    ]


class Idle:
    """Daemons with nothing to do, in the background of everything else: what they do is counted, not timed.

    The quiet one looks at its resource once an hour, so whatever wakes it is a poll. The usual one looks every 30 s.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._daemons: dict[str, Daemon] = {}
        self._before: dict[str, int] = {}
        self._since = 0.0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for name in ("quiet", "usual"):
                daemon = self._daemons[name] = stack.enter_context(Daemon())
                daemon.tables.append(f"[node]\ncheck_interval = {3600 if name == 'quiet' else 30}\n")
                daemon.instance()
                daemon.sleeper("thing", 0)
                daemon.start()
                daemon.say("BACKUP")
            self._stack = stack.pop_all()
        for daemon in self._daemons.values():
            daemon.await_calm(_REST)
        self._before = {name: daemon.wake_ups() for name, daemon in self._daemons.items()}
        self._since = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def rows(self) -> list[Row]:
        """What was counted since the entry, for which half a minute has to have passed."""
        wait_for("it has been watched long enough", lambda: time.monotonic() >= self._since + _WATCH, within=2 * _WATCH)
        minutes = (time.monotonic() - self._since) / 60
        rate = {name: (d.wake_ups() - self._before[name]) / minutes for name, d in self._daemons.items()}
        size = _resident(self._daemons["usual"])
        library = _resident_after_imports()
        return [
            Row(
                what=f"idle for {60 * minutes:.0f} s, wake-ups of all threads a minute",
                ours=f"{rate['quiet']:.1f} when no look is due\n{rate['usual']:.1f} with a look every 30 s",
                theirs="a notify script: none",
                target="6.0 when no look is due",
                met=rate["quiet"] <= 6.5,  # where the minute begins decides over one more
            ),
            Row(
                what="idle, resident memory",
                ours=f"{size:.1f} MB, pydbus included",
                theirs=f"import {_LIBRARIES} {library:.1f} MB",
                target=f"{_LARGEST:.0f} MB",
                met=size <= _LARGEST,
            ),
        ]


def _resident(daemon: Daemon) -> float:
    return _megabytes((daemon.proc / "status").read_text(encoding="utf-8"))


def _megabytes(status: str) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _resident_after_imports() -> float:
    program = f"import {_LIBRARIES}; print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=30, cwd="/", capture_output=True)
    return _megabytes(done.stdout.decode())
