"""A resource as far as it is known, and the steps and checks in flight. Times are as in model.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A driver's observation. `detail`: one line for a person; `alarm`: one that an operator must act on, or None.

    `obstacle`: why an activation would be refused now, or would fail; empty when no obstacle is known. `inactive_on`:
    the other nodes that the driver itself sees, and on which it is not active; None: the driver sees no other node.
    `nothing_alone`: it is at standby, and every other node has all that was written here; False also if unknown.
    `outdated`: another node may write what is not here, and this one is not activated before it has that, or an
    operator accepts its data; False also if unknown.
    `stalled`: it is active, and all that uses it waits until an operator, or another node, ends that; `alarm` says how.
    """

    level: Level
    detail: str = ""
    alarm: str | None = None
    obstacle: str = ""
    nothing_alone: bool = False
    outdated: bool = False
    stalled: bool = False
    inactive_on: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An activation or deactivation in flight. `overdue`: its deadline passed without a report.

    `foreign`: it began with another driver or other options than its resource has now, or under an earlier daemon, so
    that it proves only that something ran on the resource. `of`: the names of the instance and the resource that its
    StepEnded carries; None: those of the resource that has it. `things`: all that it moves. `maybe_active`: the
    resource may have been active before it. `pids`: the processes of an earlier daemon that work on it.
    """

    id: int
    verb: Verb
    deadline: float
    of: tuple[str, str] | None = None
    things: frozenset[str] = frozenset()
    overdue: bool = False
    foreign: bool = False
    maybe_active: bool = False
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A check in flight.

    `asked`: when it began. `renewed`: since when changes have made one check after another out of date; None: no change
    did. `again`: there was one more change, and one more check follows when this one has ended.
    """

    id: int
    deadline: float
    asked: float
    renewed: float | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceState:
    """The state of one resource, with its steps and its check in flight.

    `observed`: when `seen` was observed; None: not yet. `asked`: when the check that observed it began; -infinity: a
    step observed it, or it began before `clear_since`. `others`: beside `step`, further steps that began before a
    reload and run on the things that it moves. `confirmed`: the level was observed since this transition began, so the
    plan may build on it. `attempts`: failed steps in the present direction; `not_before`: when the next may start;
    infinity: not before an event permits it. `failure`: why the last step in the present direction failed, empty when
    none did; `failed_at`: when. `given_up`: the instance waits for no further step in the present direction; `refused`:
    because the step would not be safe, for as long as that holds. `held`: the strays that need it, so that it is not
    deactivated; empty: none; `doubted`: a check will show whether that still holds. `ended`: the times at which it
    ended by itself while it should have been active. `maybe_active`: since it was last observed at standby, it was
    observed active, or its activation began. `adrift`: it has drifted, and no step repairs that before keepalived or an
    operator asks for it; it has given up then. `next_look`: when its own `check_interval` requires a check; infinity:
    it has none, and is checked with its instance. `unstoppable`: it may be active, and its deactivation has given up.
    `unable`: its last step could not begin, or its result could not be observed, and the resource may have been active
    before.
    """

    spec: ResourceSpec
    seen: Observation = Observation(level=Level.UNKNOWN, detail="not observed yet")
    since: float
    observed: float | None = None
    asked: float = -math.inf
    confirmed: bool = False
    step: Step | None = None
    others: tuple[Step, ...] = ()
    look: Look | None = None
    attempts: int = 0
    not_before: float = 0.0
    failure: str = ""
    failed_at: float = 0.0
    given_up: bool = False
    refused: bool = False
    adrift: bool = False
    next_look: float = math.inf
    held: str = ""
    doubted: bool = False
    ended: tuple[float, ...] = ()
    maybe_active: bool = False
    unstoppable: bool = False
    unable: bool = False

    @property
    def overdue(self) -> bool:
        """Its step should have ended and still runs: no other step can start, and no end is expected."""
        return self.step is not None and self.step.overdue

    def rests_at(self, level: Level) -> bool:
        """Whether it was observed at `level` and no step runs on it."""
        return self.step is None and self.confirmed and self.seen.level is level
