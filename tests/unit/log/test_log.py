"""The log: three formats, one event a line, and nothing that a stranger sent drives the terminal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from failoverd import log
from failoverd.log import journal
from tests.lab.waiting import wait_for

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("failoverd").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def said(capfd: pytest.CaptureFixture[str]) -> str:
    log.flush(PATIENCE)
    return capfd.readouterr().err


def test_json_is_one_object_a_line_with_the_bound_ids(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    with log.bound(transition=7):
        log.get("executor").info("step ended", resource="web", path=Path("/x"))
    log.get("executor").debug("not shown")
    (line,) = said(capfd).splitlines()
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


def test_an_exception_is_in_the_event(capfd: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        log.configure(form)
        try:
            Path("/absent").read_text(encoding="utf-8")
        except OSError:
            log.get("store").exception("history cannot be read")
        assert "No such file or directory" in said(capfd)


def test_console_has_no_colours_in_a_pipe_and_keeps_strangers_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    log.get("intake").warning("unknown word", word="a\x1b[31m\nb\udcff")
    (line,) = said(capfd).splitlines()
    assert "\x1b" not in line
    assert "unknown word" in line
    assert "part=intake" in line
    assert "x1b[31m" in line


def test_other_libraries_come_the_same_way_from_warning_up(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "debug")
    logging.getLogger("asyncio").warning("slow %s", "callback")
    logging.getLogger("asyncio").info("not shown")
    log.get("x").debug("shown")
    first, second = map(json.loads, said(capfd).splitlines())
    assert (first["part"], first["event"], first["level"]) == ("asyncio", "slow callback", "warning")
    assert second["event"] == "shown"


def test_configured_twice_a_line_comes_once(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    log.configure("json", "warning")
    log.get("x").info("not shown")
    log.get("x").error("shown")
    assert len(said(capfd).splitlines()) == 1


def test_without_journald_it_is_the_console_and_says_so(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "absent"))
    log.configure("journal")
    log.get("x").info("hello")
    lines = said(capfd)
    assert "journald is not running" in lines
    assert "hello" in lines


def test_journal_fields_are_upper_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(journal.SOCKET)
        journald.settimeout(PATIENCE)
        log.configure("journal")
        log.get("executor").error("step failed", resource="web", message="x", **{"_9odd key": "a\nb"})
        fields = journald.recv(65536).split(b"\n")
    stamps = [field for field in fields if field.startswith(b"SYSLOG_TIMESTAMP=2")]
    assert len(stamps) == 1, "when it was said, however late journald takes it"
    fields.remove(stamps[0])
    assert fields == [
        b"PART=executor",
        b"RESOURCE=web",
        b"MESSAGE=step failed resource=web message=x _9odd key='a\\nb'",
        b"ODD_KEY",
        b"\x03\0\0\0\0\0\0\0a",
        b"b",
        b"SYSLOG_IDENTIFIER=failoverd",
        b"PRIORITY=3",
        b"",
    ]


def test_a_line_of_the_journal_can_be_read_and_its_remedy_pasted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(journal.SOCKET)
        journald.settimeout(PATIENCE)
        log.configure("journal")
        with log.bound(event_id=1):
            log.get("service").error("alarm", instance="VI 1", text="it is old; or: echo 'x' >f", kind="refused")
            log.get("service").info("settled", outcome="active", reason="", pids=[7, 8], instances=[])
            log.get("service").info("settled", reason="web: it=1")
        said = [
            next(field for field in journald.recv(65536).decode().splitlines() if field.startswith("MESSAGE="))
            for _ in range(3)
        ]
    assert said == [
        "MESSAGE=alarm instance='VI 1' kind=refused event_id=1: it is old; or: echo 'x' >f",
        "MESSAGE=settled outcome=active pids=7,8 event_id=1",
        "MESSAGE=settled reason='web: it=1' event_id=1",
    ]


def test_a_line_of_the_console_ends_with_its_remedy(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    log.get("service").error("alarm", text="run it", source="hook", reason="")
    (line,) = said(capfd).splitlines()
    assert line.rstrip("'").endswith("run it")
    assert "reason" not in line


def test_a_line_that_is_too_long_for_a_datagram_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    text = "x" * 1_000_000
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(journal.SOCKET)
        journald.settimeout(PATIENCE)
        log.configure("journal")
        log.get("x").info(text)
        _, files, _, _ = socket.recv_fds(journald, 16, 1)
        with os.fdopen(files[0], "rb") as file:
            file.seek(0)
            assert f"MESSAGE={text}\n".encode() in file.read()


@contextlib.contextmanager
def unread(format: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where our lines arrive, as a descriptor that nobody has read from yet."""
    if format == "journal":
        monkeypatch.setattr(journal, "SOCKET", str(directory / "socket"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
            reader.bind(journal.SOCKET)
            yield reader.fileno()
        return
    reading, writing = os.pipe()
    saved = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield reading
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(reading)


def read(source: int, last: bytes, heard: list[bytes]) -> None:
    while last not in b"".join(heard):
        heard.append(os.read(source, 1 << 20))


@pytest.mark.parametrize("format", log.FORMATS)
def test_who_does_not_read_stops_nobody(
    format: Literal["console", "json", "journal"], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log, "QUEUE_MAX_LINES", 50)
    monkeypatch.setattr(log, "STALL_TIMEOUT_S", 0.0)
    with unread(format, tmp_path, monkeypatch) as source:
        log.configure(format)
        saying = threading.Thread(target=lambda: [log.get("x").info("a line", text="x" * 1000) for _ in range(1000)])
        saying.start()
        saying.join(PATIENCE)
        assert not saying.is_alive(), "who logs has waited for who reads"
        assert 500 < log.lost() < 1000
        wait_for("the trouble is told", lambda: "has taken no line for" in str(log.trouble()), within=PATIENCE)
        log.flush(0.01)  # ends too
        heard: list[bytes] = []
        reading = threading.Thread(target=read, args=(source, b"once more", heard))
        reading.start()
        log.flush(PATIENCE)
        log.get("x").info("again")
        log.get("x").info("once more")
        reading.join(PATIENCE)
        assert not reading.is_alive()
        assert b"".join(heard).count(b"log lines were lost") == 1
        log.flush(PATIENCE)
        wait_for("it is over", lambda: log.trouble() is None, within=PATIENCE)


def test_what_python_itself_has_to_say_is_a_line_too() -> None:
    program = """
import sys, threading, warnings
from failoverd import log
log.configure("json")
log.catch()
class Odd:
    def __del__(self): raise ValueError("in a destructor")
Odd()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
warnings.warn("be warned")
try:
    raise KeyError("at the end")
except KeyError:
    sys.excepthook(*sys.exc_info())
log.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in said] == ["error", "error", "warning", "critical"]
    for line, words in zip(said, ("in a destructor", "ZeroDivisionError", "be warned", "at the end"), strict=True):
        assert words in json.dumps(line)


def test_a_line_that_cannot_be_written_hurts_nobody() -> None:
    program = (
        "from failoverd import log; log.configure('json'); log.get('x').error('lost'); "
        "log.flush(); print(log.lost(), 'alive')"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=60,
            check=False,
        )
    assert done.stdout == b"1 alive\n"


@pytest.mark.parametrize(("form", "level"), [("xml", "info"), ("json", "loud")])
def test_an_unknown_format_or_level_is_refused(form: str, level: str) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        log.configure(form, level)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["json", "console"])
def test_what_nobody_caught_is_said_before_the_end(format: str) -> None:
    """By a process that has said its last word already, and by a thread that is slow to write."""
    program = f"""
import time
from failoverd import log
log.configure("{format}")
log.catch()
write = log._write
log._write = lambda line: (time.sleep(0.3), write(line))
try:
    raise KeyError("the last straw")
finally:
    log.flush()
"""
    done = subprocess.run([sys.executable, "-c", program], stderr=-1, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert "unhandled exception; this is a bug in failoverd" in done.stderr
    assert "KeyError: 'the last straw'" in done.stderr
