"""Stories of routers that all announce their VLANs, and tell by OSPF's cost through which of them the traffic comes."""

from collections.abc import Iterator

import pytest

from . import status_client
from .client import Client
from .lab import Lab
from .profiles import HOST_NUMBER

#: Somebody behind the routers, in the first VLAN: center, which takes no part in routing here.
_HOST = f"10.10.0.{HOST_NUMBER['center']}"


@pytest.fixture(name="routers", scope="module")
def _routers() -> Iterator[Lab]:
    with Lab("metric") as lab:
        lab.center.systemctl("stop", "keepalived.service", "frr.service")
        for router in (lab.left, lab.right):
            router.run(["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"])
        lab.client = Client(lab.run, (_HOST,))
        lab.client.start()
        lab.wait_until_answered_by("center")
        yield lab


def test_a_planned_move_loses_no_packet(routers: Lab) -> None:
    since = routers.client.packets()[-1].sent
    routers.left.systemctl("stop", "keepalived.service")
    routers.wait_until_served_by("right")
    routers.wait_for_phase("right", "active")
    routers.wait_for_phase("left", "standby")
    routers.left.systemctl("start", "keepalived.service")
    routers.wait_until_hears_master("left")
    assert routers.client.report(since).lost == 0
    (step,) = status_client.history(routers.right)[0]["steps"]
    assert (step["resource"], step["outcome"]) == ("ospf", "done")
    assert routers.upstream.ospf_neighbours() == {"left": "Full", "right": "Full"}


def test_when_a_router_is_killed_the_other_one_routes(routers: Lab) -> None:
    routers.right.kill()
    routers.wait_until_served_by("left")
    routers.wait_until_answered_by("center")
    routers.wait_for_phase("left", "active")
    assert all(routers.vip_holders(address) == ["left"] for address in routers.profile.addresses)
