"""What the neighbours see: from keepalived's MASTER until the upstream router has the new metric.

The other side is the script that one would write instead: it writes the include file and runs `birdc configure`.
Upstream's bird is asked every millisecond, on both sides alike.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

from tests.lab import Lab, wait_for
from tests.lab.configs import NOTIFY_SCRIPT
from tests.lab.node import REPOSITORY, Node
from tests.lab.profiles import ACTIVE_METRIC, STANDBY_METRIC, Agent

from .network import Addresses
from .row import Row, median, spread

_PREFIX = "192.0.2.0/24"
_BY_HAND = 30
_FAILOVERS = 6
_SIDES: tuple[Agent, Agent] = ("failoverd", "script")
#: Seconds that a change of metric may take, and between two questions.
_WITHIN = 10.0
_AGAIN = 0.001
#: What failoverd is at a state of keepalived's.
_PHASES = {"MASTER": "active", "BACKUP": "standby"}


def by_hand() -> list[Row]:
    """In one laboratory, what keepalived would run is run by hand on two of its nodes, in turns.

    failoverd follows right, the script center, and the instance has no VIP to wait for. The time is from just before
    a shell that is in the node already starts the hook, or the script.
    """
    with Lab("hosting", agent="none") as lab:
        config = lab.right.path("/etc/failoverd/failoverd.toml")
        config.write_text(_without_vips(config.read_text(encoding="utf-8")), encoding="utf-8")
        lab.right.systemctl("start", "failoverd.service")
        commands = {lab.right: str(REPOSITORY / "hooks/notify"), lab.center: NOTIFY_SCRIPT}
        times: dict[Node, list[float]] = {node: [] for node in commands}
        with contextlib.ExitStack() as stack:
            shells = {node: stack.enter_context(_shell(node)) for node in commands}
            for state, metric in [("BACKUP", STANDBY_METRIC)] + [
                ("MASTER", ACTIVE_METRIC),
                ("BACKUP", STANDBY_METRIC),
            ] * _BY_HAND:
                for node, command in commands.items():
                    stdin, stdout = shells[node].stdin, shells[node].stdout
                    assert stdin is not None
                    assert stdout is not None
                    started = time.monotonic_ns()
                    stdin.write(f"{command} INSTANCE VI_1 {state} 150 >/dev/null; echo\n".encode())
                    stdin.flush()
                    seen = _await_metric(lab, node, metric)
                    stdout.readline()  # it has ended
                    if node is lab.right:
                        lab.wait_for_phase("right", _PHASES[state])
                    if state == "MASTER":
                        times[node].append((seen - started) / 1e6)
        ours, theirs = times.values()
    return [_row("upstream has the metric, the hook alone (run by hand, no FIFO)", ours, theirs)]


def failovers() -> list[Row]:
    """Real failovers, in turns, in two laboratories: keepalived is stopped on the MASTER, and another takes over.

    The time is from the VIP's arrival in the new node's kernel, a millisecond or two before keepalived says MASTER.
    """
    times: dict[Agent, list[float]] = {side: [] for side in _SIDES}
    with contextlib.ExitStack() as stack:
        labs = {side: stack.enter_context(Lab("hosting", agent=side)) for side in _SIDES}
        for number in range(_FAILOVERS):
            for side, lab in labs.items():
                old, new = (lab.left, lab.right) if number % 2 == 0 else (lab.right, lab.left)
                times[side].append(_failover(lab, old, new))
    return [
        _row("upstream has the metric, a failover by keepalived (FIFO and hook)", times["failoverd"], times["script"])
    ]


def _failover(lab: Lab, old: Node, new: Node) -> float:
    addresses = Addresses(lab.run.netns(new.name))
    try:
        lab.wait_until_hears_master(new.name)
        addresses.forget()
        # It takes a second to end, and the VIP moves at its beginning.
        stopping = subprocess.Popen(old.inside(["systemctl", "stop", "keepalived.service"]))
        came = addresses.await_new(lab.profile.addresses[0], _WITHIN)
        seen = _await_metric(lab, new, ACTIVE_METRIC)
    finally:
        addresses.close()
    stopping.wait(_WITHIN)
    # Not before: systemd may kill the script with the keepalived that started it, and then the old metric stays.
    old.systemctl("start", "keepalived.service")
    _await_metric(lab, old, STANDBY_METRIC)
    return (seen - came) / 1e6


def _await_metric(lab: Lab, node: Node, metric: int) -> int:
    """When upstream has that metric from that node, in nanoseconds."""
    wait_for(
        f"upstream hears metric {metric} from {node.name}",
        lambda: lab.upstream.route_metrics(_PREFIX).get(node.name),
        within=_WITHIN,
        until=lambda heard: heard == metric,
        poll=_AGAIN,
    )
    return time.monotonic_ns()


@contextlib.contextmanager
def _shell(node: Node) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that runs in the node and does what it is told."""
    shell = subprocess.Popen(node.inside(["env", "-C", "/", "/bin/sh"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield shell
    finally:
        shell.kill()
        shell.wait()


def _without_vips(text: str) -> str:
    before, _, rest = text.partition("vips = [")
    return f"{before}vips = []{rest.partition(']')[2]}"


def _row(what: str, ours: list[float], theirs: list[float]) -> Row:
    return Row(
        what=what,
        ours=spread(ours),
        theirs=f"a shell script and birdc {spread(theirs)}",
        target=f"no later: {median(theirs):.2f} ms",
        met=median(ours) <= median(theirs),
    )
