"""Nothing is activated while another node may serve: its word, its silence, its end, and the time that proves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failoverd.core import clearance, hearing, peers
from failoverd.core.effects import Alarm, AlarmKind, FencePeer
from failoverd.core.events import (
    Event,
    HearingChanged,
    KeepalivedSeen,
    LowerPriorityAdvert,
    PeerFenced,
    PeerReported,
    PeerUnverified,
    Reloaded,
    ResourceChanged,
    ResourceObserved,
    Tick,
    VipElsewhere,
    VipsSeen,
    VrrpStateReported,
)
from failoverd.core.knowledge import PeerWord
from failoverd.core.requests import (
    AsideEnded,
    AsideWanted,
    HandoverWanted,
    MaintenanceBegun,
    MaintenanceEnded,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    StandbyWanted,
)
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, Fence, Heartbeat, Quorum
from failoverd.core.waits import waits
from failoverd.core.words import (
    Clearance,
    Keepalived,
    Level,
    OnRefused,
    Outcome,
    Phase,
    Standing,
    Target,
    VrrpState,
    WaitFor,
)
from tests.unit.core.world import World, config, resource

ROUTER = "icmp://192.0.2.254"
ONE = Quorum(witnesses=(ROUTER,), need=1)
FENCE = Fence(agent="/usr/sbin/fence_ipmilan")
RESTS = PeerWord(at=0.0, phase=Phase.STANDBY, target=Target.STANDBY, vrrp=VrrpState.BACKUP, rests=True)
STOPS = replace(RESTS, phase=Phase.DEMOTING, rests=False)
SERVES = PeerWord(at=0.0, phase=Phase.ACTIVE, target=Target.ACTIVE, vrrp=VrrpState.MASTER)
WAITS = replace(RESTS, phase=Phase.PROMOTING, target=Target.ACTIVE, vrrp=VrrpState.MASTER, clearance=Clearance.AWAITED)


def site(
    *, fence: bool = True, others: tuple[str, ...] = ("right",), quorum: Quorum | None = None, node: str = "left"
) -> Config:
    made = config(
        resource("disk", others=others, stop_timeout=20.0), resource("guest", "disk", others=others), quorum=quorum
    )
    spec = replace(made.instances["VI_1"], others=others)
    fences = dict.fromkeys((*others, node), FENCE) if fence else {}
    heartbeat = Heartbeat(node=node, peers=others)
    return replace(made, instances={"VI_1": spec}, heartbeat=heartbeat, fences=fences)


def world(**options: Any) -> World:
    made = World(site(**options))
    made.say(VrrpState.BACKUP)
    made.settle()
    for peer in made.instance.spec.others:
        tell(made, peer=peer)
    return made


def master(**options: Any) -> World:
    made = world(**options)
    made.say(VrrpState.MASTER)
    return made


def tell(made: World, word: PeerWord = RESTS, peer: str = "right", *, ago: float = 0.0) -> None:
    at = made.now - ago
    made.send(PeerReported(peer=peer, at=at, words={"VI_1": replace(word, at=at)}, whole=True))


def wait(made: World, seconds: float, word: PeerWord | None = None) -> None:
    """Let time pass, in which `right` says `word` every second; checks and witnesses are answered, steps are not."""
    end = made.now + seconds
    while made.now < end or made.looks:
        made.live(min(made.now + 1.0, end))
        if word is not None:
            tell(made, word)
    made.send(Tick())


def fencings(made: World) -> list[FencePeer]:
    return [effect for effect in made.log if isinstance(effect, FencePeer)]


def fenced(made: World, *, off: bool = True, said: str = "fence_ipmilan: status 2") -> None:
    last = fencings(made)[-1]
    made.fencings.clear()
    made.send(PeerFenced(peer=last.peer, fencing=last.fencing, off=off, said=said))


def test_without_fencing_and_takeover_after_the_other_nodes_do_not_matter() -> None:
    made = master(fence=False)
    assert made.steps
    assert made.instance.clearance is Clearance.IDLE


def test_what_was_said_before_a_change_of_mastership_proves_nothing_after_it() -> None:
    made = world()
    tell(made)
    made.say(VrrpState.MASTER)
    assert not made.steps
    assert made.instance.clearance is Clearance.AWAITED
    assert made.instance.phase is Phase.PROMOTING
    assert made.instance.reason == (
        "waiting until no other node can serve: right has not said yet that it is at standby"
    )
    assert {each.kind for each in waits(made.instance, made.now).values()} == {WaitFor.PEERS}
    wait(made, 0.1)
    tell(made, ago=0.1)
    assert not made.steps
    tell(made)
    assert set(made.steps) == {("VI_1", "disk")}


def test_a_silent_node_is_fenced_and_nothing_is_activated_before_the_proof() -> None:
    made = world()
    tell(made)
    wait(made, 30.0)
    made.say(VrrpState.MASTER)
    wait(made, 3.9)
    assert not fencings(made), "it may be started again just now"
    wait(made, 0.1)  # four intervals after this node's MASTER
    assert [each.peer for each in fencings(made)] == ["right"]
    assert made.instance.reason.endswith("right is silent, so it is fenced before anything is activated here")
    wait(made, 59.0)
    assert len(fencings(made)) == 1
    assert not made.steps
    fenced(made)
    assert made.steps
    assert made.state.off["right"].said == "fence_ipmilan: status 2"
    assert [each.text for each in made.log if isinstance(each, Alarm) and each.kind is AlarmKind.FENCED] == [
        "right was fenced: fence_ipmilan: status 2"
    ]


def test_a_node_that_was_never_heard_has_a_minute_from_the_start_of_failoverd() -> None:
    made = World(site())
    made.say(VrrpState.MASTER)
    wait(made, 30.0)
    assert not fencings(made)
    assert made.instance.uncleared == "right was never heard since the heartbeat began here, and has 60 s from then"
    made.send(Reloaded(config=made.state.config))
    wait(made, 29.9)
    assert not fencings(made)
    wait(made, 0.2)
    assert len(fencings(made)) == 1


def test_a_node_that_speaks_in_its_first_minute_is_awaited_as_any_other() -> None:
    made = World(site())
    made.say(VrrpState.MASTER)
    wait(made, 10.0)
    wait(made, 10.0, STOPS)
    wait(made, 2.9)
    assert not fencings(made)
    wait(made, 1.2)
    assert len(fencings(made)) == 1


def test_a_node_that_does_not_know_the_instance_is_a_refusal_in_words_and_is_not_fenced() -> None:
    made = world()
    made.say(VrrpState.MASTER)
    for _ in range(500):
        wait(made, 1.0)
        made.send(PeerReported(peer="right", at=made.now, words={"VI_1": None}, whole=True))
        if made.now < 1000.0 + 104.0:
            assert made.instance.phase is Phase.PROMOTING
    assert not fencings(made)
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.alarm == (
        "MASTER, but another node may serve: right speaks, but not of VI_1, and is not fenced: VI_1 is not configured "
        "there, or its failoverd is of another version: look there: failoverctl status VI_1"
    )
    wait(made, 4.1)
    assert len(fencings(made)) == 1, "it speaks no more"


def test_a_check_that_began_before_mastership_clears_no_node() -> None:
    made = world(fence=False, quorum=replace(ONE, takeover_after=60.0))
    seen = Observation(level=Level.STANDBY, inactive_on=frozenset({"right"}))
    made.inactive_on["VI_1", "disk"] = frozenset({"right"})
    made.send(ResourceChanged(instance="VI_1", resource="disk"))
    made.end_look(("VI_1", "disk"))
    made.send(ResourceChanged(instance="VI_1", resource="disk"))
    early = made.looks["VI_1", "disk"].look
    made.now += 5.0
    made.say(VrrpState.MASTER)
    made.vote()
    made.send(ResourceObserved(instance="VI_1", resource="disk", look=early, seen=seen))
    assert made.instance.clearance is Clearance.AWAITED
    made.end_look(("VI_1", "disk"))
    assert made.instance.clearance is Clearance.GIVEN


def test_a_node_that_stops_is_awaited_as_long_as_that_may_take_and_then_fenced() -> None:
    made = master()
    wait(made, 104.9, STOPS)
    assert not fencings(made)
    assert made.instance.reason.endswith("right still stops")
    wait(made, 0.2, STOPS)
    assert len(fencings(made)) == 1
    assert "right has not stopped in time, so it is fenced" in made.instance.reason


IN_MAINTENANCE = replace(STOPS, maintenance=True)
WITH_A_STRAY = replace(RESTS, rests=False, strays=frozenset({"old"}))


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (
            IN_MAINTENANCE,
            "right is in maintenance, not at standby, and not fenced; to end that, there: failoverctl maintenance off",
        ),
        (
            replace(WITH_A_STRAY, phase=Phase.DEMOTING),
            "right may run old, no longer configured there, and is not fenced; stop it there",
        ),
        (WITH_A_STRAY, "right may run old, no longer configured there, and is not fenced; stop it there"),
    ],
)
def test_a_node_that_does_not_stop_for_an_operators_reason_is_not_fenced(word: PeerWord, why: str) -> None:
    made = master()
    wait(made, 600.0, word)
    assert not fencings(made)
    assert not made.steps
    assert made.instance.alarm == f"MASTER, but another node may serve: {why}"
    wait(made, 1.0, RESTS)
    assert made.steps


def test_a_node_whose_heartbeat_has_another_key_is_alive_and_not_fenced() -> None:
    made = master()
    for _ in range(60):
        made.send(PeerUnverified(peer="right"))
        wait(made, 1.0)
    assert not fencings(made)
    assert not made.steps
    assert made.instance.alarm == (
        "MASTER, but another node may serve: right sends heartbeats of another key or format, so it is alive and not "
        "fenced; see: failoverctl status"
    )
    wait(made, 3.1)
    assert len(fencings(made)) == 1, "it sends nothing any more"


def test_a_node_whose_own_heartbeat_does_not_run_neither_fences_nor_outwaits() -> None:
    made = world(quorum=replace(ONE, takeover_after=60.0))
    made.send(HearingChanged(peer="right", deaf="no key"))
    made.say(VrrpState.MASTER)
    wait(made, 600.0)
    assert not fencings(made)
    assert not made.steps
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.alarm == (
        "MASTER, but another node may serve: right may be alive, and is neither fenced nor outwaited: the heartbeat "
        "does not run here: no key; see: failoverctl status; if right is certainly off: failoverctl confirm-off right"
    )
    made.send(HearingChanged(peer="right", deaf=None))
    wait(made, 2.0)
    assert not fencings(made), "it has had no time to be heard"
    assert not made.steps, "nor to contradict"
    wait(made, 1.0, RESTS)
    assert made.steps, "it goes on by itself"


def test_a_node_that_was_not_heard_is_fenced_only_after_the_heartbeat_has_run_for_a_while() -> None:
    made = world()
    made.send(HearingChanged(peer="right", deaf="no key"))
    wait(made, 600.0)
    made.send(HearingChanged(peer="right", deaf=None))
    made.say(VrrpState.MASTER)
    wait(made, 3.9)
    assert not fencings(made)
    wait(made, 30.0)
    assert len(fencings(made)) == 1


@pytest.mark.parametrize("fence", [True, False])
def test_a_node_is_outwaited_only_after_the_heartbeat_has_run_for_a_while(*, fence: bool) -> None:
    made = world(quorum=replace(ONE, takeover_after=60.0), fence=fence)
    made.send(HearingChanged(peer="right", deaf="no key"))
    made.say(VrrpState.MASTER)
    wait(made, 600.0)
    made.send(HearingChanged(peer="right", deaf=None))
    wait(made, 3.9)
    assert not made.steps
    wait(made, 0.2)
    assert made.steps
    assert not fencings(made)


def test_a_heartbeat_that_stops_before_a_fencing_has_begun_calls_it_off() -> None:
    made = world()
    made.say(VrrpState.MASTER)
    wait(made, 3.0)
    made.send(HearingChanged(peer="right", deaf="no key"))
    wait(made, 600.0)
    assert not fencings(made)
    made.send(PeerConfirmedOff(peer="right", by="root"))
    assert made.steps, "an operator knows better"


def test_a_lease_proves_without_a_word_that_a_node_has_stopped() -> None:
    made = world(fence=False, quorum=Quorum(leases=("etcd://d",), takeover_after=60.0))
    made.send(HearingChanged(peer="right", deaf="no key"))
    made.say(VrrpState.MASTER)
    made.vote()
    wait(made, 59.0)
    assert not made.steps
    assert made.instance.phase is Phase.PROMOTING
    wait(made, 2.0)
    assert made.steps


def test_a_heartbeat_that_never_begins_is_one_that_does_not_run() -> None:
    made = world()
    made.send(HearingChanged(peer="right", deaf=""))
    made.say(VrrpState.MASTER)
    assert made.instance.uncleared == "right is not heard yet: the heartbeat has not begun here"
    wait(made, 9.0)
    assert made.instance.clearance is Clearance.AWAITED
    wait(made, 2.0)
    assert made.instance.clearance is Clearance.MISSING


@pytest.mark.parametrize(
    "quorum", [None, replace(ONE, takeover_after=60.0), Quorum(leases=("e",), takeover_after=60.0)]
)
@pytest.mark.parametrize("fence", [True, False])
def test_a_node_that_was_in_maintenance_when_it_was_heard_last_is_neither_fenced_nor_outwaited(
    quorum: Quorum | None, *, fence: bool
) -> None:
    if quorum is None and not fence:
        return
    made = world(quorum=quorum, fence=fence)
    tell(made, IN_MAINTENANCE)
    made.live(made.now + 30.0)
    made.say(VrrpState.MASTER)
    wait(made, 600.0)
    assert not fencings(made)
    assert not made.steps
    assert made.instance.alarm == (
        "MASTER, but another node may serve: right was in maintenance when it was heard last, so it is neither fenced "
        "nor outwaited: start its failoverd; if it is certainly off: failoverctl confirm-off right"
    )
    made.send(PeerConfirmedOff(peer="right", by="root"))
    assert made.steps


def test_a_node_that_is_silent_after_its_maintenance_is_fenced() -> None:
    made = world()
    tell(made, IN_MAINTENANCE)
    made.live(made.now + 1.0)
    tell(made)
    made.say(VrrpState.MASTER)
    wait(made, 30.0)
    assert len(fencings(made)) == 1


def test_a_node_in_maintenance_that_speaks_is_not_refused_before_it_has_had_the_time_to() -> None:
    made = world()
    tell(made, replace(RESTS, maintenance=True))
    made.say(VrrpState.MASTER)
    wait(made, 0.5)
    assert made.instance.clearance is Clearance.AWAITED
    wait(made, 0.5, replace(RESTS, maintenance=True))
    assert made.steps


def test_a_node_in_maintenance_that_is_at_standby_is_cleared() -> None:
    made = master()
    wait(made, 1.0, replace(RESTS, maintenance=True))
    assert made.steps


def test_a_node_that_stops_and_says_so_is_not_fenced() -> None:
    made = master()
    wait(made, 30.0, STOPS)
    tell(made)
    assert made.steps
    assert not fencings(made)


def test_a_node_that_dies_while_it_stops_is_fenced_when_it_is_silent() -> None:
    made = master()
    wait(made, 10.0, STOPS)
    wait(made, 3.9)
    assert not fencings(made)
    wait(made, 0.2)
    assert len(fencings(made)) == 1


def test_a_node_that_serves_and_says_so_is_not_fenced_but_not_doubled_either() -> None:
    made = master()
    wait(made, 200.0, SERVES)
    assert not fencings(made)
    assert made.instance.phase is Phase.REFUSED
    refusal, _, rest = made.instance.alarm.partition("; ")
    assert refusal == "MASTER, but another node may serve: right says that it is active"
    assert rest.startswith("right said by the heartbeat that it was MASTER too: compare ")
    wait(made, 1.0, RESTS)
    assert made.steps


def test_a_failure_is_a_refusal_in_words_and_retried_slowly() -> None:
    made = master()
    wait(made, 4.1)
    fenced(made, off=False, said="fence_ipmilan: Unable to connect")
    wait(made, 0.0)
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.alarm == (
        "MASTER, but another node may serve: right is silent, and could not be fenced: fence_ipmilan: Unable to connect"
        "; if it is certainly off: failoverctl confirm-off right"
    )
    assert not made.steps
    times: list[int] = []
    for _ in range(6):
        before = made.now
        while len(fencings(made)) == len(times) + 1:
            wait(made, 1.0)
        times.append(round(made.now - before))
        fenced(made, off=False)
    assert times == [30, 60, 120, 240, 300, 300]
    wait(made, 300.0)
    fenced(made)
    assert made.steps


LATER = replace(FENCE, delay=10.0)


def slow(**options: Any) -> World:
    made = World(replace(site(**options), fences=dict.fromkeys(("left", "right"), LATER)))
    made.say(VrrpState.BACKUP)
    made.settle()
    tell(made)
    made.say(VrrpState.MASTER)
    return made


def test_a_fencing_waits_out_its_delay() -> None:
    made = slow()
    wait(made, 13.9)
    assert not fencings(made)
    assert made.instance.reason.endswith(
        "right is silent, so it is fenced after 10 s, and before anything is activated here"
    )
    wait(made, 0.2)
    assert len(fencings(made)) == 1
    fenced(made, off=False)
    wait(made, 29.0)
    assert len(fencings(made)) == 1
    wait(made, 1.1)
    assert len(fencings(made)) == 2, "the delay is over"


@pytest.mark.parametrize("sign", ["a word", "BACKUP", "no VIP", "maintenance"])
def test_what_comes_in_the_delay_prevents_the_fencing(sign: str) -> None:
    made = slow()
    wait(made, 12.0)
    if sign == "a word":
        tell(made, SERVES)
    elif sign == "BACKUP":
        made.say(VrrpState.BACKUP)
    elif sign == "no VIP":
        made.vips = dict.fromkeys(made.vips, False)
        made.send(VipsSeen(present=made.vips))
    else:
        made.send(MaintenanceBegun(by="root", until=1e9))
    wait(made, 2.0)
    assert not fencings(made)
    assert made.state.aimed == {}


def test_a_fencing_that_is_called_off_is_no_failure() -> None:
    made = master()
    wait(made, 4.1)
    (asked,) = fencings(made)
    assert clearance.called_off(made.state, "right", made.now) is None
    tell(made, SERVES)
    why = clearance.called_off(made.state, "right", made.now)
    assert why == "nothing here needs it any more"
    made.fencings.clear()
    made.send(PeerFenced(peer="right", fencing=asked.fencing, off=False, said=why, called_off=True))
    assert made.state.fencings == {}
    wait(made, 4.1)
    assert len(fencings(made)) == 2, "at once, when it is silent again"


def test_a_fencing_that_never_ends_is_a_failure_at_its_deadline() -> None:
    made = master()
    wait(made, 4.1)
    wait(made, FENCE.worst_case + clearance.FENCING_GRACE_S)
    assert made.instance.phase is Phase.REFUSED
    assert "could not be fenced: it did not end by its deadline" in made.instance.alarm
    assert not made.steps


def test_a_late_answer_counts_only_with_the_proof() -> None:
    made = master()
    wait(made, 4.1)
    wait(made, 130.0)
    late = fencings(made)[0]
    wait(made, 60.0)
    before = made.state.fencings
    made.send(PeerFenced(peer="right", fencing=late.fencing, off=False, said="late"))
    assert made.state.fencings == before
    made.send(PeerFenced(peer="right", fencing=late.fencing, off=True, said="status 2"))
    assert made.steps


def test_a_failure_is_retried_at_once_after_a_new_master() -> None:
    made = master()
    wait(made, 4.1)
    fenced(made, off=False)
    made.say(VrrpState.BACKUP)
    made.settle()
    made.say(VrrpState.MASTER)
    wait(made, 4.1)
    assert len(fencings(made)) == 2


def test_a_failure_is_retried_at_once_after_a_reset() -> None:
    made = master()
    wait(made, 4.1)
    fenced(made, off=False)
    wait(made, 1.0)
    assert len(fencings(made)) == 1
    made.send(Reset(instance="VI_1", cause="reset by root"))
    assert len(fencings(made)) == 2
    made.send(Reset(instance="VI_1", cause="reset by root"))
    assert len(fencings(made)) == 2, "it runs"
    fenced(made)
    wait(made, 0.0)
    assert made.steps


def test_every_other_node_must_be_cleared() -> None:
    made = master(others=("right", "third"))
    wait(made, 1.0, RESTS)
    assert made.instance.uncleared == "third has not said yet that it is at standby"
    assert not made.steps
    tell(made, RESTS, "third")
    assert made.steps


def test_nobody_is_fenced_before_the_witnesses_agree() -> None:
    made = world(quorum=ONE)
    made.granted[ROUTER] = None
    made.say(VrrpState.MASTER)
    wait(made, 30.0)
    assert not fencings(made)
    assert made.instance.clearance is Clearance.IDLE


def test_nobody_is_fenced_without_the_vip() -> None:
    made = world()
    made.say(VrrpState.MASTER, vip=False)
    wait(made, 30.0)
    assert not fencings(made)
    assert clearance.may_fence(made.state, made.instance, "right", made.now) == "192.0.2.1/32 is not on eth0"


def test_what_is_active_without_interruption_is_activated_again_and_nobody_is_fenced() -> None:
    made = master()
    wait(made, 0.1)
    tell(made)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    wait(made, 60.0)
    made.actual["VI_1", "guest"] = Level.STANDBY
    wait(made, 60.0)
    assert ("VI_1", "guest") in made.steps
    assert not fencings(made)


def test_a_daemon_that_is_started_beside_active_resources_fences_nobody() -> None:
    made = master()
    wait(made, 0.1)
    tell(made)
    made.settle()
    made.actual["VI_1", "guest"] = Level.STANDBY
    made.start()
    made.settle()
    wait(made, 60.0)
    assert made.instance.phase is Phase.ACTIVE
    assert not fencings(made)


def test_a_daemon_that_is_killed_before_anything_is_active_fences_when_it_has_looked() -> None:
    made = master()
    wait(made, 4.1)
    made.start()
    made.answer(made.questions[0])
    made.now += 10.0
    made.send(Tick())
    assert len(fencings(made)) == 1
    wait(made, 60.0)
    assert len(fencings(made)) == 2


def test_an_interruption_asks_anew() -> None:
    made = master()
    wait(made, 0.1)
    tell(made)
    made.settle()
    made.say(VrrpState.BACKUP)
    made.settle()
    made.say(VrrpState.MASTER)
    assert not made.steps
    assert made.instance.clearance is Clearance.AWAITED


BY_AN_OPERATOR: dict[str, tuple[Event, Event]] = {
    "maintenance": (MaintenanceBegun(by="root", until=1e9), MaintenanceEnded(cause="root")),
    "standby": (StandbyWanted(instance="VI_1", by="root"), OnlineWanted(instance="VI_1", cause="root")),
    "handover": (
        AsideWanted(instance="VI_1", id="right.1", until=1e9),
        AsideEnded(instance="VI_1", id="right.1"),
    ),
}


@pytest.mark.parametrize("what", BY_AN_OPERATOR)
def test_an_operator_who_works_fences_nobody(what: str) -> None:
    begin, end = BY_AN_OPERATOR[what]
    made = world()
    made.send(begin)
    made.say(VrrpState.MASTER)
    wait(made, 30.0)
    assert not fencings(made)
    assert not made.steps
    assert "right is silent, and is not fenced" in made.instance.reason
    made.send(end)
    wait(made, 4.0)
    assert len(fencings(made)) == 1


def test_a_handover_of_this_node_fences_nobody() -> None:
    made = master()
    wait(made, 0.1)
    tell(made)
    made.settle()
    made.send(HandoverWanted(instance="VI_1", by="root", id="left.1", until=1e9))
    wait(made, 30.0)
    assert set(made.steps) == {("VI_1", "guest")}
    assert not fencings(made)


def test_a_node_that_is_off_needs_no_further_fencing_until_it_is_heard() -> None:
    made = master()
    wait(made, 4.1)
    fenced(made)
    made.settle()
    for _ in range(3):
        made.say(VrrpState.FAULT)
        made.settle()
        made.say(VrrpState.MASTER)
        made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert len(fencings(made)) == 1
    tell(made, ago=100.0)  # a word from before its end
    assert "right" in made.state.off
    wait(made, 1.0)
    tell(made)
    assert "right" not in made.state.off
    made.say(VrrpState.FAULT)
    made.settle()
    made.say(VrrpState.MASTER)
    assert not made.steps


@pytest.mark.parametrize("sign", ["operator", "another MASTER", "an advert", "a station"])
def test_other_signs_that_a_node_is_on_again(sign: str) -> None:
    made = master()
    wait(made, 4.1)
    fenced(made)
    if sign == "operator":
        made.send(PeerUnfenced(peer="right", by="root"))
    elif sign == "another MASTER":
        made.say(VrrpState.BACKUP)
    elif sign == "a station":
        vip = made.instance.spec.vips[0]
        made.send(VipElsewhere(instance="VI_1", vip=vip, station="02:00:00:00:00:01"))
    else:
        made.send(LowerPriorityAdvert(instance="VI_1"))
    assert made.state.off == {}


def off_since(made: World) -> World:
    """This MASTER has fenced `right`, and is active."""
    wait(made, 70.0)
    fenced(made)
    made.settle()
    assert "right" in made.state.off
    return made


@pytest.mark.parametrize("away", [5.0, 3600.0])
@pytest.mark.parametrize("reported", [VrrpState.FAULT, VrrpState.BACKUP, None], ids=str)
def test_a_node_that_may_have_been_master_meanwhile_is_not_off(away: float, reported: VrrpState | None) -> None:
    made = off_since(master())
    made.say(VrrpState.FAULT)
    made.settle()
    if reported is not None:
        made.say(reported)
    else:
        made.send(KeepalivedSeen(instances=frozenset({"VI_1"}), condition=Keepalived.GONE))
        made.send(KeepalivedSeen(instances=frozenset({"VI_1"}), condition=Keepalived.RUNNING))
    wait(made, away)
    made.say(VrrpState.MASTER)
    assert ("right" in made.state.off) is (away < 10.0)
    wait(made, 10.0)
    assert len(fencings(made)) == (1 if away < 10.0 else 2)


def test_a_mastership_that_was_not_reported_ends_it_too() -> None:
    made = off_since(master())
    made.say(VrrpState.FAULT)
    made.settle()
    wait(made, 3600.0)
    words = made.instance.words
    made.send(VrrpStateReported(instance="VI_1", words=words, dbus=VrrpState.MASTER, stored=None))
    assert made.state.off == {}


def test_a_third_node_stays_off_while_the_master_is_known() -> None:
    made = world(others=("right", "center"))
    made.send(PeerFenced(peer="center", fencing=-1, off=True, said="status 2"))
    wait(made, 3600.0, replace(SERVES, rests=False))
    made.say(VrrpState.MASTER)
    assert set(made.state.off) == {"center"}


def test_a_node_that_would_not_have_been_heard_is_not_off() -> None:
    made = off_since(master())
    made.send(HearingChanged(peer="right", deaf="no key"))
    made.say(VrrpState.FAULT)
    made.settle()
    made.say(VrrpState.MASTER)
    assert made.state.off == {}


def test_without_a_witness_no_node_is_relied_on_that_would_not_be_heard() -> None:
    made = off_since(master(quorum=ONE))
    assert peers.unopposed(made.state, made.instance)
    made.send(HearingChanged(peer="right", deaf="no key"))
    assert not peers.unopposed(made.state, made.instance)


def test_mastership_is_not_released_while_every_other_node_is_off() -> None:
    config = site()
    spec = config.instances["VI_1"]
    disk = replace(spec.resources["disk"], on_refused=OnRefused.RELEASE)
    made = World(replace(config, instances={"VI_1": replace(spec, resources={**spec.resources, "disk": disk})}))
    made.say(VrrpState.BACKUP)
    made.settle()
    made.say(VrrpState.MASTER)
    wait(made, 70.0)
    made.obstacles["VI_1", "disk"] = "it is old"
    fenced(made)
    made.settle()
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.reason == (
        "disk: it refused; mastership is not released, since every other node is off, or kept in standby"
    )
    wait(made, 1.0)
    tell(made)
    assert made.instance.released == "disk: it refused"


@pytest.mark.parametrize("confirmed", [False, True], ids=["fenced", "confirmed"])
def test_a_node_that_sends_what_cannot_be_believed_is_not_off(*, confirmed: bool) -> None:
    made = master()
    wait(made, 4.1)
    fenced(made, off=not confirmed)
    if confirmed:
        made.send(PeerUnverified(peer="right"))
        made.send(PeerConfirmedOff(peer="right", by="root"))
        made.send(PeerUnverified(peer="right"))
    assert made.steps, "it is off for what it has sent just now"
    made.settle()
    wait(made, 5.0)
    made.send(PeerUnverified(peer="right"))
    assert made.state.off == {}
    assert made.instance.phase is Phase.ACTIVE


def test_an_operator_confirms_that_a_node_is_off_which_cannot_be_fenced() -> None:
    made = master()
    wait(made, 4.1)
    fenced(made, off=False)
    made.send(PeerConfirmedOff(peer="right", by="root"))
    assert made.state.off["right"].said == "root has confirmed it"
    assert made.steps
    assert not [each for each in made.log if isinstance(each, Alarm) and each.kind is AlarmKind.FENCED]
    wait(made, 1.0)
    tell(made)
    assert made.state.off == {}


def test_a_node_that_is_heard_is_not_off_whatever_an_operator_says() -> None:
    made = master()
    wait(made, 2.0, STOPS)
    made.send(PeerConfirmedOff(peer="right", by="root"))
    made.send(PeerConfirmedOff(peer="stranger", by="root"))
    assert made.state.off == {}
    assert not made.steps


def test_a_node_that_is_fenced_for_another_reason_is_off_too() -> None:
    made = world()
    made.send(PeerFenced(peer="right", fencing=-1, off=True, said="status 2"))
    made.say(VrrpState.MASTER)
    assert made.steps


def test_of_two_that_wait_for_each_other_the_first_by_name_goes_first() -> None:
    first, second = master(node="left"), master(node="zebra")
    wait(first, 1.0, WAITS)
    assert first.steps
    wait(second, 100.0, WAITS)
    assert not second.steps
    assert not fencings(second)
    assert second.instance.alarm == "MASTER, but another node may serve: right is MASTER too, and goes first"


def test_two_instances_that_wait_for_one_node_have_it_fenced_once() -> None:
    made = site()
    spec = made.instances["VI_1"]
    other = {n: replace(r, instance="VI_2") for n, r in spec.resources.items()}
    instances = {"VI_1": spec, "VI_2": replace(spec, name="VI_2", vips=(), resources=other)}
    both = World(replace(made, instances=instances))
    for name in instances:
        both.say(VrrpState.BACKUP, name)
    both.settle()
    tell(both)
    for name in instances:
        both.say(VrrpState.MASTER, name)
    wait(both, 5.0)
    assert len(fencings(both)) == 1
    fenced(both)
    assert {name for name, _ in both.steps} == {"VI_1", "VI_2"}


# ---------------------------------------------------------------- takeover_after


def test_without_a_word_the_time_proves_that_the_others_have_stopped() -> None:
    made = master(fence=False, quorum=replace(ONE, takeover_after=60.0))
    wait(made, 59.9)
    assert not made.steps
    assert made.instance.phase is Phase.PROMOTING
    assert made.instance.reason == (
        "waiting until no other node can serve: right will have stopped 60 s after keepalived's MASTER (takeover_after)"
    )
    wait(made, 0.2)
    assert made.steps


def test_a_word_ends_the_wait() -> None:
    made = master(fence=False, quorum=replace(ONE, takeover_after=60.0))
    wait(made, 1.0, RESTS)
    assert made.steps


def test_a_node_that_says_that_it_serves_is_not_outwaited() -> None:
    made = master(fence=False, quorum=replace(ONE, takeover_after=60.0))
    wait(made, 100.0, SERVES)
    assert not made.steps
    assert made.instance.phase is Phase.REFUSED
    wait(made, 4.1)
    assert made.steps


@pytest.mark.parametrize("fence", [True, False])
def test_a_node_that_may_run_what_it_has_no_more_is_neither_outwaited_nor_fenced(fence: bool) -> None:
    made = master(fence=fence, quorum=replace(ONE, takeover_after=60.0))
    wait(made, 100.0, PeerWord(at=0.0, competes=False, strays=frozenset({"guest"})))
    assert not made.steps
    assert not fencings(made)
    assert made.instance.phase is Phase.REFUSED
    assert "right may run guest, no longer configured there" in made.instance.reason


def test_the_time_counts_anew_after_the_witnesses_were_missing() -> None:
    made = world(fence=False, quorum=replace(ONE, takeover_after=60.0))
    made.granted[ROUTER] = None
    made.say(VrrpState.MASTER)
    wait(made, 100.0)
    made.say(VrrpState.BACKUP)
    made.granted[ROUTER] = True
    wait(made, 5.0)
    made.say(VrrpState.MASTER)
    wait(made, 59.0)
    assert not made.steps
    wait(made, 2.0)
    assert made.steps


def test_a_fencing_that_fails_is_outwaited() -> None:
    made = master(quorum=replace(ONE, takeover_after=60.0))
    wait(made, 4.1)
    fenced(made, off=False)
    wait(made, 0.0)
    assert made.instance.phase is Phase.REFUSED
    wait(made, 60.0)
    assert made.steps


# ---------------------------------------------------------------- what the drivers see


def see(made: World, name: str, on: frozenset[str] | None) -> None:
    made.inactive_on["VI_1", name] = on


def test_a_node_that_the_drivers_see_at_standby_is_cleared() -> None:
    made = world()
    see(made, "disk", frozenset({"right"}))
    wait(made, 40.0)
    made.say(VrrpState.MASTER)
    assert not made.steps
    made.end_look(("VI_1", "disk"))
    assert made.steps


def test_each_resource_must_be_seen_or_need_one_that_is() -> None:
    made = World(replace(site(), instances={"VI_1": _with(resource("prefix", others=("right",)))}))
    made.say(VrrpState.BACKUP)
    see(made, "disk", frozenset({"right"}))
    made.settle()
    wait(made, 40.0)
    made.say(VrrpState.MASTER)
    wait(made, 1.0)
    assert not made.steps


def _with(more: Any) -> Any:
    spec = site().instances["VI_1"]
    return replace(spec, resources={**spec.resources, more.name: more})


# ---------------------------------------------------------------- without the witnesses


def lonely(**options: Any) -> World:
    made = master(quorum=ONE, **options)
    made.vote()
    return made


def test_a_node_whose_others_are_off_goes_on_without_witnesses() -> None:
    made = lonely()
    wait(made, 4.1)
    fenced(made)
    made.settle()
    made.granted[ROUTER] = None
    wait(made, 60.0)
    assert made.instance.phase is Phase.ACTIVE
    assert made.instance.alone_at is None
    made.say(VrrpState.FAULT)
    made.settle()
    made.say(VrrpState.MASTER)
    assert made.steps


def test_when_it_is_heard_again_the_witnesses_have_their_time() -> None:
    made = lonely()
    wait(made, 4.1)
    fenced(made)
    made.settle()
    made.granted[ROUTER] = None
    wait(made, 60.0)
    tell(made)
    assert made.instance.phase is Phase.ACTIVE
    wait(made, 9.0)
    assert made.instance.alone_at is None
    wait(made, 2.0)
    assert made.instance.alone_at is not None


def test_an_operators_promise_there_is_as_good_without_a_lease() -> None:
    kept = replace(RESTS, standby=True, vrrp=VrrpState.FAULT, competes=False)
    made = lonely()
    wait(made, 1.0, kept)
    made.settle()
    made.granted[ROUTER] = None
    wait(made, 60.0)
    assert made.instance.phase is Phase.ACTIVE
    held = master(quorum=Quorum(leases=("etcd://d",)))
    wait(held, 1.0, kept)
    held.settle()
    held.granted["VI_1", "etcd://d"] = None
    wait(held, 60.0)
    assert held.instance.alone_at is not None
    assert Standing.MISSING is held.instance.standing


KEPT = replace(RESTS, standby=True, vrrp=VrrpState.FAULT, competes=False)


@pytest.mark.parametrize("sign", ["BACKUP", "advert", "station", "another key", "unfence"])
def test_a_promise_ends_with_a_sign_that_another_node_may_serve(sign: str) -> None:
    made = lonely()
    wait(made, 1.0, KEPT)
    made.settle()
    made.granted[ROUTER] = None
    wait(made, 60.0)
    if sign == "BACKUP":
        made.say(VrrpState.BACKUP)
        made.settle()
        made.say(VrrpState.MASTER)
    elif sign == "advert":
        made.send(LowerPriorityAdvert(instance="VI_1"))
    elif sign == "unfence":
        made.send(PeerUnfenced(peer="right", by="root"))
    elif sign == "another key":
        made.send(PeerUnverified(peer="right"))
    else:
        vip = made.instance.spec.vips[0]
        made.send(VipElsewhere(instance="VI_1", vip=vip, station="02:00:00:00:00:01"))
    wait(made, 30.0)
    assert made.instance.alone_at is not None
    tell(made, KEPT)
    assert made.instance.alone_at is None


def test_a_promise_that_is_said_again_holds() -> None:
    made = lonely()
    wait(made, 1.0, KEPT)
    made.settle()
    made.granted[ROUTER] = None
    wait(made, 60.0)
    made.send(LowerPriorityAdvert(instance="VI_1"))
    wait(made, 60.0, KEPT)
    assert made.instance.phase is Phase.ACTIVE


def test_a_promise_that_is_not_said_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "PROMISE_S", 600.0)
    made = lonely()
    wait(made, 1.0, KEPT)
    made.settle()
    made.granted[ROUTER] = None
    last = made.now
    wait(made, hearing.PROMISE_S - 1.0)
    assert made.instance.alone_at is None
    wait(made, 60.0)
    assert made.instance.alone_at is not None
    assert made.instance.alone_at >= last + hearing.PROMISE_S
    tell(made, KEPT)
    assert made.instance.alone_at is None


def test_a_node_knows_who_may_rely_on_its_standby() -> None:
    made = world(quorum=ONE, fence=False)
    tell(made)
    assert peers.relying(made.state, made.instance, made.now) == ()
    made.send(StandbyWanted(instance="VI_1", by="root"))
    assert peers.relying(made.state, made.instance, made.now) == ()
    wait(made, 3.0)
    assert peers.relying(made.state, made.instance, made.now) == ("right",)


def test_a_standby_without_a_promise_does_not_last() -> None:
    made = lonely()
    wait(made, 1.0, replace(RESTS, standby=True))  # keepalived there does not follow the track file
    made.settle()
    made.granted[ROUTER] = None
    wait(made, 60.0)
    assert made.instance.alone_at is not None


def test_a_dead_keepalived_or_a_failed_step_asks_nobody_meanwhile() -> None:
    made = master()
    wait(made, 0.1)
    tell(made)
    made.end_step(("VI_1", "disk"), Outcome.FAILED, works=False)
    wait(made, 2.0)
    assert made.instance.clearance is Clearance.GIVEN
    assert made.steps
    made.see_keepalived(Keepalived.GONE)
    assert made.instance.clearance is Clearance.IDLE


# ---------------------------------------------------------------- before the first step


def test_the_plan_knows_what_comes_before_the_first_step() -> None:
    def before(**options: Any) -> list[tuple[str, float]]:
        made = world(**options)
        return [(each.what, each.worst_case) for each in clearance.before(made.state, made.instance)]

    stopped = 30.0 + 30.0 + 40.0 + clearance.STOP_MARGIN_S
    assert before(fence=False) == []
    assert before() == [("peers", stopped), ("fencing", FENCE.worst_case)]
    assert before(fence=False, quorum=replace(ONE, takeover_after=60.0)) == [("witnesses", 1.5), ("peers", 60.0)]


# ---------------------------------------------------------------- a node that has no [fence.NODE]


def one_sided(*peers: str, quorum: Quorum | None = None) -> World:
    """left, which alone can be fenced, has just become MASTER beside `peers`."""
    made = World(replace(site(others=peers or ("right",), quorum=quorum), fences={"left": FENCE}))
    made.say(VrrpState.BACKUP)
    made.settle()
    for peer in made.instance.spec.others:
        tell(made, peer=peer)
    wait(made, 1.0, RESTS)
    made.say(VrrpState.MASTER)
    return made


def test_where_one_node_can_be_fenced_the_others_are_asked_too() -> None:
    made = one_sided()
    assert made.instance.clearance is Clearance.AWAITED
    wait(made, 1.0, SERVES)
    assert not made.steps
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.reason.endswith("right says that it is active")
    wait(made, 1.0, RESTS)
    assert made.steps


def test_one_that_is_silent_and_cannot_be_fenced_is_a_refusal_until_an_operator_says_that_it_is_off() -> None:
    made = one_sided()
    wait(made, 10.0)
    assert not made.steps
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.alarm == (
        "MASTER, but another node may serve: right is silent, and there is no [fence.right]; if it is certainly off: "
        "failoverctl confirm-off right"
    )
    assert not fencings(made)
    made.send(PeerConfirmedOff(peer="right", by="root"))
    assert made.steps


def test_one_that_does_not_stop_in_time_and_cannot_be_fenced_is_a_refusal() -> None:
    made = one_sided()
    wait(made, 200.0, STOPS)
    assert made.instance.reason.endswith("right has not stopped in time, and there is no [fence.right]")
    wait(made, 10.0)
    assert made.instance.reason.endswith("if it is certainly off: failoverctl confirm-off right")


def test_a_third_node_without_power_switch_is_asked_beside_two_that_have_one() -> None:
    made = World(replace(site(others=("right", "third")), fences=dict.fromkeys(("left", "right"), FENCE)))
    assert clearance.asked(made.state, made.instance) == ("right", "third")
    assert clearance.unfenceable(made.state.config, made.instance.spec) == ("third",)


def test_a_node_without_power_switch_is_outwaited_as_before() -> None:
    made = one_sided(quorum=replace(ONE, takeover_after=60.0))
    made.vote()
    wait(made, 59.0)
    assert not made.steps
    assert made.instance.clearance is Clearance.AWAITED
    wait(made, 2.0)
    assert made.steps


def test_with_a_lease_a_node_without_power_switch_is_not_asked() -> None:
    lease = Quorum(leases=("etcd://192.0.2.9:2379",))
    made = World(replace(site(quorum=lease), fences={"left": FENCE}))
    assert clearance.asked(made.state, made.instance) == ()
