"""All that can happen (events), and all that the core can ask for (effects), as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.model import (
    Config,
    Ending,
    Keepalived,
    Observation,
    Outcome,
    Target,
    Verb,
    Vip,
    VrrpState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpChanged:
    """keepalived said that an instance is in another state, and it is the newest that it said."""

    instance: str
    state: VrrpState


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasserted:
    """keepalived, as MASTER, heard a lower priority (MASTER_RX_LOWER_PRI): two were MASTER. Verify everything."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthTold:
    """The answer to FindTruth: keepalived's D-Bus property, and its last word of this boot; None when silent."""

    instance: str
    words: int
    dbus: VrrpState | None
    stored: VrrpState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VipSeen:
    """Netlink: the address is usable on its interface (True), is not (False), or could not be seen (None)."""

    vip: Vip
    present: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepalivedSeen:
    """What keepalived's processes do."""

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
class Tick:
    """A deadline that `machine.next_deadline` named has passed. At any other time it does no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """There is a new configuration."""

    config: Config


InstanceEvent = VrrpChanged | Reasserted | TruthTold | VipSeen | KeepalivedSeen | ResourceObserved | StepEnded | Tick
Event = InstanceEvent | Reloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """Run one step; answer with StepEnded within `timeout` seconds."""

    instance: str
    resource: str
    verb: Verb
    step: int
    timeout: float
    transition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """Look at one resource; answer with ResourceObserved within `timeout` seconds."""

    instance: str
    resource: str
    look: int
    timeout: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Somebody must look at this."""

    instance: str
    text: str


Effect = RunStep | Observe | FindTruth | TransitionStarted | TransitionEnded | Alarm
