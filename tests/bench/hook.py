"""The hook: from its start until its line has been read, and until it has ended.

The listener is this program, which reads and acknowledges as failoverd does, so that only the hook is measured.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.unit.daemon.running_daemon import HOOK

from .row import Row, median, spread

_ROUNDS = 250
_WARM_UP = 20
_LINE = ("INSTANCE", "VI_1", "MASTER", "150")

_Receive = Callable[[], int]


def measure() -> list[Row]:
    """Measure the hook, an empty shell, and a shell that writes a line into a FIFO, in turns."""
    with tempfile.TemporaryDirectory(prefix="failoverd-bench-") as directory:
        return _measure(Path(directory))


def _measure(directory: Path) -> list[Row]:
    pipe = directory / "fifo"
    os.mkfifo(pipe)
    fifo = os.open(pipe, os.O_RDWR)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "notify.sock"))
    listener.listen()
    printf = ["/bin/sh", "-c", 'printf "%s\\n" "$*" >"$0"', str(pipe), *_LINE]
    contestants: dict[str, tuple[list[str], _Receive]] = {
        "nothing": (["/bin/sh", "-c", ":"], time.monotonic_ns),
        "printf": (printf, lambda: _read(fifo)),
        "hook": ([str(HOOK), "--runtime-dir", str(directory), *_LINE], lambda: _accept(listener)),
    }
    receipt: dict[str, list[float]] = {name: [] for name in contestants}
    ended: dict[str, list[float]] = {name: [] for name in contestants}
    bare = []
    for number in range(_WARM_UP + _ROUNDS):
        for name, (argv, receive) in contestants.items():
            started = time.monotonic_ns()
            pid = os.posix_spawn(argv[0], argv, os.environ)
            received = receive()
            os.waitpid(pid, 0)
            if number >= _WARM_UP:
                receipt[name].append((received - started) / 1e6)
                ended[name].append((time.monotonic_ns() - started) / 1e6)
        started = time.monotonic_ns()
        os.write(fifo, b'INSTANCE "VI_1" MASTER 150\n')
        bare.append((_read(fifo) - started) / 1e6)
    os.close(fifo)
    listener.close()
    shell, handing = median(ended["nothing"]), median(bare)
    whole = 2 * (shell + median(receipt["printf"]))
    strict = 2 * (shell + handing)
    ours = median(receipt["hook"])
    return [
        Row(
            what="hook, exec to receipt; twice (an empty shell + a shell's printf into a FIFO)",
            ours=spread(receipt["hook"]),
            theirs=f"sh -c : to its end {shell:.2f} ms\nsh printf into a FIFO, exec to receipt "
            f"{spread(receipt['printf'])}",
            target=f"2 x ({shell:.2f} + {median(receipt['printf']):.2f}) = {whole:.2f} ms",
            met=ours <= whole,
        ),
        Row(
            what="the same, more strictly; twice (an empty shell + one bare write and read)",
            ours=f"{ours:.2f} ms",
            theirs=f"sh -c : to its end {shell:.2f} ms; write and read {handing:.3f} ms",
            target=f"2 x ({shell:.2f} + {handing:.2f}) = {strict:.2f} ms",
            met=ours <= strict,
        ),
        Row(
            what="hook, exec to exit",
            ours=spread(ended["hook"]),
            theirs=f"sh -c : {spread(ended['nothing'])}\nsh printf into a FIFO {spread(ended['printf'])}",
        ),
    ]


def _read(fifo: int) -> int:
    os.read(fifo, 4096)
    return time.monotonic_ns()


def _accept(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        at = time.monotonic_ns()
        connection.send(b"ok\n")
    return at
