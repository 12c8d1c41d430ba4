"""The operators' wishes, which survive a restart, an upgrade and a reboot: standby of instances, and maintenance.

They are in a file of the state directory; and in a record of this boot, so that a restarted daemon waits for no disk.
The file is written again until it has the newest wishes.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from failoverd.core.model import Maintenance, Standby, State
from failoverd.daemon.persistence import state_file
from failoverd.records import number, records, text
from failoverd.trouble import TroubleKind, troubles

#: Seconds that the disk has for the wishes at the first start of a boot: longer than for the history, because a node
#: that does not know them may become MASTER although an operator keeps it in standby.
READ_TIMEOUT_S = 10.0

#: Seconds for which the answer to an operator waits for the disk.
SAVE_TIMEOUT_S = 1.5

_RECORD = "wishes"

#: Stands for the maintenance among the names of instances, none of which is empty.
_MAINTENANCE = ""

#: The latest time in the file, in seconds since the epoch: the year 8307, which leaves room for the offset of a clock.
_LATEST_S = 2e11

#: The errors of content that `want` has not written.
_MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """All wishes, as the core has them: `standby` by instance. Times are those of the loop."""

    standby: Mapping[str, Standby] = field(default_factory=dict)
    maintenance: Maintenance | None = None


def of(state: State) -> Wished:
    """The wishes in the core's state, those for instances that are not configured too."""
    here = {name: instance.standby for name, instance in state.instances.items() if instance.standby is not None}
    return Wished(standby={**state.standby, **here}, maintenance=state.maintenance)


class Wishes:
    """Keeps the wishes in ``wishes`` below `state_dir`. Made on the running loop.

    The file is not replaced before it was read. `found` is called with the wishes of a file that was read after the
    start.
    """

    def __init__(self, state_dir: Path, found: Callable[[Wished], None]) -> None:
        self.file = state_dir / "wishes"
        self._found = found
        self._loop = asyncio.get_running_loop()
        self._wished = Wished()
        self._wanted = _content({}, None)
        self._written: dict[str, Any] | None = None  # None: the content of the file is unknown
        #: None: the file was read. Otherwise the wishes in it that have ended: instances, and _MAINTENANCE.
        self._ended: set[str] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._slow = False

    async def recall(self, now: float) -> Wished:
        """The wishes of the last daemon. A trouble, and those of the record, if READ_TIMEOUT_S pass before the rest."""
        recorded = records.read(_RECORD, _parsed)
        self._wanted, self._ended = recorded or (self._wanted, set())
        if self._ended is not None:
            try:
                self._merge(await self._read(READ_TIMEOUT_S))
            except OSError as error:
                self._unread(error)
        self._wished = _wished(self._wanted, now)
        self._wanted = _content(self._wanted["standby"], _of_this_boot(self._wanted["maintenance"], self._wished))
        self._record()
        return self._wished

    def want(self, wished: Wished) -> None:
        """Record the wishes now, and have the disk write them."""
        if wished == self._wished:
            return
        ahead = time.time() - self._loop.time()
        before, self._wished = self._wished.standby, wished
        new = {
            name: {"by": each.by, "at": each.at + ahead}
            for name, each in wished.standby.items()
            if each != before.get(name)
        }
        kept = {name: each for name, each in self._wanted["standby"].items() if name in wished.standby}
        self._wanted = _content({**kept, **new}, _recorded(wished.maintenance, ahead))
        self._record()
        self._begin()

    def end(self, instances: Iterable[str]) -> None:
        """An operator ends the standby of `instances`: it ends in a file that is read later, too."""
        self._end(instances)

    def end_maintenance(self) -> None:
        """An operator ends or replaces the maintenance: it ends in a file that is read later, too."""
        self._end((_MAINTENANCE,))

    def look(self) -> None:
        """Write what is not written yet; show a write that has not ended since the last `look` as a trouble."""
        if self._writing is None:
            self._begin()
        else:
            if self._slow and self._ended is None:
                self._trouble(f"cannot write {self.file}: the disk does not answer")
            self._slow = True

    async def saved(self, within: float) -> str:
        """Why the disk does not have the wishes after `within` seconds, in one line; empty: it has them."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=within)
        if self._ended is None and self._wanted == self._written:
            return ""
        found = next(
            (each.text for each in troubles.standing if (each.kind, each.subject) == (TroubleKind.WISHES, "")), ""
        )
        return found or f"cannot write {self.file}: the disk has not answered within {within:g} s"

    def close(self) -> None:
        """Stop waiting for the disk."""
        if self._writing is not None:
            self._writing.cancel()

    def _end(self, names: Iterable[str]) -> None:
        if self._ended is not None:
            self._ended.update(names)
            self._record()

    def _record(self) -> None:
        ended = None if self._ended is None else sorted(self._ended)
        records.write(_RECORD, {"wishes": self._wanted, "ended": ended})

    def _begin(self) -> None:
        if self._writing is None and (self._ended is not None or self._wanted != self._written):
            self._slow = False
            self._writing = self._loop.create_task(self._write())

    async def _write(self) -> None:
        try:
            if self._ended is not None:
                self._merge(await self._read(None))
                late = _wished(self._wanted, self._loop.time())
                self._record()
                self._found(late)
            while self._written != self._wanted:
                wanted = self._wanted
                await state_file.write(self.file, json.dumps(wanted).encode())
                self._written = wanted
            troubles.end(TroubleKind.WISHES)
        except OSError as error:
            if self._ended is None:
                self._trouble(f"cannot write {self.file}: {error.strerror}")
            else:
                self._unread(error)
        finally:
            self._writing = None

    async def _read(self, within: float | None) -> dict[str, Any]:
        """The content of the file. One that cannot be parsed is renamed. OSError: it cannot be read, or renamed."""
        try:
            return _checked(json.loads(await state_file.read(self.file, within)))
        except FileNotFoundError:
            return _content({}, None)
        except _MALFORMED as error:
            aside = self.file.with_name("wishes.unreadable")
            await state_file.rename(self.file, aside, within)
            reason = f"cannot parse {self.file} ({error!r:.200}), so failoverd renamed it to {aside}"
            consequence = "nothing of it is kept in standby or maintenance; repeat these orders"
            troubles.begin(TroubleKind.WISHES, f"{reason}: {consequence}", subject="unreadable", file=aside)
            return _content({}, None)

    def _merge(self, content: dict[str, Any]) -> None:
        """Add the wishes of the file, except those that have ended or are newer."""
        assert self._ended is not None
        standby = {name: each for name, each in content["standby"].items() if name not in self._ended}
        maintenance = None if _MAINTENANCE in self._ended else content["maintenance"]
        self._written, self._ended = content, None
        self._wanted = _content({**standby, **self._wanted["standby"]}, self._wanted["maintenance"] or maintenance)

    def _unread(self, error: OSError) -> None:
        late = isinstance(error, TimeoutError)
        reason = f"the disk did not answer within {READ_TIMEOUT_S:g} s" if late else error.strerror
        consequence = "its standby and maintenance are not in effect, and new wishes are not written, until it is read"
        self._trouble(f"cannot read {self.file} ({reason}): {consequence}")

    def _trouble(self, reason: str) -> None:
        troubles.begin(TroubleKind.WISHES, reason, file=self.file)


def _parsed(record: Mapping[str, Any]) -> tuple[dict[str, Any], set[str] | None]:
    ended = record.get("ended")
    return _checked(record["wishes"]), None if ended is None else set(map(text, ended))


def _wished(content: Mapping[str, Any], now: float) -> Wished:
    ahead = time.time() - now
    return Wished(
        standby={
            name: Standby(by=each["by"], at=min(each["at"] - ahead, now)) for name, each in content["standby"].items()
        },
        maintenance=_recalled(content["maintenance"], now, ahead),
    )


def _checked(content: Any) -> dict[str, Any]:
    """The content, if it is one that `want` has written. Raises any of _MALFORMED otherwise."""
    found, maintenance = content["standby"].items(), content.get("maintenance")
    standby = {text(name): {"by": text(each["by"]), "at": _time(each["at"])} for name, each in found}
    if maintenance is not None:
        ends = {key: None if maintenance[key] is None else _time(maintenance[key]) for key in ("until", "monotonic")}
        begun = {"by": text(maintenance["by"]), "since": _time(maintenance["since"])}
        maintenance = {**begun, **ends, "boot": text(maintenance["boot"])}
    return _content(standby, maintenance)


def _time(value: Any) -> float:
    """Return `value`, or the nearest time that can be shown: a wrong clock loses no wish."""
    return min(max(number(value), 0.0), _LATEST_S)


def _content(standby: Mapping[str, Any], maintenance: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"standby": dict(standby), "maintenance": maintenance}


def _recorded(maintenance: Maintenance | None, ahead: float) -> dict[str, Any] | None:
    """`ahead`: the wall clock minus the loop's. The end is kept for both: the wall clock may be set meanwhile."""
    if maintenance is None:
        return None
    endless = math.isinf(maintenance.until)
    return {
        "by": maintenance.by,
        "since": maintenance.since + ahead,
        "until": None if endless else maintenance.until + ahead,
        "monotonic": None if endless else maintenance.until,
        "boot": records.boot,
    }


def _of_this_boot(content: Mapping[str, Any] | None, wished: Wished) -> dict[str, Any] | None:
    """The recorded maintenance with its end by this boot's clock, so that a restart does not compute it anew."""
    if content is None or wished.maintenance is None:
        return None
    until = wished.maintenance.until
    return {**content, "monotonic": None if math.isinf(until) else until, "boot": records.boot}


def _recalled(content: Mapping[str, Any] | None, now: float, ahead: float) -> Maintenance | None:
    """The same again. After a boot the wall clock decides about the end; a wrong one cannot make it longer."""
    if content is None:
        return None
    since, until = content["since"], content["until"]
    if until is None:
        end = math.inf
    elif content["boot"] == records.boot:
        end = content["monotonic"]
    else:
        end = now + min(until - (now + ahead), until - since)
    return Maintenance(by=content["by"], since=min(since - ahead, now), until=end)
