"""The real keepalived, as sites run it: under other names, in a namespace of its own, and two of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from failoverd.core.words import Keepalived
from failoverd.osutil import processes
from tests.lab.waiting import wait_for
from tests.unit.daemon.keepalived.test_watch import Told

pytestmark = [
    pytest.mark.usefixtures("own_network"),
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived"),
]

RUNNING, STOPPED, GONE = Keepalived.RUNNING, Keepalived.STOPPED, Keepalived.GONE

CONFIG = """{top}
global_defs {{
  script_user root
  vrrp_version 3
  {extra}
}}
vrrp_instance {name} {{
  interface eth0
  virtual_router_id {vrid}
  priority 150
  advert_int 0.1
  virtual_ipaddress {{
    192.0.2.{vrid}/32
  }}
  {notify}
}}
"""

#: In a mount namespace, so that it leaves nothing in /run; {network} where it is to make its own network first.
START = """
mount -t tmpfs none /run
mkdir -p /run/netns
{network}
exec {program} --dont-fork --log-console --log-detail -f {conf} -p {conf}.p -r {conf}.v -c {conf}.c
"""

NETWORK = """
ip netns add other
ip netns exec other ip link add eth0 type bridge
ip netns exec other ip link set eth0 up
ip netns exec other ip address add 198.51.100.1/24 dev eth0
"""


class Real:
    """keepalived with one instance, until it is killed. `child`: the process that speaks VRRP."""

    def __init__(self, directory: Path, name: str, vrid: int, **options: str) -> None:
        conf = directory / f"{name}.conf"
        self.hooks = directory / f"{name}.hooks"
        self.log = directory / f"{name}.log"
        words = {"top": "", "extra": "", "notify": "", "network": "", "program": "keepalived"} | options
        conf.write_text(CONFIG.format(name=name, vrid=vrid, **words))
        start = START.format(conf=conf, **words)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-ec", start], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.child = wait_for("it speaks VRRP", self._speaking, within=20)

    def _speaking(self) -> int:
        assert self.process.poll() is None, self.log.read_text()
        if "Entering BACKUP STATE" not in self.log.read_text():
            return 0
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        program = processes.program(self.process.pid)
        return next((int(pid) for pid in children if processes.program(int(pid)) == program), 0)

    def hook(self) -> int:
        """The pid of the first hook that it has run."""
        return int((self.hooks.read_text().split() or ["0"])[0])

    @property
    def pids(self) -> set[int]:
        """Of its parent and its child."""
        return {self.process.pid, self.child}

    def signal(self, number: signal.Signals) -> None:
        """Send it to both; a child that outlives its parent would tidy up."""
        for pid in sorted(self.pids, reverse=True):
            os.kill(pid, number)
        if number is signal.SIGSTOP:
            wait_for("its child is frozen", lambda: (seen := processes.look(self.child)) and seen.frozen, within=60)
        if number is signal.SIGKILL:
            self.process.wait()
            wait_for("its child has ended", lambda: processes.look(self.child) is None, within=60)

    def end(self) -> None:
        """Kill it, if it is there."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        for pid in self.hooks.read_text().split() if self.hooks.exists() else ():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def reals() -> Iterator[list[Real]]:
    subprocess.run(["ip", "address", "add", "192.0.2.250/24", "dev", "eth0"], check=True)
    made: list[Real] = []
    yield made
    for real in made:
        real.end()


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Told]:
    made = Told(tmp_path)
    yield made
    made.watch.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"extra": "process_name router"},
        {"extra": "process_names"},
        {"extra": "vrrp_process_name speaker"},
        {"program": "kad"},
        {"top": "net_namespace other", "network": NETWORK},
    ],
    ids=["plain", "process_name", "process_names", "vrrp_process_name", "another program", "net_namespace"],
)
async def test_it_is_found_by_the_fifo(
    watching: Told, reals: list[Real], tmp_path: Path, options: dict[str, str]
) -> None:
    if "program" in options:
        options = {"program": shutil.copy("/usr/sbin/keepalived", str(tmp_path / options["program"]))}
    fifo = f"vrrp_notify_fifo {watching.fifo}"
    real = Real(tmp_path, "VI_1", 51, **{**options, "extra": f"{fifo}\n  {options.get('extra', '')}"})
    reals.append(real)
    watching.watch.wrote(["VI_1"])
    await watching.until("VI_1", RUNNING)
    assert watching.watch.pids == real.pids
    real.signal(signal.SIGSTOP)
    watching.watch.look()
    assert watching.watch.conditions["VI_1"] is STOPPED
    real.signal(signal.SIGKILL)
    await watching.until("VI_1", RUNNING, STOPPED, GONE)


async def test_of_two_the_one_counts_that_runs_the_hook(watching: Told, reals: list[Real], tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho $$ >>{tmp_path}/"$2".hooks\nexec sleep 1000\n')
    script.chmod(0o755)
    for number, name in enumerate(["VI_1", "VI_2"]):
        reals.append(Real(tmp_path, name, 51 + number, notify=f'notify "{script}"'))
        watching.watch.heard(name, wait_for("it has run a hook", reals[-1].hook, within=20))
    one, two = reals
    assert watching.last() == (RUNNING, RUNNING)
    two.signal(signal.SIGSTOP)
    watching.watch.look()
    assert watching.last() == (RUNNING, STOPPED)
    two.signal(signal.SIGCONT)
    one.signal(signal.SIGKILL)
    await watching.until("VI_1", RUNNING, GONE)
    watching.watch.look()
    assert watching.last() == (GONE, RUNNING)
