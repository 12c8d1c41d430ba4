"""What is configured, as the core sees it: frozen data. All durations are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from failoverd.core.words import Escalation, OnFailure, OnRefused, Verb

#: Seconds that the forced rung of a deactivation has, after `ResourceSpec.stop_timeout` was not enough.
FORCED_STOP = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How often (`max`) within how long (`within`, seconds) what ends by itself while it is active is started again."""

    max: int
    within: float


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
