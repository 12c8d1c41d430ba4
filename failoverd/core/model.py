"""The state of the core as frozen data: instances and resources as far as they are known, and the steps in flight.

All times are seconds on one monotonic clock that the caller passes in; all durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.knowledge import Fencing, Hearing, Off, Peer, Vote
from failoverd.core.resource import Look, Observation, ResourceState, Step
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec, Vip
from failoverd.core.words import (
    Clearance,
    Escalation,
    Keepalived,
    Level,
    Phase,
    Standing,
    StateSource,
    Target,
    VrrpState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release of mastership. `why`: empty when it was taken back since; `at`: when; `times`: how often in a row.

    `unfit`: by a standby that could not be activated.
    """

    why: str
    at: float
    times: int
    unfit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """An operator's wish that this node is not MASTER. `by`: the operator; `at`: when, perhaps before the boot."""

    by: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """failoverd starts no step. `by`: the operator; `since`: when, perhaps before the boot; `until`: or infinity."""

    by: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A handover in progress. `by`: the operator; `id`: the failoverctl that attends it.

    `attended_until`: until when that has seen a node that can take over: mastership is not released later than that.
    `given_at`: when mastership was released; None: not yet.
    """

    by: str
    id: str
    attended_until: float
    given_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """In a handover of another node, not to be elected. `id`: that of the handover; `until`: its own end."""

    id: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another node was MASTER beside this one, and no operator has acknowledged it.

    `gave_way`: this node gave way; it was MASTER from `since` until `until`. Otherwise this node stayed MASTER, and
    received the first sign of the other one at `since`, the last at `until`. `station`: the MAC that answered for the
    VIP `address` beside this node; both are empty if none did. `peer`: the node that said by the heartbeat that it was
    MASTER; empty if none did. `decided`: which of the two yields, in words; empty: nothing says so, or none is to
    yield. `yielded`: this node has.
    """

    since: float
    until: float
    gave_way: bool
    station: str = ""
    address: str = ""
    decided: str = ""
    yielded: bool = False
    peer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The part of an instance's state that outlives its removal by a reload, until it is configured again.

    `release`: None if mastership was not released; it counts for as long as other nodes may be activating. `handover`:
    None unless it has released mastership; it ends at its own time. `lost_by`: as of InstanceState.
    """

    release: Release | None = None
    handover: Handover | None = None
    rivals: tuple[Rival, ...] = ()
    lost_by: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """The state of one instance.

    `vrrp`: keepalived's last state; None: it reported none, or that state is discarded. `keepalived`: the condition of
    the keepalived that reports this instance; None: its processes were never observed. `target`: None while no reliable
    state is known. `vips`: True on its interface and usable, False not, None not observed; `instead`: the state of a
    VIP that is not usable. `vip_deadline`: until when the VIPs may disagree with the target. `words`: the number of the
    last change of keepalived's state that was followed, unique on the node; the answer to an earlier query is out of
    date. `transition`: its id; None when none is open. `direction`: the plan works towards it; a guard may have turned
    it away from the target. `phase`: for the status; `settled`: the last settled phase; None: none since UNKNOWN.
    `cause`: why the last transition began. `alarm`: the last one given, empty when none holds. `released`: why
    mastership was released, empty when it was not; `released_at`: when; `releases`: how often in a row; `unfit`: by a
    standby that could not be activated. `hindrance`: why this standby could not, empty when it could; `hindrance_at`:
    since when it could not, or could; `able`: it could, or was active, at some time since it was configured, or an
    operator has reset it. `crowded`: its step waits for others to end, because the node has no room for it. `doubt`:
    the error in a configuration that keepalived's own answer shows; empty when it shows none. `robbed`: the VIP that
    another program has removed since keepalived reported MASTER, and that program; empty: none. `vrrp_since`: when
    keepalived first reported `vrrp`, or when this daemon learned of it; `vrrp_source`: from where. `master_until`: when
    it last ended to be MASTER; -infinity: never. `rivals`: other MASTERs beside this one, the newest last. `probe_at`:
    when a new MASTER asks the other stations for its VIPs; infinity: it has. `standby`: an operator keeps it from being
    MASTER here; None: nobody does.
    `held_back`: the steps that maintenance holds back, in a person's words; empty: none.
    `handover`: an operator hands it over; None: nobody does. `aside`: another node hands it over, and not to this one;
    None: none does. `standing`: what the witnesses say of it; `lacks`: what is missing, empty when nothing is;
    `quorum_since`: the time from which their answers count; `leases`: those of the witnesses that grant one;
    `lease_asked`: when they were asked last.
    `alone_at`: since when this node is alone, so that it neither serves nor competes for mastership; None: it is not.
    `lost_by`: until when it could be active without a further answer when the last daemon ended, or before a reload;
    -infinity: no longer; infinity: no limit, or answers came since.
    `clearance`: whether the other nodes are known not to serve it; `uncleared`: what is missing, empty when nothing is;
    `clear_since`: the time from which knowledge of them counts. `contested_at`: when the last sign of another MASTER
    came; -infinity: none did.
    `strays`: the names of its resources that are no longer configured, and may be active.
    `stop_by`: with a watchdog, when everything must be at standby, because this node must not be active; infinity: it
    may be, or nothing can be.
    """

    spec: InstanceSpec
    since: float
    next_check: float
    vips: Mapping[Vip, bool | None]
    resources: Mapping[str, ResourceState]
    instead: Mapping[Vip, str] = field(default_factory=dict)
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
    unfit: bool = False
    hindrance: str = ""
    hindrance_at: float = 0.0
    able: bool = False
    transition: int | None = None
    crowded: bool = False
    doubt: str = ""
    robbed: str = ""
    vrrp_since: float = 0.0
    vrrp_source: StateSource = StateSource.EVENT
    master_until: float = -math.inf
    rivals: tuple[Rival, ...] = ()
    probe_at: float = math.inf
    standby: Standby | None = None
    held_back: str = ""
    handover: Handover | None = None
    standing: Standing = Standing.IDLE
    lacks: str = ""
    quorum_since: float = 0.0
    leases: Mapping[str, Vote] = field(default_factory=dict)
    lease_asked: float = -math.inf
    alone_at: float | None = None
    lost_by: float = math.inf
    clearance: Clearance = Clearance.IDLE
    uncleared: str = ""
    clear_since: float = 0.0
    contested_at: float = -math.inf
    strays: tuple[str, ...] = ()
    stop_by: float = math.inf
    aside: Aside | None = None

    @property
    def competes(self) -> bool:
        """Whether keepalived may be MASTER, as far as failoverd decides that: the track file says so."""
        handed = self.handover is not None and self.handover.given_at is not None
        wanted = self.standby is None and self.aside is None and not handed
        return wanted and not self.released and self.alone_at is None

    @property
    def void(self) -> bool:
        """No state of keepalived counts: a standby until keepalived reports one. A restart must preserve this."""
        return self.vrrp is None and self.target is Target.STANDBY

    @property
    def unstoppable(self) -> str:
        """Why the machine must reboot: a resource that must not be active cannot be stopped. Empty: no reboot."""
        reasons = (
            f"{name} cannot be stopped: {r.failure}"
            for name, r in self.resources.items()
            if self.direction is Target.STANDBY and r.unstoppable and r.spec.escalation is Escalation.REBOOT
        )
        return "; ".join(reasons)

    @property
    def degraded(self) -> tuple[str, ...]:
        """The resources without which it is active; empty in every other phase."""
        if self.phase is not Phase.ACTIVE:
            return ()
        return tuple(name for name, r in self.resources.items() if r.seen.level is not Level.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A resource that is no longer configured, and may still be active.

    `needs`: the things that it needs, directly or through others. `since`: when failoverd stopped following it.
    `next_look`: when the next check is due, unless one is in flight. `said`: its alarm was given.
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
        """When its next check is due, or the deadline of the check in flight."""
        return self.next_look if self.look is None else self.look.deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """A summary of all instances, derived from them, so that an event need not examine every instance.

    `due`: when each instance needs a Tick; `next`: when the first instance or stray does; infinity: never. `running`:
    steps in flight that are not overdue. `waiting`: the `urgency` of the crowded instances, the most urgent first.
    `phases`: how many instances are in each phase. `voters`: the instances about which the witnesses are asked.
    `doubtful`: those that wait for other nodes to be cleared.
    `touched`: the instances that the last `advance` reconciled; all others are unchanged.
    """

    due: Mapping[str, float] = field(default_factory=dict)
    next: float = math.inf
    running: int = 0
    waiting: tuple[tuple[bool, float, str], ...] = ()
    phases: Mapping[Phase, int] = field(default_factory=lambda: dict.fromkeys(Phase, 0))
    voters: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    touched: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of the node.

    `next_transition`, `next_step`: the next unused numbers; `next_step` numbers steps, checks and keepalived's states.
    `orphans`: steps that still run on resources that are not, or not yet, configured: no other step may run there
    before they have ended. `lent`: the steps that began under another name, by id, each with the instances and
    resources that have it. `strays`: by the things that they move. From an earlier daemon, until the first
    configuration: `released`: its releases of mastership, by instance; `rivals`: its records of other MASTERs;
    `maybe_active`: resources that it had observed active, or begun to activate, and not observed at standby since;
    `stop_by`: until when it would have fed the watchdog without any further answer; `lost_by`: until when each instance
    could be active without one (as of InstanceState).
    `standby`: the operators' wishes for instances that are not, or not yet, configured. `removed`: more of these
    instances, for when they are configured again.
    `maintenance`: no step is started; None: all are.
    `votes`: the answers of the witnesses that answer everybody; `asked_at`: when all were asked last; `next_ask`: when
    they are asked next; `quorum_until`: when the answers become too old; infinity: not now. `stalled_at`: no question
    from before counts, because the process did not run then; -infinity: it always did.
    `peers`: the other nodes that were heard, by name; `listened`: whether this daemon would hear each of them, and
    since when; `unverified`: when a heartbeat of another key or format came last from their address; `off`: those that
    are known to be off; `aimed`: those that are to be fenced, each with the time since which
    that holds without interruption; `fencings`: the last fencing of each, unless it has succeeded.
    `stopping`: this daemon ends; demotions continue to standby, and everything else stays unchanged.
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
    stop_by: float = math.inf
    lost_by: Mapping[str, float] = field(default_factory=dict)
    standby: Mapping[str, Standby] = field(default_factory=dict)
    removed: Mapping[str, Removed] = field(default_factory=dict)
    maintenance: Maintenance | None = None
    votes: Mapping[str, Vote] = field(default_factory=dict)
    asked_at: float = -math.inf
    next_ask: float = math.inf
    quorum_until: float = math.inf
    stalled_at: float = -math.inf
    peers: Mapping[str, Peer] = field(default_factory=dict)
    listened: Mapping[str, Hearing] = field(default_factory=dict)
    unverified: Mapping[str, float] = field(default_factory=dict)
    off: Mapping[str, Off] = field(default_factory=dict)
    aimed: Mapping[str, float] = field(default_factory=dict)
    fencings: Mapping[str, Fencing] = field(default_factory=dict)
    stopping: bool = False
    agenda: Agenda = Agenda()
