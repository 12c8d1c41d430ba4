"""The terms of the core: states of instances, resources and steps, and the reactions to failures."""

from __future__ import annotations

import enum


class VrrpState(enum.Enum):
    """A state of an instance as keepalived reports it, under keepalived's name."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"
    FAULT = "FAULT"
    STOP = "STOP"
    DELETED = "DELETED"

    @property
    def target(self) -> Target:
        """ACTIVE for MASTER, STANDBY for every other state."""
        return Target.ACTIVE if self is VrrpState.MASTER else Target.STANDBY


class StateSource(enum.Enum):
    """The source of keepalived's last state: its event, its D-Bus, or its last state that an earlier daemon left."""

    EVENT = "event"
    DBUS = "d-bus"
    LAST_STATE = "last-state"


class Target(enum.Enum):
    """The state that failoverd wants for an instance on this node."""

    ACTIVE = "active"
    STANDBY = "standby"


class Phase(enum.Enum):
    """Where an instance stands (glossary, *phase*)."""

    UNKNOWN = "unknown"  # no reliable state is known: failoverd watches and changes nothing
    STANDBY = "standby"
    PROMOTING = "promoting"
    ACTIVE = "active"
    DEMOTING = "demoting"
    REFUSED = "refused"  # MASTER, but a guard or a driver refuses the activation
    FAILED = "failed"

    @property
    def settled(self) -> bool:
        """Whether no step runs, and none is due."""
        return self not in (Phase.PROMOTING, Phase.DEMOTING)


class Keepalived(enum.Enum):
    """keepalived's processes, as observed. STOPPED: frozen, by a signal or a cgroup. GONE: they ran, and have died."""

    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"


class Level(enum.Enum):
    """The observed state of a resource. UNKNOWN: it could not be observed."""

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

    HUNG: the tool outlived its deadline and could not be killed. REFUSED: not safe now. IN_USE: not safe, because
    another node has the resource, and may soon release it. NOT_STARTED: failoverd could not start the tool, which
    proves nothing about the resource.
    """

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    HUNG = "hung"
    REFUSED = "refused"
    IN_USE = "in-use"
    NOT_STARTED = "not-started"


class Standing(enum.Enum):
    """What the witnesses of [quorum] say about an instance here."""

    IDLE = "idle"  # they do not decide, or not now
    AWAITED = "awaited"  # no step starts, and none is undone, until they have answered
    PRESENT = "present"
    MISSING = "missing"


class Clearance(enum.Enum):
    """Whether the other nodes of an instance are known not to serve it, for an instance that is to be activated."""

    IDLE = "idle"  # it is not asked, or not now
    AWAITED = "awaited"  # no step starts, and none is undone, until it is known
    GIVEN = "given"  # it was known; that lasts for as long as nothing turns this node to standby
    MISSING = "missing"


class WaitFor(enum.Enum):
    """What a resource waits for before its step can start (glossary, *wait*)."""

    RESOURCE = "resource"
    VIP = "vip"
    QUORUM = "quorum"
    PEERS = "peers"
    ROOM = "room"
    RETRY = "retry"
    CHECK = "check"


class TransitionResult(enum.Enum):
    """How a transition ended."""

    ACTIVE = "active"
    PARTIAL = "partial"  # active without a resource that may fail
    STANDBY = "standby"
    REFUSED = "refused"
    RELEASED = "released"  # mastership was released
    FAILED = "failed"
    OVERTAKEN = "overtaken"  # a later event came before it had settled


class OnFailure(enum.Enum):
    """The effect of a failed activation on the rest of the instance."""

    CONTINUE = "continue"
    STOP = "stop"
    RELEASE = "release"  # release mastership as well


class OnRefused(enum.Enum):
    """The effect on mastership of a refusal, of an instance or of one of its resources."""

    HOLD = "hold"
    RELEASE = "release"  # release mastership


class OnDoubleMaster(enum.Enum):
    """What follows when another MASTER is proved: an alarm, or also that one of the two yields."""

    REPORT = "report"
    YIELD = "yield"


class Health(enum.Enum):
    """What follows when a standby could not be activated: a warning, or also that it does not compete."""

    REPORT = "report"
    TRACK = "track"  # keepalived's track file tells it


class Drift(enum.Enum):
    """The reaction when a resource has drifted from the target (glossary, *drift*)."""

    MEND = "mend"
    REPORT = "report"


class Escalation(enum.Enum):
    """The reaction when a deactivation has failed for good."""

    ALERT = "alert"
    REBOOT = "reboot"
