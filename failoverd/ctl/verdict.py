"""The verdict on one instance across all nodes: exactly one active, nobody, two, or that it cannot be told.

It judges the nodes' answers to ``status``. An answer that is missing is a doubt, never a standby.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from failoverd.ctl import health

#: Instances and nodes as ``failoverctl status --json`` has them.
Instance = Mapping[str, Any]
Status = Mapping[str, Any]


class Grade(enum.Enum):
    """GOOD: exactly one node serves it, with everything. BUSY: on the way. BAD: an operator is needed."""

    GOOD = "good"
    BUSY = "busy"
    BAD = "bad"


class Verdict(NamedTuple):
    """`text`: one line."""

    grade: Grade
    text: str


class _Seen(NamedTuple):
    """One instance on one node. `serves`: VIPs and resources; `doubts`: what may be served without being seen."""

    node: str
    phase: str
    reason: str
    serves: tuple[str, ...]
    doubts: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{self.node} ({self.phase}: {', '.join(self.serves) or 'no VIP and no resource'})"


def readable(answer: Mapping[str, Any]) -> str | None:
    """Why `answer` is not one of ``failoverctl status --json`` that can be judged, in a phrase; None: it is."""
    instances = answer.get("instances")
    if not isinstance(answer.get("node"), str) or not isinstance(instances, Mapping):
        return "its answer is not that of failoverctl status"
    for name, each in instances.items():
        found = each if isinstance(each, Mapping) else {}
        vips, resources = found.get("vips"), found.get("resources")
        if not (
            isinstance(found.get("phase"), str)
            and isinstance(vips, Sequence)
            and isinstance(resources, Mapping)
            and all(isinstance(one, Mapping) for one in (*vips, *resources.values()))
        ):
            return f"its failoverd {answer.get('version', '?')} reports {name} in a format that failoverctl cannot read"
    return None


def serves(instance: Instance) -> tuple[str, ...]:
    """The VIPs that are present on the node, and the resources that are active there."""
    vips = (str(vip.get("address", "?")) for vip in instance["vips"] if vip.get("present"))
    return (*vips, *(name for name, each in instance["resources"].items() if each.get("level") == "active"))


def verdict(name: str, answers: Mapping[str, Status], missing: Collection[str]) -> Verdict:
    """The verdict on the instance `name`. `answers`: of each node that answered; `missing`: the nodes that did not."""
    seen = [_seen(node, name, answer) for node, answer in answers.items()]
    serving = [each for each in seen if each.serves or each.phase == "active"]
    if len(serving) > 1:
        return _several(serving)
    silent = " and ".join(filter(None, (", ".join([*missing][:-1]), "".join([*missing][-1:]))))
    doubts = [f"{silent} gave no answer"] if silent else []
    doubts += [doubt for each in seen if each not in serving for doubt in each.doubts]
    if serving:
        doubts += [doubt for each in seen if each not in serving for doubt in each.failed]
    if doubts:
        known = ", ".join(f"{each.node} is {each.phase}" for each in seen) or "no node is known"
        return Verdict(Grade.BAD, f"cannot tell, because {'; '.join(doubts)}. As far as is known: {known}")
    if serving and serving[0].phase == "active":
        return _one(serving[0], answers[serving[0].node]["instances"][name])
    return _nobody(seen, serving)


def _seen(node: str, name: str, answer: Status) -> _Seen:
    found = answer["instances"].get(name)
    strays = [each for each in answer.get("strays") or () if isinstance(each, Mapping) and each.get("instance") == name]
    active = tuple(f"{each.get('resource')} (stray)" for each in strays if each.get("level") == "active")
    doubts = [
        f"{each.get('resource')} (stray) on {node} is unknown" for each in strays if each.get("level") == "unknown"
    ]
    if found is None:
        return _Seen(node, "without it in its configuration", "", active, tuple(doubts), ())
    phase, resources = str(found["phase"]), found["resources"]
    if phase == "unknown":
        doubts.append(f"{node} is in phase unknown")
    doubts += [f"{vip.get('address')} on {node} is unknown" for vip in found["vips"] if vip.get("present") is None]
    doubts += [f"{key} on {node} is unknown" for key, each in resources.items() if each.get("level") == "unknown"]
    failed = tuple(f"{key} on {node} is failed" for key, each in resources.items() if each.get("level") == "failed")
    return _Seen(node, phase, str(found.get("reason") or ""), (*serves(found), *active), tuple(doubts), failed)


def _several(serving: Sequence[_Seen]) -> Verdict:
    """Two or more nodes. While steps run, that is a handover, unless both have the same thing."""
    parts = ", ".join(each.text for each in serving)
    every = [thing for each in serving for thing in each.serves]
    settled = [each for each in serving if each.phase not in health.MOVING]
    if len(settled) <= 1 and len(set(every)) == len(every):
        return Verdict(Grade.BUSY, f"in transition: {parts}")
    count = "two" if len(serving) == 2 else str(len(serving))  # noqa: PLR2004
    return Verdict(Grade.BAD, f"{count} nodes serve it: {parts}")


def _one(seen: _Seen, instance: Instance) -> Verdict:
    lacks = ", ".join(map(str, instance.get("degraded") or ()))
    text = f"exactly one active: {seen.node}"
    return Verdict(Grade.BAD, f"{text}, without {lacks}") if lacks else Verdict(Grade.GOOD, text)


def _nobody(seen: Sequence[_Seen], serving: Sequence[_Seen]) -> Verdict:
    parts = ", ".join(f"{each.node} is {each.phase}" + (f" ({each.reason})" if each.reason else "") for each in seen)
    parts += "".join(f"; {each.node} has {', '.join(each.serves)}" for each in serving)
    if any(each.phase in health.MOVING for each in seen):
        return Verdict(Grade.BUSY, f"nobody is active yet: {parts}")
    return Verdict(Grade.BAD, f"nobody is active: {parts}")
