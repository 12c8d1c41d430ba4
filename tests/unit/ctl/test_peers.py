"""Commands on other nodes: how they are run, what comes back, and that none is left."""

from __future__ import annotations

import json
import operator
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from failoverd.ctl import peers
from failoverd.ctl.peers import Reply
from tests.lab.waiting import wait_for
from tests.unit.ctl.terminal import PATIENCE, UNTOUCHED

ASKED = ("failoverctl", "status", "--json")


def run(script: str, deadline: float = 30.0) -> Reply:
    return peers.run({"right": ["sh", "-c", script]}, ASKED, deadline=deadline)["right"]


def test_an_address_is_asked_by_ssh_which_asks_nothing() -> None:
    argv = peers.command("root@right", ("failoverctl", "status", "a b; $(reboot)"))
    assert (argv[0], argv[-3:]) == ("ssh", ["--", "root@right", "failoverctl status 'a b; $(reboot)'"])
    assert "-T" in argv
    assert {"BatchMode=yes", "ConnectTimeout=5", "ControlMaster=no"} <= set(argv)


def test_a_command_of_ssh_gets_the_same_options_and_any_other_the_bare_words() -> None:
    argv = peers.command(["/usr/bin/ssh", "-p", "2222", "right"], ("show", "a b"))
    assert argv[0] == "/usr/bin/ssh"
    assert argv[-4:] == ["-p", "2222", "right", "show 'a b'"]
    assert "BatchMode=yes" in argv
    assert peers.command(["ip", "netns", "exec", "right"], ("show", "a b")) == [
        *("ip", "netns", "exec", "right", "show", "a b")
    ]


def test_ssh_itself_accepts_the_options() -> None:
    argv = peers.command("right.invalid", ASKED)
    done = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (told["batchmode"], told["connecttimeout"], told["controlmaster"]) == ("yes", "5", "false")
    assert (told["requesttty"], told["hostname"]) == ("false", "right.invalid")


def test_the_words_arrive() -> None:
    assert run('printf "%s|" "$0" "$@"') == Reply(output=b"failoverctl|status|--json|")


def test_all_are_asked_at_once(tmp_path: Path) -> None:
    """Each waits for the other."""
    for name in ("a", "b"):
        os.mkfifo(tmp_path / name)
    scripts = {"right": f"echo >{tmp_path}/a; cat {tmp_path}/b", "center": f"cat {tmp_path}/a; echo >{tmp_path}/b"}
    ways = {name: ["sh", "-c", script] for name, script in scripts.items()}
    awaited: list[list[str]] = []
    replies = peers.run(ways, ASKED, deadline=30.0, progress=lambda names: awaited.append([*names]))
    assert awaited[0] == ["right", "center"]
    assert replies == {"right": Reply(output=b"\n"), "center": Reply(output=b"\n")}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo Warning >&2; echo 'ssh: connect to host right port 22: No route to host' >&2; exit 255", "ssh: connect"),
        ("echo 'failoverctl: there is no socket /x' >&2; echo '  check the daemon' >&2; exit 69", "there is no socket"),
        ("exit 3", "sh ended with exit status 3"),
        ("kill -9 $$", "sh ended with signal 9"),
        ("head -c 17000000 /dev/zero; sleep 600", "its answer is longer than 16 MiB"),
        ("yes '' >&2 & exec 1>&- 2>&-; exit 4", "sh ended with exit status 4"),
    ],
)
def test_a_failure_is_one_line(script: str, error: str) -> None:
    reply = run(script)
    assert reply.error.startswith(error)
    assert "\n" not in reply.error


def test_a_program_that_is_not_there_is_said() -> None:
    assert peers.run({"right": ["/no/ssh"]}, ASKED)["right"].error == "cannot run /no/ssh: No such file or directory"


def running(mark: str) -> list[str]:
    return subprocess.run(["pgrep", "-f", mark], capture_output=True, text=True, check=False).stdout.split()


def test_one_that_hangs_has_a_deadline_and_leaves_nothing() -> None:
    mark = f"sleep 987{os.getpid()}"
    hanging = ["sh", "-c", f"{mark} & {mark}"]
    replies = peers.run({"right": hanging, "center": ["echo"]}, ASKED, deadline=0.5)
    assert replies["right"] == Reply(error="no answer within 0.5 s")
    assert replies["center"].output == b"failoverctl status --json\n"
    wait_for("it has ended", lambda: running(mark), within=60, until=operator.not_)


def test_a_process_that_holds_the_pipes_delays_nothing(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    holder = f"echo $$ >{told}.new; mv {told}.new {told}; exec sleep 600"
    assert run(f"setsid sh -c '{holder}' & until [ -e {told} ]; do sleep 0.01; done; echo done").output == b"done\n"
    os.kill(int(told.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    mark, began = f"sleep 985{os.getpid()}", tmp_path / "began"
    script = f"touch {began}; {mark} & {mark}"
    program = f"from failoverd.ctl import peers; peers.run({{'right': ['sh', '-c', {script!r}]}}, ['x'], deadline=500)"
    with subprocess.Popen([*UNTOUCHED, sys.executable, "-c", program]) as process:
        wait_for("the command runs", began.exists, within=PATIENCE)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    wait_for("it has ended", lambda: running(mark), within=60, until=operator.not_)


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (b"", "its answer is empty"),
        (b"Welcome to right!\n{}", 'its answer is not JSON; it begins with "Welcome to right! {}"'),
        (b"\x00\xff" * 500, "its answer is not JSON; it begins with"),
        (b"[" * 100_000, "its answer is not JSON"),
        (b"[1]", "its answer is not a JSON object"),
    ],
)
def test_an_answer_that_is_none(output: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=r"^its answer is") as caught:
        peers.answered(Reply(output=output))
    assert str(caught.value).startswith(error)
    assert len(str(caught.value)) < 120


def test_an_answer() -> None:
    assert peers.answered(Reply(output=json.dumps({"node": "right"}).encode())) == {"node": "right"}
