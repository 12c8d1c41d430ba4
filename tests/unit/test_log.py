"""The log: three formats, one event a line, and nothing that a stranger sent drives the terminal."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from failoverd import log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("failoverd").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_json_is_one_object_a_line_with_the_bound_ids(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    with log.bound(transition=7):
        log.get("executor").info("step ended", resource="web", path=Path("/x"))
    log.get("executor").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event.pop("timestamp")[-6] in "+-"
    assert event == {
        "level": "info",
        "part": "executor",
        "event": "step ended",
        "resource": "web",
        "transition": 7,
        "path": "/x",
    }


def test_an_exception_is_in_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        log.configure(form)
        try:
            Path("/absent").read_text(encoding="utf-8")
        except OSError:
            log.get("store").exception("history cannot be read")
        assert "No such file or directory" in capsys.readouterr().err


def test_console_has_no_colours_in_a_pipe_and_keeps_strangers_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    log.get("intake").warning("unknown word", word="a\x1b[31m\nb\udcff")
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    assert "unknown word" in line
    assert "part=intake" in line
    assert "x1b[31m" in line


def test_other_libraries_come_the_same_way_from_warning_up(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "debug")
    logging.getLogger("asyncio").warning("slow %s", "callback")
    logging.getLogger("asyncio").info("not shown")
    log.get("x").debug("shown")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["part"], first["event"], first["level"]) == ("asyncio", "slow callback", "warning")
    assert second["event"] == "shown"


def test_configured_twice_a_line_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    log.configure("json", "warning")
    log.get("x").info("not shown")
    log.get("x").error("shown")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_journald_it_is_the_console_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log, "JOURNAL_SOCKET", str(tmp_path / "absent"))
    log.configure("journal")
    log.get("x").info("hello")
    said = capsys.readouterr().err
    assert "journald is not here" in said
    assert "hello" in said


def test_journal_fields_are_upper_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    journal = pytest.importorskip("systemd.journal")
    sent: list[tuple[str, ...]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        monkeypatch.setattr(log, "JOURNAL_SOCKET", str(tmp_path / "socket"))
        monkeypatch.setattr(journal, "sendv", lambda *fields: sent.append(fields))
        log.configure("journal")
        log.get("executor").error("step failed", resource="web", message="x", **{"_9odd key": "a\nb"})
    (fields,) = sent
    assert set(fields) == {
        "PART=executor",
        "RESOURCE=web",
        "ODD_KEY=a\nb",
        "SYSLOG_IDENTIFIER=failoverd",
        "PRIORITY=3",
        "MESSAGE=step failed resource=web message=x _9odd key='a\\nb'",
    }


def test_a_line_that_cannot_be_written_hurts_nobody() -> None:
    program = "from failoverd import log; log.configure('json'); log.get('x').error('lost'); print('alive')"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=60,
            check=False,
        )
    assert done.stdout == b"alive\n"


@pytest.mark.parametrize(("form", "level"), [("xml", "info"), ("json", "loud")])
def test_an_unknown_format_or_level_is_refused(form: str, level: str) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        log.configure(form, level)  # type: ignore[arg-type]
