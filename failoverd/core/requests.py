"""What an operator asks for, as events: here, or by failoverctl on another node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Check everything, and retry all that has given up, for an operator. `cause`: the operator, and the reason."""

    instance: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyWanted:
    """An operator wants another node to be MASTER, until an OnlineWanted. `by`: the operator."""

    instance: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineWanted:
    """An operator lets this node be MASTER again. `cause`: the operator, and the reason."""

    instance: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """What an operator wants of some instances, at once: the records are written once and not once for each."""

    events: tuple[StandbyWanted | OnlineWanted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceBegun:
    """An operator wants no step to start. `by`: the operator; `until`: when it ends by itself; infinity: never."""

    by: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceEnded:
    """An operator ends it before its time. `cause`: the operator, and the reason."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverWanted:
    """An operator has another node take over, in order: resources first, mastership after that.

    `by`: the operator; `id`: the failoverctl that attends it; `until`: as of HandoverAttended.
    """

    instance: str
    by: str
    id: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverAttended:
    """failoverctl still attends the handover `id`, and has seen a node that can take over: that counts `until` then."""

    instance: str
    id: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverCancelled:
    """The handover `id` ends here. `cause`: who has ended it, and why.

    `released`: also after mastership was released, because no other node will be active; otherwise only until then.
    """

    instance: str
    id: str
    cause: str
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverConfirmed:
    """The other node is active, as its own failoverd says. `by`: who has asked it."""

    instance: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideWanted:
    """Another node hands over, by the handover `id`, and this node is not to be elected, `until` then at most."""

    instance: str
    id: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideEnded:
    """For the handover `id` this node may be elected again."""

    instance: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAsked:
    """Check everything, for an operator, and leave alone what has given up. `cause`: the operator, and the reason."""

    instance: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """An operator knows of the strays of the instance."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalsNoted:
    """An operator knows of the rivals of the instance: the other MASTERs that were beside this one."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfirmedOff:
    """An operator says that a node is off. It counts only while that node is silent. `by`: the operator."""

    peer: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerUnfenced:
    """An operator says that a node which is known to be off may be on again. `by`: the operator."""

    peer: str
    by: str
