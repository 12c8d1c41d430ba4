"""What is told to systemd, and what it passes: a socket of ours stands in for it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.daemon.watchdog import Watchdog
from failoverd.ports import sd_notify
from tests.unit.daemon.running_daemon import ROOT


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listening


def told(manager: socket.socket) -> set[str]:
    return set(manager.recv(4096).decode().split("\n"))


def test_what_is_told(manager: socket.socket) -> None:
    sd_notify.tell(ready=True, status="VI_1: active")
    assert told(manager) == {"READY=1", "STATUS=VI_1: active"}
    sd_notify.tell(stopping=30.0, alive=True)
    assert told(manager) == {"STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000", "WATCHDOG=1"}


def test_a_manager_that_does_not_read_stops_nobody(manager: socket.socket) -> None:
    def tell() -> None:
        for number in range(1000):
            sd_notify.tell(status=f"{number}")

    telling = threading.Thread(target=tell)
    telling.start()
    telling.join(30)
    assert not telling.is_alive()
    while "STATUS=999" not in told(manager):
        pass  # the last word is heard, whatever was passed over


def test_an_abstract_socket_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"failoverd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        sd_notify.tell(ready=True)
        assert told(listening) == {"READY=1"}


@pytest.mark.parametrize(
    ("pid", "microseconds", "seconds"),
    [
        (None, "30000000", 30.0),
        ("own", "500000", 0.5),
        ("1", "30000000", None),  # for another process
        (None, None, None),
        (None, "soon", None),
        (None, "0", None),
    ],
)
def test_whether_there_is_a_watchdog(
    monkeypatch: pytest.MonkeyPatch, pid: str | None, microseconds: str | None, seconds: float | None
) -> None:
    for name, value in (("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid), ("WATCHDOG_USEC", microseconds)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert sd_notify.watchdog() == seconds


async def test_the_loop_feeds_the_watchdog_and_looks(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    looks: list[None] = []
    pulse = Watchdog(lambda: looks.append(None))
    for _ in range(3):
        assert await asyncio.to_thread(told, manager) == {"WATCHDOG=1"}
    assert looks
    pulse.stopping()
    while (heard := await asyncio.to_thread(told, manager)) == {"WATCHDOG=1"}:
        pass  # it was on its way
    assert heard == {"WATCHDOG=1", "STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000"}
    seen = len(looks)
    assert await asyncio.to_thread(told, manager) == heard, "it goes on, so that systemd waits"
    assert len(looks) == seen, "nothing new is looked for"
    pulse.close()


PASSED = """
import os
from failoverd.ports import sd_notify
passed = sd_notify.passed()
print(sorted((name, s.getblocking()) for name, s in passed.sockets.items()), passed.fifo)
"""


def test_passed_sockets_are_told_apart_by_their_files(tmp_path: Path) -> None:
    fifo = tmp_path / "keepalived.fifo"
    os.mkfifo(fifo)
    listening = []
    for name in ("notify.sock", "control.sock"):
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(tmp_path / name))
        made.listen()
        listening.append(made)
    script = (
        f'export LISTEN_PID=$$; exec "{sys.executable}" -c "$0"'
        f" 3<&{listening[0].fileno()} 4<&{listening[1].fileno()} 5<>{fifo}"
    )
    ended = subprocess.run(
        ["bash", "-c", script, PASSED],
        env={**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": ":".join(["failoverd.socket"] * 3)},
        pass_fds=[made.fileno() for made in listening],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stdout == "[('control.sock', False), ('notify.sock', False)] 5\n", ended.stderr
    for made in listening:
        made.close()


def test_a_host_that_is_renamed_has_its_new_name_for_the_service_too() -> None:
    """ProtectHostname= is a UTS namespace, in which the name stays as it was at the start."""
    unit = (ROOT / "systemd" / "failoverd.service").read_text()
    assert "\nProtectHostname=" not in unit
