"""One of the three hypervisors, as the stories see it: asked at little cost, since it is emulated."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from failoverd.ctl import client
from tests.lab.waiting import wait_for

from . import consistency, hosting
from .service import Service

#: Seconds for what takes a moment on a real machine: three emulated ones share what there is.
SOON = 240.0
_POLL = 0.3

_LISTENER = Path(__file__).with_name("listener.py")
_RECORDS, _RECORDED_PORT = "/run/recorded", 4001

HANDOVER = "handover.service"


class Hypervisor(Service):
    """One of the three."""

    poll = 1.0  # an emulated Domain-0 answers in the time that it needs for what is waited for

    @property
    def name(self) -> str:
        return self.machine.name

    def status(self) -> dict[str, Any]:
        """`failoverctl status --json`, at no cost to the machine."""
        return self._ask("status")

    def transitions(self) -> list[dict[str, Any]]:
        """`failoverctl history --json`, newest first."""
        return list(self._ask("history", n=1000)["transitions"])

    def resource(self, name: str) -> dict[str, Any]:
        """What `status` says of one resource."""
        return dict(self.instance()["resources"][name])

    def guests(self) -> set[str]:
        """Those that are here, as `xl list` says."""
        _, _domain_0, *lines = self.machine.run(["xl", "list"], within=SOON).stdout.splitlines()
        return {line.split()[0] for line in lines}

    def stop_keepalived(self) -> None:
        """Give mastership away, by hand."""
        self.machine.run(["systemctl", "stop", "keepalived.service"], within=SOON)

    def start_keepalived(self) -> None:
        self.machine.run(["systemctl", "start", "keepalived.service"], within=SOON)

    def last_steps(self) -> list[dict[str, Any]]:
        """The steps of the newest transition."""

        def newest() -> list[dict[str, Any]]:
            transition, *_ = self.transitions()
            return self.steps_of(transition["id"])

        return wait_for(f"{self.name} has its history at hand", newest, until=lambda _: True, within=SOON, poll=_POLL)

    def steps_of(self, transition: int) -> list[dict[str, Any]]:
        """The steps of one transition, in the order in which they ended."""
        return list(self._ask("transition", id=transition)["steps"])

    def reconfigure(self, text: str) -> None:
        """Have failoverd take another failoverd.toml, which is known to be right: `systemctl reload` would check it."""
        self.machine.write("/etc/failoverd/failoverd.toml", text)
        self.machine.run(["systemctl", "kill", "--kill-who=main", "--signal=HUP", "failoverd.service"], within=SOON)

    def reconcile(self) -> None:
        """`failoverctl reconcile`, at no cost to the machine: a change that makes no event is seen now."""
        self._ask("reconcile", instance=hosting.INSTANCE)

    def handover(self, to: str) -> subprocess.CompletedProcess[str]:
        """`failoverctl handover` as the unit HANDOVER, to which systemd can send what Ctrl-C sends."""
        for peer in hosting.peers(self.name):
            connect = 'ssh -O check "$0" 2>/dev/null || ssh -M -N -f "$0" >/dev/null 2>&1'
            self.machine.run(["sh", "-c", connect, peer], within=SOON)
        words = ["failoverctl", "handover", hosting.INSTANCE, "--to", to]
        unit = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={HANDOVER}"]
        return self.machine.run([*unit, *words], check=False, within=SOON)

    def configure_guest(self, guest: str, *words: str) -> None:
        """What its guest is told from its next start on (see site/guest-init)."""
        self.machine.write(f"/etc/xen/{guest}.cfg", hosting.domain(hosting.GUESTS[guest], *words))

    def record(self) -> None:
        """From now on it writes down here what runs here, as it tells outside: for a cut, which nothing crosses."""
        listener = "/usr/local/lib/vmlab/listener.py"
        self.machine.write(listener, _LISTENER.read_bytes())
        for name, words in {
            "listener": [listener, _RECORDS, str(_RECORDED_PORT)],
            "sampler": ["/usr/local/lib/vmlab/sampler.py", "127.0.0.1", str(_RECORDED_PORT), hosting.VIP],
        }.items():
            argv = ["systemd-run", "--quiet", f"--unit=recorded-{name}", "python3", "-I", "-S", *words]
            self.machine.run(argv, within=SOON)

    def written_down(self) -> consistency.Evidence:
        """What it has written down, in the time of this host."""
        before = time.monotonic()
        up = float(self.machine.read("/proc/uptime").split()[0])
        behind = (before + time.monotonic()) / 2 - up
        found = consistency.understand(self.machine.read(_RECORDS).splitlines(keepends=True))
        shifted = [replace(each, began=each.began + behind, at=each.at + behind) for each in found.samples]
        return consistency.Evidence([], shifted)

    @contextmanager
    def wrapped(self, tool: str, scripts: Mapping[str, str]) -> Iterator[None]:
        """While it lasts, `tool` is a shell script instead where its words are among `scripts`; `$real` is the tool."""
        wrapper, real = f"/usr/local/sbin/{tool}", f"/usr/sbin/{tool}"
        cases = "\n".join(f'"{words}") {script} ;;' for words, script in scripts.items())
        text = f'#!/bin/sh\nreal={real}\ncase "$*" in\n{cases}\nesac\nexec "$real" "$@"\n'
        self.machine.write(wrapper, text, mode=0o755)
        try:
            yield
        finally:
            self.machine.run(["rm", wrapper])

    def _ask(self, verb: str, **params: Any) -> dict[str, Any]:
        try:
            return client.ask(str(self.machine.control), verb, params, deadline=20.0)
        except client.CtlError as error:  # also that its history could not be read in time
            raise ConnectionError(f"{self.name}: {error.error}") from error


def moment(iso: str) -> float:
    """A time that failoverd tells, as seconds since 1970."""
    return datetime.fromisoformat(iso).timestamp()
