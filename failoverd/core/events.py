"""The events: all that the core is told, as frozen data. What it asks for is in effects.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.knowledge import PeerWord
from failoverd.core.model import Maintenance, Standby
from failoverd.core.requests import (
    Acknowledged,
    AsideEnded,
    AsideWanted,
    CheckAsked,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
    MaintenanceBegun,
    MaintenanceEnded,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    RivalsNoted,
    StandbyWanted,
    Together,
)
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, Vip
from failoverd.core.words import Keepalived, Outcome, VrrpState


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpChanged:
    """keepalived reported another state of an instance, and it is the newest.

    `straight`: keepalived reported no state between the previous VrrpChanged and this one.
    """

    instance: str
    state: VrrpState
    straight: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerPriorityAdvert:
    """Check everything.

    `rival`: keepalived, as MASTER, received an advert of lower priority (MASTER_RX_LOWER_PRI): two nodes are MASTER.
    Otherwise keepalived reported more than failoverd could follow.
    """

    instance: str
    rival: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VipElsewhere:
    """Another station of the link has the VIP: it has answered a ProbeVips, and once more after a pause.

    `station`: its MAC.
    """

    instance: str
    vip: Vip
    station: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpStateReported:
    """The answer to QueryVrrpState. `dbus`: keepalived's D-Bus property; `stored`: its last state of this boot.

    Either is None if keepalived reported none. `void`: the last state is discarded, because the keepalived that
    reported it has died, or because an earlier daemon found that keepalived had reported nothing since the boot.
    `booted`: the machine has only just booted, and the instance was configured when it did. `said`: the query on
    D-Bus and its answer. `doubt`: the error in a configuration that the answer shows; empty when it shows none.
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
    """Netlink: each address is usable on its interface (True), is not (False), or could not be observed (None).

    `removers`: the program that removed an address, if it is known and is not keepalived. `instead`: the state of an
    address that is not usable on its interface, as a phrase that follows the address.
    """

    present: Mapping[Vip, bool | None]
    removers: Mapping[Vip, str] = field(default_factory=dict)
    instead: Mapping[Vip, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepalivedSeen:
    """The condition of the processes of the keepalived that reports these instances."""

    instances: frozenset[str]
    condition: Keepalived


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceObserved:
    """The answer to Observe: an observation of the resource."""

    instance: str
    resource: str
    look: int
    seen: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """The answer to RunStep: its outcome, the reason (one line, empty when all is well), and an observation."""

    instance: str
    resource: str
    step: int
    outcome: Outcome
    reason: str
    seen: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class WishesFound:
    """The operators' wishes, which could not be read at the start: `standby` by instance."""

    standby: Mapping[str, Standby]
    maintenance: Maintenance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceChanged:
    """A resource has changed: it needs a check."""

    instance: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEnded:
    """The tool of a step that ended HUNG has exited: no tool works on the resource any more."""

    instance: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAnswered:
    """The answer of one witness to AskWitnesses; `asked` is that of the question.

    `granted`: None without a usable answer; `said`: the answer, in a few words.
    """

    witness: str
    granted: bool | None
    said: str
    asked: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswered:
    """The same, of a witness that grants a lease for each instance.

    `held`: it was asked for the lease, and `granted` says whether this node holds it. Otherwise it was only asked
    whether it answers.
    """

    instance: str
    witness: str
    granted: bool | None
    said: str
    asked: float
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReported:
    """Another node has said something, or has confirmed what it has said, after the time `at`.

    `words`: those that are new, by instance, each with the same `at`; None: the instance is not configured there any
    more. `whole`: with these, all that the node has to say is known, so that every word of it counts from `at` on.
    """

    peer: str
    at: float
    words: Mapping[str, PeerWord | None] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerUnverified:
    """From the address of another node came a heartbeat of another key or format: something sends there.

    It is told once in an interval.
    """

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HearingChanged:
    """The heartbeat here hears another node from now on, if that speaks; or it does not.

    `deaf`: why not, in words; empty: it only begins; None: it hears.
    """

    peer: str
    deaf: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFenced:
    """The answer to FencePeer, or the end of a fencing for which the core did not ask.

    `off`: the fence agent has then found the node off, which is the only proof; otherwise nothing is known. `said`: the
    result, in a few words. `called_off`: nothing was done, because it was not to be fenced any more.
    """

    peer: str
    fencing: int
    off: bool
    said: str
    called_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A deadline that `machine.next_deadline` named has passed. At any other time a Tick does no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """The process did not run for `seconds`, which no clock of this daemon counts; those of other machines do."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The daemon ends: it activates nothing any more, and mastership stays where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """There is a new configuration."""

    config: Config


Event = (
    VrrpChanged
    | LowerPriorityAdvert
    | VipElsewhere
    | VrrpStateReported
    | VipsSeen
    | KeepalivedSeen
    | ResourceObserved
    | StepEnded
    | Reset
    | StandbyWanted
    | OnlineWanted
    | Together
    | WishesFound
    | MaintenanceBegun
    | MaintenanceEnded
    | HandoverWanted
    | HandoverAttended
    | HandoverCancelled
    | HandoverConfirmed
    | AsideWanted
    | AsideEnded
    | CheckAsked
    | Acknowledged
    | RivalsNoted
    | ResourceChanged
    | ToolEnded
    | WitnessAnswered
    | LeaseAnswered
    | PeerReported
    | PeerUnverified
    | HearingChanged
    | PeerFenced
    | PeerConfirmedOff
    | PeerUnfenced
    | Tick
    | Stalled
    | Stopping
    | Reloaded
)
