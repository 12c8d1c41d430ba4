"""After every event: from what is known of an instance to its direction, its steps, its phase and its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from failoverd.core import guards, planner
from failoverd.core.events import Alarm
from failoverd.core.model import Ending, InstanceState, Keepalived, Phase, Target
from failoverd.core.turn import Turn

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
                given_up=r.step is not None and r.step.overdue,
            )
            for name, r in instance.resources.items()
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """Where to go. `hold`: nothing starts until the VIPs agree or their time is up. `refusal`: why not ACTIVE."""

    direction: Target | None
    hold: bool = False
    refusal: str | None = None


def _course(instance: InstanceState, keepalived: Keepalived | None, now: float) -> _Course:
    if instance.target is not Target.ACTIVE:
        return _Course(direction=instance.target)
    refusal = guards.left_behind(instance, keepalived) or guards.deaf(keepalived)
    if refusal is not None:
        return _Course(direction=Target.STANDBY, refusal=refusal)
    missing = guards.vip_missing(instance)
    if missing is None:
        return _Course(direction=Target.ACTIVE)
    unseen = all(present is not False for present in instance.vips.values())
    if now < instance.vip_deadline or (unseen and instance.phase is Phase.ACTIVE):
        return _Course(direction=instance.direction, hold=True, refusal=missing)
    return _Course(direction=Target.STANDBY, refusal=f"MASTER, but {missing}")


def settle(turn: Turn, instance: InstanceState) -> InstanceState:
    """Set the direction, start what may start, and say where the instance stands."""
    course = _course(instance, turn.state.keepalived, turn.now)
    if course.direction is None and not course.hold:
        return _at(turn, instance, Phase.UNKNOWN)
    if not course.hold and course.direction is not instance.direction:
        instance = replace(unconfirmed(instance), direction=course.direction)
    phase = _phase(turn, instance, course)
    if not phase.settled and instance.transition is None:
        assert instance.target is not None
        instance = turn.begin(instance, course.direction or instance.target, course.refusal or turn.cause)
    if not course.hold and course.direction is not None:
        instance = _move(turn, instance, course.direction)
    reason, alarm = _reason(turn, instance, course, phase)
    if alarm and alarm != instance.alarm:
        turn.effects.append(Alarm(instance=instance.spec.name, text=alarm))
    if phase.settled and instance.transition is not None:
        instance = turn.end(instance, _ENDING[phase], alarm)
    return _at(turn, replace(instance, reason=reason, alarm=alarm), phase)


def _at(turn: Turn, instance: InstanceState, phase: Phase) -> InstanceState:
    return instance if phase is instance.phase else replace(instance, phase=phase, since=turn.now)


def _phase(turn: Turn, instance: InstanceState, course: _Course) -> Phase:
    if course.hold:
        return Phase.ACTIVE if instance.phase is Phase.ACTIVE else Phase.PROMOTING
    assert course.direction is not None
    towards_active = course.direction is Target.ACTIVE
    if planner.pending(instance.resources, course.direction):
        return Phase.PROMOTING if towards_active else Phase.DEMOTING
    if towards_active:
        stopped = planner.stopped(instance.resources, course.direction)
        return Phase.FAILED if stopped else Phase.ACTIVE
    rests = all(r.rests_at(planner.GOAL[course.direction]) for r in instance.resources.values())
    if not rests or guards.left_behind(instance, turn.state.keepalived) is not None:
        return Phase.FAILED
    return Phase.REFUSED if instance.target is Target.ACTIVE else Phase.STANDBY


def _move(turn: Turn, instance: InstanceState, direction: Target) -> InstanceState:
    """Start the steps that may start, as far as the node has room, and ask for what is not confirmed."""
    running = sum(
        r.step is not None and not r.step.overdue for i in turn.state.instances.values() for r in i.resources.values()
    )
    room = max(0, turn.state.config.parallel - running)
    resources = dict(instance.resources)
    for name in planner.ready(resources, direction, turn.now)[:room]:
        resources[name] = turn.step(instance, name, resources[name], direction)
    for name, resource in resources.items():
        if planner.awaited(resource, direction):
            resources[name] = turn.look(instance, name, resource)
    return replace(instance, resources=resources)


def _reason(turn: Turn, instance: InstanceState, course: _Course, phase: Phase) -> tuple[str, str]:
    """One line for `status`, and what of it must be acted on (empty when all is well)."""
    failures = "; ".join(
        f"{name}: {r.failure}" + ("" if r.given_up else f" (attempt {r.attempts + 1} of {r.spec.retries + 1})")
        for name, r in instance.resources.items()
        if r.failure
    )
    if course.hold:
        return f"waiting: {course.refusal}", str(course.refusal) if turn.now >= instance.vip_deadline else ""
    left = None
    if instance.target is Target.STANDBY:
        overdue = turn.now >= instance.vip_deadline
        left = guards.left_behind(instance, turn.state.keepalived) or (guards.vip_left(instance) if overdue else None)
    said = f"{instance.vrrp.value}, but " if instance.vrrp is not None else ""
    problems = [course.refusal, failures, left and said + left]
    reason = "; ".join(problem for problem in problems if problem)
    if not reason:
        return instance.cause, ""
    return reason, reason if phase.settled else ""
