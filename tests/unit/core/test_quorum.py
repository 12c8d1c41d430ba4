"""The witnesses: nothing is activated before they answer, and a node that misses them for too long stops by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from failoverd.core import votes
from failoverd.core.effects import Alarm, AlarmKind, AskWitnesses
from failoverd.core.events import ResourceChanged, Stalled, Stopping, Tick, WishesFound, WitnessAnswered
from failoverd.core.model import Standby
from failoverd.core.requests import Acknowledged, MaintenanceBegun, MaintenanceEnded
from failoverd.core.spec import Config, InstanceSpec, Quorum
from failoverd.core.waits import waits
from failoverd.core.words import Keepalived, Level, Outcome, Phase, Standing, Target, Verb, VrrpState, WaitFor
from tests.unit.core.world import VIP, World, config, resource

ROUTER, OTHER, LEASE = "icmp://192.0.2.254", "tcp://192.0.2.2:179", "etcd://192.0.2.9:2379"
ONE = Quorum(witnesses=(ROUTER,), need=1)
TWO = Quorum(witnesses=(ROUTER, OTHER), need=2)
HELD = Quorum(leases=(LEASE,))
AWAITED = replace(ONE, takeover_after=200.0)


def world(quorum: Quorum | None = ONE, **options: Any) -> World:
    made = World(config(resource("disk"), resource("guest", "disk"), quorum=quorum, **options))
    made.say(VrrpState.BACKUP)
    made.settle()
    return made


def active(quorum: Quorum = ONE) -> World:
    made = world(quorum)
    made.say(VrrpState.MASTER)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    return made


def wait(made: World, seconds: float) -> None:
    """Let time pass; questions and checks are answered at once, steps are not."""
    made.live(made.now + seconds)
    made.send(Tick())


def rounds(made: World) -> list[AskWitnesses]:
    return [effect for effect in made.log if isinstance(effect, AskWitnesses)]


def levels(made: World) -> set[Level]:
    return {r.seen.level for r in made.instance.resources.values()}


def test_nothing_is_asked_without_witnesses_and_on_a_standby() -> None:
    for made in (world(None), world()):
        assert made.asked == []
    made = world(None)
    made.say(VrrpState.MASTER)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE


def test_no_step_starts_before_the_witnesses_have_answered() -> None:
    made = world()
    made.say(VrrpState.MASTER)
    assert len(made.asked) == 1
    assert not made.steps
    assert made.instance.phase is Phase.PROMOTING
    assert made.instance.reason == (
        "waiting for the witnesses: 0 of 1 witnesses answer, and 1 must (icmp://192.0.2.254: not asked yet)"
    )
    assert {w.kind for w in waits(made.instance, made.now).values()} == {WaitFor.QUORUM}
    made.vote()
    assert set(made.steps) == {("VI_1", "disk")}


def test_an_instance_that_does_without_them_asks_nobody() -> None:
    cfg = config(resource("disk"), quorum=ONE)
    spec = cfg.instances["VI_1"]
    made = World(replace(cfg, instances={"VI_1": replace(spec, quorum=False)}))
    made.say(VrrpState.MASTER)
    made.settle()
    assert (made.instance.phase, made.asked) == (Phase.ACTIVE, [])


@pytest.mark.parametrize("granted", [None, False])
def test_too_few_are_a_refusal_in_words_and_no_obstacle_for_ever(granted: bool | None) -> None:
    made = world(TWO)
    made.granted[OTHER] = granted
    made.say(VrrpState.MASTER)
    made.vote()
    while made.looks:
        made.end_look(next(iter(made.looks)))
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.alarm == (
        "MASTER, but the witnesses do not agree: 1 of 2 witnesses answer, and 2 must (tcp://192.0.2.2:179: no answer)"
    )
    assert not made.released
    made.granted[OTHER] = True
    wait(made, 5.0)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE


def test_a_refused_master_is_not_activated_at_the_moment_in_which_a_cut_heals() -> None:
    """Its keepalived hears the active node a moment later, and gives way."""
    made = world()
    made.granted[ROUTER] = None
    made.say(VrrpState.MASTER)
    wait(made, 1.6)
    assert made.instance.phase is Phase.REFUSED
    made.granted[ROUTER] = True
    wait(made, 2.3)  # the next question was at 2.0 s
    assert made.instance.standing is Standing.AWAITED
    assert not made.steps
    wait(made, 0.2)
    assert made.steps


@pytest.mark.parametrize("timeout", [0.1, 0.3, 0.5, 0.7, 1.0, 1.7, 2.5])
def test_a_refused_master_is_activated_however_often_the_witnesses_are_asked(timeout: float) -> None:
    made = world(replace(ONE, timeout=timeout))
    made.granted[ROUTER] = None
    made.say(VrrpState.MASTER)
    wait(made, timeout + 0.6)
    assert made.instance.phase is Phase.REFUSED
    made.granted[ROUTER] = True
    wait(made, 2 * (timeout + 1) + 2)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE


def test_a_master_that_nobody_answers_leaves_mastership_to_others_until_they_do() -> None:
    made = world()
    made.granted[ROUTER] = None
    made.say(VrrpState.MASTER)
    wait(made, 9.9)
    made.settle()
    wait(made, 0)
    assert levels(made) == {Level.STANDBY}
    assert made.released == {"VI_1"}
    made.say(VrrpState.FAULT)
    wait(made, 100.0)
    assert made.instance.phase is Phase.STANDBY
    assert "this node is alone" in made.instance.reason
    assert made.released == {"VI_1"}
    made.granted[ROUTER] = True
    wait(made, 3.0)
    assert not made.released
    assert made.instance.standing is Standing.IDLE


def test_an_active_node_that_misses_them_stops_by_itself_and_not_before() -> None:
    made = active()
    made.granted[ROUTER] = None
    lost = made.now
    wait(made, 7.0)
    assert made.instance.phase is Phase.ACTIVE
    wait(made, 3.1)
    made.settle()
    assert made.now - lost < 11
    assert levels(made) == {Level.STANDBY}
    assert made.released == {"VI_1"}
    assert any(isinstance(e, Alarm) and e.kind is AlarmKind.ALONE for e in made.log)


def test_a_witness_that_flaps_costs_no_failover() -> None:
    made = active()
    transitions = made.state.next_transition
    for _ in range(20):
        made.granted[ROUTER] = None
        wait(made, 6.0)
        made.granted[ROUTER] = True
        wait(made, 2.5)
    assert made.instance.phase is Phase.ACTIVE
    assert made.state.next_transition == transitions
    assert not made.released


def test_no_answer_that_is_lost_makes_the_shortest_isolation_timeout_pass() -> None:
    made = active(Quorum(witnesses=(ROUTER,), need=1, timeout=1.0, isolation_timeout=4.0))
    for granted in (True, None, True, None, True, True, None, True):
        made.granted[ROUTER] = granted
        while not made.asked:
            _next(made)
        answered = made.asked[0].asked + (0.99 if granted else 1.0)
        while made.state.agenda.next <= answered:
            _next(made)
        made.now = answered
        made.vote()
        assert made.instance.phase is Phase.ACTIVE
    assert not made.released


def _next(made: World) -> None:
    """Do the next thing that is due, but let no witness answer."""
    if made.looks:
        made.end_look(next(iter(made.looks)))
    else:
        made.now = max(made.now, made.state.agenda.next)
        made.send(Tick())


def test_what_was_answered_before_a_cut_does_not_count_after_it() -> None:
    made = active()
    made.say(VrrpState.BACKUP)
    made.settle()
    made.granted[ROUTER] = None
    made.now += 0.03  # of the shortest advertisements, three
    made.say(VrrpState.MASTER)
    made.vote()
    assert not made.steps
    assert levels(made) == {Level.STANDBY}


def test_all_return_while_keepalived_never_let_go() -> None:
    """Its track file is not watched: the node serves again as soon as the witnesses answer."""
    made = active()
    made.granted[ROUTER] = None
    wait(made, 10.1)
    made.settle()
    assert made.instance.phase is Phase.REFUSED
    made.granted[ROUTER] = True
    wait(made, 3.0)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert not made.released


def test_a_standby_that_is_no_longer_alone_misses_nothing() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 10.1)
    made.settle()
    made.say(VrrpState.FAULT)
    assert made.instance.alone_at is not None
    made.granted[ROUTER] = True
    wait(made, 3.0)
    assert (made.instance.alone_at, made.instance.lacks) == (None, "")


def test_a_lone_master_asks_once_more_when_a_cut_has_healed() -> None:
    made = active()
    made.granted[ROUTER] = None
    while made.instance.alone_at is None:
        _next(made)
        if made.asked:
            made.vote()
    while made.steps:
        made.end_step(next(iter(made.steps)))
    made.granted[ROUTER] = True
    while made.instance.alone_at is not None:
        wait(made, 0.1)
    wait(made, 1.8)
    assert not made.released
    assert not made.steps
    wait(made, 0.3)
    assert made.steps


@pytest.mark.parametrize("granted", [True, False, None])
def test_a_lease_goes_on_while_failoverd_does_not_run(granted: bool | None) -> None:
    made = active(HELD)
    wait(made, 30.0)
    made.send(Stalled(seconds=60.0))
    assert made.instance.standing is Standing.AWAITED
    assert levels(made) == {Level.ACTIVE}
    made.granted["VI_1", LEASE] = granted
    wait(made, HELD.timeout + votes.GRACE_S)
    assert (made.instance.standing is Standing.PRESENT) is (granted is True)
    assert bool(made.steps) is (granted is not True), "the lease may have ended"


def test_short_stalls_never_make_a_lease_last_longer() -> None:
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    end = made.now + HELD.isolation_timeout + 1.0
    while made.now < end:
        wait(made, 0.5)
        made.send(Stalled(seconds=1.0))
    assert made.instance.alone_at is not None


def test_a_refused_master_with_a_resource_that_cannot_be_seen_does_not_change_by_any_event() -> None:
    made = world()
    made.granted[ROUTER] = None
    made.say(VrrpState.MASTER)
    made.send(ResourceChanged(instance="VI_1", resource="disk"))
    made.end_look(("VI_1", "disk"), Level.UNKNOWN)
    wait(made, 1.0)
    standing = made.instance.standing
    made.send(WishesFound(standby={"VI_1": Standby(by="root", at=made.now)}, maintenance=None))
    assert made.instance.standing is standing


def test_where_no_other_node_counts_on_it_a_stall_changes_nothing() -> None:
    made = active()
    made.send(Stalled(seconds=60.0))
    assert made.instance.standing is Standing.PRESENT


@pytest.mark.parametrize(("seconds", "left"), [(4.0, 5.999), (60.0, 1.5)])
def test_a_node_that_others_wait_for_has_so_much_less_time_after_a_stall(seconds: float, left: float) -> None:
    made = active(AWAITED)
    made.granted[ROUTER] = None
    made.now += 0.001  # after the last answer
    made.send(Stalled(seconds=seconds))
    end = made.now + left
    wait(made, left - 0.1)
    assert made.instance.alone_at is None
    wait(made, 0.1)
    assert made.instance.alone_at == pytest.approx(end)


def test_the_answers_after_a_stall_give_it_the_whole_time_again() -> None:
    made = active(AWAITED)
    made.send(Stalled(seconds=60.0))
    made.vote()
    assert made.instance.standing is Standing.PRESENT
    assert votes.lost_at(made.instance, made.state) == made.now + AWAITED.isolation_timeout


def test_a_stall_of_a_daemon_that_ends_changes_nothing_of_what_is_alone_or_refused() -> None:
    for quorum in (HELD, AWAITED):
        made = active(quorum)
        made.granted |= {ROUTER: None, ("VI_1", LEASE): None}
        wait(made, 11.0)
        made.send(Stopping())
        before = made.instance
        made.send(Stalled(seconds=600.0))
        assert (made.instance.standing, made.instance.reason) == (before.standing, before.reason)


def test_stalls_and_restarts_together_give_no_more_time() -> None:
    made = active(AWAITED)
    made.granted[ROUTER] = None
    end = made.now + AWAITED.isolation_timeout
    for _ in range(60):
        wait(made, 0.5)
        if made.instance.alone_at is not None:
            break
        made.send(Stalled(seconds=1.0))
        wait(made, 0.5)
        made.start()
    assert made.instance.alone_at is not None
    assert made.instance.alone_at <= end


def test_what_has_not_stopped_yet_when_a_cut_has_healed_goes_on_at_once() -> None:
    made = active()
    made.granted[ROUTER] = None
    while made.instance.alone_at is None:
        _next(made)
        if made.asked:
            made.vote()
    assert made.steps
    made.granted[ROUTER] = True
    while made.instance.alone_at is not None:
        wait(made, 0.1)
    wait(made, 0.1)
    assert made.instance.standing is Standing.PRESENT


def test_they_are_asked_at_a_slow_beat_and_sooner_while_one_is_missing() -> None:
    made = active(TWO)
    made.granted[OTHER] = True
    before = len(rounds(made))
    wait(made, 25.0)
    assert len(rounds(made)) - before == 10
    made.granted[OTHER] = None
    wait(made, 3.0)
    before = len(rounds(made))
    wait(made, 6.0)
    assert len(rounds(made)) - before == 3


def test_a_daemon_that_starts_beside_active_resources_undoes_nothing_before_the_time_has_passed() -> None:
    made = active()
    made.granted[ROUTER] = None
    made.start()
    wait(made, 9.0)
    assert levels(made) == {Level.ACTIVE}
    assert not made.steps
    wait(made, 1.1)
    made.settle()
    assert levels(made) == {Level.STANDBY}


def test_a_lease_is_renewed_while_it_serves_and_given_up_after_the_last_resource() -> None:
    made = active(HELD)
    made.say(VrrpState.BACKUP)
    assert "VI_1" in made.state.agenda.voters
    made.settle()
    assert "VI_1" not in made.state.agenda.voters


def test_a_lease_that_another_node_holds_is_a_refusal_which_names_it() -> None:
    made = world(HELD)
    made.granted["VI_1", LEASE] = False
    made.say(VrrpState.MASTER)
    made.vote()
    while made.looks:
        made.end_look(next(iter(made.looks)))
    assert made.instance.phase is Phase.REFUSED
    assert made.instance.alarm == f"MASTER, but the witnesses do not agree: {LEASE}: held by right"
    made.granted["VI_1", LEASE] = True
    wait(made, 2.5)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE


def test_the_holder_of_a_lease_has_stopped_before_it_ends() -> None:
    made = active(HELD)
    until = made.yes_at["VI_1", LEASE] + rounds(made)[-1].hold["VI_1"]
    made.granted["VI_1", LEASE] = None
    wait(made, 10.1)
    for _ in range(2):  # each resource takes as long as it may
        (key,) = made.steps
        made.now += made.config.instances["VI_1"].resources[key[1]].deadline(made.steps[key].verb)
        made.end_step(key)
    assert levels(made) == {Level.STANDBY}
    assert made.now < until


def test_a_lone_node_only_looks_at_the_lease_which_another_may_take() -> None:
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    wait(made, 10.1)
    made.settle()
    made.say(VrrpState.FAULT)
    wait(made, 5.0)
    last = rounds(made)[-1]
    assert (dict(last.hold), last.look) == ({}, ("VI_1",))
    made.granted["VI_1", LEASE] = True
    wait(made, 3.0)
    assert not made.released


def test_maintenance_moves_no_mastership() -> None:
    made = active()
    made.send(MaintenanceBegun(by="root", until=made.now + 1000))
    made.granted[ROUTER] = None
    wait(made, 30.0)
    assert levels(made) == {Level.ACTIVE}
    assert not made.released
    made.send(MaintenanceEnded(cause="root ends it"))
    made.settle()
    assert levels(made) == {Level.STANDBY}
    assert made.released == {"VI_1"}


@pytest.mark.parametrize("quorum", [TWO, HELD])
def test_an_active_node_that_gets_other_witnesses_has_what_was_left_to_reach_them(quorum: Quorum) -> None:
    made = active()
    wait(made, 30.0)
    made.granted |= {OTHER: None, ("VI_1", LEASE): None}
    left = votes.lost_at(made.instance, made.state)
    made.reload(config(resource("disk"), resource("guest", "disk"), quorum=quorum))
    wait(made, left - made.now - 0.1)
    assert levels(made) == {Level.ACTIVE}
    assert not made.steps
    assert not made.released
    wait(made, 0.1)
    made.settle()
    assert levels(made) == {Level.STANDBY}
    assert made.released == {"VI_1"}


def test_an_answer_to_a_question_from_before_the_isolation_does_not_end_it_and_the_next_one_does() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 6.0)
    while made.instance.alone_at is None:
        _next(made)
    made.granted[ROUTER] = True
    for asked in tuple(made.asked):
        made.vote(asked)
    assert made.state.votes[ROUTER].granted
    assert made.released == {"VI_1"}
    wait(made, 3.0)
    assert not made.released


def test_a_reload_without_quorum_ends_it() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 10.1)
    made.settle()
    cfg = config(resource("disk"), resource("guest", "disk"))
    made.reload(cfg)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert not made.released
    assert made.state.agenda.voters == frozenset()


# ---------------------------------------------------------------- leases, to their end


def lone_holder() -> World:
    """It has missed the lease for too long, and its guest is about to stop; keepalived reports FAULT."""
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    wait(made, 10.1)
    assert set(made.steps) == {("VI_1", "guest")}
    made.say(VrrpState.FAULT)
    return made


def test_a_lease_is_kept_until_everything_has_stopped_even_if_the_witness_returns() -> None:
    made = lone_holder()
    made.granted["VI_1", LEASE] = True
    wait(made, 5.0)
    assert votes.keeps_lease(made.state, "VI_1")
    assert rounds(made)[-1].hold
    made.settle()
    assert not votes.keeps_lease(made.state, "VI_1")
    wait(made, 5.0)
    assert not made.released


def test_a_daemon_that_starts_while_resources_stop_renews_their_lease_until_they_have() -> None:
    made = active(HELD)
    made.say(VrrpState.BACKUP)
    made.start()
    assert (dict(rounds(made)[-1].hold), list(rounds(made)[-1].renew)) == ({}, ["VI_1"])
    before = len(rounds(made))
    wait(made, 25.0)
    assert len(rounds(made)) - before == 10
    assert votes.keeps_lease(made.state, "VI_1")
    made.settle()
    assert not votes.keeps_lease(made.state, "VI_1")
    assert made.state.agenda.voters == frozenset()


def test_a_daemon_that_starts_in_an_outage_keeps_the_lease_under_which_it_stops() -> None:
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    made.start()
    wait(made, 2.0)
    made.say(VrrpState.FAULT)
    made.granted["VI_1", LEASE] = True
    wait(made, 5.0)
    assert ("VI_1", "guest") in made.steps
    assert votes.keeps_lease(made.state, "VI_1")


def test_a_standby_that_starts_takes_no_lease() -> None:
    made = World(config(resource("disk"), quorum=HELD))
    made.say(VrrpState.BACKUP)
    made.settle()
    assert not any(each.hold for each in rounds(made))
    assert not votes.keeps_lease(made.state, "VI_1")


def test_a_daemon_that_ends_renews_the_lease_under_which_it_stops() -> None:
    made = active(HELD)
    made.say(VrrpState.BACKUP)
    made.send(Stopping())
    before = len(rounds(made))
    wait(made, 10.0)
    assert [list(each.hold) for each in rounds(made)[before:]] == [["VI_1"]] * 4
    made.settle()
    assert not votes.keeps_lease(made.state, "VI_1")


def test_a_resource_that_does_not_stop_does_not_keep_the_holder_of_the_lease_from_competing() -> None:
    """No other node can be active, so this one must be able to."""
    made = lone_holder()
    while made.steps:
        made.end_step(next(iter(made.steps)), Outcome.FAILED, works=False)
        wait(made, 5.0)
    assert made.instance.phase is Phase.FAILED
    assert made.released == {"VI_1"}
    made.granted["VI_1", LEASE] = True
    wait(made, 5.0)
    assert not made.released
    assert votes.keeps_lease(made.state, "VI_1")


def test_a_node_that_learns_of_another_holder_stops_at_once() -> None:
    """The key was deleted, or etcd restored: no answer was lost, and two nodes may be active."""
    made = active(HELD)
    made.granted["VI_1", LEASE] = False
    wait(made, 2.6)
    assert ("VI_1", "guest") in made.steps
    assert made.released == {"VI_1"}
    assert "held by right" in made.instance.reason
    wait(made, 2.0)
    assert (dict(rounds(made)[-1].hold), list(rounds(made)[-1].renew)) == ({}, ["VI_1"])


@pytest.mark.parametrize("vip", [True, False])
def test_a_master_that_may_not_be_active_leaves_the_lease_to_another_node(vip: bool) -> None:
    """Its keepalived is frozen, or its VIP is gone; where the other node does not see it, that one is MASTER too."""
    made = active(HELD)
    if vip:
        made.see_keepalived(Keepalived.STOPPED)
    else:
        made.move_vip(VIP, present=False)
    wait(made, 6.0)
    assert votes.keeps_lease(made.state, "VI_1")
    made.settle()
    assert made.instance.phase is Phase.REFUSED
    assert not votes.keeps_lease(made.state, "VI_1")


def test_an_answer_of_before_the_isolation_activates_nothing() -> None:
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    wait(made, 9.0)
    late = AskWitnesses(asked=made.now, timeout=3.0, hold={"VI_1": 60.0}, look=())
    wait(made, 1.5)
    made.settle()
    made.asked.append(late)
    made.granted["VI_1", LEASE] = True
    made.vote(late)
    assert made.instance.standing is Standing.MISSING
    assert not made.steps


def test_a_daemon_that_starts_without_its_lease_stops_at_once() -> None:
    """Nobody knows how much of the lease is left."""
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    made.start()
    wait(made, 2.0)
    assert ("VI_1", "guest") in made.steps


def test_an_activation_in_flight_ends_within_the_lease() -> None:
    made = world(HELD)
    made.say(VrrpState.MASTER)
    made.vote()
    spec = made.config.instances["VI_1"]
    stop = sum(r.deadline(Verb.DEACTIVATE) for r in spec.resources.values())
    assert rounds(made)[-1].hold["VI_1"] > 10 + spec.resources["disk"].timeout + stop


def test_a_node_waits_for_a_lease_that_another_holds_and_stays_in_the_election() -> None:
    made = world(HELD)
    made.granted["VI_1", LEASE] = False
    made.say(VrrpState.MASTER)
    wait(made, 300.0)
    assert made.instance.phase is Phase.REFUSED
    assert not made.released
    made.granted["VI_1", LEASE] = True
    wait(made, 3.0)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE


def test_a_longer_time_does_not_lengthen_a_lease_that_was_taken_before() -> None:
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    wait(made, 8.0)
    made.reload(replace(made.config, quorum=replace(HELD, isolation_timeout=60.0)))
    wait(made, 3.0)
    assert ("VI_1", "guest") in made.steps


def _slower(made: World, seconds: float) -> Config:
    return config(resource("disk"), resource("guest", "disk", stop_timeout=seconds), quorum=made.config.quorum)


def test_a_reload_that_makes_the_stop_longer_asks_for_a_longer_lease_at_once() -> None:
    made = active(HELD)
    wait(made, 1.0)
    new = _slower(made, 300.0)
    made.reload(new)
    assert made.asked[-1].hold == {"VI_1": votes.lease_time(new.instances["VI_1"], HELD)}
    made.vote()
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert votes.lost_at(made.instance, made.state) == made.yes_at["VI_1", LEASE] + HELD.isolation_timeout


def test_one_that_makes_it_shorter_or_leaves_it_asks_for_none() -> None:
    made = active(HELD)
    wait(made, 1.0)
    before = len(rounds(made))
    made.reload(_slower(made, 30.0))
    made.reload(_slower(made, 5.0))
    assert len(rounds(made)) == before


@pytest.mark.parametrize(("seconds", "longer"), [(33.0, 3.0), (300.0, 270.0)])
def test_until_the_longer_lease_is_held_a_longer_stop_begins_sooner(seconds: float, longer: float) -> None:
    made = active(HELD)
    made.granted["VI_1", LEASE] = None
    lost = votes.lost_at(made.instance, made.state)
    wait(made, 1.0)
    made.reload(_slower(made, seconds))
    first = made.now + HELD.timeout + votes.GRACE_S
    wait(made, 9.0)
    assert made.instance.alone_at == pytest.approx(max(lost - longer, first))


def test_what_a_reload_adds_is_not_activated_under_a_lease_that_is_too_short() -> None:
    made = World(config(resource("disk"), quorum=HELD))
    made.say(VrrpState.MASTER)
    made.settle()
    made.granted["VI_1", LEASE] = None
    made.actual["VI_1", "guest"] = Level.STANDBY
    made.reload(_slower(made, 300.0))
    wait(made, 1.0)
    assert not made.steps
    made.granted["VI_1", LEASE] = True
    wait(made, 2.5)
    made.settle()
    assert made.instance.phase is Phase.ACTIVE


def test_the_lease_of_an_instance_that_is_removed_while_it_is_active_is_kept_until_its_strays_are_gone() -> None:
    made = active(HELD)
    made.reload(Config(instances={}, quorum=HELD))
    before = len(rounds(made))
    said = [e.text for e in made.log if isinstance(e, Alarm) and e.kind is AlarmKind.UNFOLLOWED]
    assert len(said) == 2
    assert all("until then this node keeps the lease of VI_1, if it has it" in text for text in said)
    assert votes.keeps_lease(made.state, "VI_1")
    wait(made, 30.0)
    renewals = rounds(made)[before:]
    assert len(renewals) >= 10
    assert all(set(each.renew) == {"VI_1"} and not each.hold for each in renewals)
    made.actual |= dict.fromkeys(made.actual, Level.STANDBY)
    made.settle()
    while made.state.strays:
        made.tick()
        made.settle()
    assert not votes.keeps_lease(made.state, "VI_1")
    before = len(rounds(made))
    wait(made, 30.0)
    assert len(rounds(made)) == before


def test_the_lease_is_kept_for_a_stray_whose_need_is_gone() -> None:
    made = World(config(resource("disk"), resource("guest", "disk"), quorum=HELD))
    made.say(VrrpState.MASTER)
    made.settle()
    made.reload(Config(instances={}, quorum=HELD))
    made.actual["VI_1", "disk"] = Level.STANDBY
    made.settle()
    while len(made.state.strays) > 1:
        made.tick()
        made.settle()
    assert [stray.spec.name for stray in made.state.strays.values()] == ["guest"]
    before = len(rounds(made))
    wait(made, 30.0)
    assert {name for each in rounds(made)[before:] for name in each.renew} == {"VI_1"}


def test_the_next_daemon_renews_it_too_and_an_operator_who_knows_of_the_strays_ends_that() -> None:
    made = active(HELD)
    made.reload(Config(instances={}, quorum=HELD))
    made.start()
    assert made.asked[-1].renew
    assert votes.keeps_lease(made.state, "VI_1")
    made.dropped.clear()
    made.send(Acknowledged(instance="VI_1"))
    assert not votes.keeps_lease(made.state, "VI_1")


def test_a_standby_with_a_stray_keeps_the_lease() -> None:
    made = World(config(resource("disk"), resource("guest"), quorum=HELD))
    made.say(VrrpState.MASTER)
    made.settle()
    made.reload(config(resource("disk"), quorum=HELD))
    made.say(VrrpState.BACKUP)
    made.settle()
    assert made.instance.phase is Phase.STANDBY
    wait(made, 30.0)
    assert votes.keeps_lease(made.state, "VI_1")
    assert "VI_1" in {**rounds(made)[-1].hold, **rounds(made)[-1].renew}
    made.actual["VI_1", "guest"] = Level.STANDBY
    made.settle()
    while made.state.strays:
        made.tick()
        made.settle()
    assert not votes.keeps_lease(made.state, "VI_1")


def test_where_no_lease_is_configured_nobody_asks_for_a_stray() -> None:
    made = active()
    made.reload(Config(instances={}, quorum=ONE))
    assert not any("lease" in e.text for e in made.log if isinstance(e, Alarm))
    before = len(rounds(made))
    wait(made, 30.0)
    assert len(rounds(made)) == before


def test_many_new_masters_ask_for_their_own_leases_only() -> None:
    names = [f"VI_{n}" for n in range(40)]
    instances = {name: InstanceSpec(name=name, resources={}) for name in names}
    made = World(Config(instances=instances, quorum=HELD))
    for name in names:
        made.say(VrrpState.MASTER, name)
    assert sum(len(each.hold) for each in rounds(made)) == len(names)


def test_a_late_yes_counts_for_the_time_of_its_question() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 8.0)
    slow = AskWitnesses(asked=made.now, timeout=1.0, hold={}, look=())
    wait(made, 1.5)
    made.send(WitnessAnswered(witness=ROUTER, granted=True, said="answered", asked=slow.asked))
    made.yes_at[ROUTER] = slow.asked
    wait(made, 5.0)
    assert levels(made) == {Level.ACTIVE}


def test_a_daemon_that_is_started_again_has_what_was_left_of_its_time() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 5.0)
    left = votes.lost_at(made.instance, made.state)
    made.start()
    wait(made, left - made.now - 0.1)
    assert made.instance.alone_at is None
    wait(made, 0.1)
    assert made.instance.alone_at == left
    assert ("VI_1", "guest") in made.steps


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 9.0])
def test_a_daemon_that_dies_again_and_again_is_alone_all_the_same(seconds: float) -> None:
    made = active()
    made.granted[ROUTER] = None
    cut = made.now
    while made.instance.alone_at is None and made.now < cut + 60.0:
        made.start()
        wait(made, seconds)
    assert made.instance.alone_at is not None
    assert made.instance.alone_at <= cut + ONE.isolation_timeout


def without_instance(made: Config) -> Config:
    return replace(made, instances={})


def without_witnesses(made: Config) -> Config:
    return replace(made, quorum=None)


def without_need(made: Config) -> Config:
    return replace(made, instances={"VI_1": replace(made.instances["VI_1"], quorum=False)})


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("change", [without_instance, without_witnesses, without_need])
def test_reloads_that_remove_and_add_give_no_more_time(change: Callable[[Config], Config], restart: bool) -> None:
    """Also where the daemon ends between the two."""
    made = active()
    made.granted[ROUTER] = None
    cut, full = made.now, made.config
    while made.instance.alone_at is None and made.now < cut + 60.0:
        made.reload(change(full))
        if restart:
            made.start()
        made.live(made.now + 0.1)
        made.reload(full)
        made.say(VrrpState.MASTER)
        wait(made, 4.0)
        while made.stray_looks:
            made.end_stray_look(next(iter(made.stray_looks)))
    assert made.instance.alone_at is not None
    assert made.instance.alone_at <= cut + ONE.isolation_timeout
    assert made.instance.direction is Target.STANDBY


@pytest.mark.parametrize("answers", [True, None])
@pytest.mark.parametrize("change", [without_instance, without_witnesses, without_need])
@pytest.mark.parametrize("seconds", [1.0, 100.0])
def test_one_that_is_added_again_goes_on_if_they_answer(
    change: Callable[[Config], Config], seconds: float, answers: bool | None
) -> None:
    """Also if they did not answer before."""
    made = active()
    made.granted[ROUTER] = answers
    wait(made, 4.0)
    full = made.config
    made.reload(change(full))
    wait(made, seconds)
    made.granted[ROUTER] = True
    made.reload(full)
    made.say(VrrpState.MASTER)
    for _ in range(20):
        wait(made, 1.0)
        assert made.instance.alone_at is None
        assert not made.steps
    assert made.instance.standing is Standing.PRESENT


def test_a_node_that_was_alone_and_serves_without_witnesses_awaits_their_first_answers_when_they_are_back() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, ONE.isolation_timeout + 1.0)
    assert made.instance.alone_at is not None
    full = made.config
    made.reload(without_witnesses(full))
    made.settle()
    assert levels(made) == {Level.ACTIVE}
    made.live(made.now + 1.0)
    made.granted[ROUTER] = True
    made.reload(full)
    wait(made, 20.0)
    assert made.instance.standing is Standing.PRESENT
    assert levels(made) == {Level.ACTIVE}
    assert not made.steps


def test_a_stop_of_what_is_alone_goes_on_at_once_after_a_restart() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 11.0)
    assert made.instance.alone_at is not None
    made.start()
    wait(made, 0.0)
    assert made.instance.alone_at == made.now
    assert ("VI_1", "guest") in made.steps


def test_an_answer_that_ends_its_isolation_ends_what_an_earlier_daemon_has_left() -> None:
    made = active()
    made.granted[ROUTER] = None
    wait(made, 11.0)
    made.start()
    wait(made, 0.0)
    assert made.steps
    made.granted[ROUTER] = True
    while not made.asked:
        made.tick()
    made.now += 0.5
    made.vote()
    assert made.instance.alone_at is None


@pytest.mark.parametrize(("granted", "phase"), [(True, Phase.ACTIVE), (None, Phase.REFUSED)])
def test_a_daemon_that_starts_when_the_time_has_passed_awaits_the_first_answers(
    granted: bool | None, phase: Phase
) -> None:
    made = active()
    wait(made, 5.0)
    left = votes.left(made.state, made.instance)
    assert left is not None
    made.now += 600.0  # nobody runs
    made.granted[ROUTER] = granted
    made.start()
    made.settle()
    assert made.instance.phase is phase
    if phase is Phase.REFUSED:
        assert made.instance.alone_at is not None
        assert made.instance.alone_at <= made.now + votes.GRACE_S + ONE.timeout


def test_the_first_answers_are_awaited_by_one_daemon_only() -> None:
    made = active()
    made.now += 600.0
    made.granted[ROUTER] = None
    began = made.now
    while made.instance.alone_at is None and made.now < began + 60.0:
        made.start()
        wait(made, 1.0)
    assert made.instance.alone_at == began + 1.0
    made.granted[ROUTER] = True
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert votes.left(made.state, made.instance) is not None


def test_what_rests_has_nothing_left_of_an_earlier_daemon() -> None:
    made = world()
    assert votes.left(made.state, made.instance) is None
    made = active()
    made.granted[ROUTER] = None
    wait(made, 9.0)
    made.start()
    made.say(VrrpState.BACKUP)
    made.settle()
    assert votes.left(made.state, made.instance) is None
