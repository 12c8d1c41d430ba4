"""Three real failoverds that know one another, and a keepalived of each that is only its election: by track file."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.unit.ctl.terminal import UNTOUCHED
from tests.unit.daemon.running_daemon import ROOT, RunningDaemon, wait_for

#: By priority, the highest first.
NODES = ("left", "right", "center")


class Node(RunningDaemon):
    """One node. `way`: how the others reach its failoverctl; `state`: what its keepalived has reported last.

    Its resource is deactivated when `hatch` is a file: that waits for it.
    """

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.name = name
        self.power = True
        self.state = ""
        self.way = self.things / "way"
        self.hatch = self.things / "hatch"
        self.environment["THINGS"] = str(self.things)
        for each in (self.way, self.hatch):
            each.touch()

    def words(self) -> list[str]:
        words = super().words()
        words[words.index("--node") + 1] = self.name
        return words

    @property
    def lets_go(self) -> bool:
        try:
            return (self.run_dir / "track" / "VI_1").read_text().strip() not in ("", "0")
        except OSError:
            return False

    @property
    def active(self) -> bool:
        return (self.things / "disk").exists()


class Cluster:
    """left is active. While this context lasts, keepalived elects the MASTER."""

    def __init__(self, directory: Path, *, preempt: bool) -> None:
        self._preempt = preempt
        self.nodes = {name: Node(directory / name, name) for name in NODES}
        self._ended = threading.Event()
        self._keepalived = threading.Thread(target=self._elect)
        ways = [f"{name} = {json.dumps(self._way(node))}" for name, node in self.nodes.items()]
        activate = ["sh", "-c", 'touch "$THINGS/disk"']
        deactivate = ["sh", "-c", 'until test -e "$THINGS/hatch"; do sleep 0.02; done; rm -f "$THINGS/disk"']
        observe = ["sh", "-c", 'test -e "$THINGS/disk" || exit 3']
        for node in self.nodes.values():
            node.tables.append("\n".join(["[peers]", *ways, ""]))
            node.instance(body=f"preempt = {json.dumps(preempt)}\n")
            lines = ['[instance."VI_1".resource.disk]', 'driver = "exec"', "retries = 0"]
            lines += [f"activate = {json.dumps(activate)}", f"deactivate = {json.dumps(deactivate)}"]
            node.tables.append("\n".join([*lines, f"observe = {json.dumps(observe)}", ""]))
            node._write()

    @staticmethod
    def _way(node: Node) -> list[str]:
        ctl = f'{sys.executable} -m failoverd.ctl --socket {node.run_dir}/control.sock "$@"'
        run = f"shift; test -e {node.way} && exec {ctl}"
        return ["env", f"PYTHONPATH={ROOT}", "sh", "-c", run, "failoverctl-on"]

    def __enter__(self) -> Self:
        for node in self.nodes.values():
            node.start()
        self._keepalived.start()
        self.nodes["left"].until("active")
        for name in NODES[1:]:
            self.nodes[name].until("standby")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._keepalived.join()
        for node in self.nodes.values():
            node.hatch.touch()
            node.end()

    def _elect(self) -> None:
        master: str | None = None
        while not self._ended.wait(0.02):
            fit = [name for name, node in self.nodes.items() if node.power and not node.lets_go]
            if self._preempt or master not in fit:
                master = next(iter(fit), None)
            for name, node in self.nodes.items():
                state = "MASTER" if name == master else "BACKUP" if name in fit else "FAULT"
                if node.power and node.state != state:
                    node.hook(state)
                    node.state = state

    def cut_the_power(self, name: str) -> None:
        node = self.nodes[name]
        node.power = False
        node.way.unlink()

    def handover(self, *words: str) -> subprocess.Popen[str]:
        """failoverctl, as it hands over from left."""
        socket = self.nodes["left"].run_dir / "control.sock"
        command = [*UNTOUCHED, sys.executable, "-m", "failoverd.ctl", "--socket", str(socket)]
        command += ["handover", "VI_1", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    def until_served_by(self, name: str) -> None:
        """Wait until that node alone is active."""
        wait_for(
            f"{name} is active", lambda: [n for n, node in self.nodes.items() if node.power and node.active] == [name]
        )
