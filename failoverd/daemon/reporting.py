"""Report the decisions of the core: to the journal at once, and to the history.

It must not decide whether something is reported, nor wait for the history.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from failoverd import alarms, log
from failoverd.core.effects import Alarm, TransitionEnded, TransitionStarted
from failoverd.core.words import TransitionResult
from failoverd.daemon.history.store import Store
from failoverd.daemon.intake import ReportedEvent
from failoverd.records import number, records, text

#: The record of the last transition's number.
_NUMBERS = "transition"

_log = log.get("service")


def tell(effect: TransitionStarted | TransitionEnded | Alarm) -> None:
    """Log the effect, with its MESSAGE_ID (failoverd/alarms.py) where an operator waits for it or must act on it."""
    match effect:
        case TransitionStarted(transition=number, instance=instance, target=target, cause=cause):
            _log.info("transition", transition=number, instance=instance, target=target.value, cause=cause)
        case TransitionEnded(transition=number, instance=instance, result=result, reason=reason):
            fields = {"transition": number, "instance": instance, "outcome": result.value, "reason": reason}
            if result in (TransitionResult.ACTIVE, TransitionResult.STANDBY):
                _write(alarms.DONE, "settled", **fields)
            else:
                _log.info("settled", **fields)
        case Alarm(instance=instance, kind=kind, text=text):
            message = alarms.ALARMS[kind]
            _write(message, "alarm", instance=instance, kind=message.code, text=text)
        case _:
            assert_never(effect)


def _write(message: alarms.Message, event: str, **fields: Any) -> None:
    """Log `event` with the priority and the MESSAGE_ID of `message`."""
    write = getattr(_log, message.severity.value)
    write(event, **fields, message_id=message.message_id)


def keep(store: Store, effect: TransitionStarted | TransitionEnded) -> None:
    """Write the effect into the history."""
    match effect:
        case TransitionStarted(transition=number, instance=instance, target=target, cause=cause):
            store.transition_started(number, instance=instance, target=target.value, cause=cause, at=time.monotonic())
        case TransitionEnded(transition=number, result=result, reason=reason):
            store.transition_ended(number, outcome=result.value, reason=reason, at=time.monotonic())
        case _:
            assert_never(effect)


async def next_transition(store: Store) -> int:
    """The number of the next transition. Only the first of a boot is read from the history, and so from a disk."""
    history, last = records.read(_NUMBERS, _parse) or (None, 0)
    return last + 1 if history == str(store.path) else await store.first_free_id()


def _parse(content: Mapping[str, Any]) -> tuple[str, int]:
    return text(content["history"]), int(number(content["last"]))


def remember(store: Store, transition: int) -> None:
    """Record the number, so that no other transition of this boot has it even if the history is lost."""
    records.write(_NUMBERS, {"history": str(store.path), "last": transition})


def keep_events(store: Store, boot_id: str, events: Iterable[ReportedEvent]) -> None:
    """Write the events of keepalived into the history."""
    for each in events:
        store.record_event(
            at=each.wall,
            boot_id=boot_id,
            kind=each.kind,
            name=each.name,
            state=each.state,
            source=each.source,
            verdict=each.verdict.value,
        )


def keep_act(store: Store, boot_id: str, instance: str, *, verb: str, by: str) -> None:
    """Log an operator's command, and write it into the history. `by`: the user."""
    _log.info("operator", instance=instance, verb=verb, by=by)
    store.record_event(
        at=time.time(), boot_id=boot_id, kind="OPERATOR", name=instance, state=verb, source=by, verdict="accepted"
    )
