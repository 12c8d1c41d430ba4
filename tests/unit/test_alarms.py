"""What an operator must act on is declared completely, and says the same wherever it is shown."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from failoverd.alarms import ALARMS, DONE, MESSAGES, TROUBLE, Message
from failoverd.core.effects import Alarm, AlarmKind, TransitionEnded
from failoverd.core.words import TransitionResult
from failoverd.ctl import command_line
from failoverd.daemon import reporting
from failoverd.log import _PRIORITIES

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "systemd" / "failoverd.catalog"
EVERY = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.code)


def test_every_kind_is_declared_once() -> None:
    assert list(ALARMS) == list(AlarmKind)
    assert [ALARMS[kind].code for kind in AlarmKind] == [kind.value for kind in AlarmKind]
    for unique in ("code", "message_id", "title", "text"):
        assert len({getattr(message, unique) for message in MESSAGES}) == len(MESSAGES), unique
    assert set(MESSAGES) == {DONE, TROUBLE, *ALARMS.values()}


@EVERY
def test_no_field_is_empty(message: Message) -> None:
    assert all(getattr(message, field.name) for field in dataclasses.fields(message))
    assert re.fullmatch("[0-9a-f]{32}", message.message_id)
    assert not message.title.endswith(".")
    assert message.text.endswith(".")


@EVERY
def test_a_remedy_can_be_pasted(message: Message) -> None:
    for remedy in message.remedy:
        program, *arguments = shlex.split(remedy.replace("@INSTANCE@", "VI_1").replace("@TRANSITION@", "7"))
        if program == "failoverctl":
            command_line.parse(arguments)  # which exits where it is none
        else:
            assert shutil.which(program) is not None


@EVERY
def test_it_uses_fields_that_its_line_has(message: Message) -> None:
    fields = {"done": {"INSTANCE", "TRANSITION", "OUTCOME"}, "trouble": {"ABOUT", "TEXT"}}
    shown = " ".join((message.subject, message.detail, message.title, message.text, *message.remedy))
    assert set(re.findall(r"@([A-Z_]+)@", shown)) <= fields.get(message.code, {"INSTANCE", "TEXT"})


@pytest.mark.parametrize("kind", AlarmKind)
def test_the_severity_is_the_priority_of_the_line(kind: AlarmKind) -> None:
    with capture_logs() as lines:
        reporting.tell(Alarm(instance="VI_1", kind=kind, text="it is so"))
    assert lines == [
        {
            "part": "service",
            "event": "alarm",
            "log_level": ALARMS[kind].severity.value,
            "instance": "VI_1",
            "kind": kind.value,
            "text": "it is so",
            "message_id": ALARMS[kind].message_id,
        }
    ]
    assert lines[0]["log_level"] in _PRIORITIES


def test_a_transition_that_is_done_has_the_priority_and_identifier_of_its_message() -> None:
    with capture_logs() as lines:
        for result in (TransitionResult.ACTIVE, TransitionResult.FAILED):
            reporting.tell(TransitionEnded(transition=7, instance="VI_1", result=result, reason=""))
    assert [(line["log_level"], line.get("message_id")) for line in lines] == [
        (DONE.severity.value, DONE.message_id),
        ("info", None),
    ]


def test_the_catalog_is_that_of_the_declarations() -> None:
    argv = [sys.executable, "systemd/catalog.py"]
    made = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert CATALOG.read_text(encoding="utf-8") == made.stdout, "run: make catalog"


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="there is no journalctl")
def test_systemd_takes_the_catalog(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (folder / CATALOG.name).write_bytes(CATALOG.read_bytes())
    argv = ["journalctl", f"--root={tmp_path}", "--update-catalog"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    listed = ["journalctl", f"--root={tmp_path}", "--list-catalog"]
    shown = subprocess.run(listed, capture_output=True, text=True, timeout=60, check=True).stdout
    assert sorted(re.findall(r"^[0-9a-f]{32}", shown, re.MULTILINE)) == sorted(each.message_id for each in MESSAGES)
