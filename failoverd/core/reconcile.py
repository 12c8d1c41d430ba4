"""After every event: derive the direction, the steps, the phase and the reason of an instance from its state."""

from __future__ import annotations

from dataclasses import dataclass, replace

from failoverd.core import fencing, guards, handover, peers, planner, quorum, rivals, self_fencing, strays
from failoverd.core.context import AdvanceContext
from failoverd.core.effects import AlarmKind
from failoverd.core.model import InstanceState
from failoverd.core.resource import ResourceState
from failoverd.core.words import (
    Clearance,
    Keepalived,
    Level,
    OnFailure,
    OnRefused,
    Phase,
    Standing,
    Target,
    TransitionResult,
    Verb,
    VrrpState,
)

_ENDING = {
    Phase.ACTIVE: TransitionResult.ACTIVE,
    Phase.STANDBY: TransitionResult.STANDBY,
    Phase.REFUSED: TransitionResult.REFUSED,
    Phase.FAILED: TransitionResult.FAILED,
}


def unconfirmed(instance: InstanceState) -> InstanceState:
    """No earlier observation counts: the plan builds on those that follow. The retries begin again."""
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
                adrift=False,
                unstoppable=False,
                ended=(),
            )
            for name, r in instance.resources.items()
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The direction. `hold`: no step starts and none is undone, while a VIP is missing or cannot be observed.

    `idle`: no step starts until the witnesses have answered, and no other node can serve. `refusal`: why not ACTIVE;
    `missing`: the same, if a missing VIP is the reason. `overdue`: the deadline of the VIPs has passed.
    """

    direction: Target | None
    hold: bool = False
    idle: bool = False
    refusal: str | None = None
    missing: str | None = None
    overdue: bool = False


def course_of(instance: InstanceState, now: float) -> Course:
    """The direction at `now`, and the guard that turns it away from the target."""
    course = _course_here(instance, now)
    if course.direction is not Target.ACTIVE or course.hold:
        return course
    if (refusal := guards.peers_uncleared(instance)) is not None:
        return Course(direction=Target.STANDBY, refusal=refusal)
    return replace(course, idle=course.idle or instance.clearance is Clearance.AWAITED)


def _course_here(instance: InstanceState, now: float) -> Course:
    """The same, whatever other nodes do."""
    if instance.target is not Target.ACTIVE:
        return Course(direction=instance.target)
    refusal = guards.barred(instance, now) or guards.quorum_missing(instance)
    if refusal is not None:
        return Course(direction=Target.STANDBY, refusal=refusal)
    missing = guards.vip_missing(instance)
    if missing is None:
        return Course(direction=Target.ACTIVE, idle=instance.standing is Standing.AWAITED)
    overdue = now >= instance.vip_deadline
    unseen = all(present is not False for present in instance.vips.values())
    if not overdue or (unseen and instance.direction is not Target.STANDBY):
        return Course(direction=instance.direction, hold=True, refusal=missing, overdue=overdue)
    return Course(
        direction=Target.STANDBY, refusal=f"MASTER, but {missing}", missing=None if unseen else missing, overdue=True
    )


def reconcile(context: AdvanceContext, instance: InstanceState) -> InstanceState:
    """Set the direction, start the steps that may start, and set the phase, its reason and its alarm."""
    instance = strays.hold(context, replace(instance, crowded=False))
    left_behind = guards.left_behind(instance)
    if instance.target is None and instance.keepalived is Keepalived.GONE:
        # No reliable state is known, and none will be: a resource active here may be active on another node too.
        instance = replace(instance, target=Target.STANDBY, cause=left_behind or "keepalived is gone")
    instance, course = _steer(context, instance)
    instance = self_fencing.judged(context, instance)
    if course.direction is None and not course.hold:
        kept = guards.kept_in_standby(instance, context.now)
        marks = "; ".join(filter(None, (instance.doubt, rivals.told(instance), kept)))
        return _at(context, _warned(context, instance, _matter_of_marks(instance), marks), Phase.UNKNOWN)
    instance = replace(instance, held_back=_held_back(context, instance, course))
    phase = _phase(instance, course)
    if not phase.settled and instance.transition is None:
        cause = course.refusal or context.cause or "a deadline has passed"
        if context.drift and course.refusal is None and instance.settled in (Phase.ACTIVE, Phase.STANDBY):
            context.alarm(instance, AlarmKind.DRIFT, cause)
        instance = context.begin(instance, course.direction or Target.STANDBY, cause)
    if not course.hold and course.direction is not None:
        instance = _move(context, instance, course)
    reason, alarm = _reason(context, instance, course)
    if phase.settled:
        instance = _warned(context, instance, _matter(instance, phase, course, left_behind), alarm)
        if instance.transition is not None:
            instance = context.end(instance, _ending(instance, phase), alarm)
    elif instance.held_back:
        instance = _warned(context, instance, AlarmKind.MAINTENANCE, instance.held_back)
    return _at(context, replace(instance, reason=reason), phase)


def _held_back(context: AdvanceContext, instance: InstanceState, course: Course) -> str:
    if context.state.maintenance is None or course.hold or course.direction is None:
        return ""
    return guards.held_back(instance, course.direction)


def _warned(context: AdvanceContext, instance: InstanceState, kind: AlarmKind, alarm: str) -> InstanceState:
    """Give the alarm, once for as long as it stays the same."""
    if alarm and alarm != instance.alarm:
        context.alarm(instance, kind, alarm)
    return replace(instance, alarm=alarm)


def _steer(context: AdvanceContext, instance: InstanceState) -> tuple[InstanceState, Course]:
    """Set the direction; if that leads to a release of mastership, set it again at once."""
    instance = quorum.judged(context, _hindered(instance, context.now))
    here = _course_here(instance, context.now)
    wanted = instance.target is Target.ACTIVE and (here.hold or here.direction is Target.ACTIVE)
    instance = fencing.judged(context, instance, wanted=wanted)
    course = course_of(instance, context.now)
    if not course.hold and course.direction is not instance.direction:
        instance = replace(unconfirmed(instance), direction=course.direction)
    away = handover.followed(context, _give_away(context, instance, course))
    return (instance, course) if away is instance else _steer(context, away)


def _hindered(instance: InstanceState, now: float) -> InstanceState:
    """Note why this standby could not be activated, and since when; the reason may change meanwhile."""
    hindrance = guards.hindrance(instance)
    if not instance.able and guards.able(instance):
        instance = replace(instance, able=True)
    if hindrance == instance.hindrance:
        return instance
    at = instance.hindrance_at if hindrance and instance.hindrance else now
    return replace(instance, hindrance=hindrance, hindrance_at=at)


def _give_away(context: AdvanceContext, instance: InstanceState, course: Course) -> InstanceState:
    """Release mastership if a VIP stays missing, or a resource has given up, with an option that releases it then."""
    if context.state.stopping or context.state.maintenance is not None or instance.released:
        return instance
    if instance.target is not Target.ACTIVE:
        patience = planner.UNFIT_AFTER_S if instance.able else 0.0
        unfit = instance.hindrance and context.now >= instance.hindrance_at + patience
        return release(context, instance, instance.hindrance, unfit=True) if unfit else instance
    reasons = _for_release(instance, course)
    if not reasons or peers.unopposed(context.state, instance):
        return instance
    return release(context, instance, "; ".join(reasons))


def _for_release(instance: InstanceState, course: Course) -> list[str]:
    """Why a MASTER should leave it to another node."""
    reasons = [
        f"{name}: {r.failure}"
        for name, r in instance.resources.items()
        if instance.direction is Target.ACTIVE
        and r.given_up
        and not (r.overdue or r.unable)  # a problem of failoverd, not of the resource
        and not r.adrift
        and (r.spec.on_refused is OnRefused.RELEASE if r.refused else r.spec.on_failure is OnFailure.RELEASE)
    ]
    if course.missing and course.overdue and instance.spec.on_refused is OnRefused.RELEASE:
        reasons.append(course.missing)
    return reasons


def release(context: AdvanceContext, instance: InstanceState, why: str, *, unfit: bool = False) -> InstanceState:
    """Release mastership."""
    in_a_row = instance.releases if context.now < instance.released_at + planner.RELEASE_IN_A_ROW_S else 0
    return replace(instance, released=why, released_at=context.now, releases=in_a_row + 1, unfit=unfit)


def take_back(instance: InstanceState) -> InstanceState:
    """Take back mastership: compete for it again."""
    return replace(instance, released="", unfit=False)


def _ending(instance: InstanceState, phase: Phase) -> TransitionResult:
    if phase is Phase.REFUSED and instance.released:
        return TransitionResult.RELEASED
    if phase is Phase.ACTIVE and any(r.given_up for r in instance.resources.values()):
        return TransitionResult.PARTIAL
    return _ENDING[phase]


def _matter(instance: InstanceState, phase: Phase, course: Course, left_behind: str | None) -> AlarmKind:
    said = instance.vrrp is not None and instance.target is not Target.ACTIVE
    vip_left = said and guards.vip_left(instance) is not None
    if left_behind is not None or (phase is Phase.STANDBY and vip_left):
        return AlarmKind.DOUBLE_MASTER
    if (
        phase is Phase.FAILED
        and course.direction is Target.STANDBY
        and any(r.held for r in instance.resources.values())
    ):
        return AlarmKind.UNFOLLOWED
    if not instance.competes and phase is not Phase.FAILED and (matter := _matter_of_mastership(instance)) is not None:
        return matter
    if phase is Phase.FAILED or (phase is Phase.ACTIVE and any(r.given_up for r in instance.resources.values())):
        return _matter_of_failure(instance, phase, course)
    if phase is Phase.REFUSED:
        return AlarmKind.REFUSED
    return _matter_of_marks(instance)


def _matter_of_mastership(instance: InstanceState) -> AlarmKind | None:
    if instance.alone_at is not None:
        return AlarmKind.ALONE
    if instance.released:
        return AlarmKind.UNFIT if instance.unfit else AlarmKind.RELEASED
    return None


def _matter_of_marks(instance: InstanceState) -> AlarmKind:
    if instance.rivals:
        return AlarmKind.DOUBLE_MASTER
    return AlarmKind.ATTENTION if instance.standby is None else AlarmKind.STANDBY


def _matter_of_failure(instance: InstanceState, phase: Phase, course: Course) -> AlarmKind:
    given_up = [r for r in instance.resources.values() if r.given_up]
    if given_up and all(r.adrift for r in given_up):
        return AlarmKind.DRIFT
    if phase is Phase.ACTIVE:
        return AlarmKind.PARTIAL
    return AlarmKind.ESCALATED if course.direction is Target.STANDBY and not _activating(instance) else AlarmKind.FAILED


def _activating(instance: InstanceState) -> bool:
    """Whether only activations that did not end by their deadline keep the instance from being a standby."""
    left = [r for r in instance.resources.values() if not r.rests_at(Level.STANDBY)]
    return all(r.overdue and r.step is not None and r.step.verb is Verb.ACTIVATE for r in left)


def _at(context: AdvanceContext, instance: InstanceState, phase: Phase) -> InstanceState:
    if phase is not instance.phase:
        instance = replace(instance, phase=phase, since=context.now)
    if phase is Phase.UNKNOWN:
        return replace(instance, settled=None)
    return replace(instance, settled=phase) if phase.settled else instance


def _phase(instance: InstanceState, course: Course) -> Phase:
    resources = instance.resources
    if course.hold:
        return _held(instance, course)
    assert course.direction is not None
    rest = _rest(instance, course.direction)
    quiet = instance.transition is None and rest is instance.settled and rest in (Phase.ACTIVE, Phase.STANDBY)
    if course.idle and rest is not instance.settled:
        return Phase.PROMOTING
    if planner.moving(resources, course.direction) or (not quiet and planner.confirming(resources, course.direction)):
        return Phase.PROMOTING if course.direction is Target.ACTIVE else Phase.DEMOTING
    return rest


def _rest(instance: InstanceState, direction: Target) -> Phase:
    """The phase if no step runs or is due, and the checks in flight find the goal."""
    resources = instance.resources
    if direction is Target.ACTIVE:
        if planner.refused(resources):
            return Phase.REFUSED
        return Phase.FAILED if planner.stopped(resources, direction) else Phase.ACTIVE
    rests = all(r.rests_at(Level.STANDBY) or planner.awaited(r, Target.STANDBY) for r in resources.values())
    if not rests or guards.left_behind(instance) is not None:
        return Phase.FAILED
    return Phase.STANDBY if instance.target is Target.STANDBY or instance.handover is not None else Phase.REFUSED


def _held(instance: InstanceState, course: Course) -> Phase:
    """The phase during a hold: the one before, unless a step runs or is due, or the hold lasts too long."""
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


def _move(context: AdvanceContext, instance: InstanceState, course: Course) -> InstanceState:
    """Start the steps that may start, as far as the node has room, and the checks for which steps wait."""
    resources, direction = dict(instance.resources), course.direction
    assert direction is not None
    stays = context.state.stopping and direction is Target.ACTIVE
    idle = stays or course.idle or context.state.maintenance is not None
    ready = [] if idle else planner.ready(resources, direction, context.now)
    for name in ready[: context.room]:
        resources[name] = context.step(instance, resources[name], direction)
    for name, resource in resources.items():
        if planner.awaited(resource, direction):
            resources[name] = context.look(resource)
    return replace(instance, resources=resources, crowded=len(ready) > context.room)


def _attempt(resource: ResourceState) -> str:
    """The number of the attempt under way, after the first has failed; empty when none is."""
    attempt, tries = resource.attempts + 1, resource.spec.retries + 1
    if resource.given_up:
        return ""
    return f" (attempt {attempt} of {tries})" if attempt <= tries else " (retry)"


def _reason(context: AdvanceContext, instance: InstanceState, course: Course) -> tuple[str, str]:
    """One line for `status`, and the alarm for when the phase has settled (empty without a problem)."""
    failures = "; ".join(f"{name}: {r.failure}{_attempt(r)}" for name, r in instance.resources.items() if r.failure)
    kept = guards.kept_in_standby(instance, context.now)
    if course.hold:
        reason = "; ".join(filter(None, (f"waiting: {course.refusal}", kept)))
        unsaid = instance.settled in (Phase.FAILED, Phase.REFUSED) and not instance.alarm  # a reset has ended it
        return reason, str(course.refusal) if course.overdue or unsaid else instance.alarm
    left = gone = None
    away, alone = (
        None if text == course.refusal else text
        for text in (guards.away(instance, context.now), guards.alone(instance))
    )
    if instance.target is not Target.ACTIVE:
        overdue = instance.target is Target.STANDBY and context.now >= instance.vip_deadline
        left = guards.left_behind(instance) or (guards.vip_left(instance) if overdue else None)
        gone = guards.deaf(instance) if instance.vrrp is not VrrpState.STOP and left is None else None
    said = f"{instance.vrrp.value}, but " if instance.vrrp is not None else ""
    held = strays.held(instance) if course.direction is Target.STANDBY else ""
    marks = [instance.doubt, rivals.told(instance)]
    handed = guards.handing_over(instance) if instance.target is not Target.ACTIVE else None
    apart = [left and said + left, gone, away, alone, kept, handed, *marks]
    awaited = (guards.quorum_awaited(instance), guards.peers_awaited(instance)) if course.idle else ()
    stays = ""
    if not instance.released and peers.unopposed(context.state, instance) and _for_release(instance, course):
        stays = "mastership is not released, since every other node is off, or kept in standby"
    problems = [instance.held_back, course.refusal, *awaited, failures, stays, held, *apart]
    reason = "; ".join(problem for problem in problems if problem)
    return "; ".join(filter(None, (reason or instance.cause, guards.aside(instance)))), reason
