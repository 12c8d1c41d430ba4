"""DRBD's handlers, run as DRBD runs them, with a failoverd that answers as a test wants."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HOOKS = Path(__file__).parents[3] / "hooks"
NINE = {
    "DRBD_RESOURCE": "web",
    "DRBD_PEER_NODE_ID": "1",
    "DRBD_MY_NODE_ID": "0",
    "DRBD_NODE_ID_0": "left",
    "DRBD_NODE_ID_1": "right.example.net",
}
EIGHT = {"DRBD_RESOURCE": "web", "DRBD_PEERS": "right.example.net", "DRBD_PEER_AF": "ipv4"}
RUNS = {"code": None, "said": "right is being fenced"}


class Answering:
    """A control socket. `replies`: one for each request, as results; a string is sent as it is; None: it hangs up."""

    def __init__(self, runtime: Path) -> None:
        self.replies: list[Any] = []
        self.requests: list[dict[str, Any]] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(runtime / "control.sock"))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                line = stream.readline()
                if not line:
                    continue
                self.requests.append(json.loads(line))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if isinstance(reply, dict):
                    reply = json.dumps({"version": 1, "ok": True, "result": reply}, separators=(",", ":"))
                if reply is not None:
                    stream.write(f"{reply}\n".encode())

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def failoverd(tmp_path: Path) -> Iterator[Answering]:
    made = Answering(tmp_path)
    yield made
    made.close()


def run(
    runtime: Path, environment: dict[str, str] = NINE, verb: str = "fence-peer", hook: Path | None = None
) -> tuple[int, str]:
    """The exit status, and what was said."""
    argv: list[str | Path] = [hook or HOOKS / verb, "--runtime-dir", str(runtime)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("hook", ["fence-peer", "unfence-peer"])
def test_it_compiles_and_loads_no_module(hook: str) -> None:
    subprocess.run(["/usr/bin/perl", "-Tc", HOOKS / hook], check=True, capture_output=True, timeout=30)
    text = (HOOKS / hook).read_text(encoding="utf-8")
    assert not re.search(r"^\s*(use|require)\b|\bsystem\b|\bexec\b|`", text, re.MULTILINE)


@pytest.mark.parametrize("code", [7, 4, 1])
@pytest.mark.parametrize("environment", [NINE, EIGHT], ids=["9", "8.4"])
def test_the_answer_is_the_exit_status(
    failoverd: Answering, tmp_path: Path, environment: dict[str, str], code: int
) -> None:
    failoverd.replies = [{"code": code, "said": "because"}]
    status, said = run(tmp_path, environment)
    assert (status, said) == (
        code,
        f"failoverd's handler: web, right.example.net: because; exit status {code}\n",
    )
    (request,) = failoverd.requests
    assert re.fullmatch(r"\d+-\d+", request.pop("id"))
    assert request == {"version": 1, "verb": "fence-peer", "resource": "web", "peer": "right.example.net"}


def test_it_asks_until_there_is_an_answer(failoverd: Answering, tmp_path: Path) -> None:
    failoverd.replies = [RUNS, None, RUNS, {"code": 7, "said": "off"}]  # failoverd is restarted meanwhile
    assert run(tmp_path)[0] == 7
    assert len({request["id"] for request in failoverd.requests}) == 1
    assert len(failoverd.requests) == 4


def test_unfence_peer_has_the_same_environment(failoverd: Answering, tmp_path: Path) -> None:
    failoverd.replies = [{"code": 0, "said": "right does not count as off any more"}]
    assert run(tmp_path, verb="unfence-peer")[0] == 0
    assert failoverd.requests[0]["verb"] == "unfence-peer"


@pytest.mark.parametrize(
    "reply",
    [
        '{"version":1,"ok":false,"error":"right is no node of [heartbeat]","hint":""}',
        '{"version":2,"ok":true,"result":{"code":7,"said":"x"}}',
        'garbage with "code":7}',
        "",
    ],
)
def test_what_is_no_answer_proves_nothing(failoverd: Answering, tmp_path: Path, reply: str) -> None:
    failoverd.replies = [reply]
    assert run(tmp_path)[0] == 1


@pytest.mark.parametrize("code", [0, 2, 3, 5, 6, 71, "7"])
def test_no_other_status_is_ever_passed_on(failoverd: Answering, tmp_path: Path, code: Any) -> None:
    failoverd.replies = [{"code": code, "said": "x"}, '{"version":1,"ok":false,"error":"enough","hint":""}']
    assert run(tmp_path)[0] == 1


def changed(name: str, value: str | None) -> dict[str, str]:
    return {key: each for key, each in {**NINE, name: value}.items() if each is not None}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        changed("DRBD_RESOURCE", None),
        changed("DRBD_RESOURCE", 'web","verb":"status'),
        changed("DRBD_NODE_ID_1", None),
        changed("DRBD_NODE_ID_1", "right\nleft"),
        {**EIGHT, "DRBD_PEERS": "right center"},
    ],
)
def test_without_a_resource_and_one_peer_nothing_is_asked(
    failoverd: Answering, tmp_path: Path, environment: dict[str, str]
) -> None:
    failoverd.replies = [{"code": 7, "said": "x"}]
    assert run(tmp_path, environment)[0] == 1
    assert failoverd.requests == []


def impatient(folder: Path, seconds: float, pause: float = 0.5) -> Path:
    """The handler, with this patience, and so many seconds between two questions."""
    text = (HOOKS / "fence-peer").read_text(encoding="utf-8")
    changed = text.replace("$PATIENCE_SECONDS = 90;", f"$PATIENCE_SECONDS = {seconds};")
    changed = changed.replace("$PAUSE_SECONDS = 0.5;", f"$PAUSE_SECONDS = {pause};")
    made = folder / "fence-peer"
    made.write_text(changed, encoding="utf-8")
    made.chmod(0o755)
    return made


def test_without_failoverd_it_is_1(tmp_path: Path) -> None:
    status, said = run(tmp_path, hook=impatient(tmp_path, 1))
    assert status == 1
    assert "failoverd does not run, or does not answer (No such file or directory); exit status 1" in said


def test_a_failoverd_that_hangs_costs_no_longer_than_its_patience(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "control.sock"))
        listening.listen()
        status, said = run(tmp_path, hook=impatient(tmp_path, 1))
    assert (status, "failoverd does not answer; exit status 1" in said) == (1, True)


def test_it_outwaits_a_failoverd_that_restarts(failoverd: Answering, tmp_path: Path) -> None:
    failoverd.replies = [RUNS, *[None] * 40, RUNS, {"code": 7, "said": "off"}]
    assert run(tmp_path, hook=impatient(tmp_path, 90, pause=0.01))[0] == 7
    assert len(failoverd.requests) == 43


def test_it_waits_for_as_long_as_failoverd_answers(failoverd: Answering, tmp_path: Path) -> None:
    failoverd.replies = [*[RUNS] * 3, {"code": 7, "said": "off"}]
    assert run(tmp_path, hook=impatient(tmp_path, 8, pause=3.0))[0] == 7
