"""Wait for the effects of a request, by the daemon's `status`, with a deadline and a line of progress on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from failoverd.ctl import client
from failoverd.ctl.page import clean

#: The most seconds between two requests.
INTERVAL_S = 0.2

#: The fewest; in between it is a tenth of the time that has passed, so that what is timed by the answers is not coarse.
_FIRST_S = 0.01

#: The instances of an answer to `status`, by name.
Instances = Mapping[str, Mapping[str, Any]]


def until(
    socket: str, done: Callable[[Instances], bool], *, within: float, progress: Callable[[Instances], str]
) -> tuple[dict[str, Any], bool]:
    """The answer to `status` when `done` is true of its instances, or after `within` seconds; and whether it was.

    `progress`: the line to show meanwhile. A daemon that restarts has until the deadline to answer. Raises
    client.CtlError as `client.ask` does.
    """
    began, shown = time.monotonic(), ""
    deadline = began + within
    try:
        while True:
            try:
                answer = client.ask(socket, "status", {})
            except client.UnreachableError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(INTERVAL_S)
                continue
            if done(answer["instances"]):
                return answer, True
            if time.monotonic() >= deadline:
                return answer, False
            shown = show(progress(answer["instances"]), instead_of=shown)
            time.sleep(pause(time.monotonic() - began))
    finally:
        show("", instead_of=shown)


def pause(passed: float) -> float:
    """Seconds until the next request, so many seconds after the first."""
    return min(INTERVAL_S, max(_FIRST_S, passed / 10))


def fact(socket: str, name: str, key: str, value: str, within: float) -> str:
    """Wait until this fact of the instance has that value, so many seconds at most; and the value that it has."""

    def reached(instances: Instances) -> bool:
        return (instances.get(name) or {}).get(key) == value

    status, _ = until(socket, reached, within=within, progress=lambda _: f"{name}: waiting for {value}")
    return str((status["instances"].get(name) or {}).get(key))


def show(text: str, *, instead_of: str) -> str:
    """Replace the line of progress; nothing where nobody watches."""
    if text != instead_of and sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{clean(text)[: _columns()]}")
        sys.stderr.flush()
    return text


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 1
