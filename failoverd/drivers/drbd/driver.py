"""Observes one DRBD resource, makes it Primary as soon as that is safe, and makes it Secondary.

It changes the role with drbdsetup, not drbdadm: drbdsetup does the same in half the time, and also works when a file in
/etc/drbd.d is broken.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers.drbd import follow, openers, policy, staleness, wording
from failoverd.drivers.drbd.lost_primary import LostPrimary
from failoverd.drivers.drbd.staleness import Record
from failoverd.ports import command
from failoverd.ports.drbd import look
from failoverd.ports.drbd.status import SECONDARY, Resource, essence
from failoverd.ports.errors import DriverError, InUse, Refused

#: Seconds of an activation's time that are reserved for its last attempt: DRBD may wait 2 s for its peers' answers.
PROMOTION_RESERVE_S = 5.0

#: Seconds between two attempts without an event of DRBD: the stream of events may be down just now, and with quorum an
#: attempt detects a dead Primary long before DRBD itself does.
RECHECK_INTERVAL_S = 2.0

#: Seconds since the boot during which a resource that is down may still come up: nothing at boot waits for it.
BOOT_PERIOD_S = 300.0

#: Seconds that DRBD may take to report a changed role by an event; then failoverd asks it.
ROLE_EVENT_TIMEOUT_S = 0.5

#: Seconds of frozen I/O after which that is an alarm: a peer is usually fenced by then.
FROZEN_ALARM_S = 30.0

#: Seconds between two attempts to promote, at least.
PROMOTION_RETRY_S = 0.2

#: Seconds between two attempts to demote a device that is held open.
DEMOTION_RETRY_S = 0.5

#: Exit codes of drbdsetup when DRBD refuses, and may agree a moment later. Any other code is a failure of the tool.
_REFUSED_STATUSES = frozenset({5, 10, 11, 16, 17})

#: DRBD's error numbers: a device is held open; another node has the newest data, a peer is not outdated, no quorum.
_HELD = "(-12)"
_UNSAFE = ("(-2)", "(-7)", "(-25)")

#: DRBD's error numbers when the resource, or the minor, does not exist.
_NOT_UP = ("(158)", "(127)")

_WORDS = {Verb.ACTIVATE: "primary", Verb.DEACTIVATE: "secondary"}
_LEVELS = {Verb.ACTIVATE: Level.ACTIVE, Verb.DEACTIVATE: Level.STANDBY}


class Drbd:
    """One DRBD resource on this node."""

    def __init__(self, name: str, limits: policy.Limits, spec: ResourceSpec) -> None:
        self.subject = name
        self._limits = limits
        self._spec = spec
        self._seen: Resource | None = None
        self._changed: Resource | None = None  # the state after a verb, from DRBD's events
        self._refusal: tuple[Resource | None, str] | None = None  # the last one: the state then, and the reason
        self._told = True  # an observation has reported the last refusal
        self._lost = LostPrimary(name, spec.others)
        self._promoting = False
        self._frozen: float | None = None  # since when its I/O was seen frozen
        self._spared = ""  # by a word, in the last promotion; the next observation reports it

    async def observe(self) -> Observation:
        """Its level. A resource that is not up is STANDBY: this node cannot write to it, and has nothing to stop."""
        view, self._changed = self._changed, None
        try:
            view = view or await self._read()
        except look.NotUp as error:
            return Observation(level=Level.STANDBY, detail=error.reason, obstacle=self._obstacle(None, error.reason))
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        view = await self._counted(view)
        record, voted = await self._quorum(view, staleness.load(self.subject))
        record = await self._lost.marked(view, record)
        now = staleness.clock()
        found = policy.obstacle(view, record, now, self._limits, voted=voted, vouched=self._lost.vouched(view, record))
        spared, self._spared = self._spared, ""
        frozen = self._stays_frozen(view, now)
        alarms = (
            wording.alarm(view, record, now, self._limits, voted=voted),
            wording.frozen(view) if frozen else None,
        )
        return Observation(
            level=policy.level(view),
            detail="; ".join(text for text in (wording.detail(view, record), spared) if text),
            alarm="; ".join(filter(None, alarms)) or None,
            obstacle=self._obstacle(view, found.reason if found is not None and not found.usual else ""),
            inactive_on=policy.inactive_on(view, self._spec.others),
            nothing_alone=policy.nothing_alone(view),
            outdated=policy.outdated(view, record),
            stalled=frozen and not follow.notifier.asks(self.subject),
        )

    def _stays_frozen(self, view: Resource, now: float) -> bool:
        """Whether nobody has told DRBD for a while that it may write without its peer."""
        if not policy.frozen(view):
            self._frozen = None
            return False
        self._frozen = now if self._frozen is None else self._frozen
        return now >= self._frozen + FROZEN_ALARM_S

    async def _counted(self, view: Resource) -> Resource:
        """The view with what is out of sync with peers that are not connected, which DRBD's events lack."""
        away = [volume for peer in view.peers if not peer.connected for volume in peer.volumes]
        if view.role != SECONDARY or all(volume.out_of_sync is not None for volume in away):
            return view
        try:
            return await self._read()
        except DriverError:
            return view

    def listen(self, vouch: Callable[[], Mapping[str, float]], serve: Callable[[], Mapping[str, float]]) -> None:
        """As of drivers.Listens."""
        self._lost.vouch, self._lost.serve = vouch, serve

    def heard(self) -> None:
        """As of drivers.Listens: look again, if it matters."""
        if self._lost.goes_on():
            follow.notifier.tell(self.subject)
        elif self._promoting:
            follow.notifier.ring(self.subject)

    async def activate(self) -> str | None:
        """Make it Primary as soon as that is safe. Raises Refused if it does not become safe in time."""
        began = staleness.clock()
        self._promoting = True
        try:
            await self._promote(
                began, time.monotonic() + self._spec.timeout - min(PROMOTION_RESERVE_S, self._spec.timeout / 3)
            )
        except BaseException:
            self._count(began)
            raise
        finally:
            self._promoting = False
        return None

    async def deactivate(self) -> str | None:
        """Make it Secondary. Its openers have `stop_timeout` to close it; then DriverError names them."""
        until = time.monotonic() + self._spec.stop_timeout
        try:
            view = await self._read()
        except look.NotUp:
            return None
        except DriverError:
            pass  # even if its state cannot be read, it must become Secondary
        else:
            if view.role == SECONDARY:
                return None
        while (drbd_refusal := await self._change(Verb.DEACTIVATE)) is not None:
            if time.monotonic() >= until:
                raise DriverError(await self._why_primary(drbd_refusal))
            if _HELD in drbd_refusal and self._seen is not None:
                await openers.hasten(self._seen)
            await asyncio.sleep(DEMOTION_RETRY_S)
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The drbdsetup commands that do it; until the resource was seen up, the drbdadm command that would do it."""
        return tuple(shlex.join(argv) for argv in self._telling(verb))

    async def accept(self, by: str) -> str:
        """Accept data that was refused because it may not be the newest; the history names `by`.

        Raises DriverError if no activation was refused for that reason, or if the acceptance cannot be recorded.
        """
        view = await self._read()
        record, voted = await self._quorum(view, self._remember(view))
        after, what = staleness.accepted(record, view, voted=voted)
        if not what:
            why = "because of stale data, or of a connection that DRBD has given up"
            raise DriverError(f"{self.subject}: nothing to accept, no activation was refused {why}")
        if not staleness.save(self.subject, after):
            raise DriverError(f"{self.subject}: the acceptance cannot be recorded: failoverctl status shows why")
        self._refusal = None
        follow.notifier.ring(self.subject)
        return f"{self.subject}: the data of this node, {what}, is accepted by {by}"

    async def no_successor(self) -> str:
        """Why no peer could become Primary with the newest data. Raises DriverError if the state cannot be read."""
        view = await self._read()
        if any(peer.up_to_date for peer in view.peers):
            return ""
        peers = ", ".join(f"{peer.name}: {peer.connection}, {peer.disks}" for peer in view.peers)
        return f"no peer is connected and UpToDate ({peers or 'it has no peer'})"

    async def _read(self) -> Resource:
        self._seen = await look.read(self.subject)
        return self._seen

    async def _quorum(self, view: Resource, record: Record) -> tuple[Record, bool]:
        """The record, and whether no node can write the resource without quorum; False also if that is not known.

        DRBD is asked only if it matters: it has given up a connection, or it is not known yet whether the lost Primary
        could write without this node.
        """
        loss = record.loss
        given_up = view.nine and (bool(view.alone) or record.split is not None)
        if not given_up and (loss is None or not loss.quorate or loss.voted is not None):
            return record, False
        rules = await look.rules(self.subject)
        record = staleness.load(self.subject)  # DRBD's events may have changed it meanwhile
        if rules is None:
            return record, False
        if record.loss is not None and record.loss.voted is None:
            record = dataclasses.replace(record, loss=dataclasses.replace(record.loss, voted=rules.quorum))
            staleness.save(self.subject, record)
        return record, rules.quorum

    def _remember(self, view: Resource) -> Record:
        """Update the record with `view`, which was just read, and save it."""
        now, wall = staleness.clock(), time.time()
        record = staleness.load(self.subject)
        vouched = min(now, staleness.heard(record))
        record = staleness.seen(record, view, now, vouched=vouched, wall=wall)
        staleness.save(self.subject, record)
        return record

    async def _look(self, began: float) -> tuple[Resource, Record, bool]:
        """The resource and `_quorum` of it, for an activation that began at `began`. Raises Refused if not up."""
        try:
            view = await self._read()
        except look.NotUp as error:
            raise self._refuse(policy.Obstacle(reason=error.reason)) from error
        record, voted = await self._quorum(view, self._remember(view))
        refused = staleness.refused(record, view, began, self._limits.stale_after, voted=voted)
        if refused != record:
            staleness.save(self.subject, refused)
        return view, refused, voted

    async def _promote(self, began: float, until: float) -> None:
        """Try until it is Primary. Raises if it must not be, or if an obstacle remains at `until` (monotonic)."""
        await self._come_up(until)
        rules: look.Rules | None = None
        drbd_refusal: str | None = None
        while True:
            with follow.notifier.listening(self.subject) as change:
                view, record, voted = await self._look(began)
                now, vouched = staleness.clock(), self._lost.vouched(view, record)
                obstacle = policy.obstacle(view, record, now, self._limits, asked=began, voted=voted, vouched=vouched)
                if obstacle is None and view.primary:
                    return
                if obstacle is not None and not obstacle.passes:
                    raise self._refuse(obstacle, drbd_refusal, view if obstacle.usual else None)
                if obstacle is not None and obstacle.ask and rules is None:
                    rules = await look.rules(self.subject)
                if obstacle is None or _may_ask(view, obstacle, rules):
                    drbd_refusal = await self._change(Verb.ACTIVATE)
                    if drbd_refusal is None:
                        self._spared = policy.spared(record, now, self._limits, vouched)
                        staleness.save(self.subject, staleness.promoted(staleness.load(self.subject)))
                        return
                if time.monotonic() >= until:
                    raise self._given_up(view, obstacle, drbd_refusal)
                await asyncio.sleep(PROMOTION_RETRY_S)
                passed = (
                    RECHECK_INTERVAL_S
                    if obstacle is None or obstacle.until is None
                    else obstacle.until - staleness.clock()
                )
                await asyncio.wait(
                    {change}, timeout=max(0.0, min(RECHECK_INTERVAL_S, passed, until - time.monotonic()))
                )

    async def _come_up(self, until: float) -> None:
        """If the machine has just booted: wait until the resource is up, or until `until` (monotonic)."""
        while staleness.clock() < BOOT_PERIOD_S and time.monotonic() < until:
            with follow.notifier.listening(self.subject) as change:
                try:
                    await self._read()
                except look.NotUp:
                    await asyncio.wait({change}, timeout=max(0.0, min(RECHECK_INTERVAL_S, until - time.monotonic())))
                else:
                    return

    def _given_up(self, view: Resource, obstacle: policy.Obstacle | None, drbd_refusal: str | None) -> DriverError:
        """The error of a promotion whose obstacle remained until its time was over."""
        if obstacle is not None:
            refusal = self._refuse(obstacle, drbd_refusal)
            return type(refusal)(f"waited until the timeout: {refusal.reason}")
        words = f"DRBD does not make {self.subject} Primary: {drbd_refusal}"
        if not any(number in str(drbd_refusal) for number in _UNSAFE):
            return DriverError(words)
        return self._refuse(policy.Obstacle(reason=words), view=view)

    def _refuse(
        self, obstacle: policy.Obstacle, drbd_refusal: str | None = None, view: Resource | None = None
    ) -> Refused:
        """The refusal. `view`: the state, if it does not show the reason: the reason lasts as long as this state."""
        why = obstacle.reason + (f" (DRBD: {drbd_refusal})" if drbd_refusal is not None else "")
        if obstacle.usual and obstacle.passes:
            return InUse(why)
        self._refusal, self._told = (essence(view), obstacle.reason), False
        return Refused(why)

    def _obstacle(self, view: Resource | None, seen: str) -> str:
        """The obstacle to report: the reason of the last refusal while the state is still the same, otherwise `seen`.

        The first observation after a refusal reports the reason of the refusal, even if it has passed by then: the
        activation is retried when the next observation has another obstacle.
        """
        if self._refusal is None:
            return seen
        before, why = self._refusal
        lasts = view is not None and before == essence(view)
        if self._told and not lasts:
            self._refusal = None
            return seen
        self._told = True
        return why

    def _telling(self, verb: Verb) -> Sequence[tuple[str, ...]]:
        """The commands that change the role: DRBD 9 takes the resource, 8.4 each of its minors."""
        word, view = _WORDS[verb], self._seen
        if view is None:
            return [("drbdadm", word, self.subject)]
        if view.volumes and not view.nine:
            return [("drbdsetup", word, str(volume.minor)) for volume in view.volumes]
        return [("drbdsetup", word, self.subject)]

    async def _change(self, verb: Verb) -> str | None:
        """Change its role, as `_tell`. If DRBD's events confirm the new role, the next observation uses them."""
        with follow.notifier.listening(self.subject) as told:
            drbd_refusal = await self._tell(verb)
            if drbd_refusal is None and follow.notifier.fold is not None:
                await asyncio.wait({told}, timeout=ROLE_EVENT_TIMEOUT_S)
                view = follow.notifier.view(self.subject)
                if told.done() and view is not None and policy.level(view) is _LEVELS[verb]:
                    self._seen = self._changed = view
        return drbd_refusal

    async def _tell(self, verb: Verb) -> str | None:
        """Change its role: None on success, or the reason why DRBD refuses. Raises DriverError if the tool fails.

        A promotion ends at the first minor that DRBD refuses. A demotion tries every minor, even if another one is held
        open, or its drbdsetup hangs.
        """
        if verb is Verb.ACTIVATE:
            for argv in self._telling(verb):
                if (drbd_refusal := await _run(argv)) is not None:
                    return drbd_refusal
            return None
        said = await asyncio.gather(*map(_run, self._telling(verb)), return_exceptions=True)
        for trouble in said:
            if isinstance(trouble, BaseException):
                raise trouble
        denials = [it for it in said if isinstance(it, str) and not any(number in it for number in _NOT_UP)]
        return "; ".join(denials) or None

    async def _why_primary(self, drbd_refusal: str) -> str:
        if _HELD not in drbd_refusal:
            return f"{self.subject} stays Primary: {drbd_refusal}"
        found = openers.named(drbd_refusal)
        for volume in self._seen.volumes if self._seen is not None else ():
            found += await openers.find(volume.minor)
        who = ", ".join(dict.fromkeys(found)) or "a process that cannot be seen from here (another namespace?)"
        return f"{self.subject} stays Primary: it is held open by {who}; after {self._spec.stop_timeout:g} s"

    def _count(self, began: float) -> None:
        """Add the attempt's time after the loss to `Loss.ours`: this node tried to become Primary, no other wrote."""
        record = staleness.load(self.subject)
        loss = record.loss
        if loss is not None and loss.age is None:
            ours = loss.ours + staleness.clock() - max(began, loss.since)
            staleness.save(self.subject, dataclasses.replace(record, loss=dataclasses.replace(loss, ours=ours)))


async def _run(argv: Sequence[str]) -> str | None:
    """None on success, or the reason why DRBD refuses. Raises DriverError if drbdsetup fails."""
    done = await command.run(argv)
    if done.returncode == 0:
        return None
    said = look.error_line(done)
    if done.returncode not in _REFUSED_STATUSES:
        raise DriverError(f"{shlex.join(argv)}: {said}")
    return said


def _may_ask(view: Resource, obstacle: policy.Obstacle, rules: look.Rules | None) -> bool:
    """Whether an attempt to promote is a safe test that the obstacle still exists.

    DRBD refuses the attempt while another Primary runs. But if that Primary does not answer within half a second
    (ping-timeout), DRBD takes it for dead and promotes this node. This is safe only if quorum keeps the other Primary
    from writing. Where two Primaries are allowed, DRBD does not refuse at all.
    """
    if not obstacle.ask or rules is None or rules.two_primaries:
        return False
    return rules.quorum or not view.primaries
