"""The resources in sentences: their steps, waits, refusals and failures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from failoverd.ctl import when
from failoverd.ctl.explain.parts import Facts, Said, commands_in, names_of, reset

_STUCK = "ps -eo pid,stat,wchan:24,args | awk '$2 ~ /^D/'  # tools that are stuck in the kernel"


def resources(name: str, facts: Facts, why: Facts, now: datetime) -> Iterator[Said]:
    """Each resource that is not as the target has it, or has a problem."""
    goal = why.get("direction")
    for key, resource in (facts.get("resources") or {}).items():
        more: Facts = (why.get("resources") or {}).get(key) or {}
        yield from _resource(name, key, {**resource, **more, "goal": goal}, now)
        if goal is not None and why.get("crowded") and _could_start(resource, more, str(goal)):
            yield Said("waits", f"{key} waits for room: this node runs as many steps as `parallel` permits.")
    for key, nodes in (facts.get("elsewhere") or {}).items():
        text = f"{key} is active nowhere: it is configured on {names_of(nodes) or 'another node'} only."
        yield Said("problem", text, bad=True)


def _could_start(resource: Facts, more: Facts, goal: str) -> bool:
    busy = resource.get("step") or more.get("given_up") or more.get("waits_for") or more.get("retry")
    return not busy and resource.get("level") != goal


def _resource(name: str, key: str, facts: Facts, now: datetime) -> Iterator[Said]:
    failure, goal = facts.get("failure"), facts.get("goal")
    if facts.get("step"):
        yield _step(key, facts, now)
    if failure and not facts.get("overdue"):
        yield _failed(name, key, facts, str(failure), now)
    else:
        yield from _waits(key, facts)
    if facts.get("alarm"):
        yield Said("problem", f"{key}: {facts['alarm']}.", commands_in(str(facts["alarm"])), bad=True)
    if facts.get("obstacle") and goal == "standby":
        text = f"{key} could not be activated now: {facts['obstacle']}."
        yield Said("obstacle", text, commands_in(str(facts["obstacle"])), bad=True)
    if goal is not None and facts.get("level") == "unknown" and not (facts.get("step") or failure):
        yield Said("unknown", f"{key} could not be observed: {facts.get('detail') or 'no reason is known'}.", bad=True)


def _step(key: str, facts: Facts, now: datetime) -> Said:
    step, begun = facts["step"], facts.get("step_since")
    if facts.get("overdue"):
        text = f"The {step} step of {key} has not ended by its deadline. No other can start on {key} before it does."
        return Said("hung", text, (_STUCK,), bad=True)
    verb = "activating" if step == "activate" else "deactivating"
    if begun:
        return Said("step", f"failoverd has been {verb} {key} since {when.moment(begun, now)}.")
    text = f"A step that began under an earlier failoverd or configuration is still {verb} {key}."
    return Said("step", f"{text} failoverd waits for its end.")


def _waits(key: str, facts: Facts) -> Iterator[Said]:
    goal = facts.get("goal")
    if facts.get("held") and facts.get("level") != "standby" and goal == "standby":
        text = f"{key} is not deactivated: {facts['held']} needs it, may be active, and is no longer configured."
        yield Said("waits", text, bad=True)
    elif facts.get("stopped_by"):
        yield Said("waits", f"{key} is not activated before {names_of(facts['stopped_by'])} can be.")
    elif facts.get("waits_for"):
        wanted = "is active" if goal == "active" else "is deactivated"
        yield Said("waits", f"{key} waits until {names_of(facts['waits_for'])} {wanted}.")


def _failed(name: str, key: str, facts: Facts, failure: str, now: datetime) -> Said:
    at = f" at {when.moment(facts['failed_at'], now)}" if facts.get("failed_at") else ""
    retry, text = facts.get("retry"), failure.rstrip(".")
    if retry == "reset":
        return Said("drift", f"{key}: {text}.", commands_in(failure), bad=True)
    if facts.get("refused"):
        soon = "as soon as this changes" if retry == "change" else "soon, and sooner if its state changes"
        said = f"{key} refused its activation{at}: {text}. failoverd retries it {soon}."
        return Said("refused", said, commands_in(failure) or (reset(name, "retry it now"),), bad=True)
    if not facts.get("attempts") and not facts.get("given_up"):
        waits = "failoverd retries it until that node has had the time to stop everything."
        return Said("refused", f"{key} refused its activation{at}: {text}. {waits}")
    tries = f", attempt {facts.get('attempts')} of {facts.get('tries')}" if facts.get("attempts") else ""
    said = f"{key} failed{at}{tries}: {text}."
    if retry == "tool":
        said += " failoverd retries it when its tool has ended. A disk or the network may hold that tool."
        return Said("failed", said, (_STUCK,), bad=True)
    if not facts.get("given_up"):
        return Said("failed", said)
    said += " It has given up for now."
    if facts.get("goal") == "active":
        said += _ON_FAILURE.get(str(facts.get("on_failure")), "")
    commands = (
        "failoverctl history  # then, for its commands: failoverctl history show ID",
        reset(name, "retry it now"),
    )
    return Said("failed", said, commands, bad=True)


#: The effect of a failed activation on the others.
_ON_FAILURE = {
    "continue": " The others continue without it.",
    "stop": " Nothing else is activated.",
    "release": " Nothing else is activated, and failoverd releases mastership.",
}
