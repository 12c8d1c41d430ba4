"""A standby that could not serve, and tells keepalived so before it is needed."""

import pytest

from . import status_client
from .lab import Lab
from .node import Node

#: Seconds, as in core/planner.py, and as many for a slow machine.
_UNFIT_WITHIN = 30.0 + 30.0
_FIT_WITHIN = 5.0 + 30.0


def _track_health(node: Node) -> None:
    toml = node.disk / "etc/failoverd/failoverd.toml"
    text = toml.read_text(encoding="utf-8").replace("[instance.VI_1]", '[instance.VI_1]\nhealth = "track"', 1)
    toml.write_text(text, encoding="utf-8")
    node.systemctl("reload", "failoverd.service")


@pytest.mark.parametrize("hosting", [{"track": True}], indirect=True, ids=["track"])
def test_a_standby_that_could_not_serve_is_passed_over_until_it_can(hosting: Lab) -> None:
    right = hosting.right
    _track_health(right)
    right.systemctl("stop", "bird.service")

    hosting.wait_for(
        "keepalived on right does not compete",
        lambda: status_client.instance(right)["vrrp_state"],
        until=lambda state: state == "FAULT",
        within=_UNFIT_WITHIN,
    )
    assert status_client.instance(right)["unfit"]
    check = right.failoverctl("check", "VI_1", check=False)
    assert check.returncode == 1
    assert "VI_1 does not compete for mastership: prefix: " in check.stdout
    hosting.left.kill()
    hosting.wait_for_phase("center", "active")
    assert status_client.phase(right) == "standby"

    right.systemctl("start", "bird.service")
    hosting.center.kill()
    assert not hosting.wait_for_phase("right", "active", within=_FIT_WITHIN)["unfit"]
