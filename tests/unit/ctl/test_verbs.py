"""A verb is declared once, and the daemon answers every verb that asks it."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest

from failoverd.ctl import client, command_line, verbs
from failoverd.ctl.verbs import Request
from failoverd.daemon.control import server
from failoverd.daemon.control.answers import Answers
from tests.unit.ctl.conftest import FakeDaemon

#: All that failoverctl needs for a new verb.
PING = """
from failoverd.ctl import arguments
from failoverd.ctl.page import Block, Cell
from failoverd.ctl.verbs import Request, Verb

VERB = Verb(
    position=5,
    summary="ping an instance",
    details="Changes nothing.",
    examples=(("failoverctl ping VI_1", "ping VI_1"),),
    arguments=arguments.instance,
    action=Request(
        verb="ping",
        params=lambda asked: {"instance": asked.instance},
        page=lambda answer, asked, now: (Block(title=(Cell(answer["pong"]),)),),
        operators_only=True,
    ),
)
"""

PROGRAM = """
import sys
from failoverd.ctl import verbs
from failoverd.ctl.__main__ import main
verbs.__path__.append(sys.argv.pop(1))
sys.exit(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A second folder of verbs."""
    made = tmp_path / "verbs"
    made.mkdir()
    (made / "ping.py").write_text(PING, encoding="utf-8")
    return made


def ctl(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run failoverctl with the verbs of `folder` beside its own. argcomplete writes to descriptor 8."""
    run = [sys.executable, "-c", PROGRAM, str(folder), *words]
    return subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 8>&1', *run],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def requests() -> list[Request]:
    return [verb.action for verb in verbs.declared().values() if isinstance(verb.action, Request)]


def answers() -> Answers:
    return Answers(**{name: Mock() for name in inspect.signature(Answers).parameters})


def test_the_daemon_answers_every_verb_and_has_no_other() -> None:
    assert Counter(request.verb for request in requests()) == Counter([*answers().reads, *answers().acts])


def test_both_sides_agree_which_verbs_are_for_operators_only() -> None:
    assert {request.verb for request in requests() if request.operators_only} == set(answers().acts)


def test_both_sides_agree_on_the_protocol() -> None:
    assert client.PROTOCOL_VERSION == server.VERSION
    assert client.REPLY_TIMEOUT_S > server.HANDLER_TIMEOUT_S


def test_every_verb_has_a_place_of_its_own_and_examples_that_run_it() -> None:
    declared = verbs.declared()
    assert max(Counter(verb.position for verb in declared.values()).values()) == 1
    for name, verb in declared.items():
        assert verb.examples
        for line, purpose in verb.examples:
            assert purpose
            program, *words = line.partition(" |")[0].split()
            assert (program, command_line.parse(words).verb) == ("failoverctl", verb), name


def test_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ["", *verbs.declared()]:
        with pytest.raises(SystemExit):
            command_line.parse([*name.split(), "--help"])
        told = capsys.readouterr().out.splitlines()
        assert len(told) > 5
        assert [line for line in told if len(line) > 80] == []


def test_one_file_adds_a_verb(folder: Path, daemon: FakeDaemon) -> None:
    at = ("--socket", str(daemon.path))
    daemon.answers({"pong": "VI_1 is here"})
    assert ctl(folder, *at, "ping", "VI_1").stdout == "  VI_1 is here\n"
    assert daemon.asked == [{"version": 1, "verb": "ping", "instance": "VI_1"}]
    assert json.loads(ctl(folder, *at, "ping", "VI_1", "--json").stdout) == {"pong": "VI_1 is here"}
    told = ctl(folder, "--help").stdout
    assert re.search(r"^    ping +ping an instance$", told, re.MULTILINE)
    assert re.search(r"^  failoverctl ping VI_1 +ping VI_1$", told, re.MULTILINE)
    assert "group failoverd: ping, " in told
    assert "did you mean 'ping'?" in ctl(folder, "pong").stderr
    assert ctl(folder).stderr.startswith("failoverctl: no verb given; expected ping, status, ")
    assert "Changes nothing." in ctl(folder, "ping", "--help").stdout


def test_the_shell_completes_it(folder: Path, daemon: FakeDaemon) -> None:
    daemon.answers({"instances": {"VI_1": {"phase": "active"}}})
    for line, offered in (("failoverctl pi", "ping "), (f"failoverctl --socket {daemon.path} ping ", "VI_1 ")):
        asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "IFS": "\v", "_ARGCOMPLETE": "1"}
        assert ctl(folder, **asked).stdout == offered


def test_a_file_without_a_declaration_is_an_error(folder: Path) -> None:
    (folder / "ping.py").write_text("", encoding="utf-8")
    assert "AttributeError: module 'failoverd.ctl.verbs.ping' has no attribute 'VERB'" in ctl(folder, "--help").stderr
