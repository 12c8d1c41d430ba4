"""What the command gets."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from failoverd.alarms import ALARMS
from failoverd.core.effects import Alarm, AlarmKind
from failoverd.daemon.alerts import facts


@pytest.mark.parametrize("kind", AlarmKind)
def test_an_alarm_has_all_its_facts(kind: AlarmKind) -> None:
    alert = facts.of_alarm(Alarm(instance="VI 1", kind=kind, text='web: "x"\n'), 7, 1764230400.25)
    line = alert.line("left", 3)
    assert line.count(b"\n") == 1
    found = json.loads(line)
    message = ALARMS[kind]
    assert {key: found[key] for key in ("version", "id", "node", "instance", "left_out", "text", "end")} == {
        "version": 1,
        "id": 7,
        "node": "left",
        "instance": "VI 1",
        "left_out": 3,
        "text": 'web: "x"\n',
        "end": None,
    }
    assert (found["code"], found["severity"]) == (message.code, message.severity.value)
    assert (found["title"], found["explanation"]) == (message.title, message.text)
    assert found["remedy"] == [each.replace("@INSTANCE@", "'VI 1'") for each in message.remedy]
    assert "@" not in "".join(found["remedy"]) + found["explanation"]
    assert found["begin"] == found["time"] == "2025-11-27T08:00:00.250+00:00"


def test_its_end_has_both_times_and_a_number_of_its_own() -> None:
    alarm = Alarm(instance="VI_1", kind=AlarmKind.FAILED, text="web: exit 1")
    begun = facts.of_alarm(alarm, 7, 100.0)
    found, before = (json.loads(each.line("left", 0)) for each in (begun.over(9, 160.0), begun))
    assert (found["id"], found["code"], found["text"]) == (9, "failed", "web: exit 1")
    assert found["begin"] == before["begin"]
    assert found["end"] == found["time"]
    assert (datetime.fromisoformat(found["end"]) - datetime.fromisoformat(found["begin"])).total_seconds() == 60


def test_a_test_has_the_same_keys_and_concerns_no_instance() -> None:
    alarm = facts.of_alarm(Alarm(instance="VI_1", kind=AlarmKind.DRIFT, text=""), 1, 1.0)
    found = json.loads(facts.of_test("alice", 2, 1.0).line("left", 0))
    assert found.keys() == json.loads(alarm.line("left", 0)).keys()
    assert (found["code"], found["severity"], found["instance"]) == ("test", "info", None)
    assert found["text"] == "alice ran: failoverctl alert test"
    assert found["code"] not in {message.code for message in ALARMS.values()}
