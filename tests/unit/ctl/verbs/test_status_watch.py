"""``failoverctl status --watch``: each change on a screen or in a stream, and no stale state as a current one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from failoverd.ctl import client, watch
from failoverd.ctl.subscription import Subscription
from tests.unit.ctl.terminal import Terminal, golden

Answer = dict[str, Any]
Status = Callable[..., Answer]

AT = "2026-11-21T03:15:00+00:00"
SINCE = "2026-11-21T03:12:00+00:00"


class Pusher:
    """A daemon that pushes what the test says; every age in it stays the same for half a minute."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Answer] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen(8)
        self._listening.settimeout(30)
        self._connection: socket.socket | None = None

    def accept(self) -> None:
        self.hang_up()
        self._connection, _ = self._listening.accept()
        self._connection.settimeout(30)
        with self._connection.makefile("rb") as lines:
            self.requests.append(json.loads(lines.readline()))

    def push(self, **result: Any) -> None:
        self.say({"version": 1, "ok": True, "result": {"at": AT, **result}})

    def say(self, reply: Answer) -> None:
        assert self._connection is not None
        self._connection.sendall(json.dumps(reply).encode() + b"\n")

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.hang_up()
        self._listening.close()


@pytest.fixture
def pusher(tmp_path: Path) -> Iterator[Pusher]:
    made = Pusher(tmp_path / "control.sock")
    yield made
    made.close()


@pytest.fixture
def terminals() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(pusher: Pusher, *words: str, columns: int = 80, rows: int = 40) -> Terminal:
        argv = ["--socket", str(pusher.path), "status", "--watch", *words]
        made.append(Terminal(argv, columns=columns, rows=rows, TZ="UTC"))
        pusher.accept()
        return made[-1]

    yield start
    for each in made:
        each.close()


def whole(state: Answer) -> Answer:
    """The first line of a subscription."""
    return {**state, "names": list(state["instances"])}


def steady(status: Status) -> Answer:
    state = status()
    for each in state["instances"]["VI_1"]["resources"].values():
        each["observed"] = SINCE
    return state


def promoting(status: Status) -> Answer:
    """A promotion: one step runs, one resource waits, one has failed once, one synchronises."""

    def resource(driver: str, level: str, detail: str = "", **more: Any) -> Answer:
        return {"driver": driver, "level": level, "detail": detail, "since": SINCE, "observed": SINCE, **more}

    times = {"step_since": SINCE, "step_deadline": "2026-11-21T03:25:59+00:00"}
    resyncing = "Secondary, UpToDate; right is Primary, UpToDate, synchronises from right: 41 %"
    state = status(
        phase="promoting",
        reason="keepalived reported MASTER",
        resources={
            "vpn-disk": resource("drbd", "standby", resyncing, step="activate"),
            "vpn": resource("xen", "standby"),
            "web": resource("xen", "failed", "crashed", observed=None),
            "prefix": resource("bird", "active", "failover_metric = 100"),
        },
        why={
            "transition": 118,
            "cause": "keepalived reported MASTER",
            "hold": True,
            "vip_deadline": "2026-11-21T03:17:30+00:00",
            "guards": [{"guard": "vip_missing", "text": "80.67.181.2/32 is not on br-public"}],
            "resources": {
                "vpn-disk": times,
                "vpn": {"waits_for": ["vpn-disk"]},
                "web": {"retry": "time", "retry_at": "2026-11-21T03:19:30+00:00"},
            },
        },
    )
    drifted = status(resources={"old": resource("unit", "standby", "inactive (dead)")})
    state["instances"] = {"VI_2": drifted["instances"]["VI_1"], **state["instances"]}
    state["instances"]["VI_3"] = steady(status)["instances"]["VI_1"]
    return state


@pytest.mark.parametrize("columns", [80, 200])
def test_the_screen(pusher: Pusher, terminals: Any, status: Status, columns: int) -> None:
    terminal = terminals(pusher, columns=columns)
    pusher.push(**whole(promoting(status)))
    terminal.until(lambda: "VI_3" in terminal.screen)
    golden(f"status_watch_{columns}.txt", terminal)
    assert terminal.alternate
    assert not terminal.cursor


@pytest.mark.parametrize("columns", [80, 200])
def test_a_lost_daemon_makes_the_screen_stale_and_a_new_one_current(
    pusher: Pusher, terminals: Any, status: Status, columns: int
) -> None:
    terminal = terminals(pusher, columns=columns)
    pusher.push(**whole(steady(status)))
    terminal.until(lambda: "live" in terminal.screen)
    pusher.hang_up()
    terminal.until(lambda: "STALE since" in terminal.screen)
    golden(f"status_watch_stale_{columns}.txt", terminal)
    pusher.accept()
    assert "STALE since" in terminal.screen, "a connection alone proves nothing"
    pusher.push(**whole(steady(status)) | {"node": "renewed"})
    terminal.until(lambda: "node renewed: healthy live" in terminal.screen and "STALE" not in terminal.screen)


def test_only_what_has_changed_is_sent_and_drawn(pusher: Pusher, terminals: Any, status: Status) -> None:
    state = steady(status)
    terminal = terminals(pusher)
    pusher.push(**whole(state))
    terminal.until(lambda: "healthy" in terminal.screen)
    frames = terminal.written.count("\x1b[H")
    for _ in range(5):
        pusher.push()
    pusher.push(**state | {"instances": {}, "node": "other"})
    terminal.until(lambda: "node other" in terminal.screen)
    assert "VI_1 ACTIVE" in terminal.screen
    assert terminal.written.count("\x1b[H") == frames + 1
    pusher.push(**state | {"instances": {}, "names": []})
    terminal.until(lambda: "no instance is configured" in terminal.screen)


def test_one_instance(pusher: Pusher, terminals: Any, status: Status) -> None:
    terminal = terminals(pusher, "VI_1")
    pusher.push(**whole(steady(status)))
    terminal.until(lambda: "VI_1" in terminal.screen)
    assert pusher.requests == [{"version": 1, "verb": "watch", "instance": "VI_1"}]
    assert terminal.screen.startswith("node left: live; q: quit\n"), "no verdict on the rest"


def test_a_long_state_is_cut_where_the_screen_ends(pusher: Pusher, terminals: Any, status: Status) -> None:
    terminal = terminals(pusher, rows=8)
    pusher.push(**whole(promoting(status)))
    terminal.until(lambda: "more lines: enlarge" in terminal.screen)
    assert len(terminal.screen.splitlines()) == 8
    assert "VI_2" in terminal.screen, "the problem is first"
    terminal.resize(80, 40)
    terminal.until(lambda: "VI_3" in terminal.screen)


def test_nothing_is_shown_before_all_pieces_have_come(pusher: Pusher, terminals: Any, status: Status) -> None:
    state = promoting(status)
    terminal = terminals(pusher)
    first = {"VI_1": state["instances"]["VI_1"]}
    pusher.push(**whole(state) | {"instances": first})
    pusher.push(**state | {"instances": {name: each for name, each in state["instances"].items() if name != "VI_1"}})
    terminal.until(lambda: "VI_3" in terminal.screen)
    assert terminal.written.count("PROMOTING") == 1


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.press("q"), 0),
        (lambda terminal: terminal.press("\x03"), 130),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["q", "ctrl-c", "sigterm", "sighup"],
)
def test_its_end_restores_the_terminal(
    pusher: Pusher, terminals: Any, status: Status, end: Callable[[Terminal], None], code: int
) -> None:
    terminal = terminals(pusher)
    pusher.push(**whole(steady(status)))
    terminal.until(lambda: "healthy" in terminal.screen)
    assert terminal.attributes != terminal.before
    terminal.press("\x1a")  # Ctrl-Z stops nothing
    end(terminal)
    assert terminal.end() == code
    assert (terminal.alternate, terminal.cursor) == (False, True)
    assert terminal.attributes == terminal.before


# ---------------------------------------------------------------- in a pipe


@pytest.fixture
def pipes(pusher: Pusher) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "failoverd.ctl", "--socket", str(pusher.path), "status", "--watch", *words]
        pipe = subprocess.PIPE
        environment = os.environ | {"TZ": "UTC"}
        made.append(
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment)
        )
        pusher.accept()
        return made[-1]

    yield start
    for each in made:
        each.terminate()
        each.communicate(timeout=30)


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().removeprefix("2026-11-21 03:15:0") for _ in range(count)]


def test_a_pipe_gets_a_line_for_each_change(pusher: Pusher, pipes: Any, status: Status) -> None:
    process = pipes()
    state = steady(status)
    pusher.push(**whole(state))
    assert [line[1:] for line in lines(process, 4)] == [
        "   VI_1  phase  active (keepalived reports MASTER)\n",
        "   VI_1  vip 80.67.181.1/32  present\n",
        "   VI_1  resource prefix  active; failover_metric = 100\n",
        "   VI_1  resource web  active; running\n",
    ]
    instance = state["instances"]["VI_1"] | {"alarm": "look\x1b[2J"}
    instance["resources"] = {**instance["resources"], "web": {**instance["resources"]["web"], "level": "failed"}}
    pusher.push(**state | {"instances": {"VI_1": instance}})
    assert [line[1:] for line in lines(process, 3)] == [
        " ! VI_1  phase  active (keepalived reports MASTER)\n",
        " ! VI_1  problems  look\\x1b[2J; web: failed\n",
        " ! VI_1  resource web  failed; running\n",
    ]
    pusher.push(**state)
    assert "   VI_1  problems  is over\n" in [line[1:] for line in lines(process, 3)]
    pusher.hang_up()
    assert " ! STALE since 2026-11-21 03:15:00: failoverd has closed the connection\n" in lines(process, 1)[0]
    pusher.accept()
    pusher.push(**whole(state))
    assert lines(process, 1)[0].endswith("   no longer stale\n")


def test_json_is_one_object_per_line(pusher: Pusher, pipes: Any, status: Status) -> None:
    process = pipes("--json")
    state = steady(status)
    pusher.push(**whole(state))
    first = json.loads(process.stdout.readline())
    assert (first["stale"], first["instances"]) == (None, state["instances"])
    pusher.hang_up()
    assert json.loads(process.stdout.readline())["stale"] == "failoverd has closed the connection"


def test_it_ends_when_nobody_reads_any_more(pusher: Pusher, pipes: Any, status: Status) -> None:
    process = pipes()
    pusher.push(**whole(steady(status)))
    lines(process, 4)
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("reply", "status_code", "said"),
    [
        (
            {"version": 1, "ok": False, "error": 'unknown verb "watch"', "hint": "expected one of: status"},
            1,
            "this failoverd is older: it cannot be watched\n  failoverd and failoverctl may be of different releases",
        ),
        (
            {"version": 1, "ok": False, "error": 'there is no instance "VI_9"', "hint": "expected one of: VI_1"},
            1,
            "VI_9",
        ),
        ({"version": 2, "ok": True, "result": {}}, 1, "protocol version mismatch"),
        ({"version": 1, "ok": True, "result": {"at": "soon"}}, 1, "cannot understand the answer"),
    ],
)
def test_an_answer_that_is_none(pusher: Pusher, pipes: Any, reply: Answer, status_code: int, said: str) -> None:
    process = pipes()
    pusher.say(reply)
    assert process.wait(30) == status_code
    told = process.stderr.read()
    assert said in told
    assert "Traceback" not in told


def test_without_a_daemon_it_is_an_error(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "failoverd.ctl", "--socket", str(tmp_path / "none"), "status", "--watch"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 69
    assert "there is no socket" in done.stderr


def test_all_nodes_cannot_be_watched() -> None:
    argv = [sys.executable, "-m", "failoverd.ctl", "status", "--watch", "--all"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        64,
        "failoverctl status: argument --all: not allowed with argument --watch",
    )


# ---------------------------------------------------------------- silence


def test_silence_is_stale_and_a_beat_ends_it(pusher: Pusher, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("failoverd.ctl.watch.time.monotonic", lambda: now)
    with watch._Source(str(pusher.path), {}) as source:
        pusher.accept()
        pusher.push(**whole(steady(status)))
        assert source.read()
        now += 4.0
        view = source.view
        assert (view.stale, view.now.timestamp()) == ("", client_time(AT) + 4)
        now += 1.5
        view = source.view
        assert view.stale == "failoverd does not answer: it is stopped or stuck"
        assert view.now.timestamp() == client_time(AT), "every age is that of the last line"
        pusher.push()
        assert not source.follow()
        assert source.view.stale == ""


def client_time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def test_what_has_come_while_it_was_stopped_is_stale(
    pusher: Pusher, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("failoverd.ctl.watch.time.monotonic", lambda: now)
    shown: list[str] = []
    ours, theirs = os.pipe()
    signals = SimpleNamespace(descriptor=ours, ending=False)

    class Output:
        def show(self, view: watch.View) -> None:
            nonlocal now
            shown.append(view.stale)
            if len(shown) == 1:
                now += 100.0  # the terminal did not take it
                pusher.push()
            elif view.stale:
                now += 1.0
                pusher.accept()
                pusher.push(**whole(steady(status)))
            signals.ending = len(shown) > 1 and not view.stale

    with watch._Source(str(pusher.path), {}) as source:
        pusher.accept()
        pusher.push(**whole(steady(status)))
        source.read()
        watch._follow(source, signals, Output(), None)  # type: ignore[arg-type]
    assert shown == ["", "failoverctl was stopped", ""]
    os.close(ours)
    os.close(theirs)


def test_a_line_may_come_in_parts(pusher: Pusher, status: Status) -> None:
    subscription = Subscription(str(pusher.path), {})
    pusher.accept()
    line = json.dumps({"version": 1, "ok": True, "result": {"at": AT, **whole(steady(status))}}).encode() + b"\n"
    assert pusher._connection is not None
    for part in (line[:50], line[50:] + line[:10]):
        assert not subscription.picture.complete
        pusher._connection.sendall(part)
        subscription.read()
    assert subscription.picture.complete
    pusher.hang_up()
    with pytest.raises(client.UnreachableError):
        subscription.read()
    subscription.close()
