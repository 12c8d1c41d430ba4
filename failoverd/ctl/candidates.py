"""The preflight of a handover: who can take over, and who must be kept aside meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from failoverd.command_text import failoverctl
from failoverd.ctl import client, health
from failoverd.ctl.all_nodes import Cluster

#: A way to a node, as in [peers].
Way = str | Sequence[str]


class Plan(NamedTuple):
    """`node`: this node. `ways`: how the candidates are reached; `aside`: how the nodes that are not to be elected are.

    `electable`: those of the latter that keepalived might elect. `notes`: what could not be known, for the operator.
    """

    name: str
    node: str
    ways: Mapping[str, Way]
    aside: Mapping[str, Way]
    electable: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def prepare(cluster: Cluster, name: str, to: str | None) -> Plan:
    """Who can take over, and who must be kept aside meanwhile. CtlError: no node, or not `to`, can take over."""
    (node, own), *others = cluster.answers.items()
    ways: Mapping[str, Way] = own["peers"]
    if name not in own["instances"]:  # the daemon says so
        return Plan(name, node, {}, {})
    if to is not None and to not in ways:
        raise client.CtlError(f'there is no other node "{to}"', f"expected one of [peers]: {', '.join(ways)}")
    wrong = {other: f"it gives no answer: {why}" for other, why in cluster.missing.items()}
    wrong |= {other: why for other, answer in others if (why := against(own, answer, name))}
    fit = [other for other, _ in others if other not in wrong and to in (None, other)]
    if not fit:
        told = "; ".join(f"{other}: {why}" for other, why in wrong.items() if to in (None, other))
        raise client.CtlError(f"no node can take over {name}: {told}", "fix that; nothing was changed")
    unwanted = {other: answer for other, answer in others if other not in fit and name in answer["instances"]}
    electable = frozenset(other for other, answer in unwanted.items() if may_be_elected(answer, name))
    silent = [other for other in cluster.missing if other != to]
    if to is not None and silent:
        text = f"{', '.join(silent)} might take over instead of {to}: {wrong[silent[0]]}"
        raise client.CtlError(text, f"without --to, keepalived elects: {failoverctl('handover', name)}")
    notes = tuple(f"{other} might have been elected: {wrong[other]}" for other in silent)
    aside = {other: ways[other] for other in unwanted}
    return Plan(name, node, {other: ways[other] for other in fit}, aside, electable, notes)


def against(own: Mapping[str, Any], answer: Mapping[str, Any], name: str) -> str:
    """Why the node of `answer` cannot take over; empty if it can."""
    theirs = answer["instances"].get(name)
    if theirs is None:
        return "its configuration does not have it"
    lacks = own["instances"][name]["resources"].keys() - theirs["resources"].keys()
    reasons = [problem.text for problem in health.problems(theirs)]
    if theirs.get("aside"):
        reasons.append(f"it is aside for another handover, {theirs['aside']}")
    if answer.get("maintenance"):
        reasons.append("it is in maintenance")
    if theirs.get("phase") != "standby":
        reasons.append(f"it is {theirs.get('phase')}")
    if theirs.get("vrrp_state") != "BACKUP":
        reasons.append(f"its keepalived reports {theirs.get('vrrp_state') or 'no state'}")
    if lacks:
        reasons.append(f"it does not carry {', '.join(sorted(lacks))}")
    reasons += [f"{other} {why}" for other, why in (theirs.get("against_move") or {}).items()]
    if answer.get("digest") != own.get("digest"):
        reasons.append("its configuration differs from the one here")
    return "; ".join(dict.fromkeys(reasons))


def may_be_elected(answer: Mapping[str, Any], name: str) -> bool:
    """Whether keepalived could make the node of `answer` MASTER."""
    theirs = answer["instances"].get(name) or {}
    return theirs.get("vrrp_state") == "BACKUP" and not theirs.get("standby")
