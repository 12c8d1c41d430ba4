"""The alerts that wait for the command: a bounded number, one of each code and instance. Those dropped are counted."""

from __future__ import annotations

from typing import NamedTuple

from failoverd.alarms import Severity
from failoverd.daemon.alerts.facts import Alert

_SEVERITIES = tuple(Severity)

_Key = tuple[str | None, str]


class _Entry(NamedTuple):
    alert: Alert
    attempts: int

    @property
    def urgency(self) -> tuple[int, int, int]:
        """The least comes first: one that has failed does not hold up the others."""
        return self.attempts, _SEVERITIES.index(self.alert.severity), self.alert.id


class Waiting:
    """At most `limit` alerts, each for at most `attempts` attempts. `left_out`: those that were dropped."""

    def __init__(self, limit: int, attempts: int) -> None:
        self.left_out = 0
        self._limit = limit
        self._attempts = attempts
        self._entries: dict[_Key, _Entry] = {}

    def put(self, alert: Alert) -> None:
        """Add an alert. It replaces an older one of the same instance and code; the least severe may be dropped."""
        self.left_out += self._entries.pop(_key(alert), None) is not None
        self._add(_Entry(alert, 0))

    def take(self) -> tuple[Alert, int] | None:
        """Remove the most urgent alert, and return it with the number of attempts that have failed. None: no alert."""
        entry = min(self._entries.values(), key=lambda each: each.urgency, default=None)
        if entry is not None:
            del self._entries[_key(entry.alert)]
        return entry

    def put_back(self, alert: Alert, attempts: int) -> None:
        """The attempt to send the alert has failed, `attempts` times by now. A newer one of its kind replaces it."""
        if attempts >= self._attempts or _key(alert) in self._entries:
            self.left_out += 1
        else:
            self._add(_Entry(alert, attempts))

    def clear(self) -> None:
        """Drop all."""
        self._entries.clear()

    def _add(self, entry: _Entry) -> None:
        self._entries[_key(entry.alert)] = entry
        if len(self._entries) > self._limit:
            del self._entries[_key(max(self._entries.values(), key=lambda each: each.urgency[1:]).alert)]
            self.left_out += 1


def _key(alert: Alert) -> _Key:
    return alert.instance, alert.code
