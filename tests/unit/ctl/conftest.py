"""A daemon for failoverctl to talk to: it says what it was told to, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class FakeDaemon:
    """Answers every connection's first line with `raw`; None: it hangs up without a word."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.raw: bytes | None = b""
        self.asked: list[dict[str, Any]] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen(8)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answers(self, result: Any) -> None:
        self.says({"version": 1, "ok": True, "result": result})

    def says(self, reply: Any) -> None:
        self.raw = json.dumps(reply).encode() + b"\n"

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self.asked.append(json.loads(lines.readline()))
                if self.raw is not None:
                    connection.sendall(self.raw)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    made = FakeDaemon(tmp_path / "control.sock")
    yield made
    made.close()


@pytest.fixture
def status() -> Callable[..., dict[str, Any]]:
    """The daemon's answer to `status`, with one instance changed as told."""

    def made(**changed: Any) -> dict[str, Any]:
        since = "2026-11-21T03:12:00+00:00"
        instance = {
            "vrrp_state": "MASTER",
            "target": "active",
            "phase": "active",
            "since": since,
            "reason": "",
            "vips": [{"address": "80.67.181.1/32", "interface": "br-public", "present": True}],
            "resources": {
                "prefix": {"driver": "bird", "level": "active", "detail": "failover_metric = 100", "since": since},
                "web": {"driver": "xen", "level": "active", "detail": "running", "since": since},
            },
        }
        return {
            "version": "0.1.0",
            "node": "left",
            "events": {"accepted": 41, "duplicate": 3, "stale": 0, "rejected": 1},
            "instances": {"VI_1": instance | changed},
        }

    return made


@pytest.fixture
def transition() -> dict[str, Any]:
    return {
        "id": 118,
        "instance": "VI_1",
        "target": "active",
        "cause": "MASTER by fifo",
        "started": "2026-11-21T03:11:57.100+00:00",
        "ended": "2026-11-21T03:12:00.430+00:00",
        "outcome": "failed",
        "reason": "web did not start",
        "steps": [
            {
                "resource": "prefix",
                "verb": "activate",
                "started": "2026-11-21T03:11:57.102+00:00",
                "ended": "2026-11-21T03:11:57.345+00:00",
                "outcome": "done",
                "command": "birdc configure check\nbirdc configure confirm",
                "detail": "failover_metric = 100",
            },
            {
                "resource": "web",
                "verb": "activate",
                "started": "2026-11-21T03:11:57.345+00:00",
                "ended": None,
                "outcome": None,
                "command": "",
                "detail": "",
            },
        ],
    }


@pytest.fixture
def plan() -> dict[str, Any]:
    step = {"verb": "activate", "already": False}
    return {
        "instance": "VI_1",
        "target": "active",
        "worst_case": 120.0,
        "worst_chain": ["vpn-disk", "vpn"],
        "expected": {"median": 9.3, "p95": 14.0, "samples": 12, "chain": ["vpn-disk", "vpn"]},
        "budget": None,
        "history": {"trouble": None},
        "steps": [
            {
                **step,
                "wave": 1,
                "resource": "vpn-disk",
                "driver": "drbd",
                "needs": [],
                "commands": ["drbdadm primary vpn"],
                "worst_case": 30.0,
                "expected": {"median": 0.3, "p95": 1.0, "samples": 38},
            },
            {
                **step,
                "wave": 2,
                "resource": "vpn",
                "driver": "xen",
                "needs": ["vpn-disk"],
                "commands": ["xl create /etc/xen/vpn.cfg", "xl list vpn"],
                "worst_case": 90.0,
                "expected": {"median": 9.0, "p95": 13.0, "samples": 12},
            },
            {
                **step,
                "already": True,
                "wave": 2,
                "resource": "prefix",
                "driver": "bird",
                "needs": [],
                "commands": ["birdc configure"],
                "worst_case": 30.0,
                "expected": {"median": 0.02, "p95": 0.05, "samples": 40},
            },
        ],
    }
