"""The daemon's parts: made and joined once, started in order, closed in the opposite order."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import assert_never

from failoverd import log
from failoverd.core import clearance, strays
from failoverd.core.effects import (
    Alarm,
    AskWitnesses,
    Effect,
    FencePeer,
    Observe,
    ProbeVips,
    QueryVrrpState,
    RunStep,
    TransitionEnded,
    TransitionStarted,
)
from failoverd.core.events import WishesFound
from failoverd.core.model import State
from failoverd.core.spec import Config, Vip
from failoverd.daemon import config, reboot, reporting
from failoverd.daemon.access import Admission
from failoverd.daemon.active_files import ActiveFiles
from failoverd.daemon.alerts.sender import Alerts
from failoverd.daemon.config import Configuration
from failoverd.daemon.config.active import ActiveConfiguration
from failoverd.daemon.config.reloads import Reloads
from failoverd.daemon.config.settings import Settings
from failoverd.daemon.control.answers import Answers
from failoverd.daemon.control.drbd_handlers import DrbdHandlers
from failoverd.daemon.control.server import Control
from failoverd.daemon.executor import Answer, Executor
from failoverd.daemon.fencing import Fencing
from failoverd.daemon.heartbeat.beat import Heartbeat
from failoverd.daemon.history.store import Store
from failoverd.daemon.inputs import Inputs
from failoverd.daemon.keepalived import track_watch
from failoverd.daemon.keepalived.track import TrackFiles
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.metrics.counts import Counts
from failoverd.daemon.metrics.exporter import Exporter
from failoverd.daemon.outputs import Outputs
from failoverd.daemon.persistence import at_boot, followed, off, released, rivals, wishes
from failoverd.daemon.persistence.permits import Permits
from failoverd.daemon.runtime_directory import RuntimeDirectory
from failoverd.daemon.self_fencing import SelfFencing
from failoverd.daemon.vip_probe import VipProbe
from failoverd.daemon.waits import Waits
from failoverd.daemon.watchdog import Watchdog
from failoverd.daemon.witnesses import Witnesses
from failoverd.osutil import boot, threads
from failoverd.ports import sd_notify
from failoverd.records import records, spare

_log = log.get("service")

#: Seconds by which a boot waits for the demotion of what is still active: bird's include file, first of all.
_STANDBY_WITHIN_S = 5.0


class Daemon:
    """One node's failoverd, from its first configuration to its end. Made on the running loop."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        records.move(settings.runtime_dir)
        self._settings = settings
        self._configuration = configuration
        self._end = asyncio.Event()
        self.core = CoreLoop()
        self.store = Store(settings.state_dir)
        self.counts = Counts()
        self.alerts = Alerts(lambda: self.configuration.node)
        self.witnesses = Witnesses(self.core.dispatch)
        self.self_fencing = SelfFencing()
        self.fencing = Fencing(self.core.dispatch, self.store, self._called_off)
        self.heartbeat = Heartbeat(self.core.dispatch, lambda: self.core.state)
        self.executor = Executor(self._answered, self.store, self.heartbeat.vouched, self.heartbeat.serving)
        self.heartbeat.heard = self.executor.heard
        self._vip_probe = VipProbe(self._present, self.core.dispatch)
        self._waits = Waits(self.store)
        self._admission = Admission((settings.runtime_dir / "spool", spare(settings.runtime_dir)))
        self._track = TrackFiles(settings.runtime_dir)
        self._active_files = ActiveFiles(settings.runtime_dir)
        self._wishes = wishes.Wishes(settings.state_dir, self._take_in)
        self._permits = Permits()
        self._runtime_directory = RuntimeDirectory(settings.runtime_dir, records)

    def _called_off(self, peer: str) -> str | None:
        return clearance.called_off(self.core.state, peer, asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises LockedError, ControlError, IntakeError or RuntimeDirectoryError."""
        core, passed, loop = self.core, sd_notify.passed(), asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            stop_by = self._take_over(stack)
            answers = Answers(
                core,
                self.executor,
                self.store,
                self.alerts,
                configuration=lambda: self.configuration,
                counters=lambda: self.inputs.intake.counters,
                queries=lambda: self.inputs.queries,
                accepted=lambda name: self.inputs.accepted.get(name),  # noqa: PLW0108 - the inputs are made later
                watched=self._watched,
                wishes=self._wishes,
                heartbeat=self.heartbeat,
            )
            acts = {**answers.acts, **DrbdHandlers(core, self.fencing, loop.time).handlers}
            control = Control(self._settings.runtime_dir / "control.sock", answers.reads, acts, answers.feeds)
            stack.push_async_callback(control.close)
            control.take()
            self.store.start()
            stack.push_async_callback(self.store.close)
            wished = await self._wishes.recall(loop.time())
            stack.callback(self._wishes.close)
            transition = await reporting.next_transition(self.store)
            first = at_boot.configured(frozenset(self._configuration.core.instances))
            self.inputs = Inputs(
                self._settings.runtime_dir,
                core,
                self.store,
                passed,
                admits=self._admission.admits,
                removed=self._check_runtime_directory,
                booted=lambda name: name in first and boot.recent(),
            )
            maybe_active = reboot.recall()
            self.outputs = Outputs(
                self._track,
                self._active_files,
                self._wishes,
                discard=self.inputs.intake.discard,
                later=core.later,
                maybe_active=maybe_active,
            )
            stack.push_async_callback(self.alerts.close)
            self._exporter = Exporter(self._metrics)
            stack.push_async_callback(self._exporter.close)
            self.configuration = ActiveConfiguration(
                core,
                self.executor,
                self.inputs,
                self.outputs,
                self._admission,
                alerts=self.alerts,
                exporter=self._exporter,
                witnesses=self.witnesses,
                self_fencing=self.self_fencing,
                fencing=self.fencing,
                heartbeat=self.heartbeat,
            )
            watchdog = Watchdog(self._check_all)
            stack.callback(watchdog.close)
            for part in (self.executor, self.fencing, self.witnesses, self._vip_probe):
                stack.push_async_callback(part.close)
            stack.callback(self.heartbeat.close)
            # Nothing waits from here to the end of the start, so that no event reaches a core without instances.
            recalled = State(
                config=Config(),
                instances={},
                next_transition=transition,
                released=released.recall(self._track.released(), loop.time(), standby=wished.standby),
                standby=wished.standby,
                maintenance=wished.maintenance,
                rivals=rivals.recall(),
                off=off.recall(),
                maybe_active=maybe_active,
                stop_by=stop_by,
                lost_by=self._permits.recall(),
                strays=strays.left(followed.recall(), loop.time()),
            )
            self.alerts.recall()
            core.start(
                self.executor.take_over(recalled),
                perform=self._perform,
                changed=self._changed,
            )
            stack.callback(self._admission.close)
            self.configuration.apply(self._configuration)
            self.inputs.intake.start()
            stack.callback(self.inputs.intake.close)
            self._wishes.look()
            self._runtime_directory.take()
            self.inputs.vips.start()
            stack.callback(self.inputs.vips.close)
            self._track.start()
            stack.callback(self._track.close)
            self.inputs.keepalived.look()
            stack.callback(self.inputs.keepalived.close)
            self.inputs.discard_exited()
            self._take_signals(stack)
            control.serve()  # not before there is a state to report
            ready = asyncio.create_task(self._report_ready())
            stack.callback(ready.cancel)
            await self._end.wait()
            await self._finish(watchdog)
        self._runtime_directory.confirm()

    def _take_over(self, stack: AsyncExitStack) -> float:
        """Take the place of an earlier daemon. Returns until when the watchdog is fed without any further answer."""
        records.take()
        stack.callback(records.release)
        stack.push_async_callback(self.self_fencing.close)
        return self.self_fencing.take_over(self._configuration.core.quorum)

    async def _report_ready(self) -> None:
        """Tell systemd, which starts keepalived and bird then. After a boot, await the demotion of what is active."""
        if boot.recent():
            try:
                async with asyncio.timeout(_STANDBY_WITHIN_S):
                    await self.inputs.queries.answered()
                    await self.core.demoted()
            except TimeoutError:
                _log.warning("ready, but something is still active from before the boot", seconds=_STANDBY_WITHIN_S)
        _log.info("ready", node=self.configuration.node, instances=sorted(self.configuration.instances))
        sd_notify.tell(ready=True, status=self.core.line)

    def _take_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        self.reloads = Reloads(
            lambda: config.load(self._settings.config, self._settings.node), self.configuration.reload
        )
        stack.callback(self.reloads.close)
        loop.add_signal_handler(signal.SIGHUP, self.reloads.begin)

    async def _finish(self, watchdog: Watchdog) -> None:
        """Finish the demotions, and stop handling other events."""
        self.inputs.keepalived.look()  # it may have ended just now, at a shutdown of the machine
        watchdog.stopping()
        await self.core.keep_mastership(self._lost)
        self.inputs.intake.close()
        await self.core.finish(self._lost)
        self.inputs.close()

    def _lost(self) -> bool:
        return self._runtime_directory.lost is not None

    async def _metrics(self) -> bytes:
        from failoverd.daemon.metrics.collect import collect

        intake = self.inputs.intake
        return await collect(
            self.core.state,
            self.counts,
            self.store,
            node=self.configuration.node,
            events=intake.counters_by_source,
            rejected=intake.counters["rejected"],
            overflows=intake.overflows,
        )

    def _take_in(self, found: wishes.Wished) -> None:
        self.core.dispatch(WishesFound(standby=found.standby, maintenance=found.maintenance))

    def _answered(self, event: Answer) -> None:
        self.core.dispatch(event)
        self.counts.answer(event)

    def _changed(self, before: State, now: State) -> None:
        self.outputs.fulfil(before, now)
        self.witnesses.change(now)
        self.core.later(partial(self.self_fencing.change, before, now))
        self.core.later(partial(self._permits.change, before, now))
        self.heartbeat.change(before, now)
        self.core.later(partial(self.counts.change, before, now))
        self.core.later(partial(self.alerts.change, before, now))
        self.core.later(self._exporter.change)
        self.core.later(partial(self._waits.see, now, asyncio.get_running_loop().time(), time.monotonic()))

    def _present(self, name: str) -> list[Vip]:
        """The VIPs of the instance that are here."""
        instance = self.core.state.instances.get(name)
        return [] if instance is None else [vip for vip, present in instance.vips.items() if present]

    async def _watched(self, instance: str) -> bool | None:
        """Whether keepalived watches the track files; None: unknown."""
        pids = [pid for daemon in self.inputs.keepalived.speakers(instance) for pid in daemon]
        return await threads.run(track_watch.watched, self._track.directory, pids)

    def _perform(self, effect: Effect) -> None:
        """Start one effect of the core, without waiting for it."""
        core = self.core
        match effect:
            case RunStep():
                self.executor.perform(effect)
                self.counts.step(effect)
            case Observe():
                self.executor.perform(effect)
            case QueryVrrpState():
                self.inputs.queries.ask(effect)
            case ProbeVips():
                self._vip_probe.perform(effect)
            case AskWitnesses():
                self.witnesses.perform(effect)
            case FencePeer():
                self.fencing.perform(effect)
            case TransitionStarted():
                self.counts.report(effect)
                core.later(partial(reporting.tell, effect))
                reporting.keep(self.store, effect)
                core.later(partial(reporting.remember, self.store, effect.transition))
            case TransitionEnded():
                self.counts.report(effect)
                core.later(partial(reporting.tell, effect))
                reporting.keep(self.store, effect)
            case Alarm():
                self.counts.report(effect)
                core.later(partial(reporting.tell, effect))
                instance = core.state.instances.get(effect.instance)
                lasts = instance is not None and instance.alarm == effect.text
                core.later(partial(self.alerts.alarm, effect, lasts=lasts))
            case _:
                assert_never(effect)

    def _check_runtime_directory(self) -> None:
        if not self._runtime_directory.check():
            self._end.set()

    def _check_all(self) -> None:
        self._check_runtime_directory()
        self.inputs.check()
        self._admission.check()
        self._track.look()
        self._active_files.check()
        self._wishes.look()
        self.witnesses.look()
        self.self_fencing.look()
