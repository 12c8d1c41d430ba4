"""The words of the core: what can be said of an instance, a resource, a step, and of what they mean."""

from __future__ import annotations

import enum


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
