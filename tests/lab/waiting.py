"""Waiting for a condition with a deadline: the only way that anything here waits.

A test that sleeps is slow when it is lucky and wrong when it is not.
"""

import json
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


class NotInTimeError(AssertionError):
    """A condition did not come true before its deadline; the text names it and what was last seen."""


def wait_for(
    description: str,
    observe: Callable[[], T],
    *,
    within: float,
    until: Callable[[T], object] = bool,
    poll: float = POLL_SECONDS,
) -> T:
    """Call `observe` until `until` accepts its value, and return that value.

    `within` and `poll` are seconds. An OSError, a failed command or broken JSON in `observe` counts as "not yet":
    the thing that is asked may just be starting.
    """
    end = time.monotonic() + within
    while True:
        last: object
        try:
            value = observe()
        except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
            last = error
        else:
            if until(value):
                return value
            last = value
        if time.monotonic() >= end:
            raise NotInTimeError(f"not within {within:g} s: {description}; last seen: {last!r}")
        time.sleep(poll)
