"""Sends what this node has to say at an interval and when it changes, and gives the core what the others say.

It decides nothing, and never waits: a datagram that cannot be sent now is lost, and the next one says the same.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from failoverd.core import clearance, peers
from failoverd.core.events import HearingChanged, PeerReported, PeerUnverified
from failoverd.core.knowledge import Peer, PeerWord
from failoverd.core.model import State
from failoverd.core.words import Level
from failoverd.daemon.config.heartbeat import HeartbeatPlan
from failoverd.daemon.heartbeat import report, words
from failoverd.daemon.heartbeat.partner import Partner
from failoverd.daemon.rate_limited_log import RateLimitedLog
from failoverd.osutil import threads
from failoverd.ports.heartbeat import key
from failoverd.ports.heartbeat.channel import Channel
from failoverd.ports.heartbeat.datagram import Unusable, Unverified
from failoverd.ports.heartbeat.key import KeyUnusable
from failoverd.ports.heartbeat.link import Link, Words
from failoverd.trouble import TroubleKind, troubles

#: Seconds from a change until it is said: the steps of its event start first, and changes at one time go together.
_DELAY_S = 0.005
#: Words take a tenth of the loop's time at most: the pause after them, as a multiple of the CPU time that they took.
_PAUSE_FACTOR = 9.0
#: Seconds between two answers to the same node.
_ANSWER_S = 0.02
#: Seconds until a key that cannot be used is tried again.
_KEY_RETRY_S = 10.0
#: Times of datagrams that are kept, at which a word may count.
_BOOTTIMES = 4096
#: Seconds for which a key that differs is shown after the last datagram that was signed with it.
_FOREIGN_KEY_S = 60.0
#: The same for datagrams of another format.
_FOREIGN_FORMAT_S = 60.0
#: Intervals, and seconds at least, after which a node that could be fenced is missed.
_MISSED_INTERVALS = 10
_MISSED_S = 10.0
#: The number of intervals after which a node that is not heard may have been started anew.
_STILL_HEARD = 2.5
#: Seconds between two notes of datagrams that are ignored for the same reason.
_NOTE_S = 1.0


class Heartbeat:
    """The heartbeat of the active configuration.

    `dispatch` gives the core an event; `state` returns the core's state. Attribute `heard`: called after each event.
    """

    def __init__(
        self,
        dispatch: Callable[[PeerReported | PeerUnverified | HearingChanged], object],
        state: Callable[[], State],
    ) -> None:
        self._dispatch = dispatch
        self.heard: Callable[[], object] = lambda: None
        self._boottimes: dict[float, float] = {}  # of the datagrams that were sent, by the loop's time
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._log = RateLimitedLog("heartbeat")
        self._plan: HeartbeatPlan | None = None
        self._made: tuple[HeartbeatPlan, bytes] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._words = Words()
        self._partners: dict[str, Partner] = {}
        self._deaf: dict[str, str | None] = {}  # as it was told last
        self._changed: set[str] = set()
        self._silent = frozenset[str]()
        self._next: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._told_until = -math.inf
        self._began_at = -math.inf

    def configure(self, plan: HeartbeatPlan | None) -> None:
        """Use this heartbeat from here on; None: none. The key is read again."""
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        if plan != self._plan:
            self._stop()
            self._hear({} if plan is None else dict.fromkeys(plan.peers, ""))
        self._plan = plan
        if plan is None:
            troubles.end(TroubleKind.HEARTBEAT_KEY)
        else:
            self._starting = self._loop.create_task(self._start(plan))

    async def _start(self, plan: HeartbeatPlan) -> None:
        """Start as soon as the key can be used."""
        while True:
            try:
                found = await threads.run(key.read, plan.key_file)
                break
            except (KeyUnusable, OSError) as error:
                troubles.begin(TroubleKind.HEARTBEAT_KEY, str(error), file=key.place(plan.key_file))
                if not self._partners:
                    self._hear(dict.fromkeys(plan.peers, str(error)))
            await asyncio.sleep(_KEY_RETRY_S)
        troubles.end(TroubleKind.HEARTBEAT_KEY)
        if self._made == (plan, found):
            return
        self._stop()
        self._made = (plan, found)
        self._words = Words()
        state = self._state()
        self._changed = {*state.instances, *(stray.spec.instance for stray in state.strays.values())}
        self._partners = {name: self._partner(plan, found, name) for name in plan.peers}
        self._began_at = self._loop.time()
        self._tell()
        self._beat()

    def _partner(self, plan: HeartbeatPlan, found: bytes, name: str) -> Partner:
        link = Link(
            plan.core.node,
            name,
            key=found,
            session=secrets.randbits(64) | 1,
            words=self._words,
            known=self._state().peers.get(name, Peer()).words,
        )
        address = plan.peers[name]
        return Partner(link, Channel(plan.own, address, lambda data: self._received(name, data)), address)

    def vouched(self, instance: str, resource: str) -> dict[str, float]:
        """The other nodes that say that the resource is at standby there, and that nothing was written there alone.

        Each with the seconds of CLOCK_BOOTTIME after which it has said so. The loop's time stands still where the
        process does, so it cannot be compared with other clocks.
        """
        return self._said(instance, lambda word: resource in word.nothing_alone)

    def serving(self, instance: str, resource: str) -> dict[str, float]:
        """The other nodes that say that the resource may be active there, with the same time."""
        return self._said(instance, lambda word: word.level(resource) is not Level.STANDBY)

    def _said(self, instance: str, what: Callable[[PeerWord], bool]) -> dict[str, float]:
        words = {name: peers.word(self._state(), name, instance) for name in self._partners}
        return {
            name: self._boottimes.get(word.at, -math.inf)
            for name, word in words.items()
            if word is not None and what(word)
        }

    def _sending(self) -> float:
        """The loop's time, at which datagrams are about to be sent."""
        now = self._loop.time()
        self._boottimes.setdefault(now, time.clock_gettime(time.CLOCK_BOOTTIME))
        while len(self._boottimes) > _BOOTTIMES:
            del self._boottimes[next(iter(self._boottimes))]
        return now

    def close(self) -> None:
        """Say what has changed at last, and end."""
        if self._starting is not None:
            self._starting.cancel()
        if self._partners and self._changed:
            self._tell_change()
        self._stop()

    def _stop(self) -> None:
        for timer in (self._next, self._telling):
            if timer is not None:
                timer.cancel()
        self._next = self._telling = None
        for name, partner in self._partners.items():
            partner.close()
            troubles.end(TroubleKind.HEARTBEAT_KEY, name)
            troubles.end(TroubleKind.HEARTBEAT_VERSION, name)
            troubles.end(TroubleKind.PEER_SILENT, name)
        troubles.end(TroubleKind.HEARTBEAT_ADDRESS)
        self._partners.clear()
        self._deaf.clear()
        self._made = None

    # ------------------------------------------------------------ saying

    def change(self, before: State, now: State) -> None:
        """Say soon what has changed."""
        if not self._partners:
            return
        self._changed.update(now.agenda.touched)
        if now.strays is not before.strays:
            self._changed.update(stray.spec.instance for each in (before, now) for stray in each.strays.values())
        if now.orphans is not before.orphans:
            self._changed.update(name for each in (before, now) for name, _ in each.orphans)
        if now.config is not before.config or now.off is not before.off:
            self._changed.update(self._words.names())
        if self._changed and self._telling is None:
            at = max(self._loop.time() + _DELAY_S, self._told_until)
            self._telling = self._loop.call_at(at, self._tell_change)

    def _tell_change(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._tell():
            now = self._sending()
            for partner in self._partners.values():
                partner.send(partner.link.more(now))

    def _tell(self) -> bool:
        """Put what this node says now into words. Returns whether any is another one.

        It comes before every datagram: one that is sent later confirms the words as they are then.
        """
        began = time.thread_time()
        state, now = self._state(), self._loop.time()
        changed = False
        for name in self._changed:
            instance = state.instances.get(name)
            left = words.left_behind(state, name, now) if instance is None else words.spoken(state, instance, now)
            changed |= self._words.put(name, None if left is None else words.written(left))
        if self._changed:
            self._told_until = self._loop.time() + _PAUSE_FACTOR * (time.thread_time() - began)
        self._changed.clear()
        return changed

    def _beat(self) -> None:
        assert self._plan is not None
        state = self._state()
        silent = frozenset(name for name in self._partners if peers.silent(state, name, self._loop.time()))
        if silent != self._silent:  # what this node says of a planned move depends on it
            self._silent = silent
            self._changed.update(self._words.names())
        self._tell()
        now = self._sending()
        for name, partner in self._partners.items():
            self._miss(name, partner, now)
            partner.fend_off(on=partner.floods() and self._hears(partner, now))
            partner.send(partner.link.beat(now))
        self._show_deaf()
        self._next = self._loop.call_later(self._plan.core.interval, self._beat)

    def _show_deaf(self) -> None:
        """Tell the core whom this node would hear now, and show why not."""
        assert self._plan is not None
        deaf = {name: partner.channel.deaf for name, partner in self._partners.items()}
        self._hear(deaf)
        if (why := next((each for each in deaf.values() if each is not None), None)) is None:
            troubles.end(TroubleKind.HEARTBEAT_ADDRESS)
            return
        own = self._plan.own
        troubles.begin(TroubleKind.HEARTBEAT_ADDRESS, why, host=own.host, port=str(own.port))

    def _hear(self, deaf: Mapping[str, str | None]) -> None:
        """Tell the core what has changed: `deaf` says of each node why it is not heard; None: it is, if it speaks."""
        for name, why in deaf.items():
            if name not in self._deaf or self._deaf[name] != why:
                self._deaf[name] = why
                self._dispatch(HearingChanged(peer=name, deaf=why))

    def _miss(self, name: str, partner: Partner, now: float) -> None:
        """Show that a node that must be cleared, and is not known to be off, has not been heard for some intervals."""
        assert self._plan is not None
        state = self._state()
        last = max(partner.proven_at, self._began_at)
        missed = now >= last + max(_MISSED_INTERVALS * self._plan.core.interval, _MISSED_S)
        asked = any(name in clearance.asked(state, instance) for instance in state.instances.values())
        if not missed or not asked or name in state.off or partner.channel.deaf is not None:
            troubles.end(TroubleKind.PEER_SILENT, name)
            return
        since = "was never heard since the heartbeat began" if partner.proven_at < 0 else "is not heard any more"
        troubles.begin(
            TroubleKind.PEER_SILENT,
            f"{name} ({partner.address}) {since}",
            subject=name,
        )

    def _answer_at(self, at: float, partner: Partner) -> None:
        if partner.answer is None:
            partner.answer = self._loop.call_at(at, self._answer, partner)

    def _answer(self, partner: Partner) -> None:
        partner.answer = None
        if self._changed and self._told_until > self._loop.time():
            self._answer_at(self._told_until, partner)
            return
        self._tell_change()
        partner.answered_at = self._sending()
        partner.send(partner.link.answer(partner.answered_at))

    # ------------------------------------------------------------ hearing

    def _hears(self, partner: Partner, now: float) -> bool:
        """Whether the node is still heard. One that was started anew is not, where only its old session is let in."""
        assert self._plan is not None
        return now < partner.proven_at + _STILL_HEARD * self._plan.core.interval

    def _received(self, name: str, data: bytes) -> None:
        partner, now = self._partners[name], self._loop.time()
        try:
            heard = partner.link.hear(data)
        except Unusable as error:
            self._ignore(name, partner, str(error))
            if isinstance(error, Unverified) and self._plan and now >= partner.unverified_at + self._plan.core.interval:
                partner.unverified_at = now
                self._dispatch(PeerUnverified(peer=name))
            return
        partner.heard_at = now
        if heard.at is not None:
            partner.proven_at = now
        if heard.at is not None and (heard.words or (heard.whole and heard.at > partner.confirmed_at)):
            partner.confirmed_at = heard.at if heard.whole else partner.confirmed_at
            said = {instance: self._parsed(partner, instance, word, heard.at) for instance, word in heard.words}
            self._show_unclear(name, partner)
            self._changed.update(said.keys() & self._state().instances.keys())
            self._dispatch(PeerReported(peer=name, at=heard.at, words=said, whole=heard.whole))
            self.heard()
        if heard.asks:
            self._answer_at(max(now, partner.answered_at + _ANSWER_S), partner)
        elif partner.link.goes_on:
            self._answer_at(now, partner)

    def _parsed(self, partner: Partner, instance: str, word: bytes | None, at: float) -> PeerWord | None:
        """The word; None also where it is not understood: then the node was heard, and has no word of the instance."""
        partner.unclear.pop(instance, None)
        try:
            return None if word is None else words.read(word, at)
        except words.WordUnusable as error:
            partner.unclear[instance] = str(error)
            return None

    def _show_unclear(self, name: str, partner: Partner) -> None:
        if not partner.unclear:
            troubles.end(TroubleKind.HEARTBEAT_VERSION, name)
            return
        instance, reason = min(partner.unclear.items())
        more = f" and {len(partner.unclear) - 1} more" if len(partner.unclear) > 1 else ""
        text = f"{name} has said of {instance}{more} what is {reason}; expected the same version on every node"
        troubles.begin(TroubleKind.HEARTBEAT_VERSION, text, subject=name)

    def _ignore(self, name: str, partner: Partner, reason: str) -> None:
        ignored, now = partner.ignored, self._loop.time()
        ignored.number += 1
        if not partner.fends_off and partner.floods() and self._hears(partner, now):
            partner.fend_off(on=True)
            self._log.warning("a flood", under=name, address=str(partner.address), dropped_by="kernel")
        if reason == ignored.reason and now < ignored.at + _NOTE_S:
            return
        ignored.reason, ignored.at = reason, now
        self._log.warning(f"ignored a datagram of {name}", address=str(partner.address), reason=reason)
        if "the format" in reason:
            troubles.begin(
                TroubleKind.HEARTBEAT_VERSION,
                f"{name} ({partner.address}) has sent a datagram that counts for nothing: {reason}; "
                "expected the same version on every node",
                subject=name,
                lasts=_FOREIGN_FORMAT_S,
            )
        if "another key" in reason and self._plan is not None:
            troubles.begin(
                TroubleKind.HEARTBEAT_KEY,
                f"a datagram from {name} ({partner.address}) was signed with another key",
                subject=name,
                lasts=_FOREIGN_KEY_S,
                file=key.place(self._plan.key_file),
            )

    def report(self, stamp: report.Stamp, only: str | None = None) -> dict[str, Any] | None:
        """The data for ``failoverctl status --json``; None without a heartbeat.

        `stamp` turns the loop's seconds into a timestamp; `only`: the one instance to show, None: all.
        """
        if self._plan is None:
            return None
        return report.report(self._plan, self._partners, self._state(), self._loop.time(), stamp=stamp, only=only)
