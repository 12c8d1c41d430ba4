"""The examples of alert commands, each with a server or a sendmail that takes nothing but what is expected."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from failoverd.alarms import Severity
from failoverd.core.effects import Alarm, AlarmKind
from failoverd.daemon.alerts import facts
from tests.unit.examples.sandbox import EXAMPLES

ALERT = EXAMPLES / "alert"
FAILED = facts.of_alarm(Alarm(instance="VI_1", kind=AlarmKind.FAILED, text="web: exit 1, ü"), 7, 1764230400.0)
OVER = FAILED.over(8, 1764230460.0)
TEST = facts.of_test("alice", 9, 1764230400.0)
ALERTS = {"failed": FAILED, "over": OVER, "test": TEST}
TOKEN = "syt_token"  # noqa: S105


class Request(NamedTuple):
    method: str
    path: str
    token: str | None
    body: dict[str, Any]


class Server:
    """Answers requests of one method and path with `status`, and every other with 500."""

    def __init__(self) -> None:
        self.expected = ("", "")
        self.status = 200
        self.requests: list[Request] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                expected = (self.command, self.path) == scripted.expected
                scripted.requests.append(Request(self.command, self.path, self.headers["Authorization"], body))
                self.send_response(scripted.status if expected else 500)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            do_POST = do_PUT = do_GET = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    for name in ("ntfy-token", "matrix-token"):
        (tmp_path / name).write_text(f"{TOKEN}\n")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path)}


def run(
    name: str, *words: str, alert: facts.Alert = FAILED, left_out: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return subprocess.run(
        [str(ALERT / name), *words], input=alert.line("left", left_out).decode(), capture_output=True, text=True,
        timeout=60, check=False, env={**clean, "LC_ALL": "C", **(environment or {})},
    )  # fmt: skip


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_ntfy(server: Server, credentials: dict[str, str], alert: facts.Alert) -> None:
    server.expected = ("POST", "/")
    done = run("ntfy.py", f"{server.url}/failover", alert=alert, left_out=3, environment=credentials)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [request] = server.requests
    assert request.token == f"Bearer {TOKEN}"
    assert request.body["topic"] == "failover"
    assert request.body["priority"] == (4 if alert is FAILED else 2)
    assert request.body["title"] == ("left: " if alert is TEST else "VI_1 on left: ") + alert.title
    assert alert.text in request.body["message"]
    assert ("failoverctl reset VI_1" in request.body["message"]) == (alert is FAILED)
    assert "3 alerts before this one were left out" in request.body["message"]


def test_ntfy_without_a_token(server: Server) -> None:
    server.expected = ("POST", "/")
    assert run("ntfy.py", f"{server.url}/failover").returncode == 0
    assert server.requests[0].token is None


@pytest.mark.parametrize("severity", Severity)
def test_ntfy_has_a_priority_for_each_severity(server: Server, severity: Severity) -> None:
    server.expected = ("POST", "/")
    alert = facts.Alert(**{**{key: getattr(FAILED, key) for key in FAILED.__slots__}, "severity": severity})
    assert run("ntfy.py", f"{server.url}/failover", alert=alert).returncode == 0


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_matrix(server: Server, credentials: dict[str, str], alert: facts.Alert) -> None:
    room = "/_matrix/client/v3/rooms/%21room%3Aexample.net/send/m.room.message"
    server.expected = ("PUT", f"{room}/failoverd-left-{alert.id}")
    done = run("matrix.py", f"{server.url}/", "!room:example.net", alert=alert, environment=credentials)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [request] = server.requests
    assert request.token == f"Bearer {TOKEN}"
    assert request.body["msgtype"] == "m.text"
    assert alert.title in request.body["body"]
    assert (alert.text in request.body["body"]) == (alert is FAILED)


@pytest.mark.parametrize("status", [301, 401, 404, 429, 503])
@pytest.mark.parametrize("name", ["ntfy.py", "matrix.py"])
def test_an_error_of_the_server_is_one_line(
    server: Server, credentials: dict[str, str], name: str, status: int
) -> None:
    server.expected = {
        "ntfy.py": ("POST", "/"),
        "matrix.py": ("PUT", "/_matrix/client/v3/rooms/x/send/m.room.message/failoverd-left-7"),
    }[name]
    server.status = status
    words = {"ntfy.py": [f"{server.url}/x"], "matrix.py": [server.url, "x"]}[name]
    done = run(name, *words, environment=credentials)
    assert done.returncode == 1
    assert re.fullmatch(rf"{name}: HTTP Error {status}: .*\n", done.stderr)


@pytest.mark.parametrize(("name", "words"), [("ntfy.py", ["URL/x"]), ("matrix.py", ["URL", "x"])])
def test_a_server_that_is_not_there_is_one_line(
    server: Server, credentials: dict[str, str], name: str, words: list[str]
) -> None:
    server.close()
    done = run(name, *(word.replace("URL", server.url) for word in words), environment=credentials)
    assert done.returncode == 1
    assert re.fullmatch(rf"{name}: .*Connection refused.*\n", done.stderr)


def test_matrix_names_the_token_that_is_missing(tmp_path: Path, server: Server) -> None:
    done = run("matrix.py", server.url, "x", environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert done.returncode == 1
    assert f"{tmp_path}/matrix-token" in done.stderr
    assert server.requests == []


@pytest.mark.parametrize("name", ["mail.py", "ntfy.py", "matrix.py"])
def test_without_arguments_the_usage_is_shown(name: str) -> None:
    done = run(name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"usage: {name} ")


SENDMAIL = """#!/bin/sh
[ "$*" = "-i -t" ] || { echo "not scripted: $*" >&2; exit 64; }
cat >"$0.got"
exit ${STATUS:-0}
"""


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_mail(tmp_path: Path, alert: facts.Alert) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(SENDMAIL)
    sendmail.chmod(0o755)
    done = run(
        "mail.py", "a@example.net", "b@example.net", alert=alert, left_out=3, environment={"SENDMAIL": str(sendmail)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    mail = email.message_from_bytes((tmp_path / "sendmail.got").read_bytes(), policy=email.policy.default)
    assert mail["To"] == "a@example.net, b@example.net"
    about = {"failed": "[error] VI_1 on left", "over": "[over] VI_1 on left", "test": "[over] left"}
    assert mail["Subject"] == f"{next(about[k] for k, v in ALERTS.items() if v is alert)}: {alert.title}"
    assert mail["Message-ID"] == f"<{alert.id}.failoverd@left>"
    body = mail.get_content()
    for line in (alert.text, *alert.remedy, "3 alerts before this one were left out"):
        assert line in body


def test_mail_fails_as_sendmail_does(tmp_path: Path) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(SENDMAIL)
    sendmail.chmod(0o755)
    assert run("mail.py", "a@example.net", environment={"SENDMAIL": str(sendmail), "STATUS": "75"}).returncode == 75


def test_the_text_has_a_line_of_configuration_for_each() -> None:
    lines = re.findall(r"`(command = \[.*?\])`", (ALERT / "README.md").read_text(encoding="utf-8"))
    programs = [Path(tomllib.loads(line)["command"][0]).name for line in lines]
    assert sorted(programs) == sorted(file.name for file in ALERT.glob("*.py"))
