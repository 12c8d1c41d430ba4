"""A planned move goes only to a node that can clear every other one, and shoots nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core import planned_move
from failoverd.core.effects import FencePeer
from failoverd.core.events import PeerReported, PeerUnverified, ResourceChanged
from failoverd.core.knowledge import PeerWord
from failoverd.core.requests import PeerConfirmedOff
from failoverd.core.spec import Fence, Quorum
from failoverd.core.words import Clearance, Phase, Standing, Target, VrrpState
from failoverd.daemon.heartbeat.words import spoken
from tests.unit.core.test_clearance import RESTS, SERVES, STOPS, fenced, fencings, site, tell, wait
from tests.unit.core.world import World

SEE = "see there: failoverctl status VI_1"
LACKS = "0 of 1 witnesses answer"
#: A failoverd that has just begun.
STARTED = replace(RESTS, vrrp=None, target=None, phase=Phase.UNKNOWN, rests=False)
FAILED = replace(SERVES, phase=Phase.FAILED, target=Target.STANDBY)
UNHEARD = (
    "is not heard, so it would be fenced: start its failoverd, or if it is certainly off, on right: "
    "failoverctl confirm-off center"
)


def standby(*, fence: bool = True, quorum: Quorum | None = None) -> World:
    """right, at standby, beside left, which serves, and center."""
    made = World(site(node="right", others=("left", "center"), fence=fence, quorum=quorum))
    made.say(VrrpState.BACKUP)
    made.settle()
    tell(made, SERVES, "left")
    tell(made, RESTS, "center")
    return made


def against(made: World) -> dict[str, str]:
    return planned_move.against(made.state, made.instance, made.now)


def pass_without_center(made: World, seconds: float = 30.0) -> None:
    wait(made, seconds)
    tell(made, SERVES, "left")


def test_where_every_node_is_heard_nothing_is_against_it() -> None:
    made = standby()
    assert against(made) == {}
    tell(made, STOPS, "left")
    assert against(made) == {}, "in a handover"
    tell(made, RESTS, "left")
    assert against(made) == {}


def test_a_third_node_that_was_in_maintenance_or_cannot_be_heard_would_prevent_the_activation() -> None:
    made = standby()
    tell(made, replace(RESTS, maintenance=True), "center")
    pass_without_center(made)
    assert against(made)["center"].startswith(
        "is not heard, so nothing would be activated, as it was in maintenance then: start its failoverd, or if "
    )
    made.hear("center", deaf=True)
    assert against(made)["center"] == (
        "may be alive, and nothing would be activated: the heartbeat does not run here: no key; see: failoverctl status"
    )


def test_a_third_node_that_is_not_heard_would_be_fenced_and_is_named_with_the_remedy() -> None:
    made = standby()
    pass_without_center(made)
    assert against(made) == {"center": UNHEARD}
    made.send(PeerConfirmedOff(peer="center", by="root"))
    assert against(made) == {}


def test_the_foresight_is_true_a_move_would_fence_the_third_node() -> None:
    made = standby()
    pass_without_center(made)
    assert against(made)
    made.say(VrrpState.MASTER)
    for _ in range(10):
        wait(made, 1.0)
        tell(made, RESTS, "left")
    assert [each.peer for each in fencings(made)] == ["center"]
    fenced(made, off=False, said="no proof")
    assert made.instance.clearance is Clearance.MISSING
    assert made.instance.reason.endswith("if it is certainly off: failoverctl confirm-off center")


def test_a_move_that_nothing_is_against_fences_nobody() -> None:
    made = standby()
    assert not against(made)
    made.say(VrrpState.MASTER)
    for word in (STOPS, RESTS):
        wait(made, 1.0)
        tell(made, word, "left")
        tell(made, RESTS, "center")
    assert made.steps
    assert not [each for each in made.log if isinstance(each, FencePeer)]


def test_an_active_node_that_is_not_heard_would_be_fenced_too() -> None:
    made = standby()
    wait(made, 30.0)
    tell(made, RESTS, "center")
    assert list(against(made)) == ["left"]


def test_without_fencing_it_would_be_outwaited() -> None:
    quorum = Quorum(witnesses=("icmp://192.0.2.254",), need=1, takeover_after=60.0)
    made = standby(fence=False, quorum=quorum)
    pass_without_center(made)
    assert against(made)["center"].startswith("is not heard, so nothing would be activated for 60 s: ")


def test_a_third_node_without_power_switch_would_be_a_refusal() -> None:
    made = World(replace(site(node="right", others=("left", "center")), fences={"left": Fence(agent="/x")}))
    made.say(VrrpState.BACKUP)
    made.settle()
    pass_without_center(made)
    assert against(made)["center"].startswith("is not heard, so nothing would be activated: start its failoverd, or")


def test_without_fencing_and_takeover_after_nobody_is_asked() -> None:
    made = standby(fence=False)
    pass_without_center(made)
    assert against(made) == {}
    assert planned_move.nobody(made.state, made.instance, made.now) == []


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (replace(SERVES, maintenance=True), "is in maintenance, not at standby, and not fenced"),
        (replace(RESTS, rests=False, strays=frozenset({"old"})), "may run old, no longer configured there"),
        (FAILED, "says that it is not at standby"),
    ],
)
def test_a_node_that_contradicts_is_named_with_its_word(word: PeerWord, why: str) -> None:
    made = standby()
    tell(made, word, "center")
    assert against(made)["center"].startswith(why)


def test_a_node_that_does_not_know_the_instance_is_named() -> None:
    made = standby()
    made.send(PeerReported(peer="center", at=made.now, words={"VI_1": None}, whole=True))
    assert against(made) == {"center": "speaks, but not of VI_1: look there: failoverctl status VI_1"}


def test_a_node_that_cannot_be_believed_is_named() -> None:
    made = standby()
    pass_without_center(made)
    made.send(PeerUnverified(peer="center"))
    assert against(made)["center"].startswith("sends heartbeats of another key or format, so nothing")


def test_a_node_that_the_resources_show_at_standby_needs_no_word() -> None:
    made = standby()
    made.inactive_on["VI_1", "disk"] = frozenset({"center"})
    made.send(ResourceChanged(instance="VI_1", resource="disk"))
    pass_without_center(made)
    assert against(made) == {}


# ---------------------------------------------------------------- on the node that leaves


def active() -> World:
    """left, which serves beside right and center."""
    made = World(site(node="left", others=("right", "center")))
    made.say(VrrpState.BACKUP)
    made.settle()
    made.say(VrrpState.MASTER)
    made.now += 0.1
    tell(made, RESTS, "right")
    tell(made, RESTS, "center")
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    return made


def nobody(made: World) -> list[str]:
    return planned_move.nobody(made.state, made.instance, made.now)


def test_a_node_may_leave_where_another_one_can_take_over() -> None:
    made = active()
    tell(made, RESTS, "right")
    tell(made, RESTS, "center")
    assert nobody(made) == []
    wait(made, 30.0)
    tell(made, RESTS, "right")
    assert nobody(made) == [], "right knows that center is off"


def test_a_node_does_not_leave_to_one_that_would_fence_a_third_or_refuse() -> None:
    made = active()
    wait(made, 30.0)
    tell(made, replace(RESTS, against_move={"center": UNHEARD}), "right")
    assert nobody(made) == [f"right might be elected, and could not take over: center {UNHEARD}"]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (None, "is not heard"),
        (replace(RESTS, standby=True), "is kept in standby by an operator"),
        (replace(RESTS, maintenance=True), "is in maintenance"),
        (replace(RESTS, competes=False), "does not compete for mastership"),
        (replace(RESTS, competes=False, refusal="disk: no link"), "does not compete for mastership: disk: no link"),
        (replace(RESTS, vrrp=VrrpState.FAULT), f"cannot be elected, as its keepalived reports FAULT; {SEE}"),
        (replace(RESTS, vrrp=VrrpState.STOP), f"cannot be elected, as its keepalived reports STOP; {SEE}"),
        (replace(RESTS, vrrp=VrrpState.DELETED), f"cannot be elected, as its keepalived reports DELETED; {SEE}"),
        (
            STARTED,
            "has not received a state of keepalived; if its failoverd was started just now, try again; or " + SEE,
        ),
        (replace(RESTS, standing=Standing.MISSING, refusal=LACKS), f"misses its witnesses: {LACKS}; {SEE}"),
        (replace(RESTS, phase=Phase.REFUSED, refusal="no VIP"), f"is refused: no VIP; {SEE}"),
        (replace(RESTS, phase=Phase.FAILED, rests=False), f"is failed; {SEE}"),
        (replace(RESTS, refusal="disk: stale data"), f"would refuse: disk: stale data; {SEE}"),
    ],
)
def test_a_node_does_not_leave_where_no_other_can_be_elected(word: PeerWord | None, why: str) -> None:
    made = active()
    wait(made, 30.0)
    made.send(PeerConfirmedOff(peer="center", by="root"))
    if word is not None:
        tell(made, word, "right")
    assert nobody(made) == [f"no other node can take over: right {why}; center is off"]


@pytest.mark.parametrize(
    "word",
    [
        RESTS,
        STOPS,
        replace(RESTS, rests=False),
        replace(RESTS, phase=Phase.UNKNOWN, rests=False),
        replace(RESTS, standing=Standing.AWAITED),
        replace(RESTS, standing=Standing.PRESENT),
    ],
)
def test_a_node_leaves_to_every_one_that_may_take_over(word: PeerWord) -> None:
    made = active()
    wait(made, 30.0)
    tell(made, word, "right")
    assert nobody(made) == []


def test_one_that_can_take_over_is_enough() -> None:
    made = active()
    wait(made, 30.0)
    tell(made, replace(RESTS, vrrp=VrrpState.FAULT), "right")
    tell(made, RESTS, "center")
    assert nobody(made) == []


def test_what_a_standby_says_of_itself_lets_the_active_node_leave() -> None:
    """From the first moment at which it knows keepalived's state, before its resources are observed."""
    there = World(site(node="right", others=("left", "center")))
    made = active()
    words = []
    for step in (lambda: there.say(VrrpState.BACKUP), there.settle):
        step()
        tell(there, SERVES, "left")
        tell(there, RESTS, "center")
        words.append(spoken(there.state, there.instance, there.now))
        wait(made, 30.0)
        tell(made, words[-1], "right")
        assert nobody(made) == [], words[-1]
    assert [each.rests for each in words] == [False, True]


# ---------------------------------------------------------------- on a node to which mastership would return


def test_a_failed_node_does_not_compete_with_the_active_one() -> None:
    made = standby()
    assert planned_move.preempting(made.state, made.instance, made.now) == []
    failed = replace(made.instance, phase=Phase.FAILED, reason="guest: cannot stop")
    assert planned_move.preempting(made.state, failed, made.now) == ["this node is failed: guest: cannot stop"]
