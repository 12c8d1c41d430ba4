"""Stories of failoverd itself: killed in the middle of its work, or away while keepalived fails over."""

import pytest

from . import status_client
from .lab import Lab
from .node import Node
from .profiles import ACTIVE_METRIC, STANDBY_METRIC

# The middle of a transition, made reachable: `prefix` (the last table of failoverd.toml, so the first line is its
# own) needs `gate`, whose steps wait while /run/gate.closed exists.
_WAIT = "touch /run/gate.waiting; while test -e /run/gate.closed; do sleep 0.02; done"
_GATE = f"""needs = ["gate"]

[instance.VI_1.resource.gate]
driver = "exec"
activate = ["/bin/sh", "-c", "{_WAIT}; touch /run/gate.up"]
deactivate = ["/bin/sh", "-c", "{_WAIT}; rm -f /run/gate.up"]
observe = ["/bin/sh", "-c", "test -e /run/gate.up || exit 3"]
"""

_gated = pytest.mark.parametrize("hosting", [{"extra_config": _GATE}], indirect=True, ids=["gate"])


@_gated
def test_killed_in_the_middle_of_a_promotion_and_started_again_it_ends_promoted(hosting: Lab) -> None:
    right = hosting.right
    right.run(["touch", "/run/gate.closed"])
    hosting.left.kill()
    hosting.wait_for("right is in the middle", right.path("/run/gate.waiting").exists, within=10)
    _kill_failoverd(hosting, right)
    hosting.wait_for_metrics({"right": STANDBY_METRIC, "center": STANDBY_METRIC})

    # The step goes on without its daemon; the next daemon awaits it, and begins no other on top of it.
    right.systemctl("start", "failoverd.service")
    hosting.wait_for_phase("right", "promoting")
    assert hosting.upstream.route_metrics(hosting.profile.prefixes[0])["right"] == STANDBY_METRIC
    right.path("/run/gate.closed").unlink()
    hosting.wait_for_metrics({"right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")
    hosting.wait_for_phase("right", "active")
    assert [transition["outcome"] for transition in status_client.history(right)][:2] == ["active", "interrupted"]


@_gated
def test_killed_in_the_middle_of_a_demotion_and_started_again_it_ends_demoted(hosting: Lab) -> None:
    left = hosting.left
    left.path("/run/gate.waiting").unlink()
    left.run(["touch", "/run/gate.closed"])
    left.systemctl("stop", "keepalived.service")
    hosting.wait_for("left is in the middle", left.path("/run/gate.waiting").exists, within=10)
    _kill_failoverd(hosting, left)

    left.systemctl("start", "failoverd.service")
    hosting.wait_for_phase("left", "demoting")
    assert left.path("/run/gate.up").exists()
    left.path("/run/gate.closed").unlink()
    hosting.wait_for_phase("left", "standby")
    assert not left.path("/run/gate.up").exists()
    hosting.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")
    assert [transition["outcome"] for transition in status_client.history(left)][:2] == ["standby", "interrupted"]


def test_away_while_its_node_became_master_it_follows_when_it_is_started(hosting: Lab) -> None:
    hosting.right.systemctl("stop", "failoverd.service")
    hosting.left.kill()
    hosting.right.wait_for_vip(hosting.profile.addresses[0], within=10)
    hosting.wait_for_metrics({"right": STANDBY_METRIC, "center": STANDBY_METRIC})

    hosting.right.systemctl("start", "failoverd.service")
    hosting.wait_for_metrics({"right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")
    hosting.wait_for_phase("right", "active")


def test_away_while_its_node_lost_mastership_it_follows_when_it_is_started(hosting: Lab) -> None:
    hosting.left.systemctl("stop", "failoverd.service")
    hosting.left.systemctl("restart", "keepalived.service")
    # Both announce the same: nobody was there to take left's back.
    hosting.wait_for_metrics({"left": ACTIVE_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})

    hosting.left.systemctl("start", "failoverd.service")
    hosting.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")
    hosting.wait_for_phase("left", "standby")


def _kill_failoverd(lab: Lab, node: Node) -> None:
    """What it had started goes on without it: its unit ends the daemon only."""
    node.systemctl("kill", "--signal=KILL", "--kill-whom=main", "failoverd.service")
    lab.wait_for(
        "systemd has seen it end",
        lambda: node.unit_state("failoverd.service"),
        until=lambda s: s == "failed",
        within=10,
    )
