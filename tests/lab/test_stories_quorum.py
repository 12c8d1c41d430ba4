"""Stories of a site of two rooms with witnesses: at most one node serves, and one does where a majority sees itself.

Left, right and the listener are in room A, center is in room B; see rooms.py. Each story prints what it took, in
seconds from the cut.
"""

import time
from collections.abc import Iterator

import pytest

from . import rooms, status_client
from .etcd_cluster import Cluster
from .lab import Lab
from .profiles import NODES, NodeName
from .rooms import HTTP, ISOLATION_SECONDS, TCP, Rooms, icmp

#: Two may serve for `isolation_timeout` and the stop. A machine that is busy with other things may take as long again.
_TIMES = 2
#: The isolation, an activation that has begun, the stop of a resource, by force as well, and two seconds.
_LEASE_SECONDS = ISOLATION_SECONDS + 3 + 1 + 10 + 2


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("hosting", track=True, extra_config=rooms.CONFIG) as made:
        yield made


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Rooms]:
    """The site, well, with the listener running."""
    with Rooms(lab) as made:
        yield made


def test_a_cut_line_moves_nothing_when_the_room_of_the_majority_serves(site: Rooms) -> None:
    site.serve_from("left")
    cut = site.cut()
    site.outlast("left", icmp("center"), cut)
    site.wait_until_alone("center")
    _report(site, "line cut, MASTER in room A", cut)
    site.heal()
    assert site.wait_until_well() == "left"
    assert site.samples.since(cut) == [(cut, {"left"})]


def test_a_cut_line_moves_the_service_to_the_room_of_the_majority(site: Rooms) -> None:
    site.serve_from("center")
    cut = site.cut()
    site.wait_until_only("left")
    site.wait_until_alone("center")
    _report(site, "line cut, MASTER in room B", cut, old="center", new="left")
    _check_bound(site, "center", cut)
    _check_heal_moves_nothing(site, "left")


@pytest.mark.parametrize("lost", ["a_to_b", "b_to_a"])
def test_a_line_that_is_cut_one_way_moves_nothing_when_the_room_of_the_majority_serves(site: Rooms, lost: str) -> None:
    site.serve_from("left")
    cut = site.cut(a_to_b=lost == "a_to_b", b_to_a=lost == "b_to_a")
    site.outlast("left", icmp("center"), cut)
    if lost == "a_to_b":  # the other way, center hears the MASTER
        site.wait_until_alone("center")
    _report(site, f"{lost} cut, MASTER in room A", cut)
    site.heal()
    assert site.wait_until_well() == "left"
    assert site.samples.since(cut) == [(cut, {"left"})]


@pytest.mark.parametrize("lost", ["a_to_b", "b_to_a"])
def test_a_line_that_is_cut_one_way_moves_the_service_to_the_room_of_the_majority(site: Rooms, lost: str) -> None:
    site.serve_from("center")
    cut = site.cut(a_to_b=lost == "a_to_b", b_to_a=lost == "b_to_a")
    site.lab.wait_for_phase("left", "active")
    site.wait_until_only("left")
    if lost == "a_to_b":
        site.wait_until_alone("center")
    _report(site, f"{lost} cut, MASTER in room B", cut, old="center", new="left")
    _check_bound(site, "center", cut)
    _check_heal_moves_nothing(site, "left")


def test_a_witness_that_freezes_and_then_dies_moves_nothing(site: Rooms) -> None:
    site.serve_from("left")
    frozen = site.freeze_witness()
    site.outlast("left", HTTP, frozen)
    votes = status_client.status(site.lab.left)["quorum"]["witnesses"]
    assert [url for url, vote in votes.items() if not vote["granted"]] == [HTTP], "a frozen process accepts connections"
    dead = site.kill_witness()
    site.outlast("left", TCP, dead)
    assert site.samples.since(frozen) == [(frozen, {"left"})]
    assert site.wait_until_well() == "left"
    _report(site, "witness frozen, then dead", frozen)


def test_a_line_that_flaps_costs_nothing_where_it_is_needed(site: Rooms) -> None:
    site.serve_from("left")
    begin = site.kill_witness()
    site.wait_until_misses("left", TCP, HTTP)
    for _ in range(3):
        site.cut()
        site.wait_until_misses("left", icmp("center"))
        site.heal()
        site.wait_until_answers("left", icmp("center"))
    assert site.wait_until_well() == "left"
    # As the line heals, the witnesses may answer center just before its keepalived hears the other MASTER.
    assert all("left" in serving for _, serving in site.samples.since(begin))
    assert site.samples.double(begin) <= _TIMES * ISOLATION_SECONDS
    _report(site, "witness dead, line flaps", begin)


@pytest.mark.parametrize("master", ["left", "center"])
def test_where_no_majority_sees_itself_nobody_serves_until_one_does(site: Rooms, master: NodeName) -> None:
    site.serve_from(master)
    site.kill_witness()
    cut = site.cut()
    site.wait_until_alone(*NODES)
    nobody = time.monotonic()
    _report(site, f"witness dead and line cut, MASTER {master}", cut, old=master)
    assert site.samples.served(cut) == {master}
    _check_bound(site, master, cut)
    assert site.samples.served(nobody) == set()
    healed = site.heal()
    serves = site.wait_until_well()
    assert site.samples.served(nobody) == {serves}
    _report(site, "line healed", healed, new=serves)
    back = site.start_witness()
    site.wait_until_answers(serves, TCP, HTTP)
    assert site.wait_until_well() == serves
    assert site.samples.since(back) == [(back, {serves})]


@pytest.fixture
def lease(site: Rooms) -> Iterator[str]:
    """Left and right have an etcd cluster as their only witness, and center is not there; this is its URL."""
    site.serve_from("left")
    lab, begin = site.lab, time.monotonic()
    lab.center.systemctl("stop", "keepalived.service")
    with Cluster() as cluster:
        network = cluster.connect(lab.run.netns("fabric"), "br0", "10.77.0.30/24")
        for node in (lab.left, lab.right):
            node.run(["ip", "route", "replace", network, "via", "10.77.0.30"])
        with site.configured(rooms.RESOURCES + rooms.quorum(cluster.urls()), "left", "right"):
            site.wait_for_lease("left", cluster.urls(), "renewed by ")
            assert site.samples.since(begin) == [(begin, {"left"})], "other witnesses move nothing"
            yield cluster.urls()
    lab.center.systemctl("start", "keepalived.service")


def test_of_two_nodes_whose_link_is_cut_only_the_holder_of_the_lease_serves(site: Rooms, lease: str) -> None:
    left = site.lab.left
    parted = site.part()
    site.wait_for_lease("right", lease, "held by left")
    site.lab.wait_for_phase("right", "refused")
    renewed = site.wait_for_lease("left", lease, "renewed by ", since=parted + ISOLATION_SECONDS)
    assert site.samples.since(parted) == [(parted, {"left"})]
    _report(site, "link cut, the lease is left's", parted)

    left.unplug()
    cut = time.monotonic()
    site.wait_until_alone("left")
    site.wait_until_only("right")
    _report(site, "left cut off with the lease", cut, old="left", new="right")
    assert site.samples.double(cut) == 0
    started = site.samples.started("right", cut)
    assert started is not None
    assert started - renewed >= _LEASE_SECONDS
    left.plug()
    site.lab.wait_for_phase("left", "standby")
    site.wait_for_lease("right", lease, "renewed by ", since=time.monotonic())
    assert site.samples.since(started) == [(started, {"right"})]


def _check_heal_moves_nothing(site: Rooms, serves: NodeName) -> None:
    healed = site.heal()
    assert site.wait_until_well() == serves
    assert site.samples.since(healed) == [(healed, {serves})]


def _check_bound(site: Rooms, old: NodeName, cut: float) -> None:
    """No two have served for longer than the isolation and the stop, and the old one stopped within that time."""
    bound = _TIMES * (ISOLATION_SECONDS + site.stop_seconds(old))
    assert site.samples.double(cut) <= bound
    stopped = site.samples.stopped(old, cut)
    assert stopped is not None
    assert stopped - cut <= bound


def _report(site: Rooms, story: str, cut: float, *, old: NodeName | None = None, new: NodeName | None = None) -> None:
    """Print what a story took, in seconds from the cut."""
    told = [f"{words} {at - cut:.2f} s" for words, at in _moments(site, cut, old, new)]
    told.append(f"two served for {site.samples.double(cut):.2f} s")
    print(f"{story}: {', '.join(told)}")


def _moments(site: Rooms, cut: float, old: NodeName | None, new: NodeName | None) -> Iterator[tuple[str, float]]:
    if old is not None and (stopped := site.samples.stopped(old, cut)) is not None:
        yield f"stopped on {old} after", stopped
    if new is not None and (started := site.samples.started(new, cut)) is not None:
        yield f"started on {new} after", started
