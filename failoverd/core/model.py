"""The things that the core decides about, as frozen data.

All times are seconds on one monotonic clock that the caller passes in; all durations are seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Seconds that the forced rung of a deactivation has, after `ResourceSpec.stop_timeout` was not enough.
FORCED_STOP = 10.0


class VrrpState(enum.Enum):
    """What keepalived said of an instance, in keepalived's words."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"
    FAULT = "FAULT"
    STOP = "STOP"
    DELETED = "DELETED"

    @property
    def target(self) -> Target:
        """MASTER asks for ACTIVE, every other word for STANDBY."""
        return Target.ACTIVE if self is VrrpState.MASTER else Target.STANDBY


class Target(enum.Enum):
    """What failoverd wants of an instance on this node."""

    ACTIVE = "active"
    STANDBY = "standby"


class Phase(enum.Enum):
    """Where an instance stands, in one word."""

    UNKNOWN = "unknown"  # nothing trustworthy says what this node should be: watch, do nothing
    STANDBY = "standby"
    PROMOTING = "promoting"
    ACTIVE = "active"
    DEMOTING = "demoting"
    REFUSED = "refused"  # MASTER, but a guard said no
    FAILED = "failed"

    @property
    def settled(self) -> bool:
        """Nothing is under way, and nothing will be by itself."""
        return self not in (Phase.PROMOTING, Phase.DEMOTING)


class Keepalived(enum.Enum):
    """keepalived's processes, as seen. STOPPED: there, but frozen (SIGSTOP). GONE: they were there and died."""

    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"


class Level(enum.Enum):
    """What was observed of a resource. UNKNOWN: the observation could not be made."""

    ACTIVE = "active"
    STANDBY = "standby"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Verb(enum.Enum):
    """The two verbs of every driver."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"


class Outcome(enum.Enum):
    """How a step ended.

    HUNG: the tool outlived its deadline and could not be killed. REFUSED: not safe now. NOT_STARTED: its tool could
    not be started, which says nothing of the resource.
    """

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    HUNG = "hung"
    REFUSED = "refused"
    NOT_STARTED = "not-started"


class Ending(enum.Enum):
    """How a transition ended."""

    ACTIVE = "active"
    PARTIAL = "partial"  # active, but without what may fail
    STANDBY = "standby"
    REFUSED = "refused"
    RELEASED = "released"  # mastership was given away
    FAILED = "failed"
    OVERTAKEN = "overtaken"  # a later event came before it had settled


class OnFailure(enum.Enum):
    """What a resource that would not activate means for the rest of its instance."""

    CONTINUE = "continue"
    STOP = "stop"
    RELEASE = "release"  # give mastership away


class OnRefused(enum.Enum):
    """What a refusal, of an instance or of one of its resources, means for mastership."""

    HOLD = "hold"
    RELEASE = "release"  # give mastership away


class Escalation(enum.Enum):
    """What happens when a resource will not deactivate, by no means."""

    ALERT = "alert"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How often (`max`) within how long (`within`, seconds) what ends by itself while it is active is started again."""

    max: int
    within: float


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
class Vip:
    """A virtual address as configured, e.g. ``192.0.2.1/24`` on ``vlan10``."""

    address: str
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSpec:
    """One resource of one instance, as this node is to carry it. Durations in seconds.

    `options`: the driver's own, which the core only compares. `moves`: all that is moved, in words that are the same
    for whoever moves it; empty: it is known only by this resource's name. `restart`: None where what ends by itself is
    started again for ever.
    """

    instance: str
    name: str
    driver: str
    options: Any = field(default=None, hash=False)
    moves: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    timeout: float = 30.0
    stop_timeout: float = 30.0
    retries: int = 2
    backoff: float = 1.0
    on_failure: OnFailure = OnFailure.STOP
    on_refused: OnRefused = OnRefused.HOLD
    restart: Restart | None = None
    escalation: Escalation = Escalation.ALERT

    @property
    def things(self) -> frozenset[str]:
        """All that is moved, the same for whoever moves it."""
        return self.moves or frozenset({f"{self.driver} {self.instance} {self.name}"})

    def seen_as(self, other: ResourceSpec) -> bool:
        """What was seen of `other` counts for this one too: the same driver looked, with the same options."""
        return self.driver == other.driver and self.options == other.options

    def deadline(self, verb: Verb) -> float:
        """How long one step may take, in seconds: a deactivation has its graceful rung, then its forced one."""
        return self.timeout if verb is Verb.ACTIVATE else self.stop_timeout + FORCED_STOP


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """One instance: its addresses, how long (s) to wait for them after MASTER, and its resources by name.

    `preempt`: a node of higher priority takes mastership from one that serves. `on_refused`: what it means for
    mastership that the addresses did not come. `take_back_after`: seconds after which mastership
    that was given away is taken back, by a sound standby; None: an operator does.
    """

    name: str
    vips: tuple[Vip, ...] = ()
    vip_timeout: float = 5.0
    preempt: bool = True
    on_refused: OnRefused = OnRefused.HOLD
    take_back_after: float | None = 60.0
    resources: Mapping[str, ResourceSpec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration as the core sees it: this node only.

    `parallel`: how many steps may run at once on the node. `check_interval`: seconds between two looks
    at a resource that nothing happens to.
    """

    instances: Mapping[str, InstanceSpec] = field(default_factory=dict)
    parallel: int = 128
    check_interval: float = 30.0


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
