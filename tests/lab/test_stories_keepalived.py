"""Stories of keepalived: restarted, killed with its VIP left behind, flapping, and a storm of hooks."""

import itertools
import operator
import time
from functools import partial
from typing import Any

import pytest

from failoverd.core.rivals import CROSSING_S

from . import status_client
from .lab import Lab
from .node import REPOSITORY, Node
from .profiles import ACTIVE_METRIC, NODES, STANDBY_METRIC, NodeName

VIP = "192.0.2.1"
PREFIX = "192.0.2.0/24"

_AT_FIRST: dict[NodeName, int] = {"left": ACTIVE_METRIC, "right": STANDBY_METRIC, "center": STANDBY_METRIC}
#: Whether the node gives way when it hears the other one.
_SIDES: dict[NodeName, bool] = {"left": False, "right": True}
_FLAPS = 50
_STORM = 2000


def test_a_restart_of_keepalived_on_a_standby_node_is_nothing(hosting: Lab) -> None:
    route = hosting.upstream.ask(f"show route {PREFIX} all")
    history = {name: status_client.history(hosting.nodes[name]) for name in NODES}
    heard = status_client.events(hosting.right)
    hosting.right.systemctl("restart", "keepalived.service")
    hosting.wait_until_hears_master("right")
    hosting.wait_for(
        # A hook for the STOP too, if systemd did not end it with keepalived: it signals all of the unit's processes.
        "right has heard STOP from the FIFO, and BACKUP from it and from a hook",
        lambda: status_client.events(hosting.right) - heard,
        until=lambda new: new >= 3,
        within=10,
    )
    assert status_client.instance(hosting.right)["vrrp_state"] == "BACKUP"
    # The answer holds the moment of the last change.
    assert hosting.upstream.ask(f"show route {PREFIX} all") == route
    assert {name: status_client.history(hosting.nodes[name]) for name in NODES} == history
    assert set(hosting.client.report().answered_by) == {"left"}

    # It is as good a standby as before.
    hosting.left.kill()
    hosting.wait_for_metrics({"right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")


# systemd ends the hook that tells of the STOP about every other time, before its first line has run.
@pytest.mark.parametrize("hosting", [{"sources": ["hook"]}], indirect=True, ids=["hook"])
def test_without_a_fifo_a_stop_of_keepalived_is_followed_even_when_its_hook_is_ended(hosting: Lab) -> None:
    hosting.left.systemctl("stop", "keepalived.service")
    hosting.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")
    assert hosting.vip_holders() == ["right"]
    hosting.wait_for(
        "failoverd on left has settled",
        lambda: status_client.phase(hosting.left),
        until={"standby", "refused"}.__contains__,
        within=10,
    )


def test_keepalived_killed_with_its_vip_left_behind_is_no_longer_obeyed(hosting: Lab) -> None:
    # All of it in one moment: a child that outlives its parent would tidy up.
    cgroup = hosting.left.systemctl("show", "--property=ControlGroup", "--value", "keepalived.service").stdout.strip()
    hosting.left.path(f"/sys/fs/cgroup{cgroup}/cgroup.kill").write_text("1", encoding="ascii")
    hosting.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("right")
    assert hosting.vip_holders() == ["left", "right"]
    failed = hosting.wait_for_phase("left", "failed")
    assert f"keepalived is gone and {VIP}/32 is still on eth0: systemctl start keepalived" in failed["reason"]
    assert failed["alarm"]

    hosting.left.systemctl("start", "keepalived.service")
    hosting.wait_for(
        "right alone has the VIP", hosting.vip_holders, until=lambda holders: holders == ["right"], within=10
    )
    well = hosting.wait_for_phase("left", "standby")
    assert (well["vrrp_state"], well["alarm"]) == ("BACKUP", None)
    hosting.wait_until_hears_master("left")
    hosting.right.kill()
    hosting.wait_for_metrics({"left": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_answered_by("left")


@pytest.mark.parametrize("hosting", [{"advert": 1}], indirect=True, ids=["as-sites-have-it"])
def test_a_vip_that_another_program_removes_is_told_as_that(hosting: Lab) -> None:
    # By the adverts and the priority of right, keepalived has the VIP back after half a second.
    right = hosting.right
    hosting.left.kill()
    hosting.wait_for_phase("right", "active")
    right.run(["ip", "address", "delete", f"{VIP}/32", "dev", "eth0"])
    hosting.wait_for(
        "right has told of it",
        lambda: [transition["cause"] for transition in status_client.history(right)],
        until=lambda causes: any(f"BACKUP after {VIP}/32 was removed from eth0 by " in cause for cause in causes),
        within=10,
    )
    # keepalived's own removal, at a planned move, is not told as one.
    (master,) = hosting.wait_for("one has the VIP", hosting.vip_holders, until=lambda found: len(found) == 1, within=10)
    hosting.wait_for_phase(master, "active")
    hosting.nodes[master].systemctl("stop", "keepalived.service")
    hosting.wait_for_phase(master, "standby")
    assert "removed" not in status_client.history(hosting.nodes[master])[0]["cause"]


def test_of_fifty_changes_in_seconds_the_last_one_wins(hosting: Lab) -> None:
    """Real ones: a file that keepalived tracks makes it FAULT; without the others it is MASTER again at once."""
    left = hosting.left
    for node in (hosting.right, hosting.center):
        node.kill()
    config = left.disk / "etc/keepalived/keepalived.conf"
    text = config.read_text(encoding="utf-8").replace("advert_int 0.1", "advert_int 0.02")
    text = text.replace("vrrp_instance", 'track_file flap {\n    file "/run/flap"\n    weight 0\n}\nvrrp_instance', 1)
    text = text.replace("virtual_ipaddress {", "track_file {\n        flap\n    }\n    virtual_ipaddress {")
    config.write_text(text, encoding="utf-8")
    flap = left.path("/run/flap")
    flap.write_text("0", encoding="ascii")
    left.systemctl("reload", "keepalived.service")

    for change, faulty in zip(range(1, _FLAPS + 2), itertools.cycle([True, False]), strict=False):
        flap.write_text(str(int(faulty)), encoding="ascii")
        hosting.wait_for(
            f"keepalived has followed for the {change}th time",
            lambda: left.has_vip(VIP),
            until=partial(operator.is_not, faulty),
            within=10,
        )
    hosting.wait_for_metrics({"left": STANDBY_METRIC})
    assert hosting.wait_for_phase("left", "standby")["vrrp_state"] == "FAULT"

    flap.write_text("0", encoding="ascii")
    hosting.wait_for_metrics({"left": ACTIVE_METRIC})
    hosting.wait_until_answered_by("left")
    assert hosting.wait_for_phase("left", "active")["vrrp_state"] == "MASTER"
    assert status_client.events(left) > _FLAPS
    steps = status_client.steps(left)
    assert all(earlier["ended"] <= later["started"] for earlier, later in itertools.pairwise(steps))


def test_two_masters_leave_a_trace_on_both_until_somebody_knows(hosting: Lab) -> None:
    hosting.right.unplug()
    hosting.wait_for(
        "right is MASTER too",
        lambda: status_client.instance(hosting.right)["vrrp_state"],
        until=lambda said: said == "MASTER",
        within=10,
    )
    begun = time.monotonic()
    hosting.wait_for("it is no election any more", lambda: time.monotonic() > begun + CROSSING_S, within=2 * CROSSING_S)
    assert hosting.vip_holders() == ["left", "right"]
    hosting.right.plug()
    for name, gave_way in _SIDES.items():
        (rival,) = hosting.wait_for(f"{name} has recorded it", partial(_rivals, hosting.nodes[name]), within=10)
        assert rival["gave_way"] is gave_way
    hosting.wait_for_phase("right", "standby")
    assert hosting.wait_for_phase("left", "active")["alarm"].startswith("another node was MASTER at the same time")
    for name in _SIDES:
        status = hosting.nodes[name].failoverctl("status").stdout
        assert f"! node {name}: NEEDS ATTENTION: VI_1" in status
        assert "another" in hosting.nodes[name].failoverctl("history").stdout
        # What left heard last may be told a second later.
        hosting.wait_for("it is well", partial(_acknowledged, hosting.nodes[name]), within=10)


@pytest.mark.parametrize(
    "hosting", [{"extra_config": '\n[node]\ncheck_interval = "10s"\n'}], indirect=True, ids=["checks-every-10-s"]
)
def test_two_masters_that_hear_no_adverts_find_each_other_by_their_vip(hosting: Lab) -> None:
    for name in _SIDES:
        assert _rivals(hosting.nodes[name]) == []
        hosting.nodes[name].lose_multicast()
    hosting.wait_for(
        "both have the VIP", hosting.vip_holders, until=lambda found: found == ["left", "right"], within=10
    )
    for name, other in (("left", hosting.right), ("right", hosting.left)):
        mac = other.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
        (rival,) = hosting.wait_for(f"{name} has found it", partial(_rivals, hosting.nodes[name]), within=30)
        assert (rival["station"], rival["address"], rival["gave_way"]) == (mac, VIP, False)
        alarm = hosting.wait_for_phase(name, "active")["alarm"]
        assert alarm.startswith(f"another station ({mac}) has {VIP} too: compare failoverctl history on both")
        assert f"another station ({mac}) had {VIP} too" in hosting.nodes[name].failoverctl("status").stdout
    assert _rivals(hosting.center) == []


# With an advert every second nothing else happens, however busy the machine is.
@pytest.mark.parametrize("hosting", [{"advert": 1.0}], indirect=True, ids=["calm"])
def test_of_a_storm_of_hooks_none_is_lost(hosting: Lab) -> None:
    left = hosting.left
    heard, memory = status_client.events(left), _resident_kib(hosting)
    script = f"""
    batch=0
    while [ $batch -lt {_STORM // 50} ]; do
        pair=0
        while [ $pair -lt 25 ]; do
            {{ "$0" INSTANCE VI_1 BACKUP 150 || echo lost; }} &
            {{ "$0" INSTANCE VI_1 MASTER 150 || echo lost; }} &
            pair=$((pair + 1))
        done
        wait
        batch=$((batch + 1))
    done
    """
    assert left.run(["sh", "-c", script, str(REPOSITORY / "hooks/notify")], within=90).stdout == ""
    hosting.wait_for(
        "failoverd has heard them all",
        lambda: status_client.events(left) - heard,
        until=lambda new: new >= _STORM,
        within=30,
    )
    hosting.wait_for_metrics(_AT_FIRST)
    assert hosting.wait_for_phase("left", "active")["vrrp_state"] == "MASTER"
    hosting.wait_until_answered_by("left")
    assert list(left.path("/run/failoverd/spool").iterdir()) == []
    assert _resident_kib(hosting) < memory + 20_000

    hosting.left.kill()
    hosting.wait_for_metrics({"right": ACTIVE_METRIC, "center": STANDBY_METRIC})


def _resident_kib(lab: Lab) -> int:
    pid = lab.left.systemctl("show", "--property=MainPID", "--value", "failoverd.service").stdout.strip()
    status = lab.left.path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def _acknowledged(node: Node) -> bool:
    node.failoverctl("acknowledge", "VI_1")
    return f"node {node.name}: healthy" in node.failoverctl("status").stdout


def _rivals(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status_client.instance(node)["rivals"]
    return found
