"""Stories of nodes that die, come back, or are taken out of service: what the neighbours and the client see."""

import time

from . import status_client
from .lab import Lab
from .profiles import ACTIVE_METRIC, NODES, STANDBY_METRIC


def test_when_the_master_is_killed_the_next_node_serves(hosting: Lab) -> None:
    before = status_client.history(hosting.right)
    cut = hosting.left.kill()
    hosting.wait_for_metrics({"right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_until_served_by("right")
    hosting.wait_until_answered_by("right")

    assert hosting.vip_holders() == ["right"]
    gap = hosting.client.report(since=cut).longest_gap
    assert gap is not None
    assert (gap.before, gap.after) == ("left", "right")
    assert status_client.phase(hosting.center) == "standby"
    hosting.wait_for_phase("right", "active")
    (transition, *earlier) = status_client.history(hosting.right)
    assert earlier == before
    assert (transition["target"], transition["outcome"]) == ("active", "active")
    assert [(step["resource"], step["verb"], step["outcome"]) for step in transition["steps"]] == [
        ("prefix", "activate", "done")
    ]


def test_a_node_that_comes_back_stays_standby_and_moves_nothing(hosting: Lab) -> None:
    hosting.left.kill()
    hosting.wait_until_served_by("right")
    hosting.wait_until_answered_by("right")
    hosting.wait_for_phase("right", "active")
    history = status_client.history(hosting.right)

    back = time.monotonic_ns()
    hosting.left.start()
    # It died as MASTER, and bird's include still says so: upstream must never hear of that.
    metrics = hosting.wait_for(
        "left announces again",
        lambda: hosting.upstream.route_metrics(hosting.profile.prefixes[0]),
        until=lambda metrics: "left" in metrics,
        within=15,
    )
    assert metrics["left"] == STANDBY_METRIC
    hosting.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    hosting.wait_for_phase("left", "standby")
    hosting.wait_until_hears_master("left")
    assert hosting.vip_holders() == ["right"]
    assert status_client.history(hosting.right) == history
    report = hosting.client.report(since=back)
    assert (set(report.answered_by), report.lost) == ({"right"}, 0)

    # It is as good a standby as any.
    hosting.right.kill()
    hosting.wait_until_served_by("left")
    hosting.wait_until_answered_by("left")


def test_when_two_nodes_are_dead_the_third_serves(hosting: Lab) -> None:
    hosting.left.kill()
    hosting.right.kill()
    hosting.wait_for_metrics({"center": ACTIVE_METRIC})
    hosting.wait_until_served_by("center")
    hosting.wait_until_answered_by("center")
    assert hosting.vip_holders() == ["center"]
    hosting.wait_for_phase("center", "active")


def test_a_handover_moves_the_routing_daemon_before_its_node_is_silent(router: Lab) -> None:
    assert router.upstream.ospf_neighbours() == {"left": "Full"}
    router.left.systemctl("stop", "keepalived.service")
    router.wait_until_served_by("right")
    router.wait_until_answered_by("right")
    router.wait_for(
        "right is upstream's only neighbour",
        router.upstream.ospf_neighbours,
        until=lambda neighbours: neighbours == {"right": "Full"},
        within=20,
    )
    assert [router.nodes[name].unit_state("frr.service") for name in NODES] == ["inactive", "active", "inactive"]
    assert all(router.vip_holders(address) == ["right"] for address in router.profile.addresses)
    router.wait_for_phase("left", "standby")
    (stopped, *_) = status_client.steps(router.left)[::-1]
    (started, *_) = status_client.steps(router.right)[::-1]
    assert (stopped["verb"], started["verb"]) == ("deactivate", "activate")


def test_when_the_router_is_killed_the_next_one_routes(router: Lab) -> None:
    router.left.systemctl("start", "keepalived.service")
    router.wait_for_phase("left", "standby")
    router.wait_until_hears_master("left")
    assert router.upstream.ospf_neighbours() == {"right": "Full"}

    router.right.kill()
    router.wait_until_served_by("left")
    router.wait_until_answered_by("left")
    assert all(router.vip_holders(address) == ["left"] for address in router.profile.addresses)
    router.wait_for(
        "left is upstream's only neighbour",
        router.upstream.ospf_neighbours,
        until=lambda neighbours: neighbours == {"left": "Full"},
        within=20,
    )
    router.wait_for_phase("left", "active")
    assert status_client.phase(router.center) == "standby"
