"""A burst of events in keepalived's FIFO."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from .daemon import PATIENCE, Daemon
from .row import Row

_EVENTS = 10_000
_STATES = ("BACKUP", "FAULT", "MASTER")

_LOOP = """
while read -r type name state priority; do
    case $state in END) exit ;; MASTER) wanted=active ;; *) wanted=standby ;; esac
done <"$0"
"""


def measure() -> list[Row]:
    """Ten thousand events as fast as they can be written; the last says MASTER."""
    lines = [f'INSTANCE "VI_1" {_STATES[number % 3]} 150\n'.encode() for number in range(_EVENTS - 1)]
    lines.append(b'INSTANCE "VI_1" MASTER 150\n')
    with Daemon() as daemon:
        daemon.instance()
        daemon.sleeper("thing", 0)
        daemon.start()
        daemon.say("BACKUP")
        daemon.await_phase("standby")
        before = sum(daemon.status()["events"].values())
        spent = daemon.cpu()
        fifo = os.open(daemon.run_dir / "keepalived.fifo", os.O_WRONLY | os.O_NONBLOCK)
        started = time.monotonic()
        dropped = _write(fifo, lines)
        written = time.monotonic() - started
        os.close(fifo)
        daemon.await_phase("active")
        took = time.monotonic() - started
        spent = daemon.cpu() - spent
        lost = _EVENTS - dropped - (sum(daemon.status()["events"].values()) - before)
        shell = _shell(daemon.things / "fifo", lines)
        right = daemon.instance_status()["phase"] == "active" and (daemon.things / "thing").exists()
    return [
        Row(
            what=f"{_EVENTS} FIFO events in one burst ({written * 1e3:.0f} ms to write)",
            ours=f"{lost} lost, {dropped} refused by the pipe, the final state is {'right' if right else 'WRONG'}\n"
            f"settled after {took * 1e3:.0f} ms; {spent / _EVENTS * 1e6:.0f} us of CPU an event",
            theirs=f"sh: while read, case {shell / _EVENTS * 1e6:.0f} us an event",
            target="none lost, the final state right",
            met=lost == 0 and dropped == 0 and right,
        )
    ]


def _write(fifo: int, lines: list[bytes]) -> int:
    """Write as keepalived does, a line a write and never twice; how many the pipe would not take."""
    dropped = 0
    for line in lines:
        try:
            os.write(fifo, line)
        except BlockingIOError:
            dropped += 1
    return dropped


def _shell(path: Path, lines: list[bytes]) -> float:
    """Seconds that a shell takes to read as much."""
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR)
    reader = subprocess.Popen(["/bin/sh", "-c", _LOOP, str(path)])
    started = time.monotonic()
    try:
        for line in lines:
            os.write(fifo, line)
        os.write(fifo, b"X X END 0\n")
        reader.wait(PATIENCE)
    finally:
        reader.kill()
        reader.wait()
        os.close(fifo)
    return time.monotonic() - started
