"""Processes that are taken for keepalived: a shell under its name, with a child, a FIFO and hooks."""

from __future__ import annotations

import operator
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from failoverd.osutil import processes
from tests.lab.waiting import wait_for

#: The first line: it is there, with its child, and has opened what it is to open.
_READY = "ready"


class Fake:
    """One that runs until it is killed: a parent and a child, as keepalived has them. `child`: the pid of that one."""

    def __init__(
        self, argv: Sequence[str], silence: Path, *, fifo: Path | None = None, user: str | None = None
    ) -> None:
        opens = f"exec 4<>{shlex.quote(str(fifo))};" if fifo else ""
        child = f'{opens} echo $$ {_READY}; while read -r words; do eval "$words"; done <&3'
        script = f"exec 3<&0; {argv[-1]} -c {shlex.quote(child)} & read -r never <>{shlex.quote(str(silence))}"
        self.parent = subprocess.Popen(
            [*argv, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=user
        )
        pid, ready = self.line().split()
        assert ready == _READY
        self.child = int(pid)
        self.scripts: list[int] = []

    @property
    def pids(self) -> set[int]:
        """Of both."""
        return {self.parent.pid, self.child}

    def line(self) -> str:
        """The next line that it says."""
        assert self.parent.stdout is not None
        return self.parent.stdout.readline()

    def do(self, words: str) -> None:
        """Have its child run a line of shell."""
        assert self.parent.stdin is not None
        self.parent.stdin.write(f"{words}\n")
        self.parent.stdin.flush()

    def script(self) -> int:
        """The pid of a script that its child has started, and that runs."""
        self.do("sleep 1000 & echo $!")
        pid = int(self.line())
        wait_for("it is a script", lambda: processes.program(pid) == "sleep", within=60)
        self.scripts.append(pid)
        return pid

    def signal(self, number: signal.Signals) -> None:
        """Send it to both, and wait until it has done what it does."""
        for pid in (self.child, self.parent.pid):
            subprocess.run(["kill", f"-{number.value}", str(pid)], check=False)
        if number is signal.SIGKILL:
            self.parent.wait()
            for pipe in (self.parent.stdin, self.parent.stdout):
                assert pipe is not None
                pipe.close()
            wait_for("its child has ended", lambda: processes.look(self.child) is None, within=60)
            return
        frozen = partial(operator.is_, number is signal.SIGSTOP)
        for pid in self.pids:
            wait_for(number.name, partial(_frozen, pid), until=frozen, within=60)


class Fakes:
    """Starts them, and ends them all."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="fo-fakes-"))
        self._directory.chmod(0o755)
        self.running: list[Fake] = []
        self._scripts: list[int] = []

    def program(self, name: str = "keepalived") -> str:
        """A program of that name."""
        path = self._directory / name
        if not path.exists():
            shutil.copy("/bin/dash", path)
        return str(path)

    def start(
        self, name: str = "keepalived", *, before: Sequence[str] = (), fifo: Path | None = None, user: str | None = None
    ) -> Fake:
        """One that runs the program of that name, by way of the words before it."""
        silence = self._directory / "silence"
        if not silence.exists():
            os.mkfifo(silence)
            silence.chmod(0o666)
        made = Fake([*before, self.program(name)], silence, fifo=fifo, user=user)
        self.running.append(made)
        return made

    def kill(self, fake: Fake) -> None:
        fake.signal(signal.SIGKILL)
        self.running.remove(fake)
        self._scripts += fake.scripts

    def close(self) -> None:
        for fake in list(self.running):
            self.kill(fake)
        for script in self._scripts:
            with suppress(ProcessLookupError):
                os.kill(script, signal.SIGKILL)
        shutil.rmtree(self._directory)


def _frozen(pid: int) -> bool:
    process = processes.look(pid)
    return process is not None and process.frozen
