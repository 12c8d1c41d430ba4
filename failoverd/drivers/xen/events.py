"""What happens to domains, as it happens: xenstored tells when one comes or goes, crashes or shuts down.

It does not tell which one, so one look at all of them finds that out. What this must not do: poll.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from failoverd import log
from failoverd.drivers import DriverError, stream
from failoverd.drivers.xen.config import PATIENCE
from failoverd.drivers.xen.listing import listing

COMMAND = ("xenstore-watch", "@introduceDomain", "@releaseDomain")

#: Seconds before the watch is started again after it has ended: at first, and when it ends again and again.
SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

#: What happens while guests are created comes in dozens. After a look there is rest for so many times as long as it
#: took, so that looking is no more than a fifth of what a processor does then; and for no more than so many seconds.
REST = 4
LONGEST_REST = 3.0

#: Seconds after which is looked again at a domain that was dying: of its end nobody tells.
AGAIN = 3.0

_log = log.get("xen")
_files: dict[str, str] = {}
_again: set[str] = set()
_hearers: set[Callable[[str | None], None]] = set()


class Bell:
    """Wakes who waits for something to happen to a domain."""

    def __init__(self) -> None:
        #: How often anything happened to any domain, as far as that was heard. Ask before a look, and `pause` after it.
        self.count = 0
        self._sleepers: set[asyncio.Event] = set()

    def ring(self) -> None:
        """Something happened."""
        self.count += 1
        for sleeper in self._sleepers:
            sleeper.set()

    async def pause(self, seconds: float, since: int | None = None) -> bool:
        """Wait until something happens (`since` that count: or has already): True; or for `seconds`."""
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


#: The one bell of this process, as there is one Xen.
bell = Bell()


def know(name: str, file: str) -> None:
    """From now on, what happens to the domain `name` is told as a change of `file`."""
    _files[name] = file


def look_again(file: str) -> None:
    """In a while, the domain of `file` is told to have changed, though nobody says so."""
    if file not in _again:
        _again.add(file)
        asyncio.get_running_loop().call_later(AGAIN, _remind, file)


def _remind(file: str) -> None:
    _again.discard(file)
    for changed in _hearers:
        changed(file)


async def watch(changed: Callable[[str | None], None]) -> None:
    """Call `changed` with the configuration file of each domain that something happened to, for ever."""
    _hearers.add(changed)
    try:
        await _follow(changed)
    finally:
        _hearers.discard(changed)


async def _follow(changed: Callable[[str | None], None]) -> None:
    rest = SHORTEST_PAUSE
    while True:
        try:
            async with stream.following(COMMAND) as lines:
                before: Mapping[str, object] = {}
                while True:
                    await lines.next()
                    rest = SHORTEST_PAUSE
                    bell.ring()
                    began = time.monotonic()
                    before = await _tell(before, changed)
                    await asyncio.sleep(min(REST * (time.monotonic() - began), LONGEST_REST))
        except stream.Ended as ended:
            _log.warning("xenstore is not watched", reason=ended.reason, again_in=rest)
        changed(None)
        await asyncio.sleep(rest)
        rest = min(2 * rest, LONGEST_PAUSE)


async def _tell(before: Mapping[str, object], changed: Callable[[str | None], None]) -> Mapping[str, object]:
    """Tell what differs from `before`; what is there now. When it cannot be seen, anything may differ."""
    try:
        domains = await listing.read(PATIENCE)
    except DriverError:
        changed(None)
        return {}
    now = {it.name: (it.id, it.condition) for it in domains if it.name is not None}
    for name in now.keys() | before.keys():
        if name in _files and now.get(name) != before.get(name):
            changed(_files[name])
    return now
