"""The rehearsal of ``failoverctl drill --live``: a handover, and the way back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from failoverd.ctl import client, handover, peers, waiting
from failoverd.ctl.all_nodes import gather
from failoverd.ctl.other_nodes import MOVED_WITHIN_S

#: Seconds for the way back of a rehearsal.
_BACK_WITHIN_S = 600.0


class Leg(NamedTuple):
    """One way of a rehearsal: `seconds` without service, None where that is not known."""

    event: str
    expected: str
    observed: str
    seconds: float | None
    good: bool


def there_and_back(socket: str, name: str | None) -> list[Leg]:
    """Hand `name` over to another node and have it back. None: the one instance that is active here.

    CtlError: it was not handed over, and this node serves.
    """
    cluster = gather(socket)
    (node, own), *_ = cluster.answers.items()
    name = _only_active(own) if name is None else name
    against = (own["instances"].get(name) or {}).get("against_move") or {}
    if against:
        text = "; ".join(f"{other} {why}" for other, why in against.items())
        raise client.CtlError(f"{node} could not take {name} back: {text}", "fix that; nothing was changed")
    there = handover.run(socket, name, None)
    to = str(there["to"])
    legs = [Leg(f"handover to {to}", f"{to} active", f"{to} active", _seconds(there), good=True)]
    back = f"handover to {node}"
    if not there["competes"]:
        legs.append(_take_back(socket, name, node))
        peers.run({each: own["peers"][each] for each in there["kept"]}, ("failoverctl", "online", "--", name))
        return legs
    waiting.fact(socket, name, "vrrp_state", "BACKUP", MOVED_WITHIN_S)
    known = (node, node.partition(".")[0])
    here = next((each for each in cluster.answers[to].get("peers") or () if each in known), node)
    words = ("failoverctl", "handover", "--json", f"--to={here}", "--", name)
    reply = peers.run({to: own["peers"][to]}, words, deadline=_BACK_WITHIN_S)[to]
    try:
        found = _seconds(peers.answered(reply))
    except (LookupError, TypeError, ValueError) as error:
        return [*legs, Leg(back, f"{node} active", str(error), None, good=False)]
    return [*legs, Leg(back, f"{node} active", f"{node} active", found, good=True)]


def _only_active(own: Mapping[str, Any]) -> str:
    active = [name for name, each in own["instances"].items() if each["phase"] == "active"]
    if len(active) == 1:
        return str(active[0])
    text = f"{len(active)} instances are active here" if active else "no instance is active here"
    raise client.CtlError(text, "name the one to rehearse with: failoverctl drill --live handover INSTANCE")


def _take_back(socket: str, name: str, node: str) -> Leg:
    """End the standby: with preempt, keepalived then moves mastership back by itself."""
    began = time.monotonic()
    client.ask(socket, "online", {"instance": name})
    seen = waiting.fact(socket, name, "phase", "active", _BACK_WITHIN_S)
    event = f"preemption by {node}"
    return Leg(event, f"{node} active", f"{node} {seen}", time.monotonic() - began, good=seen == "active")


def _seconds(found: Mapping[str, Any]) -> float | None:
    took = found["took"].values()
    return None if None in took else float(sum(took))
