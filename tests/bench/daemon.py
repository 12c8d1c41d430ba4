"""A failoverd to measure: in a network of its own, and heard where systemd would hear it.

It tells its status to us as it would to systemd (sd_notify(3)), so that nothing has to ask it, which would be
measured as well.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.unit.daemon.running_daemon import ROOT, RunningDaemon

#: Seconds until something that does not come means that nothing can be measured.
PATIENCE = 30.0

_SH = "/bin/sh"
#: A keepalived, and its child that hands each line over which it reads, and says when, and what the answer was.
_HOOK = """
import os, socket, sys, time
if os.fork():
    os.wait()
    os._exit(0)
for line in sys.stdin:
    at = time.monotonic_ns()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        connection.sendall(line.encode())
        print(at, connection.recv(16).decode().strip(), flush=True)
"""
_TICKS = os.sysconf("SC_CLK_TCK")


class Daemon(RunningDaemon):
    """Use as a context manager, in which it is configured, then started; it leaves nothing behind."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="failoverd-bench-"))
        super().__init__(self._directory)
        self.run_dir = Path(tempfile.mkdtemp(prefix="failoverd-bench-", dir="/dev/shm"))  # a tmpfs, as /run is
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(self._directory / "notify"))
        self._keepalived = -1
        self._hook: subprocess.Popen[str] | None = None
        self._pid = 0
        self.seconds_to_ready = 0.0

    def exec(self, name: str, activate: Sequence[str], deactivate: Sequence[str], *needs: str) -> None:
        """A resource that is there when its file is; the commands have to see to that."""
        look = [_SH, "-c", f"test -e {self.things / name} || exit 3"]
        lines = [f"[instance.VI_1.resource.{name}]", 'driver = "exec"', f"needs = {json.dumps(needs)}"]
        for key, argv in (("activate", activate), ("deactivate", deactivate), ("observe", look)):
            lines.append(f"{key} = {json.dumps([str(word) for word in argv])}")
        self.tables.append("\n".join(lines) + "\n")

    def sleeper(self, name: str, seconds: float, *needs: str) -> tuple[list[str], list[str]]:
        """A resource that takes `seconds` to start and to stop; its two commands."""
        thing = self.things / name
        activate = [_SH, "-c", f"sleep {seconds:g}; >{thing}"]
        deactivate = [_SH, "-c", f"sleep {seconds:g}; rm {thing}"]
        self.exec(name, activate, deactivate, *needs)
        return activate, deactivate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self._write()
        environment = {**os.environ, "NOTIFY_SOCKET": str(self._directory / "notify")}
        with self.log.open("ab") as log:
            started = time.monotonic_ns()
            self.process = subprocess.Popen(
                ["unshare", "--net", *self.words()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
            )
        self.seconds_to_ready = (self.await_word("READY=1") - started) / 1e9
        self._keepalived = os.open(self.run_dir / "keepalived.fifo", os.O_WRONLY | os.O_NONBLOCK)

    def await_word(self, word: str) -> int:
        """Wait until it tells systemd `word`; when that was, in nanoseconds."""
        assert self.process is not None
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and self.process.poll() is None:
            if select.select([self._manager], [], [], 1.0)[0]:
                at = time.monotonic_ns()
                if word in self._manager.recv(65536).decode().splitlines():
                    return at
        raise RuntimeError(f"failoverd did not say {word} within {PATIENCE:g} s; it logged:\n{self._last_words()}")

    def await_phase(self, phase: str) -> int:
        """Wait until the instance is in `phase`; when that was, in nanoseconds."""
        return self.await_word(f"STATUS=VI_1: {phase}")

    def say(self, state: str, instance: str = "VI_1") -> int:
        """Write one event as keepalived does; when that was, in nanoseconds."""
        line = f'INSTANCE "{instance}" {state} 150\n'.encode()
        at = time.monotonic_ns()
        os.write(self._keepalived, line)
        return at

    def add_addresses(self, addresses: Sequence[str]) -> None:
        """Add them to lo where it runs, one after another, as keepalived does."""
        batch = "".join(f"addr add {address} dev lo\n" for address in addresses)
        command = ["nsenter", f"--net={self.proc / 'ns' / 'net'}", "ip", "-batch", "-"]
        subprocess.run(command, input=batch, text=True, check=True)

    def hand_over(self, state: str) -> Callable[[], int]:
        """Hand one event over as keepalived's hook does, but without the hook.

        What it returns says when that was, in nanoseconds; it waits for the acknowledgement.
        """
        if self._hook is None:
            keepalived = shutil.copy(os.path.realpath(sys.executable), self.things / "keepalived")
            self._hook = subprocess.Popen(
                [keepalived, "-c", _HOOK, str(self.run_dir / "notify.sock")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        self._pid += 1
        ticks = time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICKS // 1_000_000_000
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        hook = self._hook
        assert hook.stdin is not None
        hook.stdin.write(f"1\t{boot}\t{ticks}\t{self._pid}\tINSTANCE\tVI_1\t{state}\t150\n")

        def said() -> int:
            assert hook.stdout is not None
            at, answer = hook.stdout.readline().split()
            if answer != "ok":
                raise RuntimeError("failoverd did not acknowledge an event")
            return int(at)

        return said

    @property
    def proc(self) -> Path:
        """Its directory in /proc."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}")

    def cpu(self) -> float:
        """Seconds of CPU that it has used, its children's not counted (proc(5))."""
        fields = (self.proc / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def wake_ups(self) -> int:
        """How often a thread of it has gone to sleep since its start, which is how often it was woken up."""
        found = []
        for task in self.proc.glob("task/*/status"):
            with suppress(ProcessLookupError, FileNotFoundError):  # a thread that has just ended
                found.append(task.read_text(encoding="utf-8"))
        return sum(
            int(count)
            for text in found
            for count in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)
        )

    def await_calm(self, seconds: float) -> None:
        """Wait until no thread of it has been woken up for so long."""
        give_up = time.monotonic() + PATIENCE
        before, since = self.wake_ups(), time.monotonic()
        while time.monotonic() < since + seconds:
            if time.monotonic() > give_up:
                raise RuntimeError(f"failoverd does not come to rest within {PATIENCE:g} s")
            select.select([], [], [], seconds / 4)
            now = self.wake_ups()
            if now != before:
                before, since = now, time.monotonic()

    def close(self) -> None:
        """End it, and remove all that it had."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self._hook is not None:
            self._hook.communicate()
            self._hook = None
        if self._keepalived >= 0:
            os.close(self._keepalived)
            self._keepalived = -1
        self._manager.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def _last_words(self) -> str:
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-10:])
