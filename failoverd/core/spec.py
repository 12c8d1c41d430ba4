"""The configuration as the core sees it: frozen data. All durations are seconds.

The keys that the core decides by are declared here, once: their types, defaults, ranges and texts. A specification has
those keys, and the values that failoverd/daemon/config/ has resolved beside them, such as the VIPs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from failoverd.core.options import option
from failoverd.core.words import Drift, Escalation, Health, OnDoubleMaster, OnFailure, OnRefused, Verb

#: Seconds that a forced stop may take, after `ResourceSpec.stop_timeout` was not enough.
FORCED_STOP_S = 10.0

#: Seconds for which no node is silent, however short the interval of the heartbeat is.
MIN_SILENCE_S = 2.0

#: Seconds of a fencing beside the agent's own timeout: its metadata, the proof, and the ends of runs that hang.
FENCE_PROOF_S = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The inline table ``restart``: how often, within which time, an active resource that ended is activated again."""

    max: int = option("how many times", minimum=0)
    within: float = option("within which time", unit="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A virtual address as configured, e.g. ``192.0.2.1/24`` on ``vlan10``."""

    address: str
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceKeys:
    """The keys of a table ``[instance.NAME.resource.NAME]`` that are the same for every driver."""

    driver: str = option("the driver that activates and deactivates it")
    needs: frozenset[str] = option("the resources that must be active before it", default=frozenset[str]())
    timeout: float = option("how long one activation may take", default=30.0, unit="seconds", minimum=0.1)
    stop_timeout: float = option(
        "how long one graceful deactivation may take; a forced one has 10 s more", default=30.0, unit="seconds"
    )
    retries: int = option("how often a failed step is retried", default=2, minimum=0, maximum=100)
    backoff: float = option("the pause before the first retry; each is twice the last", default=1.0, unit="seconds")
    on_failure: OnFailure = option(
        "if its activation fails: continue with the others, stop activating them, or release mastership as well",
        default=OnFailure.STOP,
    )
    on_refused: OnRefused = option(
        "if its activation would not be safe: hold mastership all the same, or release it to another node",
        default=OnRefused.HOLD,
    )
    restart: Restart | None = option(
        "how often it is activated again after it has ended by itself; more is a failure. Without it, no limit",
        default=None,
    )
    check_interval: float | None = option(
        "the interval between two checks while no change is reported; without it, that of [node]",
        default=None,
        unit="seconds",
        minimum=1,
    )
    drift: Drift = option(
        "if its state changes by itself: repair it, or only report it until keepalived's next event",
        default=Drift.MEND,
    )
    escalation: Escalation = option(
        "if the forced stop fails too: give an alarm, or reboot this machine",
        default=Escalation.ALERT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSpec(ResourceKeys):
    """One resource of one instance, as this node has it.

    `options`: the driver's own, which the core only compares. `moves`: all things that it moves, under names that are
    the same for every resource that moves them; empty: only its own name identifies it. `others`: the other nodes of
    [heartbeat] that can carry it.
    """

    instance: str
    name: str
    options: Any = field(default=None, hash=False)
    moves: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()

    @property
    def things(self) -> frozenset[str]:
        """All that it moves, under names that are the same for every resource that moves it."""
        return self.moves or frozenset({f"{self.driver} {self.instance} {self.name}"})

    def seen_as(self, other: ResourceSpec) -> bool:
        """Whether an observation of `other` counts for this one too: it has the same driver and the same options."""
        return self.driver == other.driver and self.options == other.options

    def deadline(self, verb: Verb) -> float:
        """How long one step may take, in seconds: a deactivation has its graceful part, then the forced stop."""
        return self.timeout if verb is Verb.ACTIVATE else self.stop_timeout + FORCED_STOP_S


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceKeys:
    """The keys of a table ``[instance.NAME]`` that the core decides by."""

    vip_timeout: float = option("how long a VIP may disagree with keepalived's state", default=5.0, unit="seconds")
    preempt: bool = option(
        "whether a node of higher priority takes mastership from the active node; false if keepalived.conf has "
        "nopreempt on every node: a MASTER that becomes BACKUP then proves a double master, which failoverd records",
        default=True,
    )
    on_refused: OnRefused = option(
        "if a VIP stays missing while keepalived reports MASTER: hold mastership, or release it to another node",
        default=OnRefused.HOLD,
    )
    health: Health = option(
        "while an activation here would be refused: only report it, or tell keepalived by the track file, so that a "
        "node that can serve becomes MASTER",
        default=Health.REPORT,
    )
    on_double_master: OnDoubleMaster = option(
        "when another MASTER is proved: only report it, or release mastership where that is certainly right",
        default=OnDoubleMaster.REPORT,
    )
    quorum: bool = option(
        "whether [quorum] and [fence.NODE] decide if it may be active here; false where DRBD's own quorum decides",
        default=True,
    )
    take_back_after: float = option(
        "the time after a release at which a healthy standby takes mastership back; 0: `failoverctl reset` does",
        default=60.0,
        unit="seconds",
        minimum=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec(InstanceKeys):
    """One instance: its addresses, and its resources by name.

    `elsewhere`: resources that this node does not have, each with the nodes that have it. `only_here`: resources that
    no other node has. `others`: the other nodes of [heartbeat] that have any resource of it.
    """

    name: str
    vips: tuple[Vip, ...] = ()
    resources: Mapping[str, ResourceSpec] = field(default_factory=dict)
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only_here: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """The keys of the table ``[node]`` that the core decides by."""

    parallel: int = option("how many steps may run at once on this node", default=128, minimum=1)
    check_interval: float = option(
        "the interval between two checks of a resource while no change is reported",
        default=30.0,
        unit="seconds",
        minimum=10,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumKeys:
    """The keys of the table ``[quorum]`` that the core decides by."""

    isolation_timeout: float = option(
        "how long an active node may miss the witnesses before it deactivates and releases mastership",
        default=10.0,
        unit="seconds",
        minimum=1,
    )
    timeout: float = option("how long one witness may take to answer", default=1.0, unit="seconds", minimum=0.1)
    takeover_after: float = option(
        "how long after keepalived's MASTER nothing is activated, unless the other nodes are known not to serve: by "
        "then they have stopped, or their watchdog has reset them. 0: it does not matter what they do",
        default=0.0,
        unit="seconds",
        minimum=0,
    )
    watchdog: str | None = option(
        "the watchdog device, which resets this machine if it cannot stop its resources in time; without it, none does",
        default=None,
        pattern=r"^/.*[^/]$",
    )
    watchdog_timeout: float = option(
        "how long after the last feed the watchdog device resets this machine, in whole seconds; a failoverd that was "
        "killed must run again by then",
        default=15.0,
        unit="seconds",
        minimum=5,
    )

    @property
    def reset_time(self) -> float:
        """Seconds from the end of the time in which this node stops to its reset; 0 without a watchdog."""
        return self.watchdog_timeout if self.watchdog is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum(QuorumKeys):
    """The witnesses. `need`: how many of `witnesses` must answer; of the `leases`, every one must be held."""

    witnesses: tuple[str, ...] = ()
    leases: tuple[str, ...] = ()
    need: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatKeys:
    """The keys of the table ``[heartbeat]`` that the core decides by."""

    interval: float = option(
        "the time from one datagram to the next while nothing changes",
        default=1.0,
        unit="seconds",
        minimum=0.1,
        maximum=10,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(HeartbeatKeys):
    """The heartbeat between the nodes. `node`: the name of this node in it; `peers`: those of the others."""

    node: str = ""
    peers: tuple[str, ...] = ()

    @property
    def silence(self) -> float:
        """Seconds after its last word from which a node is silent."""
        return max(3 * self.interval, MIN_SILENCE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceKeys:
    """The keys of a table ``[fence.NODE]`` that the core decides by."""

    timeout: float = option(
        "how long the agent may take to power the node off; the check of its keys and the proof may take 45 s more",
        default=60.0,
        unit="seconds",
        minimum=5,
    )
    delay: float = option(
        "how long the others wait before they power the node off; what calls the fencing off in that time prevents it",
        default=0.0,
        unit="seconds",
        minimum=0,
        maximum=300,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence(FenceKeys):
    """How a node is powered off by the others.

    `agent`: the path of a fence agent; `options`: its keys with their values; `secrets`: more of its keys, each with
    the name of the systemd credential that has the value.
    """

    agent: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    secrets: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def worst_case(self) -> float:
        """The longest time from FencePeer to PeerFenced, in seconds."""
        return self.timeout + FENCE_PROOF_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(NodeKeys):
    """The configuration as the core sees it: this node only.

    `quorum`: None without witnesses; `heartbeat`: None without [heartbeat]. `fences`: how each node is powered off, by
    its name; also this node, which only the others use.
    """

    instances: Mapping[str, InstanceSpec] = field(default_factory=dict)
    quorum: Quorum | None = None
    heartbeat: Heartbeat | None = None
    fences: Mapping[str, Fence] = field(default_factory=dict)
