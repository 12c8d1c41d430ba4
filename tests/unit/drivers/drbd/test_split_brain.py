"""What becomes of data beside which another node may have written: DRBD has given up the connection."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.drivers.drbd import policy, staleness
from failoverd.drivers.drbd.staleness import Loss, Record, Split
from failoverd.ports.drbd.status import Resource
from failoverd.ports.errors import DriverError, Refused
from failoverd.records import records
from tests.unit.drivers.drbd.conftest import Clock
from tests.unit.drivers.drbd.drbds import PRIMARY_8, PRIMARY_9, SHOW, SPEC, actions, make, refused
from tests.unit.ports.drbd.drbdsetups import EIGHT, EVENTS, NINE, FakeDrbd, eight, up

REASON = (
    "DRBD has given up the connection to peer (StandAlone: split brain, or disconnected by hand), and what was written "
    "there is not here; reconnect them, or run: failoverctl accept VI_1 vpn-disk"
)
PRIMARY = (EIGHT / "split-brain/right.events2-now.txt").read_text().rstrip()
SECONDARY = PRIMARY.replace("name:vpn role:Primary", "name:vpn role:Secondary")


ALONE = up(EIGHT / "split-brain", "right")
VIEWS: dict[str, Resource | None] = {
    "alone": replace(ALONE, role="Secondary"),
    "connecting": replace(ALONE, role="Secondary", peers=(replace(ALONE.peers[0], connection="Connecting"),)),
    "connected": up(EIGHT / "all-fine", "right"),
    "primary": ALONE,
    "down": None,
}


@pytest.fixture
def split(fake: FakeDrbd) -> FakeDrbd:
    """DRBD 8.4 after a split brain, as after a reboot: Secondary, UpToDate, StandAlone, and nothing is remembered."""
    eight(EIGHT / "split-brain", "right")
    fake.answer(EVENTS, SECONDARY)
    fake.answer(PRIMARY_8)
    return fake


def becomes(fake: FakeDrbd, dump: str) -> None:
    fake.forget(EVENTS)
    fake.answer(EVENTS, dump)


async def test_it_is_refused_in_words_and_shown_on_the_standby(split: FakeDrbd) -> None:
    assert (await make().observe()).obstacle == REASON
    assert await refused(make()) == REASON
    assert actions(split) == []


async def test_so_it_is_where_there_is_no_connection_any_more(split: FakeDrbd) -> None:
    lines = [line for line in SECONDARY.splitlines() if "peer-node-id" not in line or "name:vpn" not in line]
    becomes(split, "\n".join(lines))
    assert await refused(make()) == REASON


async def test_accepted_it_is_promoted_once(split: FakeDrbd) -> None:
    driver = make()
    with pytest.raises(DriverError, match="nothing to accept"):
        await driver.accept("root")
    await refused(driver)
    assert await driver.accept("root") == (
        "vpn: the data of this node, without what was written on peer since they last met, for one promotion, "
        "is accepted by root"
    )
    with pytest.raises(DriverError, match="nothing to accept"):
        await driver.accept("root")
    assert (await driver.observe()).obstacle == ""
    await driver.activate()
    assert actions(split) == [PRIMARY_8]
    assert await refused(driver) == REASON  # demoted meanwhile: the other side may have been Primary since
    await driver.accept("root")
    becomes(split, PRIMARY)
    await driver.activate()
    becomes(split, SECONDARY)
    assert await refused(driver) == REASON
    assert actions(split) == [PRIMARY_8]


async def test_an_acceptance_survives_a_restart_of_the_daemon(split: FakeDrbd) -> None:
    await refused(make())
    await make().accept("root")
    await make().activate()
    assert actions(split) == [PRIMARY_8]


async def test_an_acceptance_is_for_that_one_split_brain(split: FakeDrbd) -> None:
    await refused(make())
    await make().accept("root")
    becomes(split, (EIGHT / "all-fine/right.events2-now.txt").read_text().rstrip())
    await make().activate()  # mended meanwhile
    becomes(split, SECONDARY)
    assert await refused(make()) == REASON


CONNECTING = SECONDARY.replace("connection:StandAlone", "connection:Connecting")
MENDED = (EIGHT / "all-fine/right.events2-now.txt").read_text().rstrip()


async def test_what_was_mended_before_it_was_accepted_is_not_accepted(split: FakeDrbd) -> None:
    await refused(make())
    becomes(split, MENDED)
    with pytest.raises(DriverError, match="nothing to accept"):
        await make().accept("root")
    becomes(split, SECONDARY)
    assert await refused(make()) == REASON


async def test_a_connection_that_is_begun_again_is_awaited_until_they_have_met(split: FakeDrbd) -> None:
    """As the remedy begins it: what this node has is as old as before, and the other may be Primary."""
    driver = make()
    await refused(driver)
    becomes(split, CONNECTING)
    begun = "DRBD had given up the connection to peer, and has not been connected since, and what was written there"
    assert (await driver.observe()).obstacle == REASON  # once more, so that the change is seen
    assert (await driver.observe()).obstacle.startswith(begun)
    reason = await refused(driver)
    assert reason.startswith(f"waited until the timeout: {begun}")
    assert reason.endswith("failoverctl accept VI_1 vpn-disk")
    assert actions(split) == []
    split.forget(EVENTS)
    split.answer(EVENTS, CONNECTING)
    split.answer(EVENTS, MENDED)
    await make(replace(SPEC, timeout=30)).activate()
    assert actions(split) == [PRIMARY_8]


async def test_where_the_other_never_comes_it_can_be_accepted_too(split: FakeDrbd) -> None:
    await refused(make())
    becomes(split, CONNECTING)
    await refused(make())
    await make().accept("root")
    await make().activate()
    assert actions(split) == [PRIMARY_8]


async def test_an_acceptance_ends_when_the_connection_is_begun_again(split: FakeDrbd) -> None:
    await refused(make())
    await make().accept("root")
    becomes(split, CONNECTING)
    assert "has not been connected since" in await refused(make())


async def test_a_standby_accepts_nothing_in_advance(split: FakeDrbd) -> None:
    becomes(split, CONNECTING)
    await make().observe()
    staleness.save("vpn", staleness.seen(Record(), VIEWS["connecting"], 1, vouched=1, wall=1))
    becomes(split, SECONDARY)
    assert (await make().observe()).obstacle == REASON
    with pytest.raises(DriverError, match="nothing to accept"):
        await make().accept("root")


async def test_after_a_reboot_it_is_first_awaited_and_then_refused(split: FakeDrbd, clock: Clock) -> None:
    driver = make(connect_grace=15)
    with pytest.raises(
        Refused, match="waited until the timeout: it has just come up and has not connected to peer yet"
    ):
        await driver.activate()
    clock.now += 15
    assert await refused(driver) == REASON
    await driver.accept("root")
    await driver.activate()
    assert actions(split) == [PRIMARY_8]


async def test_old_data_and_a_split_brain_are_accepted_together(split: FakeDrbd, clock: Clock) -> None:
    loss = Loss(peer=0, name="left", since=clock.now - 62, noticed=clock.now - 62, wall=0)
    staleness.save("vpn", Record(at=clock.now - 62, up=1, met=frozenset({0}), loss=loss))
    driver = make()
    assert (await refused(driver)).startswith("the data here is 62 s old")
    said = await driver.accept("root")
    assert "62 s old" in said
    assert "without what was written on peer" in said
    await driver.activate()
    assert actions(split) == [PRIMARY_8]


async def test_without_quorum_nine_refuses_as_well(fake: FakeDrbd) -> None:
    fake.state(NINE / "left-rejoined-demoted-standalone", "left", "web")
    fake.answer("show web", "resource web {\n}")
    driver = make(resource="web")
    assert "given up the connection to right (StandAlone" in (await driver.observe()).obstacle
    assert "given up the connection to right (StandAlone" in await refused(driver)
    assert actions(fake) == []


def with_quorum(fake: FakeDrbd) -> None:
    """A node that is sound: the other one was cut off while it was Primary, and has rejoined like that."""
    told = (NINE / "left-rejoins-both-primary/right.status.json").read_text()
    fake.answer("status --json vpn", told.replace('"role": "Primary"', '"role": "Secondary"'))
    fake.answer(PRIMARY_9)


async def test_who_has_quorum_has_nothing_to_fear_of_who_has_none(fake: FakeDrbd) -> None:
    with_quorum(fake)
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    driver = make()
    assert (await driver.observe()).obstacle == ""
    await driver.activate()
    assert actions(fake) == [PRIMARY_9]


@pytest.mark.parametrize("quorum", ["off", "1", ""])
async def test_a_quorum_that_is_none_or_not_known_proves_nothing(fake: FakeDrbd, quorum: str) -> None:
    with_quorum(fake)
    shown = (NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text()
    fake.answer(SHOW, shown.replace("majority", quorum), code=0 if quorum else 10)
    assert "given up the connection to left (StandAlone" in await refused(make())
    assert actions(fake) == []


async def test_without_the_quorum_that_it_needs_there_is_nothing_to_accept(fake: FakeDrbd) -> None:
    told = (NINE / "left-rejoins-both-primary/left.status.json").read_text()
    fake.answer("status --json vpn", told.replace('"role": "Primary"', '"role": "Secondary"'))
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    driver = make()
    assert await refused(driver) == (
        "no quorum: too few of the other nodes are connected, and DRBD no longer connects to right and center "
        "(StandAlone): drbdadm adjust vpn"
    )
    with pytest.raises(DriverError, match="nothing to accept"):
        await driver.accept("root")


@given(st.lists(st.sampled_from(sorted(VIEWS)), max_size=6))
def test_an_acceptance_holds_while_nothing_but_that_is_seen(views: list[str]) -> None:
    zero = frozenset({0})
    record = Record(at=1, up=1, tried=zero, split=Split(peers=zero, refused=True, accepted=zero))
    for now, name in enumerate(views, 2):
        record = staleness.seen(record, VIEWS[name], now, vouched=now, wall=now)
    assert (record.split is not None and record.split.accepted == zero) is (set(views) <= {"alone"})


@given(st.lists(st.sampled_from(sorted(VIEWS)), max_size=8))
def test_who_was_given_up_is_feared_until_it_is_met_again(views: list[str]) -> None:
    """Against a model that knows it all. Before the first try after `up`, StandAlone is how it begins."""
    record, tried, feared = Record(), False, False
    for now, name in enumerate(views, 2):
        view = VIEWS[name]
        record = staleness.seen(record, view, now, vouched=now, wall=now)
        alone = view is not None and bool(view.alone)
        feared = name != "connected" and (feared or (alone and tried))
        tried = view is not None and (tried or not alone)
        if view is not None:
            assert bool(staleness.apart(record, view, voted=False)) is (feared or alone)
            limits = policy.Limits(connect_grace=0, reconnect_grace=0, stale_after=15, remedy="accept it")
            obstacle = policy.obstacle(view, record, now, limits)
            assert view.primary or (obstacle is not None) is (feared or alone)


def test_of_three_nodes_each_is_accepted_by_itself() -> None:
    view = up(NINE / "left-rejoins-both-primary", "left")
    right, center = (peer.id for peer in view.alone)
    assert {peer.id for peer in staleness.apart(Record(), view, voted=False)} == {right, center}
    ids = frozenset({right, center})
    both = Split(peers=ids, refused=True, accepted=ids)
    assert staleness.apart(Record(split=both), view, voted=False) == ()
    one = replace(both, peers=frozenset({right}))
    assert len(staleness.apart(Record(split=one), view, voted=False)) == 2
    assert staleness.apart(Record(split=replace(both, accepted=None)), view, voted=False) == view.alone


def test_what_an_earlier_version_kept_is_known_and_no_acceptance() -> None:
    loss, zero = Loss(peer=0, name="left", since=1, noticed=1, wall=1), frozenset({0})
    record = Record(at=1, up=1, met=zero, tried=zero, loss=loss, split=Split(peers=zero, refused=True, accepted=zero))
    staleness.save("vpn", record)
    assert staleness.load("vpn") == record
    file = records.directory / "drbd-vpn"
    kept = json.loads(file.read_text())
    del kept["split"], kept["tried"]
    file.write_text(json.dumps(kept))
    assert staleness.load("vpn") == replace(record, split=None)
