"""The guards in sentences: why failoverd does not follow keepalived's state, and what would change that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.ctl import when
from failoverd.ctl.explain.parts import NOTIFY, Facts, Said, addresses, remove, reset, show, vips_of

_JOURNAL = "journalctl -u keepalived -n 50"
_START = "systemctl start keepalived"
_WITNESSES = "failoverctl status  # each witness, with its last answer"
_NODES = "failoverctl status  # each other node, with its last word, and each fencing"
_TRACK = "grep -rn -A3 track_file /etc/keepalived"


def refusals(name: str, facts: Facts, why: Facts, now: datetime) -> Iterator[Said]:
    """Each guard that keeps failoverd from following keepalived, and what would change that."""
    if facts.get("target") is None and not why.get("guards"):
        yield Said("reason", f"{facts.get('reason')}.", ("systemctl status keepalived", f"{NOTIFY}  # are they set?"))
    for guard in why.get("guards") or ():
        say = _GUARDS.get(guard.get("guard"))
        if say is None:
            yield Said("refused", f"{guard.get('text')}.", bad=True)
        else:
            yield from say(name, facts, now)


def _deaf(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    label = "refused" if facts.get("target") == "active" else "obstacle"
    if facts.get("keepalived") == "stopped":
        text = (
            "keepalived is frozen, by SIGSTOP or by its control group. It receives no adverts, so another node takes "
            "over. failoverd activates nothing until keepalived runs again."
        )
        yield Said(label, text, ("systemctl thaw keepalived", "kill -CONT $(pidof keepalived)"), bad=True)
    else:
        text = (
            "keepalived has exited, so another node takes over. failoverd activates nothing until keepalived runs and "
            "reports a state."
        )
        yield Said(label, text, (_START, f"{_JOURNAL}  # why it exited"), bad=True)


def _left_behind(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    vips = vips_of(facts, present=True)
    text = (
        f"keepalived has exited and has left {addresses(vips)} behind. Another node may have the same address. "
        "When keepalived starts, it removes the address; or remove it by hand."
    )
    yield Said("refused", text, (_START, *map(remove, vips)), bad=True)


def _vip_missing(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    wait = bool(facts["why"].get("vip_deadline"))
    for vip in vips_of(facts, present=False):
        detail = vip.get("detail") or f"is not on {vip['interface']}"
        text = f"{vip['address']} {detail}. failoverd activates nothing before the VIP is usable."
        if wait:
            yield Said("waits", f"{text} keepalived adds it right after MASTER.")
        else:
            text += " Another node may have it. failoverd continues as soon as keepalived has added it."
            yield Said("refused", text, (show(vip), _JOURNAL), bad=True)
    for vip in vips_of(facts, present=None):
        text = (
            f"failoverd cannot see whether {vip['address']} is on {vip['interface']}: netlink does not answer. "
            "It activates nothing more until it can."
        )
        yield Said("refused", text, ("journalctl -u failoverd -n 50",), bad=True)


def _vip_left(_name: str, facts: Facts, now: datetime) -> Iterator[Said]:
    vips, state = vips_of(facts, present=True), facts.get("vrrp_state")
    if state is None:
        text = (
            f"{addresses(vips)} is here, but keepalived has reported nothing. Either its reports do not reach "
            "failoverd, or another program has added the address."
        )
        yield Said("problem", text, (f"{NOTIFY}  # are they set?", *map(show, vips)), bad=True)
        return
    deadline = facts["why"].get("vip_deadline")
    if deadline:
        text = f"{addresses(vips)} is still here. keepalived has until {when.moment(deadline, now)} to remove it."
        yield Said("waits", text)
        return
    silent = state == "STOP" and facts.get("keepalived") == "running"
    said = "keepalived runs, and has reported nothing since STOP" if silent else f"keepalived reports {state}"
    text = f"{addresses(vips)} is still here, although {said}. Two nodes may have the address."
    commands = (
        (f"{NOTIFY}  # are they set?",) if silent else tuple(f"{remove(vip)}  # if no program needs it" for vip in vips)
    )
    yield Said("problem", text, (*map(show, vips), _JOURNAL, *commands), bad=True)


def _released(name: str, facts: Facts, now: datetime) -> Iterator[Said]:
    why: Facts = facts["why"]
    at = when.moment(why.get("released_at"), now)
    if facts.get("unfit") and facts.get("target") != "active":
        text = (
            f"This standby has not competed for mastership since {at}: an activation would be refused. "
            f"The reason: {facts['released']}."
        )
        yield Said("unfit", text, (reset(name, "let it compete all the same, for 30 s"),), bad=True)
        return
    text = f"failoverd released mastership at {at}, so that another node takes over. The reason: {facts['released']}."
    failed = "mastership cannot be released" in " ".join(str(each.get("text")) for each in why["guards"])
    if facts.get("target") == "active" and failed:
        file = "/run/failoverd/track/" + name.replace("/", "%2f")
        text += f" But keepalived still reports MASTER: it may not watch {file}. Until it does, no node takes over."
        yield Said("refused", text, (_TRACK,), bad=True)
        return
    yield Said(
        "refused" if facts.get("target") == "active" else "released",
        text,
        (reset(name, "take it back now"),),
        bad=True,
    )


def _kept_in_standby(name: str, facts: Facts, now: datetime) -> Iterator[Said]:
    wish: Facts = facts.get("standby") or {}
    commands = [f"{failoverctl('online', name)}  # end it"]
    text = (
        f"{wish.get('by', 'An operator')} put this node into standby at {when.moment(wish.get('since'), now)}: another "
        "node must be MASTER. That lasts over a reboot, until an operator ends it."
    )
    if facts.get("target") == "active":
        text += " keepalived still reports MASTER, so no other node has taken over, and this one stays active."
        commands.append(f"{_TRACK}  # is the track file watched?")
    yield Said("standby", text, tuple(commands), bad=True)


def _cannot_take_over(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    state = facts.get("vrrp_state")
    wrong = next((vip for vip in facts.get("vips") or () if vip.get("detail")), None)
    if wrong is not None:
        text = f"{wrong['address']} {wrong['detail']}. So this node could not serve after a failover."
        yield Said("obstacle", text, ("ip -br link",), bad=True)
    elif state == "FAULT":
        text = "keepalived reports FAULT: an interface is down, or a script or a track file fails."
        yield Said("obstacle", text, (f"{_JOURNAL}  # the cause", "ip -br link"), bad=True)
    elif state == "STOP":
        yield Said("obstacle", "keepalived was stopped. This node cannot take over.", (_START,), bad=True)
    elif state == "DELETED":
        text = "keepalived.conf no longer has this instance. Add it there, or remove it from failoverd.toml."
        yield Said("obstacle", text, ("grep -rnE 'vrrp_(instance|sync_group)' /etc/keepalived",), bad=True)
    elif facts.get("keepalived") == "running":
        text = "keepalived runs and has reported nothing. Its reports do not reach failoverd."
        yield Said("obstacle", text, (f"{NOTIFY}  # are they set?",), bad=True)
    else:
        yield Said(
            "obstacle", "keepalived has not run since the boot. This node cannot take over.", (_START,), bad=True
        )


def _held_back(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    text = str(facts["held_back"]).partition("; to let it act")[0]
    yield Said("held back", f"{text[0].upper()}{text[1:]}.", ("failoverctl maintenance off",), bad=True)


def _missing(facts: Facts, guard: str) -> str:
    """What the witnesses lack, in the daemon's words."""
    told = (str(each.get("text")) for each in facts["why"]["guards"] if each.get("guard") == guard)
    return next(told, "").partition(": ")[2]


def _quorum_awaited(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    text = f"The witnesses were asked whether this node may be active: {_missing(facts, 'quorum_awaited')}."
    yield Said("waits", text, (_WITNESSES,))


def _quorum_missing(_name: str, facts: Facts, now: datetime) -> Iterator[Said]:
    if facts.get("alone_since"):
        yield from _isolated(facts, now, "quorum_missing")
        return
    text = (
        f"The witnesses do not agree: {_missing(facts, 'quorum_missing')}. Another node may be active. failoverd asks "
        "again every few seconds, and activates when they agree."
    )
    yield Said("refused", text, (_WITNESSES,), bad=True)


def _peers_awaited(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    text = f"Another node may still serve: {_missing(facts, 'peers_awaited')}. Until then nothing is activated."
    yield Said("waits", text, (_NODES,))


def _peers_uncleared(_name: str, facts: Facts, _now: datetime) -> Iterator[Said]:
    text = (
        f"Another node may serve: {_missing(facts, 'peers_uncleared')}. failoverd activates nothing before it knows "
        "that it does not: by a word of that node, or because its fence agent has found it off, or an operator has."
    )
    yield Said("refused", text, (_NODES,), bad=True)


def _alone(_name: str, facts: Facts, now: datetime) -> Iterator[Said]:
    yield from _isolated(facts, now, "alone")


def _isolated(facts: Facts, now: datetime, guard: str) -> Iterator[Said]:
    text = (
        f"This node has been alone since {when.moment(facts['alone_since'], now)}: {_missing(facts, guard)}. Another "
        "node may be active, so this one neither serves nor competes for mastership. It competes again as soon as the "
        "witnesses answer."
    )
    yield Said("alone", text, (_WITNESSES,), bad=True)


#: A guard that a later daemon adds is shown with the daemon's own text.
_GUARDS: Mapping[Any, Callable[[str, Facts, datetime], Iterator[Said]]] = {
    "left_behind": _left_behind,
    "deaf": _deaf,
    "released": _released,
    "away": _released,
    "quorum_awaited": _quorum_awaited,
    "quorum_missing": _quorum_missing,
    "peers_awaited": _peers_awaited,
    "peers_uncleared": _peers_uncleared,
    "alone": _alone,
    "vip_missing": _vip_missing,
    "vip_left": _vip_left,
    "cannot_take_over": _cannot_take_over,
    "held_back": _held_back,
    "kept_in_standby": _kept_in_standby,
}
