"""A word of an instance: what this node says of it, and its form in a datagram."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from failoverd.core import planned_move, votes
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Clearance, Level, Phase, Standing, Target, VrrpState

#: The longest refusal, the longest reason against a planned move, and the longest word: a longer one has no levels.
_REFUSAL_CHARACTERS = 160
_AGAINST_CHARACTERS = 300
_WORD_BYTES = 6000

#: The number of strays that are named.
_STRAYS = 10

_LETTERS = {Level.ACTIVE: "a", Level.STANDBY: "s", Level.FAILED: "f", Level.UNKNOWN: "u"}
_LEVELS = {letter: level for level, letter in _LETTERS.items()}


class WordUnusable(ValueError):
    """The bytes are no word that this failoverd knows."""


def spoken(state: State, instance: InstanceState, now: float) -> PeerWord:
    """What this node says of one of its instances."""
    return PeerWord(
        at=now,
        vrrp=instance.vrrp,
        target=instance.target,
        phase=instance.phase,
        rests=_rests(state, instance),
        levels={name: resource.seen.level for name, resource in instance.resources.items()},
        nothing_alone=frozenset(
            name
            for name, resource in instance.resources.items()
            if resource.rests_at(Level.STANDBY) and not resource.others and resource.seen.nothing_alone
        ),
        # While a check runs, the last observation may be older than the loss that the listener asks about.
        outdated=frozenset(name for name, r in instance.resources.items() if r.seen.outdated and r.look is None),
        competes=instance.competes,
        standby=instance.standby is not None,
        standing=instance.standing,
        clearance=instance.clearance,
        maintenance=state.maintenance is not None,
        strays=_strays(state, instance.spec.name),
        refusal=_refusal(instance)[:_REFUSAL_CHARACTERS],
        against_move={
            peer: why[:_AGAINST_CHARACTERS] for peer, why in planned_move.against(state, instance, now).items()
        },
    )


def left_behind(state: State, name: str, now: float) -> PeerWord | None:
    """What this node says of an instance that is not configured here; None: nothing of it can be active."""
    strays = _strays(state, name)
    if not strays:
        return None
    return PeerWord(at=now, competes=False, maintenance=state.maintenance is not None, strays=strays)


def _rests(state: State, instance: InstanceState) -> bool:
    """Whether all of it is at standby, also what is no longer configured, and nothing runs that could change that."""
    name = instance.spec.name
    orphaned = any(owner == name for owner, _ in state.orphans)
    runs = any(resource.others for resource in instance.resources.values())
    return votes.rests(instance) and not (_strays(state, name) or orphaned or runs)


def _strays(state: State, name: str) -> frozenset[str]:
    """The first of them, by name: what follows them in the word must have room."""
    left = sorted(s.spec.name for s in state.strays.values() if s.spec.instance == name)
    return frozenset(left[:_STRAYS])


def _refusal(instance: InstanceState) -> str:
    if instance.phase is Phase.REFUSED:
        return instance.reason
    return instance.lacks or instance.hindrance


def written(word: PeerWord) -> bytes:
    """The word as it is sent: JSON with short keys, without those that have their usual value."""
    said = {
        "v": word.vrrp.value if word.vrrp is not None else None,
        "t": word.target.value if word.target is not None else None,
        "p": word.phase.value,
        "r": word.rests,
        "c": word.competes,
        "o": word.standby,
        "q": word.standing.value if word.standing is not Standing.IDLE else None,
        "k": word.clearance.value if word.clearance is not Clearance.IDLE else None,
        "m": word.maintenance,
        "s": sorted(word.strays),
        "n": word.refusal,
        "g": dict(word.against_move),
        "a": sorted(word.nothing_alone),
        "d": sorted(word.outdated),
        "l": {name: _LETTERS[level] for name, level in word.levels.items()},
    }
    for dropped in ((), ("l", "a"), ("l", "a", "d")):  # DRBD's handler there waits for "d"
        data = _json({key: value for key, value in said.items() if key not in dropped})
        if len(data) <= _WORD_BYTES:
            break
    return data


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps({key: value for key, value in said.items() if value}, separators=(",", ":")).encode()


def read(data: bytes, at: float) -> PeerWord:
    """The word in `data`, which was said after the time `at`. A key that is missing allows nothing. WordUnusable."""
    try:
        said = json.loads(data)
        if not isinstance(said, dict):
            raise WordUnusable("no object")
        return PeerWord(
            at=at,
            vrrp=VrrpState(said["v"]) if "v" in said else None,
            target=Target(said["t"]) if "t" in said else None,
            phase=Phase(said["p"]),
            rests=said.get("r") is True,
            levels={str(name): _LEVELS[letter] for name, letter in dict(said.get("l", {})).items()},
            nothing_alone=frozenset(map(str, list(said.get("a", ())))),
            outdated=frozenset(map(str, list(said.get("d", ())))),
            competes=said.get("c") is True,
            standby=said.get("o") is True,
            standing=Standing(said.get("q", Standing.IDLE.value)),
            clearance=Clearance(said.get("k", Clearance.IDLE.value)),
            maintenance=said.get("m") is True,
            strays=frozenset(map(str, list(said.get("s", ())))),
            refusal=str(said.get("n", "")),
            against_move={str(peer): str(why) for peer, why in dict(said.get("g", {})).items()},
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WordUnusable(f"not understood: {error!r}") from error
