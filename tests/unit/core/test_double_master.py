"""Of two MASTERs at most one yields, and none where nothing says which one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.core.events import LowerPriorityAdvert, PeerReported, VipElsewhere
from failoverd.core.knowledge import PeerWord
from failoverd.core.requests import MaintenanceBegun
from failoverd.core.spec import Heartbeat, Quorum
from failoverd.core.words import Level, OnDoubleMaster, Phase, Standing, VrrpState
from tests.unit.core.world import VIP, World, config, resource

ROUTER = "icmp://192.0.2.254"
WITNESSED = Quorum(witnesses=(ROUTER,), need=1)
NODES = ("left", "right", "third")


def serving(
    node: str,
    quorum: Quorum | None = None,
    wanted: OnDoubleMaster = OnDoubleMaster.YIELD,
    take_back_after: float = 60.0,
) -> World:
    """A MASTER for a minute, with the others of NODES in its heartbeat."""
    others = tuple(name for name in NODES if name != node)
    plain = config(resource("disk"), quorum=quorum, take_back_after=take_back_after)
    spec = replace(plain.instances["VI_1"], on_double_master=wanted, others=others)
    made = World(replace(plain, instances={"VI_1": spec}, heartbeat=Heartbeat(node=node, peers=others)))
    made.say(VrrpState.MASTER)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    made.live(made.now + 60.0)
    return made


def hear(made: World, other: str, word: PeerWord | None = None) -> None:
    said = word or PeerWord(at=made.now, vrrp=VrrpState.MASTER, phase=Phase.ACTIVE)
    made.send(PeerReported(peer=other, at=made.now, words={"VI_1": replace(said, at=made.now)}, whole=True))


def meet(made: World, *, probed: bool = False) -> None:
    """A sign of another MASTER."""
    if probed:
        made.send(VipElsewhere(instance="VI_1", vip=VIP, station="02:00:00:00:00:01"))
    else:
        made.send(LowerPriorityAdvert(instance="VI_1"))


@pytest.mark.parametrize("probed", [True, False])
def test_the_later_one_yields_as_soon_as_it_hears_that_the_other_one_is_master(probed: bool) -> None:
    left, right = serving("left"), serving("right")
    hear(left, "right")
    hear(right, "left")
    for made in (left, right):
        meet(made, probed=probed)
    assert (left.released, right.released) == (set(), {"VI_1"})
    right.settle()
    assert {r.seen.level for r in right.instance.resources.values()} == {Level.STANDBY}
    assert "left says that it is MASTER, and goes first, so this node yields" in right.instance.released
    assert right.instance.released in right.instance.alarm
    assert "this node goes first, so it does not yield" in left.instance.reason


def test_the_one_that_misses_its_witnesses_yields_before_it_is_alone() -> None:
    made = serving("left", WITNESSED)
    made.granted[ROUTER] = None
    made.live(made.now + 8.0)
    assert made.instance.standing is Standing.PRESENT
    meet(made)
    assert made.released == {"VI_1"}
    assert "this node misses its witnesses, so it yields" in made.instance.reason


def test_the_one_that_has_them_does_not_yield_whatever_it_hears() -> None:
    made = serving("right", WITNESSED)
    hear(made, "left")
    meet(made)
    assert not made.released
    assert "this node has its witnesses" in made.instance.reason


def test_where_nothing_says_which_one_yields_none_does_and_that_is_said() -> None:
    made = serving("right")
    meet(made)
    assert not made.released
    assert "neither can know which one is to yield" in made.instance.reason


def test_it_is_only_reported_unless_it_is_wanted_and_never_in_maintenance() -> None:
    made = serving("right", wanted=OnDoubleMaster.REPORT)
    hear(made, "left")
    meet(made)
    assert not made.released
    made = serving("right")
    made.send(MaintenanceBegun(by="root", until=made.now + 100))
    hear(made, "left")
    meet(made)
    assert not made.released


def test_it_yields_once_for_one_double_master_and_serves_again_where_keepalived_does_not_follow() -> None:
    made = serving("right")
    for _ in range(6):
        hear(made, "left")
        meet(made)
        made.live(made.now + 5.0)
        made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert made.instance.releases == 1


def test_it_competes_again_when_the_time_has_passed() -> None:
    made = serving("right")
    hear(made, "left")
    meet(made)
    made.settle()
    made.say(VrrpState.FAULT)
    made.settle()
    assert made.released == {"VI_1"}
    made.live(made.now + 61.0)
    assert not made.released


def test_it_yields_again_where_it_is_soon_master_again_beside_the_other() -> None:
    made = serving("right", take_back_after=20)
    for _ in range(2):
        hear(made, "left")
        meet(made, probed=True)
        assert made.released == {"VI_1"}
        made.settle()
        made.say(VrrpState.FAULT)
        made.settle()
        while made.released:
            made.live(made.now + 1.0)
        made.say(VrrpState.MASTER)
        made.settle()
        made.live(made.now + 4.0)


def test_the_word_alone_is_enough_where_neither_adverts_nor_answers_arrive() -> None:
    left, right = serving("left"), serving("right")
    for _ in range(8):
        for made, other in ((left, "right"), (right, "left")):
            hear(made, other)
            made.live(made.now + 1.0)
    assert (left.released, right.released) == (set(), {"VI_1"})
    assert right.instance.released == (
        "left said by the heartbeat that it was MASTER too, and left says that it is MASTER, and goes first, so this"
        " node yields"
    )
    assert "right says that it is MASTER, and this node goes first, so it does not yield" in left.instance.alarm


@given(
    words=st.lists(st.sampled_from([(a, b) for a in NODES for b in NODES if a != b]), max_size=8),
    signs=st.lists(st.tuples(st.sampled_from(NODES), st.booleans()), max_size=6),
    witnessed=st.booleans(),
    lost=st.sets(st.sampled_from(NODES)),
    after=st.floats(0.0, 9.0),
)
def test_whatever_each_hears_not_all_yield(
    words: list[tuple[str, str]], signs: list[tuple[str, bool]], witnessed: bool, lost: set[str], after: float
) -> None:
    """Only those that must not serve in any case may all yield: they miss their witnesses."""
    quorum = WITNESSED if witnessed else None
    nodes = {name: serving(name, quorum) for name in NODES}
    for name, made in nodes.items():
        if name in lost:
            made.granted[ROUTER] = None
        made.live(made.now + after)
    for here, other in words:
        hear(nodes[here], other)
    for name, probed in signs:
        meet(nodes[name], probed=probed)
    gone = {name for name, made in nodes.items() if made.released}
    may_serve = set(NODES) - lost if witnessed else set(NODES)
    assert not may_serve or may_serve - gone
    if witnessed:
        assert gone <= lost
