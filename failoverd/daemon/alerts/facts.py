"""An alert: the facts of one alarm, as the alert command gets them on its standard input.

One object of JSON, in UTF-8, without a newline inside. failoverd.toml(5), *TABLE [alert]*, describes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from failoverd import alarms
from failoverd.alarms import Severity
from failoverd.command_text import operands
from failoverd.core.effects import Alarm
from failoverd.daemon.status import timestamp

#: The version of the object. A new key does not change it.
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. `id` is greater than that of each alert before it.

    `time`, `begin`, `end`: in seconds since the epoch. `time`: when it arose. `end`: when the alarm was over; None: it
    is not, or nothing reports its end. `instance`: None if it concerns none.
    """

    id: int
    code: str
    severity: Severity
    title: str
    text: str
    explanation: str
    remedy: tuple[str, ...]
    instance: str | None
    time: float
    begin: float
    end: float | None = None

    def over(self, id: int, at: float) -> Alert:
        """The alert that this alarm is over."""
        return replace(self, id=id, time=at, end=at)

    def line(self, node: str, left_out: int) -> bytes:
        """What the command gets. `left_out`: the alerts that were dropped since the last one that it accepted."""
        facts = {
            "version": VERSION,
            "id": self.id,
            "node": node,
            "instance": self.instance,
            "code": self.code,
            "severity": self.severity.value,
            "title": self.title,
            "text": self.text,
            "explanation": self.explanation,
            "remedy": list(self.remedy),
            "time": timestamp(self.time),
            "begin": timestamp(self.begin),
            "end": None if self.end is None else timestamp(self.end),
            "left_out": left_out,
        }
        return json.dumps(facts).encode() + b"\n"


def of_alarm(alarm: Alarm, id: int, at: float) -> Alert:
    """The alert of an alarm that begins."""
    message = alarms.ALARMS[alarm.kind]
    return Alert(
        id=id,
        code=message.code,
        severity=message.severity,
        title=message.title,
        text=alarm.text,
        explanation=message.text,
        remedy=tuple(each.replace("@INSTANCE@", operands(alarm.instance)) for each in message.remedy),
        instance=alarm.instance,
        time=at,
        begin=at,
    )


def of_test(by: str, id: int, at: float) -> Alert:
    """The alert of `failoverctl alert test`. `by`: the user."""
    return Alert(
        id=id,
        code="test",
        severity=Severity.INFO,
        title="This is a test of the alert command",
        text=f"{by} ran: failoverctl alert test",
        explanation="No action is needed.",
        remedy=(),
        instance=None,
        time=at,
        begin=at,
        end=at,
    )
