"""The effects: all that the core can ask for, as frozen data. The answers to them are in events.py."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Target, TransitionResult, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """Run one step; answer with StepEnded within `timeout` seconds."""

    spec: ResourceSpec
    verb: Verb
    step: int
    timeout: float
    transition: int

    @property
    def instance(self) -> str:
        return self.spec.instance

    @property
    def resource(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """Check one resource; answer with ResourceObserved within `timeout` seconds."""

    spec: ResourceSpec
    look: int
    timeout: float

    @property
    def instance(self) -> str:
        return self.spec.instance

    @property
    def resource(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVrrpState:
    """Query keepalived's state of the instance; answer with VrrpStateReported, and the same `words`."""

    instance: str
    words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeVips:
    """Ask the other stations of the link for the VIPs that are here; answer with VipElsewhere if one has a VIP too.

    No answer proves nothing, so none is awaited.
    """

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskWitnesses:
    """Ask all witnesses at once; answer with WitnessAnswered and LeaseAnswered, and the same `asked`, in `timeout`.

    `hold`: the instances for which a lease is to be taken or renewed, each with its duration in seconds; `renew`: those
    for which it is renewed where this node has it, and not taken; `look`: those for which the witnesses that grant
    leases are only asked whether they answer.
    """

    asked: float
    timeout: float
    hold: Mapping[str, float] = field(default_factory=dict)
    renew: Mapping[str, float] = field(default_factory=dict)
    look: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FencePeer:
    """Power another node off; answer with PeerFenced, and the same `fencing`, within its `Fence.worst_case`."""

    peer: str
    fencing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionStarted:
    """For the history and the log."""

    transition: int
    instance: str
    target: Target
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionEnded:
    """For the history and the log. `reason` is empty when no problem is left."""

    transition: int
    instance: str
    result: TransitionResult
    reason: str


class AlarmKind(enum.Enum):
    """The kind of an alarm, which decides the action that its reader must take."""

    REFUSED = "refused"  # MASTER, and a guard or a driver refuses the activation
    FAILED = "failed"  # the activation of a resource has failed
    ESCALATED = "escalated"  # the deactivation of a resource has failed for good
    DRIFT = "drift"  # a resource has drifted from the target
    DOUBLE_MASTER = "double-master"  # the VIP is here, and should not be; or two nodes had it
    PARTIAL = "partial"  # active without a resource that may fail
    RELEASED = "released"  # mastership was released
    ALONE = "alone"  # too few witnesses answer, so this node does not serve and does not compete for mastership
    FENCED = "fenced"  # another node was powered off, so that this one can be active
    UNFIT = "unfit"  # a standby that could not be activated does not compete for mastership
    STANDBY = "standby"  # an operator keeps this node from being MASTER
    MAINTENANCE = "maintenance"  # a step is due, and maintenance holds it back
    UNFOLLOWED = "unfollowed"  # a stray: it may be active, and is no longer configured
    ATTENTION = "attention"  # the target is reached, but something was unusual


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One line that an operator must act on."""

    instance: str
    kind: AlarmKind
    text: str


Effect = (
    RunStep
    | Observe
    | QueryVrrpState
    | ProbeVips
    | AskWitnesses
    | FencePeer
    | TransitionStarted
    | TransitionEnded
    | Alarm
)
