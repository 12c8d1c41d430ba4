"""The loop around the core: dispatch events to it, start its effects, and set a timer for its next deadline.

Everything here runs in one thread. `dispatch` never waits, so the first command starts as soon after an event as Python
allows. Everything that can take time (drivers, D-Bus, history) answers later, with an event.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from functools import partial

from failoverd import log
from failoverd.core import machine
from failoverd.core.effects import Effect
from failoverd.core.events import Event, ResourceObserved, Stalled, StepEnded, Stopping, Tick
from failoverd.core.model import InstanceState, State
from failoverd.core.requests import HandoverCancelled
from failoverd.core.spec import Config
from failoverd.core.words import Target
from failoverd.daemon import clock, status
from failoverd.ports import sd_notify

_log = log.get("service")


class CoreLoop:
    """Holds the core's state. Made on the running loop; no event may be dispatched before `start`."""

    def __init__(self) -> None:
        self.state = State(config=Config(), instances={})
        self.line = ""  # the state in one line, as systemd shows it
        self.turn = 0  # counts the dispatches
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._lost = 0.0
        self._dispatching = False
        self._afterwards: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._turned: asyncio.Future[None] | None = None
        self._plain = contextvars.copy_context()  # without the identifiers of the event that is being handled
        self.ending = self._stopped = False

    def start(
        self, state: State, *, perform: Callable[[Effect], None], changed: Callable[[State, State], None]
    ) -> None:
        """Begin with `state`. `perform` starts an effect; `changed` gets the states before and after each event."""
        self.state = state
        self._perform = perform
        self._changed = changed

    def dispatch(self, event: Event) -> None:
        """Give the core an event, and start its effects. An event from within is handled after this one.

        While the daemon ends, only events that finish a demotion are handled; the next daemon reads the recorded
        states.
        """
        if self._stopped or (self.ending and not isinstance(event, StepEnded | ResourceObserved | Tick)):
            return
        self._events.append(event)
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._events:
                if (seconds := self._stalled()) >= clock.STALL_S:
                    self._advance(Stalled(seconds=seconds))
                self._advance(self._events.popleft())
            if (line := status.line(self.state)) != self.line:
                self.line = line
                self.later(partial(sd_notify.tell, status=line))
        finally:
            self._dispatching = False
            for tell in self._afterwards:
                self._loop.call_soon(tell)
            self._afterwards.clear()
        self._schedule()
        self._moved.set()
        self.turn += 1
        if self._turned is not None:
            self._turned.set_result(None)
            self._turned = None

    def _stalled(self) -> float:
        """Seconds that the loop's clock has not counted since the last event."""
        lost = self._loop.lost if isinstance(self._loop, clock.Loop) else 0.0
        before, self._lost = self._lost, lost
        return lost - before

    async def turned(self, since: int) -> None:
        """Wait until `turn` is no longer `since`. It costs a dispatch nothing, however many wait."""
        while self.turn == since:
            if self._turned is None:
                self._turned = self._loop.create_future()
            await asyncio.shield(self._turned)

    def later(self, call: Callable[[], None]) -> None:
        """Call it after the steps of this event were started: a log line takes a tenth of the time of a start."""
        self._afterwards.append(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """As the event loop's `call_later`, without the log identifiers of the current event."""
        return self._loop.call_later(seconds, call, context=self._plain)

    async def keep_mastership(self, lost: Callable[[], bool]) -> None:
        """End the handovers that have not released mastership, and activate again what they have deactivated.

        Events are handled meanwhile. Return at once if `lost` is true: reports cannot arrive any more.
        """
        ended = []
        for name, instance in self.state.instances.items():
            if instance.handover is not None and instance.handover.given_at is None:
                cause = "failoverd ends, and with it the handover"
                self.dispatch(HandoverCancelled(instance=name, id=instance.handover.id, cause=cause))
                ended.append(name)
        while any(self._comes_back(name) for name in ended) and not lost():
            await self._moved.wait()
            self._moved.clear()

    def _comes_back(self, name: str) -> bool:
        instance = self.state.instances.get(name)
        return instance is not None and instance.direction is Target.ACTIVE and not instance.phase.settled

    async def finish(self, lost: Callable[[], bool]) -> None:
        """Finish the demotions, and handle no other event.

        Return at once if `lost` is true: reports cannot arrive any more.
        """
        self.dispatch(Stopping())
        self.ending = True
        _log.info("stopping: finishing demotions and steps in flight; everything else keeps its state")
        while self._demoting() and not lost():
            await self._moved.wait()
            self._moved.clear()
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _advance(self, event: Event) -> None:
        before = self.state
        try:
            self.state, effects = machine.advance(self.state, event, self._loop.time())
        except Exception:
            _log.exception("the core failed on an event; this is a bug of failoverd", event_was=repr(event))
            return
        self._changed(before, self.state)
        for effect in effects:
            try:
                self._perform(effect)
            except Exception:  # the core notices the missing answer at its deadline
                _log.exception("cannot start an effect; this is a bug of failoverd", effect=repr(effect))

    async def demoted(self) -> None:
        """Wait until no instance is being demoted."""
        while self._demoting():
            await self.turned(self.turn)

    def _demoting(self) -> bool:
        """Whether an instance here is being demoted, or must be: a shutdown finishes that first."""
        return any(
            instance.direction is Target.STANDBY and not instance.phase.settled and self._may_move(instance)
            for instance in self.state.instances.values()
        )

    def _may_move(self, instance: InstanceState) -> bool:
        """Whether the demotion can continue: in maintenance only the steps in flight do."""
        return self.state.maintenance is None or any(r.step is not None for r in instance.resources.values())

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = machine.next_deadline(self.state)
        if at is not None:
            self._timer = self._loop.call_at(at, self._tick, context=self._plain)

    def _tick(self) -> None:
        self._timer = None
        self.dispatch(Tick())
