"""`failoverctl status --all` on real nodes: one serves, two do, and one is gone."""

import re

from . import operating
from .lab import Lab


def test_all_nodes_are_asked_and_the_verdict_follows_mastership(hosting: Lab) -> None:
    operating.name_peers(hosting)
    vip = re.escape(hosting.profile.vips[0].split()[0])
    assert operating.failoverctl(hosting, "right", "status", "--all").stdout.splitlines()[:2] == [
        "  3 nodes:",
        "  VI_1: exactly one active: left",
    ]

    hosting.left.unplug()
    hosting.wait_for_phase("right", "active")
    both = rf"! VI_1: two nodes serve it: right \(active: {vip}, prefix\), left \(active: {vip}, prefix\)\n"
    assert re.search(both, operating.failoverctl(hosting, "right", "status", "--all").stdout)

    hosting.left.kill()
    shown = operating.failoverctl(hosting, "right", "status", "--all").stdout
    known = "right is active, center is standby"
    assert f"! VI_1: cannot tell, because left gave no answer. As far as is known: {known}\n" in shown
    assert re.search(r"^! left +- +NO ANSWER +at \d\d:\d\d:\d\d +- +\S", shown, re.MULTILINE)
