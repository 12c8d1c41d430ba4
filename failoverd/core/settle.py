"""After every event: from what is known of an instance to its direction, its steps, its phase and its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from failoverd.core import guards, planner, rivals, strays
from failoverd.core.events import Matter
from failoverd.core.model import InstanceState, ResourceState
from failoverd.core.turn import Turn
from failoverd.core.words import Ending, Keepalived, Level, OnFailure, OnRefused, Phase, Target, Verb, VrrpState

_ENDING = {
    Phase.ACTIVE: Ending.ACTIVE,
    Phase.STANDBY: Ending.STANDBY,
    Phase.REFUSED: Ending.REFUSED,
    Phase.FAILED: Ending.FAILED,
}


def unconfirmed(instance: InstanceState) -> InstanceState:
    """Nothing seen so far counts: the plan builds on what is seen from now on. Hope is renewed."""
    return replace(
        instance,
        resources={
            name: replace(
                r,
                confirmed=False,
                attempts=0,
                not_before=0.0,
                failure=r.failure if r.overdue else "",
                given_up=r.overdue,
                refused=False,
                unstoppable=False,
                ended=(),
            )
            for name, r in instance.resources.items()
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """Where to go. `hold`: nothing starts and nothing is undone, for a VIP that is missing or cannot be seen.

    `refusal`: why not ACTIVE; `missing`: it is that this VIP is not here. `overdue`: the time that the VIPs may take
    is up.
    """

    direction: Target | None
    hold: bool = False
    refusal: str | None = None
    missing: str | None = None
    overdue: bool = False


def _course(instance: InstanceState, now: float) -> _Course:
    if instance.target is not Target.ACTIVE:
        return _Course(direction=instance.target)
    refusal = guards.left_behind(instance) or guards.deaf(instance) or guards.released(instance, now)
    if refusal is not None:
        return _Course(direction=Target.STANDBY, refusal=refusal)
    missing = guards.vip_missing(instance)
    if missing is None:
        return _Course(direction=Target.ACTIVE)
    overdue = now >= instance.vip_deadline
    unseen = all(present is not False for present in instance.vips.values())
    if not overdue or (unseen and instance.direction is not Target.STANDBY):
        return _Course(direction=instance.direction, hold=True, refusal=missing, overdue=overdue)
    return _Course(
        direction=Target.STANDBY, refusal=f"MASTER, but {missing}", missing=None if unseen else missing, overdue=True
    )


def settle(turn: Turn, instance: InstanceState) -> InstanceState:
    """Set the direction, start what may start, and say where the instance stands."""
    instance = strays.hold(turn, replace(instance, crowded=False))
    left_behind = guards.left_behind(instance)
    if instance.target is None and instance.keepalived is Keepalived.GONE:
        # Nobody says what this node should be, and nobody will: what is active here may be active elsewhere too.
        instance = replace(instance, target=Target.STANDBY, cause=left_behind or "keepalived is gone")
    instance, course = _steer(turn, instance)
    if course.direction is None and not course.hold:
        marks = "; ".join(filter(None, (instance.doubt, rivals.told(instance))))
        return _at(turn, _warned(turn, instance, Matter.ATTENTION, marks), Phase.UNKNOWN)
    phase = _phase(instance, course)
    if not phase.settled and instance.transition is None:
        cause = course.refusal or turn.cause or "time has passed"
        if turn.drift and course.refusal is None and instance.settled in (Phase.ACTIVE, Phase.STANDBY):
            turn.alarm(instance, Matter.DRIFT, cause)
        instance = turn.begin(instance, course.direction or Target.STANDBY, cause)
    if not course.hold and course.direction is not None:
        instance = _move(turn, instance, course.direction)
    reason, alarm = _reason(turn, instance, course)
    if phase.settled:
        instance = _warned(turn, instance, _matter(instance, phase, course, left_behind), alarm)
        if instance.transition is not None:
            instance = turn.end(instance, _ending(instance, phase), alarm)
    return _at(turn, replace(instance, reason=reason), phase)


def _warned(turn: Turn, instance: InstanceState, matter: Matter, alarm: str) -> InstanceState:
    """What must be acted on is said once."""
    if alarm and alarm != instance.alarm:
        turn.alarm(instance, matter, alarm)
    return replace(instance, alarm=alarm)


def _steer(turn: Turn, instance: InstanceState) -> tuple[InstanceState, _Course]:
    """Set the direction; where that shows that another node shall try, turn back at once."""
    course = _course(instance, turn.now)
    if not course.hold and course.direction is not instance.direction:
        instance = replace(unconfirmed(instance), direction=course.direction)
    away = _give_away(turn, instance, course)
    return (instance, course) if away is instance else _steer(turn, away)


def _give_away(turn: Turn, instance: InstanceState, course: _Course) -> InstanceState:
    """Where the VIPs did not come, or a resource has given up, that says so: another node shall try."""
    if turn.state.stopping or instance.released or instance.target is not Target.ACTIVE:
        return instance
    reasons = [
        f"{name}: {r.failure}"
        for name, r in instance.resources.items()
        if instance.direction is Target.ACTIVE
        and r.given_up
        and not (r.overdue or r.unable)  # which says something of failoverd, and nothing of the resource
        and (r.spec.on_refused is OnRefused.RELEASE if r.refused else r.spec.on_failure is OnFailure.RELEASE)
    ]
    if course.missing and course.overdue and instance.spec.on_refused is OnRefused.RELEASE:
        reasons.append(course.missing)
    if not reasons:
        return instance
    in_a_row = instance.releases if turn.now < instance.released_at + planner.IN_A_ROW else 0
    return replace(instance, released="; ".join(reasons), released_at=turn.now, releases=in_a_row + 1)


def take_back(instance: InstanceState) -> InstanceState:
    """Compete for mastership again."""
    return replace(instance, released="")


def _ending(instance: InstanceState, phase: Phase) -> Ending:
    if phase is Phase.REFUSED and instance.released:
        return Ending.RELEASED
    if phase is Phase.ACTIVE and any(r.given_up for r in instance.resources.values()):
        return Ending.PARTIAL
    return _ENDING[phase]


def _matter(instance: InstanceState, phase: Phase, course: _Course, left_behind: str | None) -> Matter:
    vip_left = instance.target is not Target.ACTIVE and guards.vip_left(instance) is not None
    if left_behind is not None or (phase is Phase.STANDBY and vip_left):
        return Matter.DOUBLE_MASTER
    if (
        phase is Phase.FAILED
        and course.direction is Target.STANDBY
        and any(r.held for r in instance.resources.values())
    ):
        return Matter.UNFOLLOWED
    if instance.released and phase is not Phase.FAILED:
        return Matter.RELEASED
    if phase is Phase.FAILED:
        return Matter.ESCALATED if course.direction is Target.STANDBY and not _activating(instance) else Matter.FAILED
    if phase is Phase.ACTIVE and any(r.given_up for r in instance.resources.values()):
        return Matter.PARTIAL
    other = Matter.DOUBLE_MASTER if instance.rivals else Matter.ATTENTION
    return Matter.REFUSED if phase is Phase.REFUSED else other


def _activating(instance: InstanceState) -> bool:
    """All that keeps it from being a standby are activations that never came back."""
    left = [r for r in instance.resources.values() if not r.rests_at(Level.STANDBY)]
    return all(r.overdue and r.step is not None and r.step.verb is Verb.ACTIVATE for r in left)


def _at(turn: Turn, instance: InstanceState, phase: Phase) -> InstanceState:
    if phase is not instance.phase:
        instance = replace(instance, phase=phase, since=turn.now)
    if phase is Phase.UNKNOWN:
        return replace(instance, settled=None)
    return replace(instance, settled=phase) if phase.settled else instance


def _phase(instance: InstanceState, course: _Course) -> Phase:
    resources = instance.resources
    if course.hold:
        return _held(instance, course)
    assert course.direction is not None
    rest = _rest(instance, course.direction)
    quiet = instance.transition is None and rest is instance.settled and rest in (Phase.ACTIVE, Phase.STANDBY)
    if planner.moving(resources, course.direction) or (not quiet and planner.confirming(resources, course.direction)):
        return Phase.PROMOTING if course.direction is Target.ACTIVE else Phase.DEMOTING
    return rest


def _rest(instance: InstanceState, direction: Target) -> Phase:
    """Where it stands if nothing is under way, and the looks on their way find what they should."""
    resources = instance.resources
    if direction is Target.ACTIVE:
        if planner.refused(resources):
            return Phase.REFUSED
        return Phase.FAILED if planner.stopped(resources, direction) else Phase.ACTIVE
    rests = all(r.rests_at(Level.STANDBY) or planner.awaited(r, Target.STANDBY) for r in resources.values())
    if not rests or guards.left_behind(instance) is not None:
        return Phase.FAILED
    return Phase.REFUSED if instance.target is Target.ACTIVE else Phase.STANDBY


def _held(instance: InstanceState, course: _Course) -> Phase:
    """While a VIP is missing: as it was before, unless something is under way or to be done, or it lasts too long."""
    if any(r.step is not None and not r.overdue for r in instance.resources.values()):
        return Phase.PROMOTING
    if course.overdue:
        active = all(
            r.seen.level is Level.ACTIVE or (r.given_up and r.spec.on_failure is OnFailure.CONTINUE)
            for r in instance.resources.values()
        )
        return Phase.ACTIVE if active else Phase.FAILED
    drifted = instance.settled is Phase.ACTIVE and planner.candidates(instance.resources, Target.ACTIVE)
    if instance.transition is None and instance.settled is not None and not drifted:
        return instance.settled
    return Phase.PROMOTING


def _move(turn: Turn, instance: InstanceState, direction: Target) -> InstanceState:
    """Start the steps that may start, as far as the node has room, and ask for what is not confirmed."""
    resources = dict(instance.resources)
    stays = turn.state.stopping and direction is Target.ACTIVE
    ready = [] if stays else planner.ready(resources, direction, turn.now)
    for name in ready[: turn.room]:
        resources[name] = turn.step(instance, resources[name], direction)
    for name, resource in resources.items():
        if planner.awaited(resource, direction):
            resources[name] = turn.look(resource)
    return replace(instance, resources=resources, crowded=len(ready) > turn.room)


def _attempt(resource: ResourceState) -> str:
    """Which attempt is under way, after the first has failed; empty when none is."""
    attempt, tries = resource.attempts + 1, resource.spec.retries + 1
    if resource.given_up:
        return ""
    return f" (attempt {attempt} of {tries})" if attempt <= tries else " (tried again)"


def _reason(turn: Turn, instance: InstanceState, course: _Course) -> tuple[str, str]:
    """One line for `status`, and what of it must be acted on once it has settled (empty when all is well)."""
    failures = "; ".join(f"{name}: {r.failure}{_attempt(r)}" for name, r in instance.resources.items() if r.failure)
    if course.hold:
        return f"waiting: {course.refusal}", str(course.refusal) if course.overdue else instance.alarm
    left = gone = None
    away = guards.away(instance, turn.now)
    if away == course.refusal:
        away = None
    if instance.target is not Target.ACTIVE:
        overdue = instance.target is Target.STANDBY and turn.now >= instance.vip_deadline
        left = guards.left_behind(instance) or (guards.vip_left(instance) if overdue else None)
        gone = guards.deaf(instance) if instance.vrrp is not VrrpState.STOP and left is None else None
    said = f"{instance.vrrp.value}, but " if instance.vrrp is not None else ""
    held = strays.held(instance) if course.direction is Target.STANDBY else ""
    marks = [instance.doubt, rivals.told(instance)]
    problems = [course.refusal, failures, held, left and said + left, gone, away, *marks]
    reason = "; ".join(problem for problem in problems if problem)
    return reason or instance.cause, reason
