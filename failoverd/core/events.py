"""All that can happen (events), and all that the core can ask for (effects), as frozen data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.model import Observation
from failoverd.core.spec import Config, ResourceSpec, Vip
from failoverd.core.words import Ending, Keepalived, Outcome, Target, Verb, VrrpState


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpChanged:
    """keepalived said that an instance is in another state, and it is the newest that it said.

    `straight`: nothing else was said since the one that was told before.
    """

    instance: str
    state: VrrpState
    straight: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasserted:
    """Verify everything. `rival`: keepalived, as MASTER, heard a lower priority (MASTER_RX_LOWER_PRI): two are MASTER.

    Else more was said than could be followed.
    """

    instance: str
    rival: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthTold:
    """The answer to FindTruth: keepalived's D-Bus property, and its last word of this boot; None when silent.

    `void`: the last word died with the keepalived that said it, or an earlier daemon found that nobody had spoken
    since the boot. `booted`: the machine has only just booted, and the instance was configured when it did. `said`:
    what was asked on D-Bus and what was answered. `doubt`: what the answer shows to be wrong in a configuration; empty
    when nothing.
    """

    instance: str
    words: int
    dbus: VrrpState | None
    stored: VrrpState | None
    void: bool = False
    booted: bool = False
    said: str = "it is silent"
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VipsSeen:
    """Netlink: each address is usable on its interface (True), is not (False), or could not be seen (None).

    `removers`: who has removed an address, where that is known and was not keepalived.
    """

    present: Mapping[Vip, bool | None]
    removers: Mapping[Vip, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepalivedSeen:
    """What the processes of the keepalived that speaks for these instances do."""

    instances: frozenset[str]
    condition: Keepalived


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceObserved:
    """The answer to Observe."""

    instance: str
    resource: str
    look: int
    seen: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """The answer to RunStep: how it ended, why (one line, empty when all is well), and what was seen afterwards."""

    instance: str
    resource: str
    step: int
    outcome: Outcome
    reason: str
    seen: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """An operator wants everything looked at again, and what has given up tried again. `cause`: who, and why."""

    instance: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """An operator knows what of the instance is active and no longer followed."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalsNoted:
    """An operator knows of the other MASTERs that were beside this one."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stirred:
    """Something about a resource changed: it should be looked at."""

    instance: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A deadline that `machine.next_deadline` named has passed. At any other time it does no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The daemon ends: nothing is activated any more, and mastership stays where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """There is a new configuration."""

    config: Config


InstanceEvent = (
    VrrpChanged
    | Reasserted
    | TruthTold
    | VipsSeen
    | KeepalivedSeen
    | ResourceObserved
    | StepEnded
    | Reset
    | RivalsNoted
    | Stirred
    | Tick
)
Event = InstanceEvent | Acknowledged | Stopping | Reloaded


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
    """Look at one resource; answer with ResourceObserved within `timeout` seconds."""

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
class FindTruth:
    """Ask who knows what keepalived says of the instance; answer with TruthTold, and the same `words`."""

    instance: str
    words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionStarted:
    """For the history and the log."""

    transition: int
    instance: str
    target: Target
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionEnded:
    """For the history and the log. `reason` is empty when there is nothing to say."""

    transition: int
    instance: str
    ending: Ending
    reason: str


class Matter(enum.Enum):
    """What an alarm is about, which decides what its reader has to do."""

    REFUSED = "refused"  # MASTER, and a guard said no
    FAILED = "failed"  # a resource would not activate
    ESCALATED = "escalated"  # a resource would not deactivate, by no means
    DRIFT = "drift"  # a resource was not as it was left
    DOUBLE_MASTER = "double-master"  # the VIP is here, and should not be; or it was on two nodes
    PARTIAL = "partial"  # active, but without what may fail
    RELEASED = "released"  # mastership was given away
    UNFOLLOWED = "unfollowed"  # it may be active, and is no longer configured
    ATTENTION = "attention"  # all is where it should be, and something was odd


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Somebody must look at this."""

    instance: str
    matter: Matter
    text: str


Effect = RunStep | Observe | FindTruth | TransitionStarted | TransitionEnded | Alarm
