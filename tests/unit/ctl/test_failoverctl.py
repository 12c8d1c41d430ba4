"""failoverctl as it is run: exit statuses, messages, and what it asks the daemon."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import failoverd
from failoverd.ctl import client, command_line, verbs
from tests.lab.waiting import wait_for
from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.terminal import UNTOUCHED

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


def test_status_of_one_instance_shows_nothing_else(daemon: FakeDaemon, status: Status) -> None:
    stray = {"instance": "VI_1", "resource": "vm", "text": "vm is active, and no longer configured"}
    daemon.answers(status() | {"troubles": [{"text": "a hook was turned away"}], "strays": [stray]})
    lines = at(daemon, "status", "VI_1").stdout.splitlines()
    assert lines[:3] == ["! stray     VI_1: vm is active, and no longer configured", "", lines[2]]
    assert re.match(r"  VI_1 ACTIVE ", lines[2])
    assert not [line for line in lines if "node" in line or "turned away" in line]
    assert daemon.asked == [{"version": 1, "verb": "status", "instance": "VI_1"}]


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
    assert done.stdout.startswith("  VI_1: failoverd checks every resource and retries")
    assert json.loads(at(daemon, "reset", "VI_1", "--json").stdout) == {"instance": "VI_1", "phase": "failed"}
    assert daemon.asked[0] == {"version": 1, "verb": "reset", "instance": "VI_1"}


@pytest.mark.parametrize(
    ("was_off", "promised", "shown"),
    [
        (True, False, "right does not count as off any more"),
        (False, True, "the promise of right to stay at standby does not count any more"),
        (False, False, "right was not known to be off"),
    ],
)
def test_unfence(daemon: FakeDaemon, was_off: bool, promised: bool, shown: str) -> None:
    daemon.answers({"node": "right", "was_off": was_off, "promised": promised})
    done = at(daemon, "unfence", "right")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"  {shown}\n", "")
    assert daemon.asked[0] == {"version": 1, "verb": "unfence", "node": "right"}


def test_confirm_off(daemon: FakeDaemon) -> None:
    daemon.answers({"node": "right", "was_off": False})
    done = at(daemon, "confirm-off", "right")
    assert (done.returncode, done.stdout) == (64, "")
    assert "or: failoverctl confirm-off --yes right; if it still runs, data is lost" in done.stderr
    assert daemon.asked == []
    done = at(daemon, "confirm-off", "--yes", "right")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("  right counts as off from now on\n")
    assert daemon.asked[0] == {"version": 1, "verb": "confirm-off", "node": "right"}


@pytest.mark.parametrize(("typed", "status"), [("right\n", 0), ("yes\n", 64), ("\x04", 64)])
def test_confirm_off_asks_for_the_name_on_a_terminal(daemon: FakeDaemon, typed: str, status: int) -> None:
    daemon.answers({"node": "right", "was_off": False})
    ours, its = pty.openpty()
    try:
        os.write(ours, typed.encode())
        command = [*CTL, "--socket", str(daemon.path), "confirm-off", "right"]
        done = subprocess.run(command, stdin=its, capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.close(ours)
        os.close(its)
    assert done.returncode == status
    assert done.stderr.startswith("If right still runs, its resources and those of this node are active at once")
    assert len(daemon.asked) == (status == 0)


def test_acknowledge(daemon: FakeDaemon) -> None:
    daemon.answers({"instance": "VI_1", "acknowledged": 2})
    done = at(daemon, "acknowledge", "VI_1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "  VI_1: acknowledged 2 double masters\n"
    assert daemon.asked[0] == {"version": 1, "verb": "acknowledge", "instance": "VI_1"}
    daemon.answers({"instance": "VI_1", "acknowledged": 0})
    assert at(daemon, "acknowledge", "VI_1").stdout == "  VI_1: nothing to acknowledge\n"


def test_accept(daemon: FakeDaemon) -> None:
    answer = {"instance": "VI_1", "resource": "web-disk", "accepted": "its data, old since 12:00:00"}
    daemon.answers(answer)
    done = at(daemon, "accept", "VI_1", "web-disk")
    assert (done.returncode, done.stderr) == (0, "")
    assert "web-disk: its data, old since 12:00:00" in done.stdout
    assert json.loads(at(daemon, "accept", "VI_1", "web-disk", "--json").stdout) == answer
    assert daemon.asked[0] == {"version": 1, "verb": "accept", "instance": "VI_1", "resource": "web-disk"}


def test_the_daemons_no_is_shown_with_its_hint(daemon: FakeDaemon) -> None:
    daemon.says({"version": 1, "ok": False, "error": "there is no instance VI_9", "hint": "expected one of: VI_1"})
    done = at(daemon, "plan", "VI_9", "master")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "failoverctl: there is no instance VI_9\n  expected one of: VI_1\n"


def test_a_refusal_cannot_drive_the_terminal(daemon: FakeDaemon) -> None:
    daemon.says({"version": 1, "ok": False, "error": "no\x1b[2J\n", "hint": "\x1b]0;owned\x07"})
    assert at(daemon, "status").stderr == "failoverctl: no\\x1b[2J\\n\n  \\x1b]0;owned\\x07\n"


@pytest.mark.parametrize(
    "program", [[*CTL, "keepalived-config"], [sys.executable, "-m", "failoverd", "--check", "--config"]]
)
def test_the_errors_of_a_configuration_cannot_drive_the_terminal(tmp_path: Path, program: list[str]) -> None:
    file = tmp_path / "failoverd.toml"
    file.write_text('[node]\n"\\u001b[2J" = "\\n"\n')
    done = subprocess.run([*program, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert r'node."\x1b[2J": unknown key' in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_daemon_of_an_earlier_release_that_lacks_the_verb_needs_a_restart(daemon: FakeDaemon) -> None:
    daemon.says({"version": 1, "ok": False, "error": 'unknown verb "why"', "hint": "expected one of: history, status"})
    done = at(daemon, "why")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'failoverctl: unknown verb "why"\n  {client.OTHER_RELEASE}\n'


@pytest.mark.parametrize(
    ("version", "remedy"), [(2, "upgrade failoverctl"), (0, "upgrade failoverd, then: systemctl restart failoverd")]
)
def test_a_version_that_differs_says_which_side_to_upgrade(daemon: FakeDaemon, version: int, remedy: str) -> None:
    daemon.says({"version": version, "ok": True, "result": {}})
    done = at(daemon, "status")
    assert done.returncode == 1
    assert f"protocol version mismatch: failoverd has {version}, failoverctl has 1" in done.stderr
    assert remedy in done.stderr


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (None, 69, "closed the connection"),
        (b"SSH-2.0\n", 69, "is not failoverd"),
        (b"[1]\n", 69, "is not failoverd"),
        (b'{"version": 1, "ok": true, "result": [1]}\n', 1, "no result"),
        (b'{"version": 1, "ok": true, "result": {"instances": [1]}}\n', 1, "cannot show the answer"),
        (b'{"version": 1, "ok": true, "result": {"instances": {"VI_1": 7}}}\n', 1, "cannot show the answer"),
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
    assert "nothing listens" in done.stderr


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
    assert "run failoverctl as root" in caught.value.hint


def test_an_answer_that_is_too_long_is_not_taken_for_a_stranger_s(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_REPLY_BYTES", 100_000)
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
        (["reset", "VI_1"], "interrupted; failoverd continues the request, if it has it\n  see: failoverctl status\n"),
        (["why"], "interrupted\n"),
    ],
)
def test_ctrl_c_is_told(tmp_path: Path, words: list[str], said: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "control.sock"))
        silent.listen()
        silent.settimeout(30)
        argv = [*UNTOUCHED, *CTL, "--socket", str(tmp_path / "control.sock"), *words]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=30)[1] == f"failoverctl: {said}"
    assert process.returncode == 130


def test_ctrl_c_while_other_nodes_are_asked_is_told(daemon: FakeDaemon, status: Status, tmp_path: Path) -> None:
    began = tmp_path / "began"
    daemon.answers(status() | {"peers": {"right": ["sh", "-c", f"touch {began}; exec sleep 60"]}})
    argv = [*UNTOUCHED, *CTL, "--socket", str(daemon.path), "status", "--all"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        wait_for("the peer is asked", began.exists, within=30)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == "failoverctl: interrupted\n"
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no verb given; expected status, "),
        (["statsu"], "unknown argument 'statsu'; did you mean 'status'?"),
        (["status", "--jsno"], "unknown argument '--jsno'; did you mean '--json'?"),
        (["--sokcet", "x", "status"], "unknown argument '--sokcet'; did you mean '--socket'?"),
        (["plan", "VI_1", "mastre"], "unknown argument 'mastre'; did you mean 'master'?"),
        (["history", "shwo", "1"], "unknown argument 'shwo'; did you mean 'show'?"),
        (["chekc", "VI_1"], "unknown argument 'chekc'; did you mean 'check'?"),
        (["show", "118"], "unknown argument 'show'; did you mean 'history show'?"),
        (["master", "VI_1"], "unknown argument 'master'; did you mean 'plan INSTANCE master'?"),
        (["config", "chekc"], "unknown argument 'chekc'; did you mean 'check'?"),
        (["config", "status"], "unknown argument 'status'; expected check"),
        (["zzz"], "unknown argument 'zzz'; expected status or "),
        (["history", "118"], "unknown argument '118'; expected show"),
        (["plan", "VI_1", "up"], "unknown argument 'up'; expected master or backup"),
        (["plan", "VI_1"], "the following arguments are required: master|backup"),
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


@pytest.mark.parametrize(
    "words",
    [["standby", "--anyway"], ["online"], ["handover", "--to", "right", "--json"], ["why"], ["status"], ["reset"]],
)
@pytest.mark.parametrize("name", ["-x", "--all", "standby"])
def test_after_two_hyphens_comes_a_name(words: list[str], name: str) -> None:
    asked = command_line.parse([*words, "--", name])
    assert (asked.parser.prog, asked.instance) == (f"failoverctl {words[0]}", name)


def test_help_and_version() -> None:
    assert ctl("--version").stdout == f"failoverctl {failoverd.__version__}\n"
    told = ctl("--help")
    assert told.returncode == 0
    for word in ("--socket", "examples:", "69"):
        assert word in told.stdout
    for name, verb in verbs.declared().items():
        assert all(line in told.stdout for line, _ in verb.examples)
        done = ctl(*name.split(), "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert verb.details in done.stdout


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
    assert (done.returncode, done.stderr) == (74, b"failoverctl: cannot write the output: No space left on device\n")


@pytest.mark.parametrize(("given", "file"), [(["x.toml"], "x.toml"), ([], "/etc/failoverd/failoverd.toml")])
def test_config_check_is_the_daemons_own(tmp_path: Path, given: list[str], file: str) -> None:
    stand_in = tmp_path / "failoverd"
    stand_in.mkdir()
    (stand_in / "__main__.py").write_text("raise SystemExit('not this one')")
    asked = tmp_path / "asked"
    program = (
        "import os, pathlib; from failoverd.ctl.__main__ import main;"
        f"os.execv = lambda *words: pathlib.Path({str(asked)!r}).write_text(repr(words));"
        f"main({['config', 'check', *given]})"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    assert done.returncode == 0
    words = [sys.executable, "-P", "-m", "failoverd", "--config", file, "--check"]
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
        env={},  # what measures coverage is not light
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
