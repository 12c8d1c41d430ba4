"""What is told of what the core decides: to the journal at once, to the history for later."""

from __future__ import annotations

import time
from collections.abc import Iterable

from failoverd import log
from failoverd.core.events import Alarm, Matter, TransitionEnded, TransitionStarted
from failoverd.core.words import Ending
from failoverd.daemon import messages
from failoverd.daemon.intake import Told
from failoverd.daemon.store import Store
from failoverd.records import records

#: The record of the last transition's number.
_NUMBERS = "transition"

_log = log.get("service")


def tell(effect: TransitionStarted | TransitionEnded | Alarm) -> None:
    """Log it; what an operator must act on, or waits for, with its MESSAGE_ID."""
    match effect:
        case TransitionStarted(transition=number, instance=instance, target=target, cause=cause):
            _log.info("transition", transition=number, instance=instance, target=target.value, cause=cause)
        case TransitionEnded(transition=number, instance=instance, ending=ending, reason=reason):
            done = {"message_id": messages.DONE} if ending in (Ending.ACTIVE, Ending.STANDBY) else {}
            _log.info("settled", transition=number, instance=instance, outcome=ending.value, reason=reason, **done)
        case Alarm(instance=instance, matter=matter, text=text):
            _alarm(instance, matter, text)


def _alarm(instance: str, matter: Matter, text: str) -> None:
    message = messages.MATTER[matter]
    _log.error("alarm", instance=instance, matter=matter.value, text=text, message_id=message)


def keep(store: Store, effect: TransitionStarted | TransitionEnded) -> None:
    """Write it into the history."""
    match effect:
        case TransitionStarted(transition=number, instance=instance, target=target, cause=cause):
            store.transition_started(number, instance=instance, target=target.value, cause=cause, at=time.time())
        case TransitionEnded(transition=number, ending=ending, reason=reason):
            store.transition_ended(number, outcome=ending.value, reason=reason, at=time.time())


async def next_transition(store: Store) -> int:
    """The number of the next transition. Asked of the history, and of its disk, only where this boot has had none."""
    kept = records.read(_NUMBERS) or {}
    if kept.get("history") == str(store.path) and isinstance(kept.get("last"), int):
        return int(kept["last"]) + 1
    return await store.first_free_id()


def remember(store: Store, transition: int) -> None:
    """Let no other transition of this boot have its number, whatever becomes of the history."""
    records.write(_NUMBERS, {"history": str(store.path), "last": transition})


def keep_events(store: Store, boot_id: str, told: Iterable[Told]) -> None:
    """Write into the history what keepalived said."""
    for each in told:
        store.record_event(
            at=each.wall,
            boot_id=boot_id,
            kind=each.kind,
            name=each.name,
            state=each.word,
            source=each.source,
            verdict=each.verdict.value,
        )


def keep_act(store: Store, boot_id: str, instance: str, *, verb: str, by: str) -> None:
    """Log, and write into the history, what an operator did."""
    _log.info("operator", instance=instance, verb=verb, by=by)
    store.record_event(
        at=time.time(), boot_id=boot_id, kind="OPERATOR", name=instance, state=verb, source=by, verdict="accepted"
    )
