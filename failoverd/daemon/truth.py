"""Who knows what keepalived says: its D-Bus, and its last word of this boot. Asked once for all who want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from failoverd import log
from failoverd.core.events import FindTruth, TruthTold
from failoverd.core.words import VrrpState
from failoverd.daemon import hearsay, vrrpbus
from failoverd.daemon.hearsay import About, Hearsay
from failoverd.drivers import DriverError
from failoverd.records import records

_log = log.get("truth")

#: Seconds that netlink has for its first answer, and keepalived's D-Bus for its own.
_PATIENCE = 2.0

_RECORD = "hearsay"


class Keepaliveds(Protocol):
    """What is known of keepalived's processes, and may be learned of them."""

    @property
    def pids(self) -> frozenset[int]:
        """All that live."""

    def speakers(self, instance: str) -> list[list[int]]:
        """Those of each keepalived that may speak for the instance."""

    def owns(self, instance: str, pid: int) -> None:
        """Be told that the owner of keepalived's name on D-Bus, which runs as `pid`, has the instance."""


class Bus:
    """keepalived's D-Bus, and what must be remembered to understand it.

    `last`: keepalived's last word of this boot about an instance.
    """

    def __init__(self, keepaliveds: Keepaliveds, last: Callable[[str], VrrpState | None]) -> None:
        self._keepaliveds = keepaliveds
        self._last = last
        self._members: Mapping[str, tuple[str, ...]] = {}
        told = records.read(_RECORD) or {}
        self._groups: dict[str, bool] = {str(k): bool(v) for k, v in _table(told.get("groups"))}
        self._paths: dict[str, str] = {str(k): str(v) for k, v in _table(told.get("paths"))}
        self._said: dict[str, str] = {}

    def follow(self, members: Mapping[str, tuple[str, ...]]) -> None:
        """The instances that are asked about, and of sync groups the members, as far as they are configured."""
        self._members = members

    def new(self, instance: str) -> bool:
        """Whether D-Bus has not shown it yet, and it is no group."""
        return instance not in self._paths and not self._groups.get(instance)

    def groups(self, member: str) -> list[str]:
        """The sync groups that it is configured to be a member of."""
        return [group for group, members in self._members.items() if member in members]

    def spoke(self, instance: str, *, group: bool) -> None:
        """Be told that keepalived spoke of the instance, and called it a group, or not."""
        if instance in self._members and self._groups.get(instance) is not group:
            self._groups[instance] = group
            self._remember()

    async def ask(self, instances: Collection[str]) -> dict[str, Hearsay]:
        """What it says of each; never fails."""
        trouble, services = "", []
        try:
            services = await vrrpbus.services(self._keepaliveds.pids, within=_PATIENCE)
        except DriverError as error:
            trouble = error.reason
        except Exception:
            _log.exception("keepalived's D-Bus failed in a way that it should not; this is a bug of failoverd")
            trouble = "asking it on D-Bus failed"
        heard = {}
        for name in instances:
            heard[name] = Hearsay(said=trouble) if trouble else hearsay.judge(self._about(name), services)
            self._note(name, heard[name])
        return heard

    def _about(self, name: str) -> About:
        return About(
            name=name,
            group=self._groups.get(name),
            last=self._last(name),
            path=self._paths.get(name),
            members=self._members.get(name, ()),
            speakers=self._keepaliveds.speakers(name),
        )

    def _note(self, name: str, heard: Hearsay) -> None:
        if heard.pid is not None:
            self._keepaliveds.owns(name, heard.pid)
        if heard.path is not None and heard.path != self._paths.get(name):
            self._paths[name] = heard.path
            self._remember()
        if heard.said != self._said.get(name):
            self._said[name] = heard.said
            _log.info("asked keepalived on D-Bus", instance=name, answer=heard.said)

    def _remember(self) -> None:
        records.write(_RECORD, {"groups": self._groups, "paths": self._paths})


class Inquiry:
    """Answers FindTruth with TruthTold, through `answer`; never fails, what is silent is None.

    `vips_seen`: nothing is answered before it is set, since the core holds the answer against the VIPs.
    `last`: keepalived's last word of this boot about an instance; `voided`: that it no longer binds. `booted`: whether
    the instance was there when the machine has only just booted.
    """

    def __init__(
        self,
        vips_seen: asyncio.Event,
        bus: Bus,
        last: Callable[[str], VrrpState | None],
        answer: Callable[[TruthTold], None],
        *,
        voided: Callable[[str], bool],
        booted: Callable[[str], bool],
    ) -> None:
        self._vips_seen = vips_seen
        self._bus = bus
        self._last = last
        self._answer = answer
        self._voided = voided
        self._booted = booted
        self._questions: list[FindTruth] = []
        self._asking: asyncio.Task[None] | None = None

    def ask(self, question: FindTruth) -> None:
        """Find out, and answer later."""
        self._questions.append(question)
        if self._asking is None:
            self._asking = asyncio.create_task(self._find())

    def close(self) -> None:
        """Answer nothing more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _find(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._vips_seen.wait()
        except TimeoutError:
            _log.warning("netlink has not answered yet", seconds=_PATIENCE)
        questions, self._questions = self._questions, []
        heard = await self._bus.ask({question.instance for question in questions})
        self._asking = asyncio.create_task(self._find()) if self._questions else None
        for question in questions:
            found = heard[question.instance]
            self._answer(
                TruthTold(
                    instance=question.instance,
                    words=question.words,
                    dbus=found.state,
                    said=found.said,
                    doubt=found.doubt,
                    stored=self._last(question.instance),
                    void=self._voided(question.instance),
                    booted=self._booted(question.instance),
                )
            )


def _table(told: object) -> Collection[tuple[object, object]]:
    return told.items() if isinstance(told, dict) else ()
