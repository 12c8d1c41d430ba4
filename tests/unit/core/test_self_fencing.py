"""Self-fencing: until when the watchdog is fed, and so when this machine is reset at the latest."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from failoverd.core import self_fencing, votes
from failoverd.core.events import Stopping
from failoverd.core.requests import HandoverWanted, MaintenanceBegun, MaintenanceEnded
from failoverd.core.spec import Quorum
from failoverd.core.words import Level, Outcome, Phase, VrrpState
from tests.unit.core.test_quorum import LEASE, ROUTER, active, wait, world
from tests.unit.core.world import World

WATCHED = Quorum(witnesses=(ROUTER,), need=1, watchdog="/dev/watchdog")
HELD = Quorum(leases=(LEASE,), watchdog="/dev/watchdog")
GUEST, DISK = ("VI_1", "guest"), ("VI_1", "disk")
#: Of `active`: one activation, and the stops of the guest and of its disk.
STOP_S = 30.0 + 2 * 40.0


def fed_for(made: World) -> float | None:
    """Seconds for which the watchdog is fed from now on; negative: it is not fed. None: it is disarmed."""
    until = self_fencing.fed_until(made.state, made.now)
    return None if until is None else until - made.now


def test_without_a_watchdog_none_is_fed() -> None:
    assert fed_for(active()) is None


def test_while_all_rests_none_is_armed() -> None:
    made = world(WATCHED)
    assert fed_for(made) is None
    made.say(VrrpState.MASTER)
    made.settle()
    assert fed_for(made) is not None
    made.say(VrrpState.BACKUP)
    made.settle()
    assert fed_for(made) is None


def test_it_is_armed_when_the_first_step_starts() -> None:
    made = world(WATCHED)
    made.say(VrrpState.MASTER)
    made.vote()
    assert set(made.steps) == {DISK}
    assert fed_for(made) is not None


@pytest.mark.parametrize("quorum", [WATCHED, HELD])
def test_an_active_node_is_fed_as_long_as_its_last_answer_lets_it_stop(quorum: Quorum) -> None:
    made = active(quorum)
    wait(made, 60.0)
    fed = fed_for(made)
    assert fed is not None
    assert quorum.isolation_timeout * 0.7 + STOP_S <= fed <= quorum.isolation_timeout + STOP_S


@pytest.mark.parametrize("quorum", [WATCHED, HELD])
def test_a_node_that_is_alone_and_cannot_stop_is_fed_no_more_when_its_time_is_over(quorum: Quorum) -> None:
    made = active(quorum)
    made.granted |= {ROUTER: None, ("VI_1", LEASE): None}
    until = self_fencing.fed_until(made.state, made.now)
    assert until is not None
    wait(made, 60.0)
    assert made.instance.alone_at is not None
    assert self_fencing.fed_until(made.state, made.now) == until  # nothing that came since has moved it
    made.end_step(GUEST, Outcome.FAILED, works=False)
    wait(made, until - made.now - 0.001)
    assert fed_for(made) == pytest.approx(0.001, abs=1e-6)
    made.end_step(GUEST, Outcome.FAILED, works=False, seen=Level.UNKNOWN)
    wait(made, 30.0)
    assert fed_for(made) == pytest.approx(-30.0, abs=0.01)
    assert self_fencing.must_stop(made.state) == {"VI_1": ("disk", "guest")}


def test_a_daemon_that_ends_before_it_has_asked_is_not_fed_for_ever() -> None:
    made = World(active(WATCHED).config)  # the first failoverd here
    made.actual |= dict.fromkeys((GUEST, DISK), Level.ACTIVE)
    made.send(Stopping())
    made.say(VrrpState.MASTER)
    wait(made, 0.0)
    fed = fed_for(made)
    assert fed == WATCHED.isolation_timeout + STOP_S
    wait(made, 60.0)
    assert fed_for(made) == pytest.approx(fed - 60.0, abs=0.01)


def test_once_all_is_at_standby_it_is_disarmed() -> None:
    made = active(WATCHED)
    made.granted[ROUTER] = None
    wait(made, 12.0)
    made.end_step(GUEST)
    assert fed_for(made) is not None
    made.end_step(DISK)
    assert fed_for(made) is None
    assert self_fencing.must_stop(made.state) == {}


def test_what_was_never_seen_active_is_not_fenced_for_being_unknown() -> None:
    made = world(WATCHED)
    made.say(VrrpState.BACKUP)
    while made.looks:
        made.end_look(next(iter(made.looks)), Level.UNKNOWN)
    assert fed_for(made) is None


def test_after_backup_the_time_begins_at_once_and_mastership_ends_it_with_the_witnesses() -> None:
    made = active(WATCHED)
    made.say(VrrpState.BACKUP)
    assert fed_for(made) == STOP_S
    wait(made, 5.0)
    made.say(VrrpState.MASTER)
    assert fed_for(made) == STOP_S - 5.0  # the witnesses have not agreed yet
    made.vote()
    assert fed_for(made) == WATCHED.isolation_timeout + STOP_S


def test_a_handover_is_no_reason_to_be_reset_but_isolation_is() -> None:
    made = active(WATCHED)
    made.send(HandoverWanted(instance="VI_1", by="root", id="left.1", until=made.now + 1000.0))
    wait(made, 20.0)
    assert GUEST in made.steps
    assert (fed_for(made) or 0.0) > STOP_S
    made.granted[ROUTER] = None
    wait(made, WATCHED.isolation_timeout + 1.0)
    assert made.instance.handover is not None
    assert self_fencing.must_stop(made.state) == {"VI_1": ("disk", "guest")}
    assert (fed_for(made) or math.inf) < STOP_S


def test_the_witnesses_end_the_time_also_in_a_handover() -> None:
    made = active(WATCHED)
    made.say(VrrpState.BACKUP)
    wait(made, 5.0)
    made.say(VrrpState.MASTER)
    made.send(HandoverWanted(instance="VI_1", by="root", id="left.1", until=made.now + 1000.0))
    assert fed_for(made) == STOP_S - 5.0
    made.vote()
    assert fed_for(made) == WATCHED.isolation_timeout + STOP_S


def test_in_maintenance_it_is_fed_and_afterwards_there_is_a_whole_time_to_stop() -> None:
    made = active(WATCHED)
    made.send(MaintenanceBegun(by="root", until=math.inf))
    made.granted[ROUTER] = None
    made.say(VrrpState.BACKUP)
    wait(made, 1000.0)
    assert fed_for(made) == WATCHED.isolation_timeout + STOP_S
    made.send(MaintenanceEnded(cause="root has ended the maintenance"))
    assert fed_for(made) == STOP_S


def test_a_restart_gives_no_more_time() -> None:
    made = active(WATCHED)
    made.granted[ROUTER] = None
    until = self_fencing.fed_until(made.state, made.now)
    wait(made, 5.0)
    made.start()
    assert self_fencing.fed_until(made.state, made.now) == until
    while made.instance.alone_at is None:
        wait(made, 1.0)
    assert self_fencing.fed_until(made.state, made.now) == until


def test_after_a_restart_the_witnesses_give_a_new_time() -> None:
    made = active(WATCHED)
    wait(made, 5.0)
    made.start()
    made.settle()
    assert made.instance.phase is Phase.ACTIVE
    assert fed_for(made) == pytest.approx(WATCHED.isolation_timeout + STOP_S, abs=0.1)


def test_where_drbd_has_the_quorum_no_watchdog_is_fed() -> None:
    made = active(WATCHED)
    spec = replace(made.config.instances["VI_1"], quorum=False)
    made.reload(replace(made.config, instances={"VI_1": spec}))
    assert fed_for(made) is None


def test_a_lease_lasts_until_the_watchdog_has_reset_its_holder() -> None:
    spec = active(HELD).instance.spec
    without = votes.lease_time(spec, replace(HELD, watchdog=None))
    assert votes.lease_time(spec, HELD) == without + HELD.watchdog_timeout
    assert without == HELD.isolation_timeout + STOP_S + votes.LEASE_MARGIN_S
