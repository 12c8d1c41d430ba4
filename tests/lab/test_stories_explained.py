"""Stories of the explanations: why, the timeline and the drill, after a failover of a real keepalived."""

import json
import re

import pytest

from .lab import Lab

# `prefix` (the last table of failoverd.toml, so the first line is its own) needs `gate`, which takes its time.
_GATE = """needs = ["gate"]

[instance.VI_1.resource.gate]
driver = "exec"
activate = ["/bin/sh", "-c", "touch /run/gate.waiting; while test -e /run/gate.closed; do sleep 0.02; done; >/run/gate"]
deactivate = ["rm", "-f", "/run/gate"]
observe = ["/bin/sh", "-c", "test -e /run/gate || exit 3"]
"""


@pytest.mark.parametrize("hosting", [{"extra_config": _GATE}], indirect=True, ids=["gate"])
def test_a_failover_is_explained_while_it_runs_and_afterwards(hosting: Lab) -> None:
    right = hosting.right
    right.run(["touch", "/run/gate.closed"])
    hosting.left.kill()
    hosting.wait_for("right is in the middle", right.path("/run/gate.waiting").exists, within=10)
    text = right.failoverctl("why", "VI_1").stdout
    assert re.search(r"VI_1  event     keepalived('s hook)? reported MASTER (in its FIFO )?at", text), text
    assert "VI_1  step      failoverd has been activating gate since" in text
    assert "VI_1  waits     prefix waits until gate is active." in text
    assert "VI_1  next      If the activation of gate has not ended at" in text

    right.path("/run/gate.closed").unlink()
    hosting.wait_for_phase("right", "active")
    newest = json.loads(right.failoverctl("history", "-n", "1", "--json").stdout)["transitions"][0]["id"]
    shown = json.loads(right.failoverctl("history", "show", str(newest), "--json").stdout)
    assert ["gate"] in [wait["names"] for wait in shown["waits"] if wait["resource"] == "prefix"]
    assert "gate > prefix (the critical path)" in right.failoverctl("history", "show", str(newest)).stdout
    assert re.search(r"(?m)^  other node gone: MASTER +all active +1 active ", right.failoverctl("drill").stdout)

    right.systemctl("kill", "--signal=STOP", "keepalived.service")
    hosting.wait_for_phase("right", "refused")
    assert "! VI_1  refused   keepalived is frozen, by SIGSTOP" in right.failoverctl("why", "VI_1").stdout
    assert re.search(r"(?m)^  keepalived frozen +all at standby +1 refused ", right.failoverctl("drill").stdout)
    right.systemctl("kill", "--signal=CONT", "keepalived.service")
