"""The loop: what comes in becomes an event for the core, what the core asks for is started.

Everything here runs in one thread. `dispatch` never waits, so an event and its first command are as close together
as Python allows; whatever can take time (drivers, D-Bus, history) answers later, with an event.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import signal
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from failoverd import log
from failoverd.core import machine, strays
from failoverd.core.events import (
    Alarm,
    Effect,
    Event,
    FindTruth,
    KeepalivedSeen,
    Observe,
    Reasserted,
    Reloaded,
    ResourceObserved,
    RunStep,
    StepEnded,
    Stopping,
    Tick,
    TransitionEnded,
    TransitionStarted,
    VipsSeen,
    VrrpChanged,
)
from failoverd.core.model import State
from failoverd.core.spec import Config
from failoverd.core.words import Keepalived, Target
from failoverd.daemon import boot, chronicle, config, followed, reboot, released, rivals, status, systemd, vip
from failoverd.daemon.access import Admission
from failoverd.daemon.answers import Answers
from failoverd.daemon.config import ConfigError, Configuration
from failoverd.daemon.control import Control
from failoverd.daemon.executor import Executor, drivers_of
from failoverd.daemon.intake import Change, Intake, Told
from failoverd.daemon.intake.judge import REASSERT
from failoverd.daemon.intake.spool import spare
from failoverd.daemon.keepalived import KeepalivedWatch
from failoverd.daemon.premises import Premises
from failoverd.daemon.pulse import Pulse
from failoverd.daemon.reloads import Reloads
from failoverd.daemon.settings import Settings
from failoverd.daemon.store import Store
from failoverd.daemon.track import TrackFiles
from failoverd.daemon.truth import Bus, Inquiry
from failoverd.daemon.vip import VipWatch
from failoverd.daemon.wants import Wants
from failoverd.records import records

_log = log.get("service")

#: Seconds after the first event until keepalived's processes are looked for: not while steps are being started.
_AFTERWARDS = 0.2


class Service:
    """One node's failoverd, from its first configuration to its end."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._settings = settings
        records.move(settings.runtime_dir)
        self._configuration = configuration
        self.state = State(config=Config(), instances={})
        self._events: deque[Event] = deque()
        self._dispatching = False
        self._afterwards: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._end = asyncio.Event()
        self._moved = asyncio.Event()
        self._ending = self._stopped = False
        self._line = ""
        self._looking: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._plain = contextvars.copy_context()  # without the identifiers of the event that is being handled
        self.boot_id = records.boot
        self.store = Store(settings.state_dir)
        self.executor = Executor(self.dispatch, self.store)
        self._admission = Admission((settings.runtime_dir / "spool", spare(settings.runtime_dir)))
        self._track = TrackFiles(settings.runtime_dir)
        self._premises = Premises(settings.runtime_dir, records)
        self._vips = VipWatch(lambda present: self.dispatch(VipsSeen(present=present, removers=self._vips.removers)))
        self._keepalived = KeepalivedWatch(settings.runtime_dir / "keepalived.fifo", self._keepalived_is)
        self._spoken: set[str] = set()
        self._reloads = Reloads(lambda: config.load(settings.config, settings.node), self._reload)
        self._read: set[str] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. LockedError, ControlError, IntakeError or PremisesError: it cannot be done."""
        passed = systemd.passed()
        answers = Answers(self)
        async with AsyncExitStack() as stack:
            records.take()
            stack.callback(records.release)
            control = Control(
                self._settings.runtime_dir / "control.sock",
                answers.reads,
                answers.acts,
                listening=passed.sockets.get("control.sock"),
            )
            stack.push_async_callback(control.close)
            control.take()
            self.store.start()
            stack.push_async_callback(self.store.close)
            transition = await chronicle.next_transition(self.store)
            now = asyncio.get_running_loop().time()
            given_away = released.recall(self._track.released(), now)
            maybe_active = reboot.recall()
            self.state = State(
                config=Config(),
                instances={},
                next_transition=transition,
                released=given_away,
                rivals=rivals.recall(),
                maybe_active=maybe_active,
                strays=strays.left(followed.recall(), now),
            )
            self.intake = Intake(
                self._settings.runtime_dir,
                records,
                deliver=self._deliver,
                record=self._record,
                heard=self._keepalived.heard,
                judging=self._keepalived.notice,
                admits=self._admission.admits,
                disturbed=self._look_at_premises,
                keepaliveds=lambda: self._keepalived.pids,
                listener=passed.sockets.get("notify.sock"),
                held=passed.fifo,
            )
            self._wants = Wants(
                self._track, void=self.intake.void, later=self._afterwards.append, maybe_active=maybe_active
            )
            first = boot.configured(frozenset(self._configuration.core.instances))
            self._bus = Bus(self._keepalived, self.intake.last)
            self._inquiry = Inquiry(
                self._vips.ready,
                self._bus,
                self.intake.last,
                self.dispatch,
                voided=self.intake.voided,
                booted=lambda name: name in first and boot.recent(),
            )
            pulse = Pulse(self._look_around)
            stack.callback(pulse.close)
            stack.push_async_callback(self.executor.close)
            # From here to the end of the start nothing waits, so that no event comes to a core that knows no instance.
            self.state = self.executor.take_over(self.state)
            self._apply(self._configuration)
            self.intake.start()
            stack.callback(self.intake.close)
            self._premises.take()
            self._admission.begin(self._configuration.script_user)
            stack.callback(self._admission.close)
            self._vips.start()
            stack.callback(self._vips.close)
            self._keepalived.look()
            stack.callback(self._keepalived.close)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._end.set)
            stack.callback(self._reloads.close)
            loop.add_signal_handler(signal.SIGHUP, self._reloads.begin)
            _log.info("ready", node=self.node, instances=sorted(self._configuration.core.instances))
            systemd.tell(ready=True, status=self._line)
            control.serve()  # not before there is something to tell: with systemd's socket, people ask at any time
            await self._end.wait()
            await self._finish(pulse)
        self._premises.confirm()

    async def _finish(self, pulse: Pulse) -> None:
        """End: what is on its way to standby gets there first."""
        self._keepalived.look()  # it may have ended just now, at a shutdown of the machine
        self.intake.close()
        pulse.stopping()
        self.dispatch(Stopping())
        self._ending = True
        _log.info("stopping: demotions are finished, steps in flight awaited, all else stays as it is")
        while self._demoting() and self._premises.lost is None:
            await self._moved.wait()
            self._moved.clear()
        self._stopped = True
        self._inquiry.close()
        for handle in (self._timer, self._looking):
            if handle is not None:
                handle.cancel()

    # ------------------------------------------------------------ into the core, and out of it

    def dispatch(self, event: Event) -> None:
        """Give the core an event, and start what it asks for. An event from within is handled after this one.

        A service that is ending only finishes what must become standby; what was recorded is found again at the next
        start.
        """
        if self._stopped or (self._ending and not isinstance(event, StepEnded | ResourceObserved | Tick)):
            return
        self._events.append(event)
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._events:
                self._advance(self._events.popleft())
            if (line := status.line(self.state)) != self._line:
                self._line = line
                self._afterwards.append(partial(systemd.tell, status=line))
        finally:
            self._dispatching = False
            loop = asyncio.get_running_loop()
            for tell in self._afterwards:
                loop.call_soon(tell)
            self._afterwards.clear()
        self._schedule()
        self._moved.set()

    def _advance(self, event: Event) -> None:
        before = self.state
        try:
            self.state, effects = machine.advance(self.state, event, asyncio.get_running_loop().time())
        except Exception:
            _log.exception("an impossible event; this is a bug of failoverd", event_was=repr(event))
            return
        self._wants.fulfil(before, self.state)
        for effect in effects:
            try:
                self._perform(effect)
            except Exception:  # its answer will be missed, and its deadline will say so
                _log.exception("an effect failed; this is a bug of failoverd", effect=repr(effect))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case RunStep() | Observe():
                self.executor.perform(effect)
            case FindTruth():
                self._inquiry.ask(effect)
            case TransitionStarted() | TransitionEnded():
                self._afterwards.append(partial(chronicle.tell, effect))
                chronicle.keep(self.store, effect)
                if isinstance(effect, TransitionStarted):
                    self._afterwards.append(partial(chronicle.remember, self.store, effect.transition))
            case Alarm():
                self._afterwards.append(partial(chronicle.tell, effect))

    def _say(self, log_it: Callable[..., None], event: str, **fields: object) -> None:
        """Log it when the steps of this event have been started: a line costs a tenth of what starting one does."""
        self._afterwards.append(partial(log_it, event, **fields))

    def _demoting(self) -> bool:
        """Whether something here is on its way to standby, or is to be: at a shutdown that is finished first."""
        return any(
            instance.direction is Target.STANDBY and not instance.phase.settled
            for instance in self.state.instances.values()
        )

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = machine.next_deadline(self.state)
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(at, self._tick, context=self._plain)

    def _tick(self) -> None:
        self._timer = None
        self.dispatch(Tick())

    # ------------------------------------------------------------ what comes in

    def _deliver(self, changes: list[Change]) -> None:
        names = {change.name for change in changes}
        read = {change.name for change in changes if change.source == "fifo"}
        if any(self._keepalived.conditions.get(name) is Keepalived.GONE for name in names):
            self._keepalived.look()  # who speaks is there again: see that before what it says
            self._keepalived.wrote(read)
        for change in changes:
            with log.bound(event_id=next(self._numbers), source=change.source):
                if change.state is not None:
                    self._say(_log.info, "event", instance=change.name, state=change.state.value)
                    straight = not change.reassert
                    self.dispatch(VrrpChanged(instance=change.name, state=change.state, straight=straight))
                if change.reassert:
                    self.dispatch(Reasserted(instance=change.name, rival=change.rival))
        self._spoken |= names
        self._read |= read
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(_AFTERWARDS, self._look_for_keepalived, context=self._plain)

    def _record(self, told: list[Told]) -> None:
        chronicle.keep_events(self.store, self.boot_id, told)
        for each in told:
            self._bus.spoke(each.name, group=each.kind == "GROUP")
            if each.word == REASSERT:  # that is never said of a group
                for group in self._bus.groups(each.name):
                    self.dispatch(Reasserted(instance=group))

    def _look_at_premises(self) -> None:
        if not self._premises.look():
            self._end.set()

    def _look_around(self) -> None:
        self._look_at_premises()
        self._keepalived.look()
        records.look()
        self.intake.look()
        self._track.look()

    def _look_for_keepalived(self) -> None:
        self._looking = None
        spoken, self._spoken = self._spoken, set()
        read, self._read = self._read, set()
        if not self._keepalived.conditions:
            self._keepalived.look()
        self._keepalived.wrote(read)
        for name in spoken & self.state.instances.keys():
            if self._bus.new(name):
                self._inquiry.ask(FindTruth(instance=name, words=self.state.instances[name].words))

    def _keepalived_is(self, instances: frozenset[str], condition: Keepalived) -> None:
        if condition is Keepalived.GONE:
            for name in instances:
                self.intake.died(name, self._keepalived.started(name))
            self.intake.void_strangers()
        self.dispatch(KeepalivedSeen(instances=instances, condition=condition))

    def _apply(self, configuration: Configuration) -> None:
        """Take a configuration over; or raise, and leave everything as it was: what can fail is tried first."""
        core = configuration.core
        drivers, places = drivers_of(core), vip.places(core.instances.values())
        machine.advance(self.state, Reloaded(config=core), asyncio.get_running_loop().time())
        self._configuration = configuration
        self.executor.configure(drivers)
        for name, instance in core.instances.items():
            if not instance.resources:
                _log.warning("no resource of this instance is for this node", instance=name, node=configuration.node)
        self.intake.followed = frozenset(core.instances)
        self.dispatch(Reloaded(config=core))
        for part in (
            partial(self._wants.tell_keepalived, self.state),
            partial(self._keepalived.follow, core.instances),
            partial(self._bus.follow, configuration.members),
            partial(self._vips.watch, places),
        ):
            try:
                part()
            except Exception:  # the core has taken it, and the other parts must follow
                _log.exception("a part of the configuration could not be taken; this is a bug of failoverd")

    def _reload(self, configuration: Configuration) -> None:
        """Take what was read anew. ConfigError: it is not meant."""
        if self._ending:
            return
        if self._configuration.core.instances and not configuration.core.instances:
            raise ConfigError(["the configuration follows nothing any more; stop failoverd if that is meant"])
        self._apply(configuration)
        self._admission.begin(configuration.script_user)
        _log.info("the configuration was reloaded", files=[str(file) for file in configuration.files])

    # ------------------------------------------------------------ what is shown

    @property
    def node(self) -> str:
        """The name of this node."""
        return self._configuration.node
