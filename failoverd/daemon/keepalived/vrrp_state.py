"""Finds the current state of instances: keepalived's D-Bus, and its last reported state of this boot.

One query answers all questions that are open. This module reports; the core decides how far it trusts the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from failoverd import log
from failoverd.core.effects import QueryVrrpState
from failoverd.core.events import VrrpStateReported
from failoverd.core.words import VrrpState
from failoverd.daemon.keepalived import dbus_answers, vrrp_dbus
from failoverd.daemon.keepalived.dbus_answers import KnownInstance, ReportedState
from failoverd.ports.errors import DriverError
from failoverd.records import records, text

_log = log.get("keepalived")

#: For netlink's first answer, and for the answer of keepalived's D-Bus.
_ANSWER_TIMEOUT_S = 2.0

#: Answers without a pause in which the loop can handle other events.
_ANSWERS_AT_ONCE = 32

_RECORD = "keepalived-dbus"


class Keepaliveds(Protocol):
    """The processes of keepalived, as KeepalivedWatch knows them."""

    @property
    def pids(self) -> frozenset[int]:
        """All that live."""

    def speakers(self, instance: str) -> list[list[int]]:
        """The processes of each keepalived that may report the instance."""

    def owns(self, instance: str, pid: int) -> None:
        """The owner of keepalived's name on D-Bus, the process `pid`, has the instance."""


class Bus:
    """Reads keepalived's D-Bus, and records what its later answers are compared with: groups, and objects' paths.

    `last` returns keepalived's last reported state of this boot for an instance, None if there is none.
    """

    def __init__(self, keepaliveds: Keepaliveds, last: Callable[[str], VrrpState | None]) -> None:
        self._keepaliveds = keepaliveds
        self._last = last
        self._members: Mapping[str, tuple[str, ...]] = {}
        self._groups, self._paths = records.read(_RECORD, _parse) or ({}, {})
        self._details: dict[str, str] = {}

    def follow(self, members: Mapping[str, tuple[str, ...]]) -> None:
        """Set the instances that are followed, each with its configured members if it is a sync group."""
        self._members = members

    def new(self, instance: str) -> bool:
        """Whether D-Bus has not shown the instance yet, and keepalived has not reported it as a sync group."""
        return instance not in self._paths and not self._groups.get(instance)

    def groups(self, member: str) -> list[str]:
        """The sync groups that have the instance as a configured member."""
        return [group for group, members in self._members.items() if member in members]

    def spoke(self, instance: str, *, group: bool) -> None:
        """Note that keepalived reported the instance, as a sync group or not."""
        if instance in self._members and self._groups.get(instance) is not group:
            self._groups[instance] = group
            self._remember()

    async def ask(self, instances: Collection[str]) -> dict[str, ReportedState]:
        """The reported state of each; never raises. An error is in the details, with the state None."""
        trouble, services = "", []
        try:
            services = await vrrp_dbus.services(self._keepaliveds.pids, within=_ANSWER_TIMEOUT_S)
        except DriverError as error:
            trouble = error.reason
        except Exception:
            _log.exception("unexpected error while reading keepalived's D-Bus; this is a bug of failoverd")
            trouble = "internal error; for the details: journalctl -u failoverd"
        reported = {}
        for name in instances:
            reported[name] = (
                ReportedState(detail=trouble) if trouble else dbus_answers.reported_state(self._known(name), services)
            )
            self._note(name, reported[name])
        return reported

    def _known(self, name: str) -> KnownInstance:
        return KnownInstance(
            name=name,
            group=self._groups.get(name),
            last=self._last(name),
            path=self._paths.get(name),
            members=self._members.get(name, ()),
            speakers=self._keepaliveds.speakers(name),
        )

    def _note(self, name: str, reported: ReportedState) -> None:
        if reported.pid is not None:
            self._keepaliveds.owns(name, reported.pid)
        if reported.path is not None and reported.path != self._paths.get(name):
            self._paths[name] = reported.path
            self._remember()
        if reported.detail != self._details.get(name):
            self._details[name] = reported.detail
            _log.info("asked keepalived on D-Bus", instance=name, answer=reported.detail)

    def _remember(self) -> None:
        records.write(_RECORD, {"groups": self._groups, "paths": self._paths})


class VrrpStateQueries:
    """Answers each QueryVrrpState with a VrrpStateReported, through `answer`. It never fails: an unknown state is None.

    `vips_seen`: no answer is given before it is set, or before _ANSWER_TIMEOUT_S, because the core compares the answer
    with the VIPs. For an instance, `last` returns keepalived's last reported state of this boot, `voided` whether that
    state is discarded, and `booted` whether the instance was configured when this machine had just booted.
    """

    def __init__(
        self,
        vips_seen: asyncio.Event,
        bus: Bus,
        last: Callable[[str], VrrpState | None],
        answer: Callable[[VrrpStateReported], None],
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
        self._questions: list[QueryVrrpState] = []
        self._asking: asyncio.Task[None] | None = None

    def ask(self, question: QueryVrrpState) -> None:
        """Answer later, by `answer`."""
        self._questions.append(question)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._find())

    async def answered(self) -> None:
        """Return when no question is open."""
        while self._asking is not None and not self._asking.done():
            await asyncio.wait((self._asking,))

    def close(self) -> None:
        """Drop the questions that are open."""
        if self._asking is not None:
            self._asking.cancel()

    async def _find(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._vips_seen.wait()
        except TimeoutError:
            _log.warning("netlink does not answer yet; asking keepalived without it", seconds=_ANSWER_TIMEOUT_S)
        questions, self._questions = self._questions, []
        await self._tell(questions, await self._bus.ask({question.instance for question in questions}))
        self._asking = asyncio.create_task(self._find()) if self._questions else None

    async def _tell(self, questions: Sequence[QueryVrrpState], reported: Mapping[str, ReportedState]) -> None:
        for number, question in enumerate(questions, start=1):
            if number % _ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)  # let the loop handle events in between
            found = reported[question.instance]
            self._answer(
                VrrpStateReported(
                    instance=question.instance,
                    words=question.words,
                    dbus=found.state,
                    said=found.detail,
                    doubt=found.doubt,
                    stored=self._last(question.instance),
                    void=self._voided(question.instance),
                    booted=self._booted(question.instance),
                )
            )


def _parse(record: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, str]]:
    groups, paths = record["groups"], record["paths"]
    return {name: bool(group) for name, group in groups.items()}, {name: text(path) for name, path in paths.items()}
