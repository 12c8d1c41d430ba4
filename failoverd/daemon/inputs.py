"""Collect all reports for the core: keepalived's events, processes and D-Bus, and the VIPs. Each becomes an event."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from failoverd import log
from failoverd.core.effects import QueryVrrpState
from failoverd.core.events import KeepalivedSeen, LowerPriorityAdvert, VipsSeen, VrrpChanged
from failoverd.core.ordering import Verdict
from failoverd.core.spec import Vip
from failoverd.core.words import Keepalived
from failoverd.daemon import reporting
from failoverd.daemon.config import Configuration
from failoverd.daemon.config.addresses import Place
from failoverd.daemon.history.store import Store
from failoverd.daemon.intake import Change, Intake, ReportedEvent
from failoverd.daemon.intake.classify import MASTER_RX_LOWER_PRI
from failoverd.daemon.keepalived.vrrp_state import Bus, VrrpStateQueries
from failoverd.daemon.keepalived.watch import KeepalivedWatch
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.vip import VipWatch
from failoverd.ports.sd_notify import Passed
from failoverd.records import records

_log = log.get("service")

#: Seconds from the first event until keepalived's processes are searched, so that the steps are started first.
_FIND_KEEPALIVED_DELAY_S = 0.2


class Inputs:
    """All sources of reports to the core except the drivers.

    `admits`: whether a user (uid) may report; `removed` is called after a file was removed from the runtime directory;
    `booted`: whether an instance was configured when the machine booted, and that is recent. Attribute `accepted`: the
    last accepted event of each instance.
    """

    def __init__(
        self,
        runtime_dir: Path,
        core: CoreLoop,
        store: Store,
        passed: Passed,
        *,
        admits: Callable[[int], bool],
        removed: Callable[[], None],
        booted: Callable[[str], bool],
    ) -> None:
        self._core = core
        self._store = store
        self.accepted: dict[str, ReportedEvent] = {}
        self._numbers = itertools.count(1)
        self._reported: set[str] = set()
        self._read: set[str] = set()
        self._finding: asyncio.TimerHandle | None = None
        self.vips = VipWatch(self._vips_are)
        self.keepalived = KeepalivedWatch(runtime_dir / "keepalived.fifo", self._keepalived_is)
        self.intake = Intake(
            runtime_dir,
            records,
            deliver=self._deliver,
            record=self._record,
            hook_connected=self.keepalived.heard,
            classifying=self.keepalived.notice,
            admits=admits,
            removed=removed,
            lives=self.keepalived.lives,
            keepaliveds=lambda: self.keepalived.pids,
            listener=passed.sockets.get("notify.sock"),
            held=passed.fifo,
        )
        self._bus = Bus(self.keepalived, self.intake.last)
        self.queries = VrrpStateQueries(
            self.vips.ready,
            self._bus,
            self.intake.last,
            core.dispatch,
            voided=self.intake.discarded,
            booted=booted,
        )

    def follow(self, configuration: Configuration, places: Mapping[Vip, Place]) -> Sequence[Callable[[], None]]:
        """The calls that make each source follow the configuration; `places`: the places of the VIPs."""
        return (
            partial(self.keepalived.follow, configuration.core.instances),
            partial(self._bus.follow, configuration.members),
            partial(self.vips.watch, places),
        )

    def discard_exited(self) -> None:
        """Discard the recorded state of a keepalived that has exited, where another one runs now."""
        for name in self.keepalived.conditions:
            told = self.intake.master_since(name)
            if told is not None and not self.keepalived.lives(name, told):
                self.intake.died(name, self.keepalived.started(name))

    def close(self) -> None:
        """Stop asking for keepalived's states."""
        self.queries.close()
        if self._finding is not None:
            self._finding.cancel()

    def check(self) -> None:
        """Check everything that reports no change by itself."""
        self.keepalived.look()
        records.look()
        self.intake.check()

    def _deliver(self, changes: list[Change]) -> None:
        names = {change.name for change in changes}
        read = {change.name for change in changes if change.source == "fifo"}
        if any(self.keepalived.conditions.get(name) is Keepalived.GONE for name in names):
            self.keepalived.look()  # a keepalived is back: the core must know that before its events
            self.keepalived.wrote(read)
        for change in changes:
            with log.bound(event_id=next(self._numbers), source=change.source):
                if change.state is not None:
                    self._core.later(partial(_log.info, "event", instance=change.name, state=change.state.value))
                    straight = not change.reassert
                    self._core.dispatch(VrrpChanged(instance=change.name, state=change.state, straight=straight))
                if change.reassert:
                    self._core.dispatch(LowerPriorityAdvert(instance=change.name, rival=change.rival))
        self._reported |= names
        self._read |= read
        if self._finding is None:
            self._finding = self._core.call_later(_FIND_KEEPALIVED_DELAY_S, self._find_keepalived)

    def _record(self, events: list[ReportedEvent]) -> None:
        reporting.keep_events(self._store, records.boot, events)
        for each in events:
            self._bus.spoke(each.name, group=each.kind == "GROUP")
            if each.verdict is Verdict.ACCEPTED:
                self.accepted[each.name] = each
            if each.state == MASTER_RX_LOWER_PRI:  # keepalived never reports it of a group
                for group in self._bus.groups(each.name):
                    self._core.dispatch(LowerPriorityAdvert(instance=group))

    def _find_keepalived(self) -> None:
        self._finding = None
        reported, self._reported = self._reported, set()
        read, self._read = self._read, set()
        if not self.keepalived.conditions:
            self.keepalived.look()
        self.keepalived.wrote(read)
        instances = self._core.state.instances
        for name in reported & instances.keys():
            if self._bus.new(name):
                self.queries.ask(QueryVrrpState(instance=name, words=instances[name].words))

    def _vips_are(self, present: Mapping[Vip, bool | None]) -> None:
        self._core.dispatch(VipsSeen(present=present, removers=self.vips.removers, instead=self.vips.instead))

    def _keepalived_is(self, instances: frozenset[str], condition: Keepalived) -> None:
        if condition is Keepalived.GONE:
            for name in instances:
                self.intake.died(name, self.keepalived.started(name))
            self.intake.discard_unfollowed()
        self._core.dispatch(KeepalivedSeen(instances=instances, condition=condition))
