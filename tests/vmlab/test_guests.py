"""Stories of guests on three hypervisors, each judged from outside.

In all of them: no number that a guest told is ever lost, and nothing is ever in two places. The first story boots all
three; the others begin as they were kept then, left or right being MASTER, and so each can be told alone.
"""

import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.waiting import wait_for

from . import consistency, hosting
from .hosting import INSTANCE
from .hypervisor import HANDOVER, SOON, Hypervisor
from .hypervisors import Hypervisors

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1800)]

_FAILOVERS = 20
_ACTIVE, _STANDBY = 100, 300
_DISABLE_SENDPAGE = "/sys/module/drbd/parameters/disable_sendpage"
#: Longer than DRBD waits for its peer.
_INTERRUPTED_SECONDS = 25
#: An emulated machine that checks everything may not hear an answer within a second.
_WITNESS = {"timeout": '"2s"'}


@pytest.fixture
def lab() -> Iterator[Hypervisors]:
    """The laboratory, in which a story must lose nothing and have nothing twice."""
    with Hypervisors() as whole:
        yield whole
        if not whole.nodes:
            return
        heard = whole.heard(whole.judged_since)
        assert heard.copies() == []
        assert heard.lost() == []
        there = [node for node in whole.nodes.values() if node.machine.alive]
        for node in there:
            assert "Traceback" not in node.journal("-b", "-o", "cat")
        assert {node.name: node.guests() for node in there} == {
            name: set(them) for name, them in whole.domains().items()
        }


def _promote(lab: Hypervisors, guest: str) -> str:
    return hosting.promote(hosting.GUESTS[guest], lab.generation)


def _wish(node: Hypervisor, verb: str) -> None:
    """`failoverctl standby` or `online`, until the disk has it: an emulated one may be late."""
    wait_for(
        f"the disk of {node.name} has the wish {verb}",
        lambda: node.machine.run(["failoverctl", verb, INSTANCE], check=False).returncode,
        until=lambda status: status == 0,
        within=SOON,
    )


def _discard(here: Hypervisor, there: Hypervisor) -> None:
    """An operator gives up what `here` wrote to web while it was cut off."""
    here.machine.sh("drbdadm disconnect web; drbdadm connect --discard-my-data web", within=SOON)
    there.machine.sh("drbdadm connect web", check=False, within=SOON)


@pytest.mark.everyday
def test_after_a_cold_boot_of_all_there_is_one_master_and_guests_run_there_only(lab: Hypervisors) -> None:
    with lab.alone():
        lab.boot()
        lab.wait("somebody has the VIP", lab.vips)
        (master,) = lab.vips()
        lab.wait_for_master(master)
        lab.wait_for_metrics({name: _ACTIVE if name == master else _STANDBY for name in hosting.NODES})
        assert {sample.node for sample in lab.heard().samples if sample.domains} == {master}
        lab.keep()


@pytest.mark.everyday
def test_when_the_masters_power_is_cut_the_next_serves_and_goes_on_as_it_returns(lab: Hypervisors) -> None:
    here, there = lab.begin()
    cut = time.monotonic()
    here.machine.cut_power()
    lab.wait_for_master(there.name)
    lab.wait_for_metrics({there.name: _ACTIVE, "center": _STANDBY})
    lab.wait_for_start("web", cut)
    assert len(lab.heard().lives("web")) == 1
    print(lab.story_of(there.name, cut, "web"))

    lab.boot(here.name)
    here.wait_for_phase("standby")
    lab.wait_until_replicated()
    lab.wait_for_metrics({name: _ACTIVE if name == there.name else _STANDBY for name in hosting.NODES})
    lab.wait_for_master(there.name)
    assert len(lab.heard().lives("web")) == 1


def test_many_failovers_in_a_row_lose_nothing(lab: Hypervisors) -> None:
    here, there = lab.begin("right")
    # The other guest, which is on left only with DRBD 8, would take as long again and show nothing more.
    lab.follow([guest for guest in lab.guests if here.name in guest.nodes[lab.generation]])
    began = time.monotonic()
    lives = len(lab.heard().lives("web"))
    for _ in range(_FAILOVERS):
        stopped = time.monotonic()
        lab.hand_over(here, there)
        lab.wait_for_start("web", stopped)
        here, there = there, here
    heard = lab.heard()
    assert len(heard.lives("web")) == lives + _FAILOVERS
    print(
        f"{_FAILOVERS} failovers in {time.monotonic() - began:.0f} s, {heard.acknowledged('web')} numbers told by web"
    )


def test_a_handover_moves_guests_and_disks_before_mastership_or_nothing(lab: Hypervisors) -> None:
    here, there = lab.begin("right")
    began = time.monotonic()
    known = {name: node.transitions()[0]["id"] for name, node in lab.nodes.items()}
    for spoil, mend, why in (
        ("mv /etc/xen/web.cfg /root", "mv /root/web.cfg /etc/xen", "left: web: could not take over: /etc/xen/web.cfg"),
        ("drbdadm disconnect web", "drbdadm connect web", "left: web-disk: "),
    ):
        there.machine.sh(spoil)
        there.reconcile()
        refused = here.handover(there.name)
        print(refused.stderr)
        assert refused.returncode == 1
        assert why in refused.stderr
        there.machine.sh(mend)
    there.reconcile()
    lab.wait_until_replicated()
    assert {name: node.transitions()[0]["id"] for name, node in lab.nodes.items()} == known

    interrupt = f"systemctl kill --kill-who=main --signal=INT {HANDOVER}"
    ended = f"for second in $(seq 20); do systemctl -q is-active {HANDOVER} || break; sleep 1; done"
    with here.wrapped("xl", {"shutdown -F web": f'{interrupt}; {ended}; exec "$real" "$@"'}):
        cancelled = here.handover(there.name)
    print(cancelled.stderr)
    assert cancelled.returncode == 130
    assert f"the handover of {INSTANCE} is cancelled; this node serves again" in cancelled.stderr
    lab.wait_for_start("web", began)
    lab.wait_for_master(here.name)
    heard = lab.heard(began)
    assert len(heard.lives("web")) == 1
    assert {sample.node for sample in heard.samples if sample.vip or sample.things} == {here.name}

    began = time.monotonic()
    done = here.handover(there.name)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert f"{INSTANCE}: handed over from {here.name} to {there.name}" in done.stdout
    assert re.findall(r"^  (stop|move|start|total) +[\d.]", done.stdout, re.MULTILINE) == [
        *("stop", "move", "start", "total")
    ]
    lab.wait_for_start("web", began)
    lab.wait_for_master(there.name)
    print(lab.story_of(there.name, began, "web"))
    assert not any(sample.things for sample in lab.heard(began).of(here.name) if not sample.vip)
    moved = next(each for each in here.transitions() if each["cause"].startswith("root hands mastership over"))
    stopped = [step["resource"] for step in here.steps_of(moved["id"])]
    assert stopped.index("web") < stopped.index("web-disk")
    standby = here.instance()["standby"]
    assert standby is not None
    assert standby["by"] == "root"
    # On a busy host, center may have answered too late: then the page above has told so.
    for name in (here.name, "center"):
        _wish(lab.nodes[name], "online")
    lab.wait_until_well(there.name)


def test_a_node_that_boots_alone_after_the_whole_room_lost_power_serves_once_it_is_online(lab: Hypervisors) -> None:
    """Debian's drbd.service waits for the other nodes meanwhile; it must not be waited for."""
    lab.begin()
    right = lab.nodes["right"]
    _wish(right, "standby")
    cut = time.monotonic()
    for node in lab.nodes.values():
        node.machine.cut_power()
    lab.boot("right")
    kept = wait_for(
        "keepalived on right reports FAULT",
        right.instance,
        until=lambda seen: seen["vrrp_state"] == "FAULT",
        within=SOON,
        poll=right.poll,
    )
    assert kept["standby"]["by"] == "root"
    assert not any(sample.vip or sample.things for sample in lab.heard(cut).samples)
    began = time.monotonic()
    _wish(right, "online")
    lab.wait_for_master("right")
    lab.wait_for_start("web", began)
    lab.wait_for_metrics({"right": _ACTIVE})
    print(lab.story_of("right", began, "web"))


@pytest.mark.parametrize(
    "copied",
    [
        pytest.param(True, marks=pytest.mark.everyday, id="pages-are-copied"),
        pytest.param(False, id="pages-are-sent-as-they-are"),
    ],
)
def test_a_handover_after_replication_was_interrupted_ends(lab: Hypervisors, *, copied: bool) -> None:
    """What DRBD had sent without a copy, it may hold for ever; and a guest cannot end whose page is held."""
    here, there = lab.begin()
    here.machine.sh(f"echo {'Y' if copied else 'N'} >{_DISABLE_SENDPAGE}")
    here.machine.unplug("replication")
    unplugged = time.monotonic()
    lab.wait("replication has been down for a while", lambda: time.monotonic() > unplugged + _INTERRUPTED_SECONDS)
    here.machine.plug("replication")
    lab.wait_until_replicated()
    lab.wait("all guests tell numbers", lab.guests_tell)
    here.stop_keepalived()
    lab.wait_for_master(there.name)
    here.wait_for_phase("standby")


def test_tools_that_hang_end_at_their_deadline_and_the_daemon_lives(lab: Hypervisors) -> None:
    here, there = lab.begin("right")
    daemon = there.property("MainPID")
    known = there.transitions()[0]["id"]

    def timed_out() -> set[str]:
        late = (each["id"] for each in there.transitions() if each["id"] > known)
        return {step["resource"] for id in late for step in there.steps_of(id) if step["outcome"] == "timed-out"}

    there.reconfigure(hosting.failoverd(lab.generation, timeout="25s"))
    hangs = "exec sleep 900"
    drbdsetup = there.wrapped("drbdsetup", {_promote(lab, "web"): hangs})
    with drbdsetup, there.wrapped("xl", {"create /etc/xen/vpn.cfg": hangs}):
        here.stop_keepalived()
        lab.wait("both have timed out", lambda: timed_out() >= {"web-disk", "vpn"})
        assert there.property("MainPID") == daemon
    there.reconfigure(hosting.failoverd(lab.generation))
    if there.instance()["released"]:
        there.machine.run(["failoverctl", "reset", INSTANCE])
    lab.wait_for_master(there.name)


def test_a_device_that_is_held_open_at_a_demotion_is_named_and_escalated(lab: Hypervisors) -> None:
    here, there = lab.begin()
    here.machine.sh("systemd-run --quiet --unit=holder sh -c 'exec sleep 900 </dev/drbd0'")
    pid = here.property("MainPID", "holder.service")
    here.stop_keepalived()
    wait_for(
        "the alarm names who holds it",
        lambda: str(here.instance()["alarm"]),
        until=lambda said: f"sleep (pid {pid})" in said,
        within=SOON,
        poll=0.5,
    )
    assert "Primary of minor 0" in {thing for sample in lab.heard().of(here.name)[-1:] for thing in sample.things}
    assert not any("web" in guests for guests in lab.domains().values())
    here.machine.run(["systemctl", "stop", "holder.service"])
    here.machine.run(["failoverctl", "reset", INSTANCE])
    here.wait_for_phase("standby")
    there.machine.run(["failoverctl", "reset", INSTANCE])
    lab.wait_for_master(there.name)


def test_failoverd_killed_at_every_step_of_a_promotion_ends_right(lab: Hypervisors) -> None:
    here, there = lab.begin("right")
    began = time.monotonic()
    restarts = int(there.property("NRestarts"))
    before = 'mkdir "/run/killed-before-$*" 2>/dev/null && kill -KILL $PPID; exec "$real" "$@"'
    after = '"$real" "$@"; said=$?; mkdir "/run/killed-after-$*" 2>/dev/null && kill -KILL $PPID; exit $said'
    promoting = {_promote(lab, "web"): before, _promote(lab, "vpn"): after}
    creating = {"create /etc/xen/web.cfg": before, "create /etc/xen/vpn.cfg": after}
    # A slash in the name of what was killed at would be a directory's.
    creating = {words: script.replace("$*", "${2##*/}") for words, script in creating.items()}
    with there.wrapped("drbdsetup", promoting), there.wrapped("xl", creating):
        here.stop_keepalived()
        lab.wait(f"{there.name} has the VIP", lambda: lab.vips() == [there.name])
        kill = ["systemctl", "kill", "--kill-who=main", "--signal=KILL", "failoverd.service"]
        there.machine.run(kill, check=False)  # it may have reached the first step, and be dead already
        lab.wait_for_master(there.name)
        lab.wait_for_start("web", began)
    assert len(there.machine.sh("cd /run && ls -d killed-* && rmdir killed-*").splitlines()) == 4
    # What belongs to one guest may find that what belongs to the other has killed the daemon already.
    assert restarts + 2 <= int(there.property("NRestarts")) <= restarts + 5
    here.start_keepalived()


def test_a_guest_that_crashes_is_started_again_and_one_that_ignores_shutdown_is_destroyed(lab: Hypervisors) -> None:
    here, there = lab.begin()
    lives = len(lab.heard().lives("web"))
    here.configure_guest("web", "vmlab.deaf")
    began = time.monotonic()
    here.machine.run(["xl", "sysrq", "web", "c"])
    lab.wait_for_start("web", began)  # one that boots is not deaf yet: its kernel itself powers it off
    lab.wait_for_master(here.name)
    assert len(lab.heard().lives("web")) == lives + 1

    here.configure_guest("web")
    began = time.monotonic()
    lab.hand_over(here, there)
    (step,) = [step for step in here.last_steps() if (step["resource"], step["verb"]) == ("web", "deactivate")]
    assert step["outcome"] == "done"
    assert "xl destroy web" in step["command"]
    print(lab.story_of(there.name, began, "web"))


def test_a_master_that_reboots_hands_over_cleanly(lab: Hypervisors) -> None:
    here, there = lab.begin()
    began = time.monotonic()
    known = here.transitions()[0]["id"]
    here.machine.reboot()
    lab.wait_for_master(there.name)
    lab.wait_for_start("web", began)
    here.wait_for_phase("standby")
    lab.wait_until_replicated()
    stopped = [each for each in here.transitions() if each["id"] > known and each["target"] == "standby"]
    assert stopped[-1]["outcome"] == "standby"
    print(lab.story_of(there.name, began, "web"))


def test_a_guest_that_crashes_for_ever_is_released(lab: Hypervisors) -> None:
    here, there = lab.begin()
    here.configure_guest("web", "vmlab.crash")
    here.machine.run(["xl", "sysrq", "web", "c"])
    lab.wait(f"{here.name} has given mastership away", lambda: here.instance()["released"])
    lab.wait_for_master(there.name)
    here.wait_for_phase("standby")
    assert here.machine.read(f"/run/failoverd/track/{INSTANCE}").split() == ["1"]
    here.configure_guest("web")
    here.machine.run(["failoverctl", "reset", INSTANCE])
    wait_for(
        f"{here.name} competes again", lambda: here.instance()["released"], until=lambda said: said is None, within=SOON
    )


def test_old_data_is_refused_in_those_words_until_an_operator_accepts_it(lab: Hypervisors) -> None:
    here, there = lab.begin("right")
    lab.lift_quorum("vpn")
    lives = len(lab.heard().lives("web"))
    here.machine.unplug("replication")
    unplugged = time.monotonic()
    wait_for(
        "status says that web is not replicated",
        lambda: here.resource("web-disk")["detail"],
        until=lambda said: "onnect" in said,
        within=SOON,
        poll=1.0,
    )
    lab.wait("replication has been down for a minute", lambda: time.monotonic() > unplugged + 60)
    lab.wait_for_master(here.name)
    assert len(lab.heard().lives("web")) == lives

    here.machine.cut_power()
    refused = there.wait_for_phase("refused")
    print(refused["reason"])
    assert not any("web" in guests for guests in lab.domains().values())
    accepted = time.monotonic()
    there.machine.run(["failoverctl", "accept", INSTANCE, "web-disk"], within=SOON)
    lab.wait_for_master(there.name)
    lab.wait_for_start("web", accepted)
    assert lab.heard(lab.judged_since).lost() != []
    assert any("accept" in str(transition) for transition in there.transitions())
    lab.judged_since = time.monotonic()

    here.machine.plug("replication")
    lab.boot(here.name)
    wait_for(
        "the split brain is an alarm",
        lambda: here.resource("web-disk")["alarm"] or "",
        until=lambda said: "split brain" in said,
        within=SOON,
        poll=1.0,
    )
    _discard(here, there)
    lab.wait_until_replicated()


@pytest.mark.parametrize(
    ("timeout", "keys"),
    [("90s", _WITNESS), ("40s", {**_WITNESS, "isolation_timeout": '"8s"'})],
    ids=["default-times", "shortest-times"],
)
def test_of_two_rooms_that_without_the_witness_stops_and_then_the_other_starts(
    lab: Hypervisors, timeout: str, keys: dict[str, str]
) -> None:
    here, there = lab.begin()
    lab.ask_a_witness(here.name, timeout, **keys)
    here.record()
    cut = lab.cut(here.name)
    wait_for(f"no guest is on {here.name}", here.guests, until=lambda seen: not seen, within=SOON, poll=1.0)
    lab.wait_for_start("web", cut)
    lab.wait_for_master(there.name)

    beside, heard = here.written_down(), lab.heard(cut)
    stopped = max(sample.at for sample in beside.samples if "web" in sample.domains) - cut
    started = min(sample.began for sample in heard.of(there.name) if "web" in sample.domains) - cut
    told = heard.lives("web")[0].at - cut
    print(f"seconds from the cut: guests stopped {stopped:.1f}, started {started:.1f}, web tells {told:.1f}")
    assert stopped < started
    both = consistency.Evidence(heard.told, sorted([*beside.samples, *heard.samples], key=lambda each: each.at))
    assert both.copies() == []
    lab.heal(here.name)
    here.wait_for_phase("standby")
    _discard(here, there)
    lab.wait_until_replicated()
    lab.wait_for_master(there.name)


def test_a_node_whose_guest_cannot_be_destroyed_is_reset_by_its_watchdog_before_the_other_starts_it(
    lab: Hypervisors,
) -> None:
    here, there = lab.begin()
    here.machine.run(["modprobe", "i6300esb"])
    there.machine.run(["modprobe", "i6300esb"])
    lab.ask_a_witness(here.name, "40s", **_WITNESS, watchdog='"/dev/watchdog"', watchdog_timeout='"15s"')
    boot = here.machine.boot_id()
    hangs = "exec sleep 900"
    with here.wrapped("xl", {"shutdown -F web": hangs, "destroy web": hangs}):
        with here.machine.monitor() as monitor:
            cut = lab.cut(here.name)
            reset = monitor.wait_for_event("WATCHDOG", SOON) - time.time() + time.monotonic() - cut
        lab.wait_for_start("web", cut)
        started = min(each.began for each in lab.heard(cut).of(there.name) if "web" in each.domains) - cut
        print(f"seconds from the cut: {here.name} was reset {reset:.1f}, web started on {there.name} {started:.1f}")
        assert reset < started
        lab.heal(here.name)  # Debian's drbd.service waits for its peers, and the boot for it
        here.machine.wait_until_rebooted(boot)
    here.wait_for_phase("standby")
    _discard(here, there)
    lab.wait_until_replicated()
    lab.wait_for_master(there.name)


def test_the_third_node_serves_what_it_may_and_nothing_else_when_two_are_dead(lab: Hypervisors) -> None:
    lab.begin()
    lab.lift_quorum("vpn")
    cut = time.monotonic()
    for name in ("left", "right"):
        lab.nodes[name].machine.cut_power()
    lab.wait_for_master("center")
    lab.wait_for_start("vpn", cut)
    lab.wait_for_metrics({"center": _ACTIVE})
    print(lab.story_of("center", cut, "vpn"))
