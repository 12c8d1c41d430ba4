"""What verbs that ask the other nodes need: [peers] on all of them; and a handover, with what the client saw of it.

The nodes have no ssh; each peer's command runs failoverctl outside of the nodes, from where all daemons can be asked.
"""

import json
import shlex
import subprocess
import time
from functools import partial
from typing import Any

from . import status_client
from .client import Report
from .lab import Lab
from .profiles import NODES, NodeName
from .units import failoverd_bin

_SECONDS = 30.0
#: So many answers of the new node take long enough to know which packets were lost before.
_ANSWERS = 100


def name_peers(lab: Lab) -> None:
    """The same table for all nodes; each recognises itself."""
    lines = [f"{name} = {json.dumps(_way(lab, name))}" for name in NODES]
    for name in NODES:
        node = lab.nodes[name]
        with (node.disk / "etc/failoverd/failoverd.toml").open("a", encoding="utf-8") as config:
            config.write("\n".join(["", "[peers]", *lines, ""]))
        node.systemctl("reload", "failoverd.service")
    for name in NODES:
        lab.wait_for(
            f"{name} knows its peers", partial(_peers, lab, name), until=lambda peers: len(peers) == 2, within=10
        )


def _way(lab: Lab, name: NodeName) -> list[str]:
    """A command that runs the words after it, of which the first is failoverctl."""
    return ["sh", "-c", f'shift; exec {shlex.join(_asking(lab, name))} "$@"', name]


def _asking(lab: Lab, name: NodeName) -> list[str]:
    return [str(failoverd_bin("failoverctl")), "--socket", str(lab.nodes[name].path("/run/failoverd/control.sock"))]


def _peers(lab: Lab, name: NodeName) -> dict[str, Any]:
    return dict(status_client.status(lab.nodes[name])["peers"])


def failoverctl(lab: Lab, name: NodeName, *words: str) -> subprocess.CompletedProcess[str]:
    """Run failoverctl for that node's daemon; from outside, where every node can be reached."""
    return subprocess.run([*_asking(lab, name), *words], capture_output=True, text=True, check=False, timeout=60)


def wait_until_fit(lab: Lab, name: NodeName) -> None:
    """Wait until that node could take over."""
    lab.wait_for_phase(name, "standby")
    lab.wait_for(
        f"failoverd on {name} could take over",
        lambda: failoverctl(lab, name, "check").returncode,
        until=lambda status: status == 0,
        within=_SECONDS,
    )


def hand_over(lab: Lab, old: NodeName, new: NodeName) -> tuple[str, Report]:
    """The page of `failoverctl handover`, and what the client saw. RuntimeError: it failed."""
    asked = time.monotonic_ns()
    told = failoverctl(lab, old, "handover", lab.profile.follows, "--to", new)
    if told.returncode != 0:
        raise RuntimeError(told.stderr.strip())
    return told.stdout, report_of_move(lab, asked, new)


def report_of_move(lab: Lab, since: int, new: NodeName) -> Report:
    """What the client saw since then (CLOCK_MONOTONIC nanoseconds) of a move of mastership to `new`."""
    return lab.wait_for(
        f"{new} answers the client",
        lambda: lab.client.report(since=since),
        until=lambda report: report.answered_by.get(new, 0) >= _ANSWERS,
        within=_SECONDS,
    )
