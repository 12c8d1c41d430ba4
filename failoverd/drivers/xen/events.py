"""The changes of domains: xenstored reports that a domain has come or gone, has crashed or has shut down.

It does not report which one, so one listing of all domains finds the changed ones. It must not poll.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from failoverd import log
from failoverd.ports import stream
from failoverd.ports.errors import DriverError
from failoverd.ports.xl.listing import XL_TIMEOUT_S, listing

COMMAND = ("xenstore-watch", "@introduceDomain", "@releaseDomain")

#: Seconds before a watch that has ended is restarted, the first time.
SHORTEST_RESTART_PAUSE_S = 1.0

#: The same, when it ends repeatedly.
LONGEST_RESTART_PAUSE_S = 60.0

#: The pause after a check, as a multiple of its duration: creating guests makes dozens of events, and checks may use no
#: more than a fifth of a processor.
REST_FACTOR = 4

#: Seconds of that pause, at most.
LONGEST_REST_S = 3.0

#: Seconds between two checks of a dying domain: its end makes no event.
DYING_CHECK_INTERVAL_S = 3.0

_log = log.get("xen")
_files: dict[str, str] = {}
_again: set[str] = set()
_hearers: set[Callable[[str | None], None]] = set()


class ChangeNotifier:
    """Wakes the coroutines that wait for a change of any domain."""

    def __init__(self) -> None:
        #: The number of changes so far. Read it before an observation, and pass it to `pause` after the observation.
        self.count = 0
        self._sleepers: set[asyncio.Event] = set()

    def ring(self) -> None:
        """Count a change, and wake all that wait."""
        self.count += 1
        for sleeper in self._sleepers:
            sleeper.set()

    async def pause(self, seconds: float, since: int | None = None) -> bool:
        """Wait for a change, for `seconds` at most; return whether one has happened.

        `since`: a former `count`; a change after it ends the wait at once. None: only a later change counts.
        """
        if since is not None and self.count != since:
            return True
        happened = asyncio.Event()
        self._sleepers.add(happened)
        try:
            async with asyncio.timeout(seconds):
                return await happened.wait()
        except TimeoutError:
            return False
        finally:
            self._sleepers.discard(happened)


#: The one notifier of this process, since a machine has one Xen.
bell = ChangeNotifier()


def know(name: str, file: str) -> None:
    """Report changes of the domain `name` under its configuration file, from now on."""
    _files[name] = file


def look_again(file: str) -> None:
    """Report a change of the domain of `file` after DYING_CHECK_INTERVAL_S, without an event of xenstored."""
    if file not in _again:
        _again.add(file)
        asyncio.get_running_loop().call_later(DYING_CHECK_INTERVAL_S, _remind, file)


def _remind(file: str) -> None:
    _again.discard(file)
    for changed in _hearers:
        changed(file)


async def watch(changed: Callable[[str | None], None]) -> None:
    """Call `changed` with the configuration file of each domain that has changed, until cancelled.

    It calls it with None if any domain may have changed, as after an interruption of the watch.
    """
    _hearers.add(changed)
    try:
        await _follow(changed)
    finally:
        _hearers.discard(changed)


async def _follow(changed: Callable[[str | None], None]) -> None:
    rest = SHORTEST_RESTART_PAUSE_S
    while True:
        try:
            async with stream.following(COMMAND) as lines:
                before: Mapping[str, object] = {}
                while True:
                    await lines.next()
                    rest = SHORTEST_RESTART_PAUSE_S
                    bell.ring()
                    began = time.monotonic()
                    before = await _tell(before, changed)
                    await asyncio.sleep(min(REST_FACTOR * (time.monotonic() - began), LONGEST_REST_S))
        except stream.Ended as ended:
            _log.warning("xenstore is not watched", reason=ended.reason, again_in=rest)
        changed(None)
        await asyncio.sleep(rest)
        rest = min(2 * rest, LONGEST_RESTART_PAUSE_S)


async def _tell(before: Mapping[str, object], changed: Callable[[str | None], None]) -> Mapping[str, object]:
    """Report the domains that differ from `before`, and return the current ones.

    If they cannot be listed, report that any may have changed, and return none.
    """
    try:
        domains = await listing.read(XL_TIMEOUT_S)
    except DriverError:
        changed(None)
        return {}
    now = {it.name: (it.id, it.condition) for it in domains if it.name is not None}
    for name in now.keys() | before.keys():
        if name in _files and now.get(name) != before.get(name):
            changed(_files[name])
    return now
