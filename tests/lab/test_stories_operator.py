"""Stories of an operator who moves mastership with failoverctl, with real keepalived on three nodes."""

import json
import re
from typing import Any

import pytest

from . import operating, status_client
from .lab import Lab
from .node import Node
from .profiles import ACTIVE_METRIC, STANDBY_METRIC

_ALERT = """
[alert]
command = ["/bin/sh", "-c", "cat >>/run/alerts"]
"""


def test_standby_is_refused_where_keepalived_does_not_watch_the_track_file(hosting: Lab) -> None:
    refused = hosting.left.failoverctl("standby", "VI_1", check=False)
    assert refused.returncode == 1
    assert "keepalived does not watch /run/failoverd/track/VI_1" in refused.stderr
    hosting.wait_until_answered_by("left")


@pytest.mark.parametrize("hosting", [{"track": True}], indirect=True, ids=["track"])
def test_standby_moves_mastership_and_lasts_until_online(hosting: Lab) -> None:
    left, right = hosting.left, hosting.right
    told = left.failoverctl("standby", "VI_1").stdout
    assert re.search(r"VI_1: in standby after [\d.]+ m?s; keepalived reports FAULT", told), told
    hosting.wait_until_answered_by("right")
    hosting.wait_for_phase("right", "active")

    left.systemctl("restart", "failoverd.service")
    left.systemctl("restart", "keepalived.service")
    _wait_for_kept(hosting)
    left.kill()
    left.start()
    _wait_for_kept(hosting)
    assert left.failoverctl("check", check=False).returncode == 1
    right.kill()
    hosting.wait_until_answered_by("center")

    left.failoverctl("online", "VI_1")
    hosting.wait_for(
        "keepalived on left competes again",
        lambda: status_client.instance(left),
        until=lambda instance: (instance["vrrp_state"], instance["standby"]) == ("BACKUP", None),
        within=10,
    )
    hosting.wait_until_hears_master("left")
    assert hosting.vip_holders() == ["center"], "nopreempt: no failback"
    hosting.center.kill()
    hosting.wait_until_answered_by("left")


def _wait_for_kept(lab: Lab) -> None:
    """Wait until keepalived on left is back, and is kept in standby."""
    kept = lab.wait_for(
        "keepalived on left is back",
        lambda: status_client.instance(lab.left),
        until=lambda instance: instance["vrrp_state"] == "FAULT",
        within=10,
    )
    assert kept["standby"]["by"] == "root"


@pytest.mark.parametrize("hosting", [{"track": True}], indirect=True, ids=["track"])
def test_a_handover_moves_the_resources_first_and_tells_what_it_took(hosting: Lab) -> None:
    operating.name_peers(hosting)
    hosting.wait_until_answered_by("left")

    told = operating.failoverctl(hosting, "left", "handover", "VI_1", "--to", "center")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("  VI_1: handed over from left to center\n")
    assert re.search(r"^  total +[\d.]+ m?s +not served by either node, at most$", told.stdout, re.MULTILINE)
    hosting.wait_until_served_by("center")
    demoted = status_client.history(hosting.left)[1]
    assert (demoted["cause"], demoted["outcome"]) == (
        "root hands mastership over: deactivating the resources first",
        "standby",
    )
    for node in (hosting.left, hosting.right):
        seen = hosting.wait_for_phase(node.name, "standby")
        assert seen["standby"] is None, "each competes again"

    operating.wait_until_fit(hosting, "left")
    operating.wait_until_fit(hosting, "right")
    played = operating.failoverctl(hosting, "center", "drill", "--live", "handover")
    assert played.returncode == 0, played.stderr
    legs = re.findall(r"^  handover to (\w+) +\1 active +\1 active +[\d.]+ m?s$", played.stdout, re.MULTILINE)
    assert legs in (["left", "center"], ["right", "center"]), played.stdout
    assert re.search(r"^  handover +all at standby +1 standby ", played.stdout, re.MULTILINE), played.stdout
    hosting.wait_until_served_by("center")

    hosting.left.systemctl("stop", "bird.service")
    hosting.wait_for(
        "left could not take over",
        lambda: operating.failoverctl(hosting, "center", "handover", "VI_1", "--to", "left"),
        until=lambda told: "left: prefix: could not take over: bird is not running" in told.stderr,
        within=15,
    )
    hosting.wait_until_served_by("center")


@pytest.mark.parametrize("hosting", [{"extra_config": _ALERT}], indirect=True, ids=["alert"])
def test_in_maintenance_nothing_is_touched_and_what_is_held_back_is_said(hosting: Lab) -> None:
    left = hosting.left
    told = left.failoverctl("alert", "test").stdout
    assert "the alert command accepted the test within" in told, told
    assert [(each["node"], each["code"]) for each in _alerts(left)] == [("left", "test")]

    left.failoverctl("maintenance", "on", "--for", "1h")
    left.systemctl("stop", "keepalived.service")
    hosting.wait_for_phase("right", "active")
    held = hosting.wait_for(
        "failoverd on left says what it does not do",
        lambda: status_client.instance(left),
        until=lambda instance: instance["held_back"] is not None,
        within=10,
    )
    assert held["resources"]["prefix"]["level"] == "active"
    alarm = _wait_for_alert(hosting, "maintenance")
    assert (alarm["node"], alarm["instance"], alarm["end"]) == ("left", "VI_1", None)
    assert alarm["remedy"] == ["failoverctl status VI_1", "failoverctl maintenance off"]
    check = left.failoverctl("check", check=False)
    assert check.returncode == 2
    assert "maintenance" in check.stdout
    hosting.wait_for_metrics({"left": ACTIVE_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})

    left.failoverctl("maintenance", "off")
    hosting.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_for_phase("left", "standby")
    over = _wait_for_alert(hosting, "maintenance", over=True)
    assert over["begin"] == alarm["begin"]


def _wait_for_alert(lab: Lab, code: str, *, over: bool = False) -> dict[str, Any]:
    """Wait until left's alert command got the alarm of that code, or its end, and return it."""
    return lab.wait_for(
        f"the alert command gets {code}{' over' * over}",
        lambda: [each for each in _alerts(lab.left) if each["code"] == code and (each["end"] is not None) is over],
        within=30,
    )[0]


def _alerts(node: Node) -> list[dict[str, Any]]:
    """What the alert command got on its standard input, in order."""
    return [json.loads(line) for line in node.path("/run/alerts").read_text(encoding="utf-8").splitlines()]
