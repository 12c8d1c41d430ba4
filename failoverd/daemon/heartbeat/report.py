"""What the other nodes have said, as plain data for `failoverctl status`, with the age of each word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from failoverd.core import peers
from failoverd.core.knowledge import Peer
from failoverd.core.model import State
from failoverd.daemon.config.heartbeat import HeartbeatPlan
from failoverd.daemon.heartbeat.partner import Partner

#: The timestamp of the loop's seconds; None: there is none.
Stamp = Callable[[float], str | None]


def report(
    plan: HeartbeatPlan,
    partners: Mapping[str, Partner],
    state: State,
    now: float,
    *,
    stamp: Stamp,
    only: str | None,
) -> dict[str, Any]:
    """The heartbeat as a whole. `partners`: those of the plan, without a key none; `only`: an instance, None: all."""
    return {
        "interval": plan.core.interval,
        "peers": {
            name: {
                "address": str(address),
                "word": stamp(peers.heard_at(state, name)),
                "silent": peers.silent(state, name, now),
                **_seen(partners.get(name), stamp),
                "instances": _said(state, name, stamp, only),
            }
            for name, address in plan.peers.items()
        },
    }


def _seen(partner: Partner | None, stamp: Stamp) -> Mapping[str, Any]:
    if partner is None:
        return {
            "heard": None,
            "trouble": "this node has no key",
            "ignored": 0,
            "ignored_at": None,
            "ignored_why": None,
        }
    ignored = partner.ignored
    return {
        "heard": stamp(partner.heard_at),
        "trouble": partner.channel.trouble or None,
        "ignored": ignored.number,
        "ignored_at": stamp(ignored.at),
        "ignored_why": ignored.reason or None,
    }


def _said(state: State, name: str, stamp: Stamp, only: str | None) -> dict[str, dict[str, Any]]:
    known = state.peers.get(name, Peer()).words
    found = {instance: peers.word(state, name, instance) for instance in known if only in (None, instance)}
    return {
        instance: {
            "word": stamp(word.at),
            "vrrp_state": word.vrrp.value if word.vrrp is not None else None,
            "target": word.target.value if word.target is not None else None,
            "phase": word.phase.value,
            "rests": word.rests,
            "nothing_alone": sorted(word.nothing_alone),
            "outdated": sorted(word.outdated),
            "levels": {resource: level.value for resource, level in word.levels.items()},
            "competes": word.competes,
            "standby": word.standby,
            "standing": word.standing.value,
            "maintenance": word.maintenance,
            "strays": sorted(word.strays),
            "refusal": word.refusal or None,
            "against_move": dict(word.against_move),
        }
        for instance, word in sorted(found.items())
        if word is not None
    }
