"""The knowledge from outside, as frozen data: the answers of witnesses, the words of other nodes, and who is off.

All times are seconds on the clock of model.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from failoverd.core.words import Clearance, Level, Phase, Standing, Target, VrrpState


class Answer(Protocol):
    """What a witness answered to a question of the time `asked`."""

    @property
    def granted(self) -> bool | None: ...
    @property
    def said(self) -> str: ...
    @property
    def asked(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The last answer of a witness. `granted`: None without a usable answer; `said`: the answer, in a few words.

    `asked`: the time of its question; `yes_at`: that of the last question that was answered with yes; `held_at`: that
    of the last question after which this node has held the lease; `held_until`: until when it then needed no further
    answer. -infinity: there was none.
    """

    granted: bool | None = None
    said: str = "not asked yet"
    asked: float = -math.inf
    yes_at: float = -math.inf
    held_at: float = -math.inf
    held_until: float = -math.inf

    def after(self, answer: Answer) -> Vote:
        """The vote after one more answer."""
        yes_at = answer.asked if answer.granted else self.yes_at
        return replace(self, granted=answer.granted, said=answer.said, asked=answer.asked, yes_at=yes_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWord:
    """What the failoverd of another node has said of one instance there (glossary, *word*).

    `at`: the time after which it was said: it was true then, or later. `vrrp`, `target`, `phase`, `competes`,
    `standing`: as of InstanceState. `rests`: everything of the instance was observed at standby there, and no step
    runs. `levels`: of each resource; empty if there are too many to say. `nothing_alone`: the resources of which it
    says that, and `outdated`: of which it says this, as of an Observation. `standby`: an operator keeps it from being
    MASTER there. `clearance`: whether it goes up there, or would go up if it were cleared. `maintenance`: that node is
    in maintenance; `strays`: resources of the instance that are no longer configured there, and may be active.
    `refusal`: why it is or would be refused there; empty: nothing refuses it. `against_move`: the nodes that keep it
    from taking over by a planned move, each with the reason.
    """

    at: float
    vrrp: VrrpState | None = None
    target: Target | None = None
    phase: Phase = Phase.UNKNOWN
    rests: bool = False
    levels: Mapping[str, Level] = field(default_factory=dict)
    nothing_alone: frozenset[str] = frozenset()
    outdated: frozenset[str] = frozenset()
    competes: bool = True
    standby: bool = False
    standing: Standing = Standing.IDLE
    clearance: Clearance = Clearance.IDLE
    maintenance: bool = False
    strays: frozenset[str] = frozenset()
    refusal: str = ""
    against_move: Mapping[str, str] = field(default_factory=dict)

    def level(self, resource: str) -> Level:
        """The level of a resource there; UNKNOWN also if it is too much to say, and not everything is at standby."""
        return self.levels.get(resource, Level.STANDBY if self.rests else Level.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What another node has said, as far as it was heard. Silence proves nothing, and neither does an old word.

    `at`: the time after which it said all of `words` together; -infinity: it never did. `words`: by instance.
    `masters`: the instances of which it says that it is MASTER and serves, each with the time at which this node first
    heard that; a silence begins that time anew.
    """

    at: float = -math.inf
    words: Mapping[str, PeerWord] = field(default_factory=dict)
    masters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Whether this node would hear another one that speaks: otherwise its silence says nothing.

    `since`: from when on; infinity: it would not. `deaf`: why not, in words; empty: the heartbeat only begins here.
    """

    since: float = math.inf
    deaf: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Off:
    """Another node is known to be off, since `at`, until it is heard or seen again.

    `said`: the proof of its fence agent, or the operator who has confirmed it, in words.
    """

    at: float
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fencing:
    """The last fencing of another node. `id`: of the attempt; `asked`: when it began, for the instance `instance`.

    `deadline`: until when it may take; infinity: it has ended. `said`: how the last one that failed has ended, in a few
    words, and `ended`: when; `failed`: how many have, in a row. `not_before`: when the next one may begin.
    """

    id: int
    asked: float
    instance: str
    deadline: float
    said: str = ""
    ended: float = -math.inf
    failed: int = 0
    not_before: float = -math.inf

    @property
    def running(self) -> bool:
        """Whether the attempt has not ended."""
        return self.deadline < math.inf
