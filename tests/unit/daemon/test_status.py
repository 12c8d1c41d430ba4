"""The state as one line for systemctl, and what of it a person is shown as wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from failoverd.core.effects import Alarm, AlarmKind
from failoverd.core.events import PeerReported, VipsSeen, VrrpStateReported
from failoverd.core.knowledge import PeerWord
from failoverd.core.requests import MaintenanceBegun
from failoverd.core.spec import Config, Heartbeat, InstanceSpec, Quorum
from failoverd.core.words import Keepalived, Phase, VrrpState
from failoverd.daemon import status
from tests.unit.core.world import VIP, World, config, resource
from tests.unit.ctl.verbs import pages

SILENT = "keepalived has reported nothing: check notify, FIFO, script_user"
CHECK = "check notify, vrrp_notify_fifo and script_user in keepalived.conf"


def standbys(number: int) -> World:
    names = [f"VI_{n}" for n in range(number)]
    world = World(config=Config(instances={name: InstanceSpec(name=name) for name in names}))
    for name in names:
        world.say(VrrpState.BACKUP, name)
    world.settle()
    return world


def test_a_few_instances_are_named() -> None:
    world = standbys(2)
    world.say(VrrpState.MASTER, "VI_1")
    assert status.line(world.state) == "VI_0: standby, VI_1: active"


def test_maintenance_comes_first() -> None:
    world = standbys(1)
    world.send(MaintenanceBegun(by="root", until=world.now + 60))
    assert status.line(world.state) == "maintenance; VI_0: standby"


def test_many_instances_are_counted() -> None:
    world = standbys(status.MAX_NAMED + 1)
    world.say(VrrpState.MASTER, "VI_1")
    assert status.line(world.state) == f"{status.MAX_NAMED + 1} instances: {status.MAX_NAMED} standby, 1 active"


def shown(world: World) -> str:
    """What `failoverctl status` prints."""
    told = status.status(world.state, node="left", events={}, troubles=(), wall=lambda at: at)
    return pages.shown("status", told, datetime.fromtimestamp(world.now, tz=UTC))


def standby(word: VrrpState | None = VrrpState.BACKUP, keepalived: Keepalived | None = Keepalived.RUNNING) -> World:
    """A settled standby; without a word it is one because the machine has just booted."""
    world = World(config=config(resource("web")))
    if keepalived is not None:
        world.see_keepalived(keepalived)
    if word is None:
        world.send(VrrpStateReported(instance="VI_1", words=world.instance.words, dbus=None, stored=None, booted=True))
    else:
        world.say(word)
    world.settle()
    assert world.instance.phase is Phase.STANDBY
    return world


def test_a_sound_standby_is_as_it_should_be() -> None:
    assert shown(standby()).startswith("  node left: healthy\n")


@pytest.mark.parametrize(
    ("word", "keepalived", "said"),
    [
        (VrrpState.FAULT, Keepalived.RUNNING, "keepalived reports FAULT; for the cause: journalctl -u keepalived"),
        (VrrpState.STOP, Keepalived.RUNNING, "keepalived was stopped: systemctl start keepalived"),
        (VrrpState.STOP, Keepalived.GONE, "keepalived was stopped: systemctl start keepalived"),
        (VrrpState.DELETED, Keepalived.RUNNING, "keepalived.conf no longer has this instance"),
        (None, None, "keepalived has not run since the boot: systemctl start keepalived"),
        (None, Keepalived.RUNNING, SILENT),
    ],
)
def test_a_standby_that_could_not_take_over_says_why(
    word: VrrpState | None, keepalived: Keepalived | None, said: str
) -> None:
    text = shown(standby(word, keepalived))
    assert text.startswith("! node left: NEEDS ATTENTION: VI_1\n")
    assert f"\n! VI_1  obstacle  could not take over: {said}\n" in text


def test_a_standby_without_the_interface_of_its_vip_could_not_take_over() -> None:
    world = standby(VrrpState.FAULT)
    world.send(VipsSeen(present={VIP: False}, instead={VIP: "is not here: there is no interface eth0"}))
    text = shown(world)
    assert "could not take over: 192.0.2.1/32 is not here: there is no interface eth0\n" in text
    world.send(VipsSeen(present={VIP: False}))
    assert "could not take over: keepalived reports FAULT" in shown(world)


@pytest.mark.parametrize(
    ("keepalived", "said"),
    [(Keepalived.GONE, "keepalived is gone: systemctl start keepalived"), (Keepalived.STOPPED, "keepalived is frozen")],
)
def test_a_standby_without_a_living_keepalived_is_marked_once(keepalived: Keepalived, said: str) -> None:
    world = standby()
    world.see_keepalived(keepalived)
    text = shown(world)
    assert text.startswith("! node left: NEEDS ATTENTION: VI_1\n")
    assert text.count(said) == 1


def test_a_vip_of_which_keepalived_told_nothing_was_not_left_here() -> None:
    world = standby(None)
    world.move_vip(VIP, present=True)
    assert re.search(
        rf"! VI_1  vip .* PRESENT +not expected here: keepalived has reported no state; {CHECK}\n", shown(world)
    )
    while not world.instance.alarm:
        world.tick()
    assert world.instance.alarm == f"192.0.2.1/32 is on eth0, but {SILENT}"
    assert [effect.kind for effect in world.log if isinstance(effect, Alarm)] == [AlarmKind.ATTENTION]


def test_a_vip_of_a_keepalived_that_told_only_its_stop_says_what_to_check() -> None:
    world = standby(VrrpState.STOP)
    world.see_keepalived(Keepalived.RUNNING)
    world.move_vip(VIP, present=True)
    silent = "keepalived runs and has reported nothing since STOP: check notify, FIFO, script_user"
    assert re.search(
        rf"! VI_1  vip .* PRESENT +not expected here: keepalived runs, but has reported nothing since STOP; {CHECK}\n",
        shown(world),
    )
    while not world.instance.alarm:
        world.tick()
    assert world.instance.alarm == f"STOP, but 192.0.2.1/32 is still on eth0; {silent}"


def test_a_vip_that_is_here_before_anybody_spoke_says_what_to_check() -> None:
    world = World(config=config(resource("web")))
    world.move_vip(VIP, present=True)
    world.answer(world.questions[0])
    assert world.instance.phase is Phase.UNKNOWN
    assert world.instance.reason.startswith(f"192.0.2.1/32 is on eth0, but {SILENT}. Its D-Bus")
    assert "! VI_1  vip" in shown(world)


def test_a_vip_that_was_deleted_as_told_is_not_missed() -> None:
    world = World(config=config(resource("web")))
    world.see_keepalived(Keepalived.RUNNING)
    world.say(VrrpState.MASTER)
    world.settle()
    world.see_keepalived(Keepalived.GONE)
    assert "not expected here: keepalived is gone" in shown(world)
    assert "ip address del 192.0.2.1/32 dev eth0" in shown(world)
    world.move_vip(VIP, present=False)
    world.settle()
    assert "expected here" not in shown(world)
    assert "keepalived is gone: systemctl start keepalived" in shown(world)


def test_what_only_other_nodes_carry_is_served_nowhere_while_this_one_is_active() -> None:
    made = config(resource("prefix"))
    spec = replace(made.instances["VI_1"], elsewhere={"web": ("left", "right")})
    world = World(config=replace(made, instances={"VI_1": spec}))
    world.say(VrrpState.BACKUP)
    world.settle()
    assert "healthy" in shown(world)
    world.say(VrrpState.MASTER)
    world.settle()
    text = shown(world)
    assert text.startswith("! node left: NEEDS ATTENTION: VI_1\n")
    assert "! VI_1 ACTIVE, WITHOUT web " in text
    assert re.search("! VI_1  resource  web .* ABSENT +- +active nowhere: configured on left, right only", text)


def test_a_step_of_the_former_configuration_is_shown_as_long_as_it_runs() -> None:
    world = World(config=config(resource("web")))
    world.say(VrrpState.BACKUP)
    world.settle()
    world.say(VrrpState.MASTER)
    while not world.steps:
        world.end_look(next(iter(world.looks)))
    world.reload(config(resource("web", options="another")))
    assert "activate of the previous configuration still runs; waiting for its end" in shown(world)


def test_a_node_that_must_stop_says_when_its_watchdog_resets_it() -> None:
    quorum = Quorum(leases=("etcd://192.0.2.9:2379",), watchdog="/dev/watchdog")
    world = World(config=config(resource("web"), quorum=quorum))
    world.say(VrrpState.MASTER)
    world.settle()
    assert "watchdog" not in shown(world)
    world.say(VrrpState.BACKUP)
    found = re.search(
        r"VI_1  watchdog  resets this machine unless all is at standby by \S+ \(in (\d+ \w+)\)", shown(world)
    )
    assert found is not None
    assert found[1] == "1 min"  # the timeout of an activation, and a whole stop


def test_a_node_that_relies_on_the_standby_of_another_says_since_when_and_how_to_end_that() -> None:
    plain = config(resource("web"), quorum=Quorum(witnesses=("icmp://192.0.2.9",), need=1))
    spec = replace(plain.instances["VI_1"], others=("right",))
    world = World(replace(plain, instances={"VI_1": spec}, heartbeat=Heartbeat(node="left", peers=("right",))))
    word = PeerWord(at=0.0, vrrp=VrrpState.FAULT, phase=Phase.STANDBY, rests=True, standby=True)

    def promise() -> None:
        said = {"VI_1": replace(word, at=world.now)}
        world.send(PeerReported(peer="right", at=world.now, words=said, whole=True))

    promise()
    assert "promise" not in shown(world)
    world.say(VrrpState.MASTER)
    world.settle()
    assert "promise" not in shown(world), "a change of keepalived's state may be another MASTER"
    world.live(world.now + 1.0)
    promise()
    assert (
        "VI_1  promise   needs no witness, because right was kept in standby just now; if that is over, or right was "
        "installed anew: failoverctl unfence right\n" in shown(world)
    )
