"""The problems in the daemon's answer to ``status``: marked by ``failoverctl status``, reported by ``check``."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from failoverd.command_text import failoverctl
from failoverd.ctl import when

#: Settled phases, and the level that every resource should have in each.
SETTLED = {"active": "active", "standby": "standby"}

#: Phases in which steps run.
MOVING = ("promoting", "demoting")

#: Where a running keepalived that reports nothing is misconfigured.
_CHECK = "check notify, vrrp_notify_fifo and script_user in keepalived.conf"


class Severity(enum.IntEnum):
    """As monitoring plugins exit with it. CRITICAL: a service is down, or may be served twice."""

    WARNING = 1
    CRITICAL = 2


class Problem(NamedTuple):
    """One problem, in a phrase."""

    severity: Severity
    text: str


def problems(instance: Mapping[str, Any]) -> list[Problem]:
    """The problems of one instance, the gravest first; empty when it is healthy, or on its way without a failure."""
    found = [*_of_the_whole(instance), *_of_its_parts(instance)]
    return sorted(found, key=lambda problem: -problem.severity)


def maintenance(answer: Mapping[str, Any]) -> str:
    """The maintenance of the node in an answer to ``status``, in a phrase; empty without."""
    found = answer.get("maintenance")
    if not found:
        return ""
    end = f"until {when.clock(found['until'])}" if found.get("until") else "without an end"
    since = when.clock(found.get("since"))
    return f"by {found.get('by', '?')}, since {since}, {end}: failoverd starts no step"


def silent_witnesses(answer: Mapping[str, Any]) -> list[str]:
    """The witnesses of an answer to ``status`` that were asked and do not answer as they should, each in a phrase."""
    quorum = answer.get("quorum") or {}
    if not quorum.get("asking"):
        return []
    asked = (quorum.get("witnesses") or {}).items()
    return [
        f"the witness {name} does not answer: {vote.get('said')}"
        for name, vote in asked
        if vote.get("asked") is not None and not vote.get("granted")
    ]


def peers(answer: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The other nodes of the heartbeat in an answer to ``status``, by name."""
    return (answer.get("heartbeat") or {}).get("peers") or {}


def words(answer: Mapping[str, Any], instance: str) -> dict[str, Mapping[str, Any]]:
    """What the other nodes say of the instance, by name of the node."""
    said = {name: (peer.get("instances") or {}).get(instance) for name, peer in peers(answer).items()}
    return {name: word for name, word in said.items() if word}


def said(word: Mapping[str, Any]) -> str:
    """What a node says of one instance, in a phrase."""
    parts = [str(word.get("vrrp_state") or "no state"), str(word.get("phase"))]
    parts.append("everything at standby" if word.get("rests") else "not everything at standby")
    if word.get("standby"):
        parts.append("kept in standby by an operator")
    if word.get("maintenance"):
        parts.append("in maintenance")
    if word.get("strays"):
        parts.append(f"may run {', '.join(word['strays'])}, no longer configured there")
    if word.get("refusal"):
        parts.append(f"refused: {word['refusal']}")
    return ", ".join(parts)


def unconfigured_standby(answer: Mapping[str, Any]) -> list[str]:
    """The instances that the node does not have, and would keep in standby, each in a phrase."""
    found = answer.get("unconfigured_standby") or {}
    return [
        f"{name} is kept in standby by {wish.get('by', '?')}, since {when.clock(wish.get('since'))}, and is not "
        f"configured here; to end that: {failoverctl('online', name)}"
        for name, wish in found.items()
    ]


def _of_the_whole(instance: Mapping[str, Any]) -> Iterator[Problem]:
    phase, reason = str(instance.get("phase", "unknown")), str(instance.get("reason") or "")
    alarm = str(instance.get("alarm") or "")
    expected = phase in SETTLED or phase in MOVING
    if not expected:
        severity = Severity.WARNING if phase == "unknown" else Severity.CRITICAL
        yield Problem(severity, f"{phase}: {reason}" if reason else phase)
    if instance.get("rivals"):
        yield Problem(Severity.CRITICAL, "two nodes were MASTER; after a check of the data: failoverctl acknowledge")
    if instance.get("degraded"):
        yield Problem(Severity.CRITICAL, f"active without {', '.join(map(str, instance['degraded']))}")
    yield from _of_its_mastership(instance)
    if instance.get("held_back"):
        yield Problem(Severity.CRITICAL, str(instance["held_back"]))
    if instance.get("obstacle"):
        yield Problem(Severity.WARNING, f"could not take over: {instance['obstacle']}")
    if alarm and alarm != instance.get("held_back") and (expected or alarm not in reason):
        yield Problem(Severity.WARNING, alarm)


def _of_its_mastership(instance: Mapping[str, Any]) -> Iterator[Problem]:
    if instance.get("alone_since"):
        yield Problem(
            Severity.CRITICAL, f"alone since {when.clock(instance['alone_since'])}: the witnesses do not answer"
        )
    if instance.get("unfit"):
        yield Problem(Severity.WARNING, f"does not compete for mastership: {instance.get('released')}")
    elif instance.get("released"):
        yield Problem(Severity.WARNING, f"mastership is released: {instance['released']}")
    if instance.get("standby") and "standby" not in str(instance.get("alarm") or ""):
        yield Problem(Severity.WARNING, f"kept in standby by {instance['standby'].get('by', '?')}")


def _of_its_parts(instance: Mapping[str, Any]) -> Iterator[Problem]:
    for vip in instance.get("vips") or ():
        if (problem := vip_problem(instance, vip)) is not None:
            yield Problem(Severity.CRITICAL, f"{vip.get('address', '?')} {problem}")
    for name, resource in (instance.get("resources") or {}).items():
        problem = resource_problem(instance, resource)
        if problem is not None and not (instance.get("obstacle") and problem.startswith("could not take over")):
            severity = Severity.CRITICAL if resource.get("stalled") else Severity.WARNING
            yield Problem(severity, f"{name}: {problem or resource.get('level', 'unknown')}")


def vip_problem(instance: Mapping[str, Any], vip: Mapping[str, Any]) -> str | None:
    """The problem, or None: a VIP is expected here if keepalived reports MASTER, and only then."""
    state, present = instance.get("vrrp_state"), vip.get("present")
    if present is None or present == (state == "MASTER"):
        return None
    if not present:
        return "expected here: keepalived reports MASTER"
    if state == "STOP" and instance.get("keepalived") == "running":
        return f"not expected here: keepalived runs, but has reported nothing since STOP; {_CHECK}"
    if state is not None:
        return f"not expected here: keepalived reports {state}"
    if instance.get("keepalived") == "gone":
        return "not expected here: keepalived is gone"
    return f"not expected here: keepalived has reported no state; {_CHECK}"


def resource_problem(instance: Mapping[str, Any], resource: Mapping[str, Any]) -> str | None:
    """The problem, or None; empty where the level says it all. While steps run, only a failure is a problem."""
    level, phase = resource.get("level", "unknown"), instance.get("phase")
    if resource.get("alarm"):
        return str(resource["alarm"])
    if level == "failed":
        return ""
    if resource.get("obstacle") and phase == "standby":
        return f"could not take over: {resource['obstacle']}"
    wanted = SETTLED.get(str(phase))
    if wanted is not None and level != wanted:
        return f"expected {wanted}"
    if phase in ("failed", "refused") and level == "unknown":
        return ""
    return None
