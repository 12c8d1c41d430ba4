"""What the answers of keepalived's D-Bus mean, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from failoverd.core.words import VrrpState
from failoverd.daemon.hearsay import About, Hearsay, judge
from failoverd.daemon.vrrpbus import Instance, Service

MASTER, BACKUP, FAULT, DELETED = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT, VrrpState.DELETED
MAIN = "org.keepalived.Vrrp1"


def service(name: str = MAIN, pid: int = 7, *, trouble: str = "", **states: Any) -> Service:
    instances = tuple(Instance(name=each, path=f"/{each}", state=state) for each, state in states.items())
    return Service(name=name, pid=pid, instances=instances, trouble=trouble)


def heard(*services: Service, name: str = "VI_1", speakers: Any = ((7, 8),), **known: Any) -> Hearsay:
    return judge(About(name=name, speakers=speakers, **known), services)


def test_an_instance_that_is_there_is_in_its_state() -> None:
    assert heard(service(VI_1=MASTER, VI_2=BACKUP)) == Hearsay(
        state=MASTER, said=f"{MAIN} says MASTER", path="/VI_1", pid=7
    )
    undecided = heard(service(VI_1=None))
    assert (undecided.state, undecided.said, undecided.doubt) == (None, f"{MAIN} says undecided", "")


def test_nobody_there_and_nobody_answering_are_told_apart() -> None:
    assert "no keepalived is on D-Bus (is enable_dbus in keepalived.conf?)" in heard(path="/VI_1").said
    assert heard(service(trouble="it does not answer"), path="/VI_1") == Hearsay(
        said="it does not answer", path="/VI_1"
    )
    assert heard(service(VI_2=MASTER), speakers=((7,), (9,))).said == "keepalived (pid 9) is not on D-Bus"
    assert heard(service(VI_2=MASTER), speakers=()).said == "keepalived's processes are not seen"


def test_an_instance_that_was_never_there_is_a_doubt_that_names_those_that_are() -> None:
    told = heard(service(VI_3=MASTER, VI_2=BACKUP), group=False)
    assert (told.state, told.path) == (None, None)
    assert told.doubt == f"keepalived has no instance VI_1: {MAIN} has VI_2, VI_3"
    assert heard(service()).doubt.endswith(f"{MAIN} has none; if it is a sync group, D-Bus does not know it")
    states: dict[str, Any] = {f"VI_{n}": BACKUP for n in range(10, 20)}
    many = heard(service(**states))
    assert "VI_17 and 2 more" in many.doubt


def test_one_that_was_renamed_is_still_in_its_state() -> None:
    here = Service(name=MAIN, pid=7, instances=(Instance(name="VI_X", path="/eth0/51", state=MASTER),))
    told = heard(here, path="/eth0/51", group=False)
    assert (told.state, told.path) == (MASTER, "/eth0/51")
    assert told.doubt == (
        "keepalived has no instance VI_1 any more: it calls it VI_X. Call it so here too, or there as before"
    )


def test_one_that_is_there_no_more_is_deleted() -> None:
    told = heard(service(VI_2=MASTER), path="/eth0/51", group=False)
    assert told.state is DELETED
    assert told.doubt == f"keepalived has no instance VI_1 any more: {MAIN} has VI_2"


def test_of_two_keepaliveds_the_one_counts_that_speaks_for_it() -> None:
    other = service("org.example.other", 9, VI_1=BACKUP, VI_2=MASTER)
    assert heard(service(VI_1=MASTER), other).state is MASTER
    assert heard(service(VI_2=MASTER), other, path="/VI_1").state is DELETED
    assert heard(other, path="/eth0/51", name="VI_9").state is None, "the other's answer is not the speaker's"
    for_both = heard(service(VI_1=MASTER), other, speakers=((7, 8), (9,)))
    assert for_both.state is None
    assert for_both.doubt == (
        f"more than one keepalived has an instance VI_1: {MAIN} says MASTER, org.example.other says BACKUP"
    )
    agreed = heard(service(VI_1=BACKUP), other, speakers=((7, 8), (9,)))
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
    told = heard(service(**instances), name="VG", group=True, last=last)
    assert (told.state, told.doubt) == (state, "")


def test_a_group_whose_members_are_configured_is_what_they_are() -> None:
    here = service(VI_10=MASTER, VI_20=MASTER, VI_30=BACKUP)
    assert heard(here, name="VG", members=("VI_10", "VI_20")).state is MASTER
    assert heard(here, name="VG", members=("VI_30",), last=MASTER).state is BACKUP
    told = heard(here, name="VG", group=True)
    assert told.said == (
        "of keepalived's instances, VI_10 is MASTER, VI_20 is MASTER, VI_30 is BACKUP; "
        "`members` would say which of them are VG's"
    )
    wrong = heard(here, name="VG", members=("VI_10", "VI_99"))
    assert wrong.state is None
    assert wrong.doubt == (f"keepalived has no VI_99, which is a member of VG here: {MAIN} has VI_10, VI_20, VI_30")
