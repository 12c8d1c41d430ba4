"""A trouble is declared with its remedy, logged once, and shown until it is over."""

from __future__ import annotations

import ast
import functools
import shlex
import shutil
import string
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.alarms import TROUBLE
from failoverd.ctl import command_line
from failoverd.trouble import TroubleKind, Troubles

ROOT = Path(__file__).parents[2]
RECORD, FIFO = TroubleKind.RECORD, TroubleKind.FIFO_MOVED
KINDS = pytest.mark.parametrize("kind", TroubleKind)


@functools.cache
def calls(method: str) -> list[tuple[str, ast.Call]]:
    """Every call of that method of `troubles` in the program, with the file that it is in."""
    return [
        (str(file.relative_to(ROOT)), node)
        for file in sorted((ROOT / "failoverd").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"troubles.{method}"
    ]


def kinds(call: ast.Call) -> list[TroubleKind]:
    """The kinds that a call names; where a variable does, those that its module names."""
    name = ast.unparse(call.args[0])
    return [TroubleKind[name.removeprefix("TroubleKind.")]] if name.startswith("TroubleKind.") else SPOOLS


SPOOLS = [TroubleKind.SPOOL, TroubleKind.SECOND_SPOOL]


def placeholders(kind: TroubleKind) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(kind.remedy) if name}


@KINDS
def test_every_kind_is_declared_completely(kind: TroubleKind) -> None:
    assert all((kind.code, kind.title, kind.remedy))
    assert not kind.title.endswith(".")
    for unique in ("code", "title"):
        assert len({getattr(each, unique) for each in TroubleKind}) == len(TroubleKind), unique


@KINDS
def test_a_remedy_can_be_pasted(kind: TroubleKind) -> None:
    for command in kind.remedy.format_map(dict.fromkeys(placeholders(kind), "VI_1")).replace("&&", ";").split(";"):
        program, *arguments = shlex.split(command)
        if program == "failoverctl":
            command_line.parse(arguments)  # which exits where it is none
        else:
            assert shutil.which(program) is not None or program == "failoverd"


@KINDS
def test_every_kind_begins_with_the_values_of_its_remedy_and_ends(kind: TroubleKind) -> None:
    began = [call for _, call in calls("begin") if kind in kinds(call)]
    assert began, "nothing begins it"
    for call in began:
        given = {keyword.arg for keyword in call.keywords} - {"subject", "lasts"}
        assert given == placeholders(kind), ast.unparse(call)
    lasts = all(any(keyword.arg == "lasts" for keyword in call.keywords) for call in began)
    ends = any(kind in kinds(call) for _, call in calls("end"))
    assert lasts or ends or kind is TroubleKind.SYSTEMD_SOCKETS, "nothing ends it: that one ends with the process"


def test_only_spools_leave_their_kind_to_a_variable() -> None:
    files = {file for method in ("begin", "end") for file, call in calls(method) if kinds(call) is SPOOLS}
    assert files == {"failoverd/daemon/intake/spool.py"}


@pytest.mark.parametrize("undeclared", ["record", None])
def test_what_is_not_declared_cannot_begin(undeclared: Any) -> None:
    with pytest.raises(AttributeError):
        Troubles().begin(undeclared, "it is full")


def test_a_value_of_a_remedy_is_quoted() -> None:
    troubles = Troubles()
    troubles.begin(RECORD, "no room", directory=Path("/run/my place; reboot"))
    assert troubles.standing[0].text == "no room; run: df '/run/my place; reboot'"


def test_it_is_said_when_it_begins_and_when_it_is_over() -> None:
    troubles = Troubles()
    with capture_logs() as lines:
        for _ in range(3):
            troubles.begin(RECORD, "no room", subject="boot", directory="/run")
        since = troubles.standing[0].since
        troubles.begin(RECORD, "read-only", subject="boot", directory="/run")
        assert [(each.about, each.text, each.since) for each in troubles.standing] == [
            ("record boot", "read-only; run: df /run", since)
        ]
        for _ in range(3):
            troubles.end(RECORD, "boot")
    assert troubles.standing == ()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("trouble", TROUBLE.severity.value),
        ("trouble", TROUBLE.severity.value),
        ("trouble is over", "info"),
    ]
    assert lines[0]["message_id"] == TROUBLE.message_id


def test_what_happened_is_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("failoverd.trouble.time.monotonic", lambda: now)
    troubles = Troubles()
    troubles.begin(FIFO, "it happened", lasts=10)
    now = 109.0
    assert len(troubles.standing) == 1
    troubles.begin(FIFO, "it happened", lasts=10)
    now = 118.0
    assert len(troubles.standing) == 1
    now = 119.0
    with capture_logs() as lines:
        assert troubles.standing == ()
    assert [line["event"] for line in lines] == ["trouble is over"]


def test_the_oldest_comes_first() -> None:
    troubles = Troubles()
    for subject in ("a", "c", "b"):
        troubles.begin(FIFO, "it happened", subject=subject)
    assert [each.about for each in troubles.standing] == ["fifo-moved a", "fifo-moved c", "fifo-moved b"]
