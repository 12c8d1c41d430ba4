"""What is done with one DRBD resource: it is looked at, made Primary as soon as that is safe, and made Secondary.

drbdsetup is what acts, not drbdadm: it does the same in half the time, and goes on working when some file in
/etc/drbd.d is broken.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
import time
from collections.abc import Sequence

from failoverd.core.model import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError, Refused, command
from failoverd.drivers.drbd import follow, judge, openers, wording
from failoverd.drivers.drbd import memory as memories
from failoverd.drivers.drbd.memory import Memory
from failoverd.drivers.drbdstate import look
from failoverd.drivers.drbdstate.status import SECONDARY, Resource, essence

#: Seconds of an activation's time that are kept for its last attempt: DRBD takes up to two to hear the other nodes.
RESERVE = 5.0

#: Seconds after which is asked again although no change was told: it may be that nobody follows DRBD just now, and
#: where there is a quorum a Primary that has died is found out by asking, long before DRBD itself misses it.
AGAIN = 2.0

#: Seconds of CLOCK_BOOTTIME until which what is not up may be about to come up: nothing at boot waits for it.
BOOTED = 300.0

#: Seconds for which DRBD's events are waited for to tell of a role that was changed, before DRBD is asked.
TOLD = 0.5

#: Seconds for which DRBD is left alone after it has said no, and seconds between two tries to close a device.
PAUSE = 0.2
CLOSED = 0.5

#: What drbdsetup exits with when DRBD said no, and may say yes in a moment. Anything else is trouble with the tool.
_DENIED = frozenset({5, 10, 11, 16, 17})

#: DRBD's own numbers: a device is held open; the newest data is elsewhere, a peer is not outdated, no quorum.
_HELD = "(-12)"
_UNSAFE = ("(-2)", "(-7)", "(-25)")

#: What it says when the resource, or the minor, is not there.
_NOT_UP = ("(158)", "(127)")

_WORDS = {Verb.ACTIVATE: "primary", Verb.DEACTIVATE: "secondary"}
_LEVELS = {Verb.ACTIVATE: Level.ACTIVE, Verb.DEACTIVATE: Level.STANDBY}


class Drbd:
    """One DRBD resource on this node."""

    def __init__(self, name: str, limits: judge.Limits, spec: ResourceSpec) -> None:
        self.subject = name
        self._limits = limits
        self._spec = spec
        self._seen: Resource | None = None
        self._changed: Resource | None = None  # what a verb has made of it, as DRBD's events tell
        self._refusal: tuple[Resource | None, str] | None = None  # the last one: while what is seen, and why
        self._told = True  # an observation has told of it

    async def observe(self) -> Observation:
        """Its level. What is not up is STANDBY: nothing here can write to it, and a stop has nothing to stop."""
        view, self._changed = self._changed, None
        try:
            view = view or await self._read()
        except look.NotUp as error:
            return Observation(level=Level.STANDBY, detail=error.reason, obstacle=self._obstacle(None, error.reason))
        except DriverError as error:
            return Observation(level=Level.UNKNOWN, detail=error.reason)
        voted = await self._voted(view)
        memory = await self._remembered()
        now = memories.clock()
        found = judge.obstacle(view, memory, now, self._limits, voted=voted)
        return Observation(
            level=judge.level(view),
            detail=wording.detail(view, memory),
            alarm=wording.alarm(view, memory, now, self._limits, voted=voted),
            obstacle=self._obstacle(view, found.reason if found is not None and not found.usual else ""),
        )

    async def activate(self) -> str | None:
        """Make it Primary, as soon as that is safe; Refused when it is not, and does not become so in time."""
        began = memories.clock()
        try:
            await self._promote(began, time.monotonic() + self._spec.timeout - min(RESERVE, self._spec.timeout / 3))
        finally:
            self._count(began)
        return None

    async def deactivate(self) -> str | None:
        """Make it Secondary. Who holds it open has `stop_timeout` to let go; then the reason names them."""
        until = time.monotonic() + self._spec.stop_timeout
        try:
            view = await self._read()
        except look.NotUp:
            return None
        except DriverError:
            pass  # whatever is wrong with looking, it must become Secondary
        else:
            if view.role == SECONDARY:
                return None
        while (denial := await self._change(Verb.DEACTIVATE)) is not None:
            if time.monotonic() >= until:
                raise DriverError(await self._why_primary(denial))
            if _HELD in denial and self._seen is not None:
                await openers.hasten(self._seen)
            await asyncio.sleep(CLOSED)
        return None

    def commands(self, verb: Verb) -> tuple[str, ...]:
        """The drbdsetup that does it; while the resource was not seen up, the drbdadm that would."""
        return tuple(shlex.join(argv) for argv in self._telling(verb))

    async def accept(self, by: str) -> str:
        """Let data be served that was refused because it may not be the newest; `by` is in the history."""
        view = await self._read()
        voted = await self._voted(view)
        after, what = memories.accepted(self._remember(view), view, voted=voted)
        if not what:
            why = "because of old data, or of a connection that DRBD has given up"
            raise DriverError(f"{self.subject}: nothing to accept, no activation was refused {why}")
        if not memories.save(self.subject, after):
            raise DriverError(f"{self.subject}: it cannot be remembered that this is accepted (see the log)")
        self._refusal = None
        follow.bell.ring(self.subject)
        return f"{self.subject}: the data of this node, {what}, is accepted by {by}"

    async def _read(self) -> Resource:
        self._seen = await look.read(self.subject)
        return self._seen

    async def _remembered(self) -> Memory:
        """The memory; of a loss, once, also whether the one that was lost could write without this node."""
        memory = memories.load(self.subject)
        loss = memory.loss
        if loss is None or not loss.quorate or loss.voted is not None:
            return memory
        rules = await look.rules(self.subject)
        memory = memories.load(self.subject)
        if memory.loss is not None and rules is not None:
            memory = dataclasses.replace(memory, loss=dataclasses.replace(memory.loss, voted=rules.quorum))
            memories.save(self.subject, memory)
        return memory

    async def _voted(self, view: Resource) -> bool:
        """Whether nobody can write without a quorum; asked only where DRBD has given up a connection."""
        asks = view.nine and (view.alone or memories.load(self.subject).split is not None)
        rules = await look.rules(self.subject) if asks else None
        return rules is not None and rules.quorum

    def _remember(self, view: Resource) -> Memory:
        """The memory with what was just seen."""
        now, wall = memories.clock(), time.time()
        memory = memories.load(self.subject)
        vouched = min(now, memories.heard(self.subject))
        memory = memories.seen(memory, view, now, vouched=vouched, wall=wall)
        memories.save(self.subject, memory)
        return memory

    async def _look(self, began: float) -> tuple[Resource, Memory, bool]:
        """What is there, what is remembered of it, and `_voted`, at an activation that was asked for at `began`."""
        try:
            view = await self._read()
        except look.NotUp as error:
            raise self._refuse(error.reason) from error
        self._remember(view)
        voted = await self._voted(view)
        memory = await self._remembered()
        refused = memories.refused(memory, view, began, self._limits.stale_after, voted=voted)
        if refused != memory:
            memories.save(self.subject, refused)
        return view, refused, voted

    async def _promote(self, began: float, until: float) -> None:
        """Until it is Primary, or must not be, or `until` (monotonic) has come and what is in the way did not pass."""
        await self._come_up(until)
        rules: look.Rules | None = None
        denial: str | None = None
        while True:
            with follow.bell.listening(self.subject) as change:
                view, memory, voted = await self._look(began)
                obstacle = judge.obstacle(view, memory, memories.clock(), self._limits, asked=began, voted=voted)
                if obstacle is None and view.primary:
                    return
                if obstacle is not None and not obstacle.passes:
                    raise self._refuse(obstacle.reason, denial, view if obstacle.usual else None)
                if obstacle is not None and obstacle.ask and rules is None:
                    rules = await look.rules(self.subject)
                if obstacle is None or _may_ask(view, obstacle, rules):
                    denial = await self._change(Verb.ACTIVATE)
                    if denial is None:
                        memories.save(self.subject, memories.promoted(memories.load(self.subject)))
                        return
                if time.monotonic() >= until:
                    raise self._given_up(view, obstacle, denial)
                await asyncio.sleep(PAUSE)
                passed = AGAIN if obstacle is None or obstacle.until is None else obstacle.until - memories.clock()
                await asyncio.wait({change}, timeout=max(0.0, min(AGAIN, passed, until - time.monotonic())))

    async def _come_up(self, until: float) -> None:
        """Where the machine has just booted: until it is up, or `until` (monotonic)."""
        while memories.clock() < BOOTED and time.monotonic() < until:
            with follow.bell.listening(self.subject) as change:
                try:
                    await self._read()
                except look.NotUp:
                    await asyncio.wait({change}, timeout=max(0.0, min(AGAIN, until - time.monotonic())))
                else:
                    return

    def _given_up(self, view: Resource, obstacle: judge.Obstacle | None, denial: str | None) -> DriverError:
        """What is in the way of a promotion did not pass in time."""
        if obstacle is not None:
            refusal = self._refuse(obstacle.reason, denial, view if obstacle.usual else None)
            return Refused(f"{refusal.reason}, and stays so")
        words = f"DRBD does not make {self.subject} Primary: {denial}"
        unsafe = any(number in str(denial) for number in _UNSAFE)
        return self._refuse(words, view=view) if unsafe else DriverError(words)

    def _refuse(self, why: str, denial: str | None = None, view: Resource | None = None) -> Refused:
        """`view`: where the reason is not to be seen in it, and lasts for as long as it does."""
        self._refusal, self._told = (essence(view), why), False
        return Refused(why + (f" (DRBD: {denial})" if denial is not None else ""))

    def _obstacle(self, view: Resource | None, seen: str) -> str:
        """What is `seen` to be in the way, or what was refused while all looked as it does now.

        The first answer after a refusal is its reason, though it may have passed by then: the activation is tried again
        when the next answer is another.
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
        """The argvs that change the role: DRBD 9 takes a resource, 8.4 each of its minors."""
        word, view = _WORDS[verb], self._seen
        if view is None:
            return [("drbdadm", word, self.subject)]
        if view.volumes and not view.nine:
            return [("drbdsetup", word, str(volume.minor)) for volume in view.volumes]
        return [("drbdsetup", word, self.subject)]

    async def _change(self, verb: Verb) -> str | None:
        """Change its role, as `_tell`. If DRBD's events say that it is so, the next observation goes by that."""
        with follow.bell.listening(self.subject) as told:
            denial = await self._tell(verb)
            if denial is None and follow.bell.fold is not None:
                await asyncio.wait({told}, timeout=TOLD)
                view = follow.bell.view(self.subject)
                if told.done() and view is not None and judge.level(view) is _LEVELS[verb]:
                    self._seen = self._changed = view
        return denial

    async def _tell(self, verb: Verb) -> str | None:
        """Have it change its role: None when it did, or why DRBD said no. DriverError when the tool has trouble.

        A promotion ends at the first minor that is denied. Of a demotion none is left out: not for another one that is
        held open, or whose drbdsetup hangs.
        """
        if verb is Verb.ACTIVATE:
            for argv in self._telling(verb):
                if (denial := await _run(argv)) is not None:
                    return denial
            return None
        said = await asyncio.gather(*map(_run, self._telling(verb)), return_exceptions=True)
        for trouble in said:
            if isinstance(trouble, BaseException):
                raise trouble
        denials = [it for it in said if isinstance(it, str) and not any(number in it for number in _NOT_UP)]
        return "; ".join(denials) or None

    async def _why_primary(self, denial: str) -> str:
        if _HELD not in denial:
            return f"{self.subject} stays Primary: {denial}"
        found = openers.named(denial)
        for volume in self._seen.volumes if self._seen is not None else ():
            found += await openers.find(volume.minor)
        who = ", ".join(dict.fromkeys(found)) or "somebody who cannot be seen from here (another namespace?)"
        return f"{self.subject} stays Primary: it is held open by {who}; after {self._spec.stop_timeout:g} s"

    def _count(self, began: float) -> None:
        """Since the loss, this node was at work to become Primary for a while: nobody else wrote meanwhile."""
        memory = memories.load(self.subject)
        loss = memory.loss
        if loss is not None and loss.age is None:
            ours = loss.ours + memories.clock() - max(began, loss.since)
            memories.save(self.subject, dataclasses.replace(memory, loss=dataclasses.replace(loss, ours=ours)))


async def _run(argv: Sequence[str]) -> str | None:
    """None when drbdsetup did it, or why DRBD said no."""
    done = await command.run(argv)
    if done.returncode == 0:
        return None
    said = look.said(done)
    if done.returncode not in _DENIED:
        raise DriverError(f"{shlex.join(argv)}: {said}")
    return said


def _may_ask(view: Resource, obstacle: judge.Obstacle, rules: look.Rules | None) -> bool:
    """Whether DRBD may be told to become Primary in order to learn whether the obstacle is still there.

    It refuses while another Primary lives, but takes one for dead, and obeys, that does not answer within half a second
    (ping-timeout): only where a quorum keeps that one from writing is this safe. Where two Primaries are allowed, it
    does not refuse at all.
    """
    if not obstacle.ask or rules is None or rules.two_primaries:
        return False
    return rules.quorum or not view.primaries
