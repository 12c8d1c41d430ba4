"""`python -m tests.vmlab.bench`: how long guests take to follow the VIP.

On one hypervisor, with a peer that has its disks too, keepalived becomes MASTER again and again, and in turns it is
followed by failoverd; by a shell script for notify_master that runs the same commands one after the other; and by one
that runs each guest's beside the others': the longest of them is the critical path, as it is on this machine. All
three are timed alike: from keepalived's own line in the journal until the last guest has been created.
"""

import json
import os
import signal
import statistics
import sys
from collections.abc import Collection

from tests.bench.row import Row, show
from tests.lab.waiting import wait_for

from . import hosting, qemu, template
from .hosting import Guest
from .hypervisor import SOON, Hypervisor, moment
from .lab import VmLab
from .machine import Hardware, Machine

_NUMBERS = (1, 8)
_ROUNDS = 3
_OVERHEAD = 1.1
_ENDED = "/run/bench-ended"
_SCRIPT = "/srv/bench"
#: MiB: Domain-0's, Xen's and those of eight guests; and a machine's without Xen.
_MEMORY, _PEERS_MEMORY = 1664, 512
_WAYS = ("failoverd", "one after the other", "side by side")

_GUESTS = hosting.numbered("guest", max(_NUMBERS))


class _Bench:
    """The hypervisor that is measured, as one number of guests after the other follows its VIP."""

    def __init__(self, node: Hypervisor, generation: int) -> None:
        self._node = node
        self._machine = node.machine
        self._generation = generation

    def row(self, number: int) -> Row:
        """Measure `number` of guests."""
        guests = _GUESTS[:number]
        self._machine.write("/etc/failoverd/failoverd.toml", hosting.failoverd(self._generation, guests))
        seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
        for _ in range(_ROUNDS):
            for way in _WAYS:
                seconds[way].append(self._follow(way, guests))
                print(f"{number} guests, {way}: {seconds[way][-1]:.2f} s", file=sys.stderr, flush=True)
        ours, serial, critical = (statistics.median(seconds[way]) for way in _WAYS)
        what = f"{number} guest{'s' * (number > 1)}, after MASTER"
        return Row(
            what=what,
            ours=f"{ours:.2f} s, {ours / critical - 1:+.0%}, n={_ROUNDS}",
            theirs=f"critical path {critical:.2f} s; script, one after the other {serial:.2f} s",
            target=f"{_OVERHEAD:g} x {critical:.2f} = {_OVERHEAD * critical:.2f} s",
            met=ours <= _OVERHEAD * critical,
        )

    def _follow(self, way: str, guests: Collection[Guest]) -> float:
        """Become MASTER, and back; seconds from that until the last guest had been created."""
        ours = way == "failoverd"
        keepalived = hosting.keepalived() if ours else hosting.keepalived(f'notify_master "{_SCRIPT}"')
        self._machine.write("/etc/keepalived/keepalived.conf", keepalived)
        self._machine.run(
            ["systemctl", "start" if ours else "stop", "failoverd.socket", "failoverd.service"], within=SOON
        )
        if ours:
            self._node.wait_for_phase("standby")
        else:
            script = _script(guests, self._generation, serial=way == _WAYS[1])
            self._machine.write(_SCRIPT, script, mode=0o755)
        since = self._machine.sh(f"rm -f {_ENDED}; date +@%s.%N").strip()
        self._node.start_keepalived()
        ended = self._ended_by_failoverd() if ours else self._ended_by_script()
        assert self._node.guests() == {guest.name for guest in guests}
        seconds = ended - self._master(since)
        self._node.stop_keepalived()
        if ours:
            self._node.wait_for_phase("standby")
        else:
            lines = (f"xl destroy {guest.name}; drbdadm secondary {guest.name}" for guest in guests)
            self._machine.sh("\n".join(("set -e", *lines)), within=SOON)
        return seconds

    def _ended_by_failoverd(self) -> float:
        self._node.wait_for_phase("active")
        newest, *_ = self._node.transitions()
        return moment(newest["ended"])

    def _ended_by_script(self) -> float:
        return wait_for(
            "the script has ended",
            lambda: float(self._machine.sh(f"cat {_ENDED}", check=False) or 0),
            within=SOON,
            poll=1.0,
        )

    def _master(self, since: str) -> float:
        """When keepalived said that it is MASTER, as seconds since 1970."""
        said = ["journalctl", "-u", "keepalived", "--since", since, "-o", "json", "-g", "Entering MASTER STATE"]
        (line,) = self._machine.run(said).stdout.splitlines()
        return int(json.loads(line)["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6


def _script(guests: Collection[Guest], generation: int, *, serial: bool) -> str:
    """What one would write for notify_master."""
    chains = (
        f"drbdsetup {hosting.promote(guest, generation)} && xl create /etc/xen/{guest.name}.cfg" for guest in guests
    )
    lines = chains if serial else (f"({chain}) &" for chain in chains)
    return "\n".join(("#!/bin/sh", *lines, "wait", f"date +%s.%N >{_ENDED}.new && mv {_ENDED}.new {_ENDED}", ""))


def main() -> None:
    """Measure and print; the exit status only says whether it could be measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load, _, _ = os.getloadavg()
    with VmLab({"left": template.hardware(_GUESTS)}) as before:
        before.boot()
        model = before.machines["left"]
        generation = template.configure(model, _GUESTS)
        model.run(["systemctl", "disable", "--quiet", "failoverd.service", "keepalived", "vmlab-sampler"])
        model.shut_down()
        with VmLab({"left": _hardware("left", model), "right": _hardware("right", model)}) as lab:
            lab.boot()
            left = lab.machines["left"]
            if generation == 9:
                template.make_disks(lab.machines, _GUESTS)
                for machine in lab.machines.values():
                    machine.run(["systemctl", "disable", "--quiet", "--now", "keepalived"])
            wait_for(
                "all disks are replicated",
                lambda: set(left.run(["drbdadm", "dstate", "all"]).stdout.split()),
                until=lambda seen: seen == {"UpToDate/UpToDate"},
                within=SOON,
            )
            bench = _Bench(Hypervisor(left), generation)
            rows = [bench.row(number) for number in _NUMBERS]
    show(rows, load)
    emulated = "tcg" in " ".join(qemu.accelerator(qemu.image()))
    print(f"The hypervisor is a QEMU machine with two processors, {'emulated' if emulated else 'with KVM'}.")


def _hardware(name: str, model: Machine) -> Hardware:
    return Hardware(
        networks=hosting.networks(name),
        processors=2 if name == "left" else 1,
        disks=template.disks(_GUESTS),
        xen=name == "left",
        memory=_MEMORY if name == "left" else _PEERS_MEMORY,
        like=model.directory,
    )


if __name__ == "__main__":
    main()
