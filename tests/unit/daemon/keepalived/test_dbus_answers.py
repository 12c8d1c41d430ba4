"""What the answers of keepalived's D-Bus mean, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from failoverd.core.words import VrrpState
from failoverd.daemon.keepalived.dbus_answers import KnownInstance, ReportedState, reported_state
from failoverd.daemon.keepalived.vrrp_dbus import Instance, Service

MASTER, BACKUP, FAULT, DELETED = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT, VrrpState.DELETED
MAIN = "org.keepalived.Vrrp1"


def service(name: str = MAIN, pid: int = 7, *, trouble: str = "", **states: Any) -> Service:
    instances = tuple(Instance(name=each, path=f"/{each}", state=state) for each, state in states.items())
    return Service(name=name, pid=pid, instances=instances, trouble=trouble)


def reported(*services: Service, name: str = "VI_1", speakers: Any = ((7, 8),), **known: Any) -> ReportedState:
    return reported_state(KnownInstance(name=name, speakers=speakers, **known), services)


def test_an_instance_that_is_there_is_in_its_state() -> None:
    assert reported(service(VI_1=MASTER, VI_2=BACKUP)) == ReportedState(
        state=MASTER, detail=f"{MAIN} reports MASTER", path="/VI_1", pid=7
    )
    undecided = reported(service(VI_1=None))
    assert (undecided.state, undecided.detail, undecided.doubt) == (None, f"{MAIN} reports no state", "")


def test_nobody_there_and_nobody_answering_are_told_apart() -> None:
    assert "no keepalived is on D-Bus; check enable_dbus in keepalived.conf" in reported(path="/VI_1").detail
    assert reported(speakers=()).detail == "no keepalived is on D-Bus, and none runs: systemctl start keepalived"
    assert reported(service(trouble="it does not answer"), path="/VI_1") == ReportedState(
        detail="it does not answer", path="/VI_1"
    )
    assert reported(service(VI_2=MASTER), speakers=((7,), (9,))).detail == "keepalived (pid 9) is not on D-Bus"
    assert reported(service(VI_2=MASTER), speakers=()).detail == "cannot see keepalived's processes"


def test_an_instance_that_was_never_there_is_a_doubt_that_names_those_that_are() -> None:
    told = reported(service(VI_3=MASTER, VI_2=BACKUP), group=False)
    assert (told.state, told.path) == (None, None)
    assert told.doubt == f"keepalived has no instance VI_1: {MAIN} has VI_2, VI_3"
    assert reported(service()).doubt.endswith(f"{MAIN} has none; if it is a sync group, D-Bus does not show it")
    states: dict[str, Any] = {f"VI_{n}": BACKUP for n in range(10, 20)}
    many = reported(service(**states))
    assert "VI_17 and 2 more" in many.doubt


def test_one_that_was_renamed_is_still_in_its_state() -> None:
    here = Service(name=MAIN, pid=7, instances=(Instance(name="VI_X", path="/eth0/51", state=MASTER),))
    told = reported(here, path="/eth0/51", group=False)
    assert (told.state, told.path) == (MASTER, "/eth0/51")
    assert told.doubt == (
        "keepalived has renamed instance VI_1 to VI_X: use the same name in failoverd.toml and keepalived.conf"
    )


def test_one_that_is_there_no_more_is_deleted() -> None:
    told = reported(service(VI_2=MASTER), path="/eth0/51", group=False)
    assert told.state is DELETED
    assert told.doubt == f"keepalived has no instance VI_1 any more: {MAIN} has VI_2"


def test_of_two_keepaliveds_the_one_counts_that_speaks_for_it() -> None:
    other = service("org.example.other", 9, VI_1=BACKUP, VI_2=MASTER)
    assert reported(service(VI_1=MASTER), other).state is MASTER
    assert reported(service(VI_2=MASTER), other, path="/VI_1").state is DELETED
    assert reported(other, path="/eth0/51", name="VI_9").state is None, "the other's answer is not the speaker's"
    for_both = reported(service(VI_1=MASTER), other, speakers=((7, 8), (9,)))
    assert for_both.state is None
    assert for_both.doubt == (
        f"more than one keepalived has an instance VI_1: {MAIN} reports MASTER, org.example.other reports BACKUP"
    )
    agreed = reported(service(VI_1=BACKUP), other, speakers=((7, 8), (9,)))
    assert (agreed.state, agreed.pid, agreed.doubt) == (BACKUP, None, "")


@pytest.mark.parametrize(
    ("states", "last", "state"),
    [
        ((MASTER, MASTER), BACKUP, MASTER),
        ((BACKUP, BACKUP), MASTER, BACKUP),
        ((MASTER, BACKUP), MASTER, None),
        ((BACKUP, FAULT), BACKUP, BACKUP),
        ((BACKUP, FAULT), FAULT, FAULT),
        ((BACKUP, FAULT), MASTER, FAULT),
        ((BACKUP, None), BACKUP, None),
        ((), MASTER, None),
    ],
)
def test_a_group_is_what_all_its_instances_are(
    states: tuple[VrrpState, ...], last: VrrpState, state: VrrpState | None
) -> None:
    instances: dict[str, Any] = {f"VI_{n}": each for n, each in enumerate(states)}
    told = reported(service(**instances), name="VG", group=True, last=last)
    assert (told.state, told.doubt) == (state, "")


def test_a_group_whose_members_are_configured_is_what_they_are() -> None:
    here = service(VI_10=MASTER, VI_20=MASTER, VI_30=BACKUP)
    assert reported(here, name="VG", members=("VI_10", "VI_20")).state is MASTER
    assert reported(here, name="VG", members=("VI_30",), last=MASTER).state is BACKUP
    told = reported(here, name="VG", group=True)
    assert told.detail == (
        "keepalived's instances: VI_10 MASTER, VI_20 MASTER, VI_30 BACKUP; configure `members` of VG"
    )
    wrong = reported(here, name="VG", members=("VI_10", "VI_99"))
    assert wrong.state is None
    assert (
        wrong.doubt == f"keepalived has no instance VI_99, which is in `members` of VG: {MAIN} has VI_10, VI_20, VI_30"
    )
