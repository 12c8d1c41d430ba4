"""What is known, and what is being done about it, as frozen data.

All times are seconds on one monotonic clock that the caller passes in; all durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.spec import Config, InstanceSpec, ResourceSpec, Vip
from failoverd.core.words import Escalation, Keepalived, Level, Phase, Target, Verb, VrrpState


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a driver saw. `detail` is one line for a person; `alarm`, when set, is one that must be acted on.

    `obstacle`: why an activation would be refused now; empty when nothing is known to be in its way.
    """

    level: Level
    detail: str = ""
    alarm: str | None = None
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An activation or deactivation in flight. `overdue`: its deadline passed without a report.

    `foreign`: it was begun with another driver or other options than its resource has now, or by an earlier daemon, so
    that it says nothing of the resource but that something ran on it. `of`: the names of the instance and resource with
    which its end will be told; None: those of the resource that has it. `maybe_active`: what it was before.
    """

    id: int
    verb: Verb
    deadline: float
    of: tuple[str, str] | None = None
    overdue: bool = False
    foreign: bool = False
    maybe_active: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An observation that was asked for and has not come back.

    `renewed`: since when one look after another became void by a change; None: none did. `again`: there was one more
    change, and one more look is due when this one has come back.
    """

    id: int
    deadline: float
    renewed: float | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceState:
    """What is known of one resource, and what is being done about it.

    `confirmed`: the level was observed since this transition began, so the plan may build on it.
    `attempts`: failed steps in the present direction; `not_before`: when the next may start, infinity: when somebody
    says so. `failure`: why the last step in the present direction failed, and `failed_at` when; empty when none did.
    `given_up`: nothing waits for a further step in the present direction; `refused`: because it would not be safe, as
    long as that is so. `held`: what needs it and is followed no longer, so that it is not deactivated; empty: nothing;
    `doubted`: a look will say whether it does so still. `ended`: when it ended by itself, while it should have been
    active. `maybe_active`: it was seen active, or its activation began, since it was last seen at standby.
    `unstoppable`: all the same its deactivation gave up, whatever was tried. `unable`: its last step could not begin,
    and it may have been active before that.
    """

    spec: ResourceSpec
    seen: Observation = Observation(level=Level.UNKNOWN, detail="not observed yet")
    since: float
    confirmed: bool = False
    step: Step | None = None
    look: Look | None = None
    attempts: int = 0
    not_before: float = 0.0
    failure: str = ""
    failed_at: float = 0.0
    given_up: bool = False
    refused: bool = False
    held: str = ""
    doubted: bool = False
    ended: tuple[float, ...] = ()
    maybe_active: bool = False
    unstoppable: bool = False
    unable: bool = False

    @property
    def overdue(self) -> bool:
        """A step runs on it that should have ended: nothing can be started, and nothing is expected."""
        return self.step is not None and self.step.overdue

    def rests_at(self, level: Level) -> bool:
        """It was observed at `level` and nothing runs on it."""
        return self.step is None and self.confirmed and self.seen.level is level


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Mastership was given away: `why`, empty when it was taken back since; `at`: when; `times`: how often in a row."""

    why: str
    at: float
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another node was MASTER beside this one, and nobody has acknowledged it.

    `gave_way`: this node is the one that gave way; it was MASTER from `since` until `until`. Else it stayed, and heard
    the other one at these times, first and last.
    """

    since: float
    until: float
    gave_way: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """What is known of one instance.

    `vrrp`: keepalived's last word, None when it has not spoken. `keepalived`: the processes of the one that speaks
    for this instance, None when they were never seen. `target`: None while nothing trustworthy says
    what it should be. `vips`: True on its interface and usable, False not, None not observed.
    `vip_deadline`: until when the VIPs may disagree with the target. `words`: the number of the last word of
    keepalived that was followed, which nothing else on the node has had; an answer to a question that was asked before
    is out of date. `transition`: its id, or None
    when nothing is under way. `direction`: what the plan works towards, which a guard may have turned away from
    the target. `phase`: where it stands, to be shown; `settled`: how it last settled, None while nothing was to be
    done. `cause`: why the last transition began. `alarm`: the last one given, empty when all is well.
    `released`: why mastership was given away, empty when it was not; `released_at`: when; `releases`: how often in a
    row. `crowded`: a step of it waits for others to end, because the node has no room for it. `doubt`: what
    keepalived's own answer shows to be wrong in a configuration, empty when nothing. `robbed`: which VIP somebody else
    has removed since keepalived said MASTER, and who; empty when nobody did. `vrrp_since`: when keepalived first said
    `vrrp`, or when this daemon learned of it. `rivals`: other MASTERs that were beside this one, the last one last.
    """

    spec: InstanceSpec
    since: float
    next_check: float
    vips: Mapping[Vip, bool | None]
    resources: Mapping[str, ResourceState]
    vrrp: VrrpState | None = None
    keepalived: Keepalived | None = None
    target: Target | None = None
    direction: Target | None = None
    phase: Phase = Phase.UNKNOWN
    settled: Phase | None = None
    reason: str = ""
    cause: str = ""
    words: int = 0
    vip_deadline: float = 0.0
    alarm: str = ""
    released: str = ""
    released_at: float = 0.0
    releases: int = 0
    transition: int | None = None
    crowded: bool = False
    doubt: str = ""
    robbed: str = ""
    vrrp_since: float = 0.0
    rivals: tuple[Rival, ...] = ()

    @property
    def void(self) -> bool:
        """No word of keepalived binds: it is a standby until keepalived speaks. To be remembered over a restart."""
        return self.vrrp is None and self.target is Target.STANDBY

    @property
    def unstoppable(self) -> str:
        """Why the machine is to be rebooted: what must not be active could not be stopped. Empty when it is not."""
        reasons = (
            f"{name} cannot be stopped: {r.failure}"
            for name, r in self.resources.items()
            if self.direction is Target.STANDBY and r.unstoppable and r.spec.escalation is Escalation.REBOOT
        )
        return "; ".join(reasons)

    @property
    def degraded(self) -> tuple[str, ...]:
        """The resources without which it is active."""
        if self.phase is not Phase.ACTIVE:
            return ()
        return tuple(name for name, r in self.resources.items() if r.seen.level is not Level.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """What is no longer configured, and may still be active. `needs`: the things that it needs, near or far.

    `since`: when it was no longer followed. `next_look`: when it is looked at again, unless a look is on its way.
    `said`: an alarm was given.
    """

    spec: ResourceSpec
    seen: Observation
    since: float
    needs: frozenset[str]
    look: Look | None = None
    next_look: float = 0.0
    said: bool = False

    @property
    def due(self) -> float:
        """When something is to be done about it."""
        return self.next_look if self.look is None else self.look.deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """What is known of all instances together, so that an event need not ask them all; it follows from the rest.

    `due`: when each of them wants a Tick, and `next`: when the first of them does; infinity: never. `running`: steps
    in flight whose end is expected. `waiting`: the `urgency` of the crowded instances, the most urgent first.
    `phases`: how many instances are in each phase. `touched`: those that the last `advance` settled; no others differ
    from what they were.
    """

    due: Mapping[str, float] = field(default_factory=dict)
    next: float = math.inf
    running: int = 0
    waiting: tuple[tuple[bool, float, str], ...] = ()
    phases: Mapping[Phase, int] = field(default_factory=lambda: dict.fromkeys(Phase, 0))
    touched: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The node. The `next_` numbers are not used yet; `next_step` is for a step, a look, or a word of keepalived.

    `orphans`: steps that still run on what is not, or not yet, configured: nothing else may run there before they
    have ended. `lent`: by its id, a step that began under another name, and the instances and resources that have it.
    `strays`: by what they move, what is no longer configured and may still be active. Of an earlier daemon, until the
    first configuration: `released`: how it gave mastership away, by instance; `rivals`: what it recorded of other
    MASTERs; `maybe_active`: resources that it had seen active, or begun to activate, and not seen at standby since.
    `stopping`: this one ends; what is on its way to standby gets there, and all else stays as it is.
    """

    config: Config
    instances: Mapping[str, InstanceState]
    next_transition: int = 1
    next_step: int = 1
    orphans: Mapping[tuple[str, str], Step] = field(default_factory=dict)
    lent: Mapping[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    strays: Mapping[frozenset[str], Stray] = field(default_factory=dict)
    released: Mapping[str, Release] = field(default_factory=dict)
    rivals: Mapping[str, tuple[Rival, ...]] = field(default_factory=dict)
    maybe_active: frozenset[tuple[str, str]] = frozenset()
    stopping: bool = False
    agenda: Agenda = Agenda()
