"""The alarms that last, as their alerts, for the next daemon: it sends the end of one whose cause passes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from failoverd.alarms import Severity
from failoverd.daemon.alerts.facts import Alert
from failoverd.records import number, records, text

_RECORD = "alarms"
_KEYS = tuple(field.name for field in fields(Alert))


def remember(standing: Mapping[str, Alert]) -> None:
    """Record the alerts by instance."""
    content = {
        name: {**{key: getattr(alert, key) for key in _KEYS}, "severity": alert.severity.value}
        for name, alert in standing.items()
    }
    records.write(_RECORD, {"standing": content})


def recall() -> dict[str, Alert]:
    """The alerts by instance; empty where there is no record."""
    return records.read(_RECORD, _parse) or {}


def _parse(content: Mapping[str, Any]) -> dict[str, Alert]:
    return {name: _alert(alert) for name, alert in content["standing"].items()}


def _alert(content: Mapping[str, Any]) -> Alert:
    return Alert(
        id=int(number(content["id"])),
        code=text(content["code"]),
        severity=Severity(content["severity"]),
        title=text(content["title"]),
        text=text(content["text"]),
        explanation=text(content["explanation"]),
        remedy=tuple(map(text, content["remedy"])),
        instance=text(content["instance"]),
        time=number(content["time"]),
        begin=number(content["begin"]),
    )
