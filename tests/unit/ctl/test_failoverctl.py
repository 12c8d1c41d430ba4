"""failoverctl as it is run: exit statuses, messages, and what it asks the daemon."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import failoverd
from failoverd.ctl import client
from tests.unit.ctl.conftest import FakeDaemon

CTL = [sys.executable, "-m", "failoverd.ctl"]

Status = Callable[..., dict[str, Any]]


def ctl(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CTL, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def at(daemon: FakeDaemon, *words: str) -> subprocess.CompletedProcess[str]:
    return ctl("--socket", str(daemon.path), *words)


def test_status_in_a_pipe_is_plain_text(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    done = at(daemon, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  VI_1  resource  web +xen +active", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    assert daemon.asked == [{"version": 1, "verb": "status"}]


def test_status_json_is_what_the_daemon_said(daemon: FakeDaemon, status: Status) -> None:
    answer = status() | {"more": [1, None, "é\x1b"]}
    daemon.answers(answer)
    done = at(daemon, "status", "--json")
    assert json.loads(done.stdout) == answer
    assert "\x1b" not in done.stdout


def test_on_a_terminal_there_are_colours(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    ours, its = pty.openpty()
    words = [*CTL, "status", "--socket", str(daemon.path)]
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=its, env=environment) as process:
        os.close(its)
        drawn = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # a terminal whose other side is closed says EIO
                break
            if not piece:
                break
            drawn += piece
        assert process.wait(60) == 0
    os.close(ours)
    assert b"\x1b[32mACTIVE" in drawn


def test_history_asks_for_as_many_as_are_wanted(daemon: FakeDaemon, transition: dict[str, Any]) -> None:
    daemon.answers({"transitions": [transition]})
    assert "118" in at(daemon, "history").stdout
    assert json.loads(at(daemon, "history", "-n", "3", "--json").stdout) == {"transitions": [transition]}
    assert [asked["n"] for asked in daemon.asked] == [20, 3]


def test_history_show(daemon: FakeDaemon, transition: dict[str, Any]) -> None:
    daemon.answers(transition)
    assert "birdc configure confirm" in at(daemon, "history", "show", "118").stdout
    assert json.loads(at(daemon, "history", "show", "118", "--json").stdout) == transition
    assert daemon.asked[0] == {"version": 1, "verb": "transition", "id": 118}


def test_plan(daemon: FakeDaemon, plan: dict[str, Any]) -> None:
    daemon.answers(plan)
    assert "drbdadm primary vpn" in at(daemon, "plan", "VI_1", "master").stdout
    assert json.loads(at(daemon, "plan", "VI_1", "BACKUP", "--json").stdout) == plan
    assert [(asked["instance"], asked["target"]) for asked in daemon.asked] == [("VI_1", "active"), ("VI_1", "standby")]


def test_reset(daemon: FakeDaemon) -> None:
    daemon.answers({"instance": "VI_1", "phase": "failed"})
    done = at(daemon, "reset", "VI_1")
    assert done.returncode == 0
    assert done.stdout.startswith("  VI_1 is looked at again")
    assert json.loads(at(daemon, "reset", "VI_1", "--json").stdout) == {"instance": "VI_1", "phase": "failed"}
    assert daemon.asked[0] == {"version": 1, "verb": "reset", "instance": "VI_1"}


def test_acknowledge(daemon: FakeDaemon) -> None:
    daemon.answers({"instance": "VI_1", "acknowledged": 2})
    done = at(daemon, "acknowledge", "VI_1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "  VI_1: noted that another node was MASTER as well (2 times)\n"
    assert daemon.asked[0] == {"version": 1, "verb": "acknowledge", "instance": "VI_1"}


def test_accept(daemon: FakeDaemon) -> None:
    answer = {"instance": "VI_1", "resource": "web-disk", "accepted": "its data, old since 12:00:00"}
    daemon.answers(answer)
    done = at(daemon, "accept", "VI_1", "web-disk")
    assert (done.returncode, done.stderr) == (0, "")
    assert "web-disk: its data, old since 12:00:00" in done.stdout
    assert json.loads(at(daemon, "accept", "VI_1", "web-disk", "--json").stdout) == answer
    assert daemon.asked[0] == {"version": 1, "verb": "accept", "instance": "VI_1", "resource": "web-disk"}


def test_the_daemons_no_is_shown_with_its_hint(daemon: FakeDaemon) -> None:
    daemon.says({"version": 1, "ok": False, "error": "there is no instance VI_9", "hint": "known are: VI_1"})
    done = at(daemon, "plan", "VI_9", "master")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "failoverctl: there is no instance VI_9\n  known are: VI_1\n"


@pytest.mark.parametrize(("version", "older"), [(2, "upgrade failoverctl"), (0, "upgrade failoverd (and restart it)")])
def test_a_version_that_differs_says_which_side_to_upgrade(daemon: FakeDaemon, version: int, older: str) -> None:
    daemon.says({"version": version, "ok": True, "result": {}})
    done = at(daemon, "status")
    assert done.returncode == 1
    assert f"failoverd speaks version {version}, this failoverctl speaks version 1" in done.stderr
    assert older in done.stderr


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (None, 69, "hung up"),
        (b"SSH-2.0\n", 69, "is not failoverd"),
        (b"[1]\n", 69, "is not failoverd"),
        (b'{"version": 1, "ok": true, "result": [1]}\n', 1, "no result"),
        (b'{"version": 1, "ok": true, "result": {"instances": [1]}}\n', 1, "not understood"),
        (b'{"version": 1, "ok": true, "result": {"instances": {"VI_1": 7}}}\n', 1, "not understood"),
    ],
)
def test_an_odd_answer(daemon: FakeDaemon, raw: bytes | None, status: int, said: str) -> None:
    daemon.raw = raw
    done = at(daemon, "status")
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_daemon(tmp_path: Path) -> None:
    done = ctl("status", "--socket", str(tmp_path / "absent.sock"))
    assert done.returncode == 69
    assert "there is no socket" in done.stderr
    assert "systemctl status failoverd" in done.stderr
    assert "--socket" in done.stderr


def test_a_daemon_that_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    done = ctl("--socket", str(path), "status")
    assert done.returncode == 69
    assert "nobody listens" in done.stderr


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    done = ctl("--socket", str(tmp_path / ("x" * 200)), "status")
    assert done.returncode == 69
    assert "too long" in done.stderr


def test_permission_denied_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", denied)
    with pytest.raises(client.UnreachableError, match="permission denied") as caught:
        client.ask(str(tmp_path / "x"), "status", {})
    assert "run this as root" in caught.value.hint


def test_an_answer_that_is_too_long_is_not_taken_for_a_stranger_s(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "REPLY", 100_000)
    daemon.raw = b"x" * 200_000
    with pytest.raises(client.CtlError, match="longer than 100000 bytes") as caught:
        client.ask(str(daemon.path), "history", {})
    assert "history -n 5" in caught.value.hint


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "x"))
        silent.listen(1)
        with pytest.raises(client.UnreachableError, match=r"did not answer at .* within 0\.01 s"):
            client.ask(str(tmp_path / "x"), "status", {}, deadline=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to do: status, history, plan, reset, acknowledge, accept, config"),
        (["statsu"], "'statsu' is not known; did you mean 'status'?"),
        (["status", "--jsno"], "'--jsno' is not known; did you mean '--json'?"),
        (["--sokcet", "x", "status"], "'--sokcet' is not known; did you mean '--socket'?"),
        (["plan", "VI_1", "mastre"], "'mastre' is not known; did you mean 'master'?"),
        (["history", "shwo", "1"], "'shwo' is not known; did you mean 'show'?"),
        (["zzz"], "invalid choice: 'zzz'"),
        (["plan", "VI_1"], "required"),
        (["history", "-n", "0"], "'0' is not a number from 1 up"),
        (["history", "show", "x"], "'x' is not a number from 1 up"),
        (["config"], "required"),
    ],
)
def test_wrong_usage_exits_64_and_says_what_was_meant(words: list[str], said: str) -> None:
    done = ctl(*words)
    assert (done.returncode, done.stdout) == (64, "")
    assert said in done.stderr
    assert "--help" in done.stderr


def test_help_and_version() -> None:
    assert ctl("--version").stdout == f"failoverctl {failoverd.__version__}\n"
    told = ctl("--help")
    assert told.returncode == 0
    for word in ("status", "history", "plan", "reset", "accept", "config", "--socket", "examples:", "69"):
        assert word in told.stdout
    for verb in ("status", "history", "plan", "reset", "accept", "config"):
        done = ctl(verb, "--help")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("rows", [1, 5000])
def test_a_reader_that_has_enough_is_no_error(daemon: FakeDaemon, transition: dict[str, Any], rows: int) -> None:
    daemon.answers({"transitions": [transition] * rows})
    theirs, ours = os.pipe()
    os.close(theirs)
    words = [*CTL, "--socket", str(daemon.path), "history"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=ours, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(ours)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_cannot_be_written_is_said(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    words = [*CTL, "--socket", str(daemon.path), "status"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (74, b"failoverctl: cannot write: No space left on device\n")


def test_config_check_is_the_daemons_own(tmp_path: Path) -> None:
    stand_in = tmp_path / "failoverd"
    stand_in.mkdir()
    (stand_in / "__main__.py").write_text("raise SystemExit('not this one')")
    asked = tmp_path / "asked"
    program = (
        "import os, pathlib; from failoverd.ctl.__main__ import main;"
        f"os.execv = lambda *words: pathlib.Path({str(asked)!r}).write_text(repr(words));"
        "main(['config', 'check', 'x.toml'])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    assert done.returncode == 0
    words = [sys.executable, "-P", "-m", "failoverd", "--config", "x.toml", "--check"]
    assert asked.read_text() == repr((sys.executable, words))


def test_it_is_light(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    program = (
        "import sys; from failoverd.ctl.__main__ import main; main(sys.argv[1:]);"
        "sys.exit(' '.join(m for m in sys.modules if m.split('.')[0] in ('rich', 'structlog', 'asyncio', 'sqlite3')"
        " or m.startswith(('failoverd.daemon', 'failoverd.core', 'failoverd.drivers'))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--socket", str(daemon.path), "status"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
