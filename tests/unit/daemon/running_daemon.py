"""A real daemon in a directory of its own, with resources that are files, seen from the outside only."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from failoverd.ctl.client import CtlError, ask
from failoverd.records import spare

ROOT = Path(__file__).parents[3]
HOOK = ROOT / "hooks" / "notify"

#: Seconds until a condition that does not come is an error.
PATIENCE = 60.0

#: Seconds for a daemon that no test needs any more to end by itself.
GRACE = 1.0


def wait_for(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first true value of `condition`, within `patience` seconds."""
    give_up = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {patience:g} s in vain: {what}; last seen: {value!r}")
        select.select([], [], [], 0.01)


class RunningDaemon:
    """failoverd on one node. `things` is where its resources are: a file that exists is an active resource.

    Every step appends a line when it begins and when it ends to ``things/journal``, so that overlaps show.
    """

    def __init__(self, directory: Path) -> None:
        self.run_dir = directory / "run"
        self.state_dir = directory / "state"
        self.things = directory / "things"
        self.config = directory / "failoverd.toml"
        self.log = directory / "log"
        self.things.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.tables: list[str] = []
        #: What systemd hands over.
        self.listening: list[socket.socket | IO[bytes]] = []
        self.environment: dict[str, str] = {}
        #: Python that it runs before anything else.
        self.prelude = ""
        #: Seconds since the boot, as the daemon is to see it when it starts; None: as it is.
        self.uptime: float | None = None

    def instance(self, name: str = "VI_1", body: str = "") -> None:
        self.tables.append(f'[instance."{name}"]\n{body}\n')
        self._write()

    def resource(
        self,
        name: str,
        *needs: str,
        takes: str = "0",
        body: str = "",
        instance: str = "VI_1",
        activate: Sequence[str] = (),
    ) -> None:
        """A file that is made and removed in `takes` seconds (a word for sleep(1)), or by another `activate`."""
        thing, journal = self.things / name, self.things / "journal"
        step = f'echo "+ $0 {name}" >>{journal}; sleep {takes}; $1 {thing}; echo "- $0 {name}" >>{journal}'
        lines = [
            f'[instance."{instance}".resource.{name}]',
            'driver = "exec"',
            f"activate = {json.dumps(list(activate) or ['sh', '-c', step, 'activate', 'touch'])}",
            f"deactivate = {json.dumps(['sh', '-c', step, 'deactivate', 'rm -f'])}",
            f"observe = {json.dumps(['sh', '-c', f'test -e {thing} || exit 3'])}",
            f"needs = {json.dumps(list(needs))}",
            body,
        ]
        self.tables.append("\n".join(lines) + "\n")
        self._write()

    def _write(self) -> None:
        self.config.write_text("\n".join(self.tables))

    def words(self) -> list[str]:
        """The command that starts it."""
        start = f"{self.prelude}; import runpy; runpy.run_module('failoverd', run_name='__main__', alter_sys=True)"
        words = [sys.executable, *(["-c", start] if self.prelude else ["-m", "failoverd"])]
        words += ["--node", "left", "--log-format", "json"]
        words += ["--config", str(self.config), "--runtime-dir", str(self.run_dir)]
        words += ["--state-dir", str(self.state_dir)]
        if self.uptime is None:
            return words
        offset = int(self.uptime - time.clock_gettime(time.CLOCK_BOOTTIME))
        return ["unshare", "--time", f"--boottime={offset}", *words]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        numbers = [made.fileno() for made in self.listening]
        redirections = " ".join(f"{target}<&{number}" for target, number in enumerate(numbers, start=3))
        passing = ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS={len(numbers)}; exec "$0" "$@" {redirections}']
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*(passing if numbers else ()), *self.words()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", pass_fds=numbers,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        wait_for("failoverd answers", self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"failoverd ended: {self.log.read_text()}"
        try:
            self.status()
        except CtlError:
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None
        with suppress(OSError):  # one that is killed leaves it; what is in it is for the next one
            spare(self.run_dir).rmdir()

    def end(self) -> None:
        """At the end of a test: SIGTERM, because a killed process writes no coverage data; SIGKILL after `GRACE`."""
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):  # it may be stopped, or await a step
                self.process.wait(GRACE)
        self.stop(signal.SIGKILL)

    def look_often(self) -> None:
        """From its next start on it looks around every tenth of a second, and not every ten."""
        self.environment["WATCHDOG_USEC"] = "300000"

    def reload(self) -> None:
        """What `systemctl reload` does in the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def hook_as(self, user: str, group: str, *words: str) -> int:
        """What keepalived runs as somebody who is not root, and in no other group; how it ends."""
        hook = self.run_dir.parent / "notify"
        shutil.copy(HOOK, hook)
        argv = [str(hook), "--runtime-dir", str(self.run_dir), *words]
        done = subprocess.run(argv, user=user, group=group, extra_groups=(), timeout=PATIENCE, check=False)
        return done.returncode

    def hook(self, state: str, name: str = "VI_1", kind: str = "INSTANCE") -> None:
        """What keepalived runs."""
        subprocess.run([HOOK, "--runtime-dir", self.run_dir, kind, name, state, "150"], check=True, timeout=PATIENCE)

    def fifo(self, *lines: str) -> None:
        """What keepalived writes."""
        descriptor = os.open(self.run_dir / "keepalived.fifo", os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        finally:
            os.close(descriptor)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "failoverd.ctl", "--socket", str(self.run_dir / "control.sock"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/")

    def status(self) -> Any:
        return self._asked("status")

    def instance_status(self, name: str = "VI_1") -> Any:
        return self.status()["instances"][name]

    def until(self, phase: str, name: str = "VI_1") -> Any:
        """Wait until the instance is in that phase."""
        return wait_for(f"{name} is {phase}", lambda: (s := self.instance_status(name))["phase"] == phase and s)

    def journal(self) -> list[str]:
        file = self.things / "journal"
        return file.read_text().splitlines() if file.exists() else []

    def history(self) -> list[Any]:
        found: list[Any] = self._asked("history")["transitions"]
        return found

    def _asked(self, verb: str) -> dict[str, Any]:
        """What failoverctl is answered. Starting it for each look would cost more than all that is tested."""
        return ask(str(self.run_dir / "control.sock"), verb, {})
