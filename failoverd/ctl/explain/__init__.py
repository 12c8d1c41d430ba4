"""The sentences of ``failoverctl why``, made of the daemon's facts. They explain decisions, and make none.

Here: the event, the decision, the marks and the future. guards.py and resources.py have the rest, of parts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from failoverd.command_text import failoverctl
from failoverd.ctl import health, when
from failoverd.ctl.explain.guards import refusals
from failoverd.ctl.explain.parts import Facts, Said, names_of, reset
from failoverd.ctl.explain.resources import resources

__all__ = ["Said", "instance", "since", "stray", "words"]


def since(instance: Facts, now: datetime) -> str:
    """Since when the instance is in its phase."""
    return f"since {when.moment(instance.get('since'), now)}"


def instance(name: str, facts: Facts, now: datetime) -> tuple[Said, ...]:
    """The explanation of one instance."""
    why: Facts = facts["why"]
    return (
        Said("event", _event(facts, why, now)),
        Said("decision", _decision(name, facts, why)),
        *_cause(facts, why),
        *refusals(name, facts, why, now),
        *resources(name, facts, why, now),
        *_marks(name, facts, why, now),
        *_next(facts, why, now),
    )


def stray(facts: Facts, now: datetime) -> tuple[Said, ...]:
    """The explanation of a resource that is no longer configured."""
    name, instance = str(facts.get("resource", "?")), str(facts.get("instance", "?"))
    detail = f" ({facts['detail']})" if facts.get("detail") else ""
    state = "is active" if facts.get("level") == "active" else "may be active"
    text = (
        f"{name} is no longer configured, and {state}{detail}. failoverd has not followed it since "
        f"{when.moment(facts.get('since'), now)}: it does not stop it, and does not stop anything that it needs. "
        "Stop it by hand or configure it again; failoverd forgets it when a check finds it stopped."
    )
    return (Said("stray", text, (reset(instance, "forget it, although it may be active"),), bad=True),)


def words(said: Mapping[str, Facts], now: datetime) -> tuple[Said, ...]:
    """What the other nodes say of the instance, by the name of the node."""
    text = "By the heartbeat {} has said: {}; it was so at {}, or later."
    found = said.items()
    return tuple(
        Said("word", text.format(node, health.said(word), when.moment(word.get("word"), now))) for node, word in found
    )


def _event(facts: Facts, why: Facts, now: datetime) -> str:
    event = why.get("event")
    if event is None:
        if facts.get("target") is None:
            return "keepalived has reported no state since the boot."
        return f"No state of keepalived counts now: {why.get('cause') or 'it has reported none'}."
    state, at = event["state"], when.moment(event.get("at"), now)
    return {
        "fifo": f"keepalived reported {state} in its FIFO at {at}.",
        "hook": f"keepalived's hook reported {state} at {at}.",
        "spool": f"keepalived's hook reported {state} while failoverd did not answer; failoverd read it in the spool "
        f"at {at}.",
        "d-bus": f"keepalived's D-Bus has shown {state} since {at}; failoverd has received no event of it.",
        "last-state": f"failoverd was started at {at}, and read keepalived's last state in this boot: {state}.",
    }.get(event.get("source"), f"keepalived has been {state} since {at}.")


def _decision(name: str, facts: Facts, why: Facts) -> str:
    phase, target, state = facts.get("phase"), facts.get("target"), facts.get("vrrp_state")
    if target is None:
        return "No reliable state is known. failoverd watches and changes nothing, because another node may be active."
    if target == "standby":
        reason = f"{state} makes this node a standby" if state else "So this node is a standby"
        return f"{reason}: no resource of {name} may be active here. {_levels(facts, 'standby')}"
    reason = f"{state} makes this node the active one"
    if phase == "refused" and why.get("direction") == "active":
        return f"{reason}, but a resource refuses its activation. {_levels(facts, 'active')}"
    if why.get("hold"):
        return f"{reason}. failoverd waits for the VIP: no step starts, and none is undone. {_levels(facts, 'active')}"
    if why.get("direction") == "standby":
        return f"{reason}, but failoverd refuses: no resource may be active here now. {_levels(facts, 'standby')}"
    return f"{reason}: every resource of {name} must be active here. {_levels(facts, 'active')}"


def _levels(facts: Facts, level: str) -> str:
    resources: Facts = facts.get("resources") or {}
    if not resources:
        return "This node has no resource of it."
    there = [name for name, each in resources.items() if each.get("level") == level]
    word = "active" if level == "active" else "at standby"
    if len(there) == len(resources):
        return f"All are {word}: {names_of(there)}." if there[1:] else f"{there[0]} is {word}."
    return f"{len(there)} of {len(resources)} {'is' if len(there) == 1 else 'are'} {word}."


def _cause(facts: Facts, why: Facts) -> Iterator[Said]:
    """The cause of the last transition, where the event does not say it."""
    cause = str(why.get("cause") or "")
    plain = ("keepalived's D-Bus reports", "keepalived's last state was")
    known = (f"keepalived reported {facts.get('vrrp_state')}", *(each.get("text") for each in why.get("guards") or ()))
    if cause and why.get("event") and cause.removeprefix("MASTER, but ") not in known and not cause.startswith(plain):
        yield Said("cause", f"The last transition began because of this: {cause}.")


def _marks(name: str, facts: Facts, why: Facts, now: datetime) -> Iterator[Said]:
    rivals = facts.get("rivals") or ()
    if rivals:
        last = rivals[-1]
        span = f"from {when.clock(last.get('from'), now.tzinfo)} to {when.clock(last.get('to'), now.tzinfo)}"
        gave = " This node gave way." if last.get("gave_way") else ""
        both = "Two nodes were MASTER at the same time"
        if last.get("peer"):
            both = f"{last['peer']} and this node were MASTER at the same time"
        if last.get("station"):
            both = f"Another station ({last['station']}) had {last.get('address')} too"
        text = f"{both}, {span}.{gave} Compare what both have written."
        commands = (
            "failoverctl history  # on both nodes",
            f"{failoverctl('acknowledge', name)}  # then end this mark",
        )
        yield Said("rival", text, commands, bad=True)
    if why.get("doubt"):
        yield Said("problem", f"{why['doubt']}.", bad=True)


def _next(facts: Facts, why: Facts, now: datetime) -> Iterator[Said]:
    """What happens next, in the order of time."""
    coming: list[tuple[str, str, str]] = []
    wants_active = facts.get("target") == "active"
    if why.get("vip_deadline"):
        missing = "is not usable" if wants_active else "is still here"
        then = "refuses the activation" if wants_active else "gives an alarm"
        coming.append((why["vip_deadline"], f"If the VIP {missing} at", f", failoverd {then}."))
    for key, resource in (why.get("resources") or {}).items():
        step = facts["resources"][key].get("step")
        if step and resource.get("step_since") and not resource.get("overdue"):
            what = f"the {'activation' if step == 'activate' else 'deactivation'} of {key}"
            then = f", failoverd ends its commands and {_after_failure(resource)}."
            coming.append((resource["step_deadline"], f"If {what} has not ended at", then))
        if resource.get("retry") == "time" and resource.get("retry_at"):
            coming.append((resource["retry_at"], f"failoverd retries {key} at", "."))
    if facts.get("released") and why.get("take_back_at") is None:
        yield Said("next", _never(facts))
    elif facts.get("released"):
        coming.append((why["take_back_at"], *_taking_back(facts)))
    for at, before, after in sorted(coming):
        yield Said("next", f"{before} {when.moment(at, now)}{after}")
    if why.get("next_check"):
        at = when.moment(why["next_check"], now)
        yield Said("next", f"failoverd acts on keepalived's next event at once, and checks every resource at {at}.")


def _never(facts: Facts) -> str:
    if facts.get("unfit"):
        return "It competes again when the obstacle has passed."
    return "failoverd does not take mastership back by itself (take_back_after = 0)."


def _taking_back(facts: Facts) -> tuple[str, str]:
    """The words before and after the time."""
    if facts.get("unfit"):
        return "It competes again at", ", if there is no new obstacle until then."
    active = facts.get("target") == "active"
    if_so = "as soon as every resource is active here" if active else "if every resource could be activated"
    return "failoverd takes mastership back at", f", {if_so}."


def _after_failure(resource: Facts) -> str:
    left = int(resource.get("tries", 1)) - int(resource.get("attempts", 0)) - 1
    if left <= 0:
        return "gives it up for now"
    return f"retries it, {left} more {'time' if left == 1 else 'times'} at most"
