"""Stories of hypervisors that fall silent: they are powered off by a fence agent, and DRBD is told so by its handler.

The power switch, outside of all of them, ends a machine by its QEMU's monitor. The agent runs in the sandbox of the
package's failoverd.service, and DRBD's kernel module calls the package's handler.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import power
from tests.lab.power import PowerSwitch
from tests.lab.waiting import wait_for

from . import hearing, hosting
from .hosting import INSTANCE
from .hypervisor import SOON, Hypervisor
from .hypervisors import Hypervisors
from .machine import Machine

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1800)]

_AGENT = Path("/usr/local/sbin/fence_lab")
#: The agent is a program of Python, which an emulated machine on a busy host takes seconds to start.
_TIMEOUT = "15s"
_ON = "then `status` says that it is on"
_DONE = f"`off`: exit status 0, Status: done; {_ON}"
_HANDLERS = """    handlers {
        fence-peer "/usr/libexec/failoverd/fence-peer";
        unfence-peer "/usr/libexec/failoverd/unfence-peer";
    }
    disk { fencing resource-and-stonith; }
"""


@dataclass(frozen=True, slots=True)
class _Outlet:
    machine: Machine

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def alive(self) -> bool:
        return self.machine.alive

    def kill(self) -> None:
        with self.machine.monitor() as monitor:
            monitor.ask("quit")
        self.machine.cut_power()  # it is gone; this waits for the process


@pytest.fixture
def lab() -> Iterator[Hypervisors]:
    """Left serves, in a laboratory in which a story must lose nothing and have nothing twice."""
    with Hypervisors() as whole:
        whole.begin("left")
        yield whole
        heard = whole.heard()
        assert heard.copies() == []
        assert heard.lost() == []


@pytest.fixture
def switch(lab: Hypervisors) -> Iterator[PowerSwitch]:
    """The power switch, that all nodes are configured with; DRBD's handler is in the files of `web`."""
    text = hosting.failoverd(lab.generation).replace("reconnect_grace = 6", 'reconnect_grace = 6\nstale_after = "10m"')
    text += hearing.config() + power.config(_AGENT, hosting.CLIENT, *hosting.NODES, timeout=_TIMEOUT)
    disk = hosting.drbd(hosting.GUESTS["web"], 8).replace("    protocol C;\n", f"    protocol C;\n{_HANDLERS}")
    for node in lab.nodes.values():
        node.machine.write(str(_AGENT), power.AGENT.read_bytes(), mode=0o755)
        hearing.give_key(node)
        node.machine.write("/etc/drbd.d/web.res", disk)
        if node.name in hosting.GUESTS["web"].nodes[8]:
            node.machine.run(["drbdadm", "adjust", "web"], within=SOON)
        node.reconfigure(text)
    hearing.wait_until_heard(lab.nodes)
    outlets = {hosting.address(name): _Outlet(node.machine) for name, node in lab.nodes.items()}
    with PowerSwitch(lab._lab.run.netns("client"), outlets) as made:
        yield made


@pytest.mark.everyday
def test_a_master_that_hangs_is_powered_off_before_its_guests_start_elsewhere(
    lab: Hypervisors, switch: PowerSwitch
) -> None:
    hung = time.monotonic()
    lab.nodes["left"].machine.freeze()
    _check_takeover(lab, switch, hung)


def test_without_a_proof_no_guest_starts_until_the_switch_is_mended(lab: Hypervisors, switch: PowerSwitch) -> None:
    left, right = lab.nodes["left"], lab.nodes["right"]
    switch.faults["left"] = "lies"
    hung = time.monotonic()
    left.machine.freeze()
    _wait_until_unproven(lab, hung, _DONE)

    switch.faults["left"] = "hangs"
    _try_again(right)
    _wait_until_unproven(lab, hung, f"`off`: timed out after 15 s, killed; {_ON}")

    switch.faults["left"] = "reboots"
    _try_again(right)
    _wait_until_unproven(lab, hung, _DONE)
    assert not left.machine.alive
    left.machine.start("-S")  # as a server that is in its firmware for minutes

    del switch.faults["left"]
    _try_again(right)
    _check_takeover(lab, switch, hung)
    assert not left.machine.alive


def test_drbd_is_told_what_is_known_of_a_lost_peer_and_writes_on_only_if_that_is_enough(
    lab: Hypervisors, switch: PowerSwitch
) -> None:
    left, right = lab.nodes["left"], lab.nodes["right"]
    right.machine.unplug("replication")
    _wait_for_answer(left, "fence-peer helper returned 4")
    _wait_until_web_tells(lab, time.monotonic(), "DRBD knows that right is at standby")
    assert switch.asked == []
    right.machine.plug("replication")
    lab.wait_until_replicated()

    switch.faults["right"] = "lies"
    right.machine.freeze()
    _wait_for_answer(left, "fence-peer helper broken, returned 1")
    answered = time.monotonic()
    print(_alarm_of_frozen_io(left))
    assert lab.heard(answered).acknowledged("web") == 0
    returned = time.monotonic()
    right.machine.thaw()
    _wait_until_web_tells(lab, returned, "right is back")
    lab.wait_for_master("left")
    lab.wait_until_replicated()
    hearing.wait_until_heard(lab.nodes)

    del switch.faults["right"]
    hung = time.monotonic()
    right.machine.freeze()
    _wait_for_answer(left, "fence-peer helper returned 7")
    print(f"proven {switch.proven('right') - hung:.1f} s after right hung")
    _wait_until_web_tells(lab, switch.proven("right"), "the proof")
    assert set(switch.fenced()) == {("left", "right")}
    assert lab.vips() == ["left"]


@pytest.mark.everyday
def test_a_peer_without_which_the_primary_went_on_refuses_its_data_also_when_that_is_dead(
    lab: Hypervisors, switch: PowerSwitch
) -> None:
    left, right = lab.nodes["left"], lab.nodes["right"]
    right.machine.unplug("replication")
    _wait_for_answer(left, "fence-peer helper returned 4")
    _wait_until_web_tells(lab, time.monotonic(), "DRBD knows that right is outdated")
    hung = time.monotonic()
    left.machine.freeze()
    _wait_until_refused(right, "has gone on alone")
    assert set(switch.fenced()) == {("right", "left")}
    assert lab.heard(hung).lives("web") == []


def _wait_until_unproven(lab: Hypervisors, hung: float, said: str) -> None:
    """Right refuses, since it could not prove that left is off; nothing runs there."""
    _wait_until_refused(lab.nodes["right"], f"not proven to be off: {said}")
    heard = lab.heard(hung)
    assert heard.lives("web") == []
    assert not any(sample.things for sample in heard.of("right"))


def _wait_until_refused(node: Hypervisor, why: str) -> None:
    refused = wait_for(
        f"{node.name} refuses: {why}",
        node.instance,
        until=lambda seen: seen["phase"] == "refused" and why in seen["reason"],
        within=SOON,
        poll=node.poll,
    )
    print(refused["reason"])


def _try_again(node: Hypervisor) -> None:
    node.machine.run(["failoverctl", "reset", INSTANCE], within=SOON)


def _wait_for_answer(node: Hypervisor, said: str) -> None:
    """DRBD's kernel module has had this answer of its handler."""
    told = wait_for(
        f"DRBD says: {said}", lambda: _handler(node), until=lambda told: said in told, within=SOON, poll=node.poll
    )
    print(told)


def _alarm_of_frozen_io(node: Hypervisor) -> str:
    """It comes half a minute after the loss."""
    seen = wait_for(
        f"{node.name} says that the I/O stays frozen",
        lambda: node.resource("web-disk"),
        until=lambda seen: seen["alarm"] is not None,
        within=SOON,
        poll=node.poll,
    )
    assert "I/O suspended (fencing)" in seen["detail"]
    assert "drbdadm resume-io web" in seen["alarm"]
    assert seen["stalled"]
    return f"{seen['level']}: {seen['detail']}; {seen['alarm']}"


def _wait_until_web_tells(lab: Hypervisors, since: float, what: str) -> None:
    def told() -> list[float]:
        return [told.at for told in lab.heard(since).told if told.kind == "ack" and told.guest == "web"]

    lab.wait("web tells numbers", told)
    print(f"web tells a number {told()[0] - since:.1f} s after: {what}")


def _check_takeover(lab: Hypervisors, switch: PowerSwitch, hung: float) -> None:
    """Right has left powered off, by the proof its guests start, and DRBD has the proof of its handler."""
    lab.wait_for_start("web", hung)
    lab.wait_for_master("right")
    assert set(switch.fenced()) == {("right", "left")}
    started = min(told.at for told in lab.heard(hung).lives("web"))
    assert switch.proven("left") < started
    told = _handler(lab.nodes["right"])
    print(told)
    assert "fence-peer helper returned 7" in told
    print(f"{switch.proven('left') - hung:7.2f} s  left is proven to be off")
    print(lab.story_of("right", hung, "web"))


def _handler(node: Hypervisor) -> str:
    """What DRBD's kernel module tells of its handler, and that of itself."""
    return node.machine.sh("dmesg | grep fence-peer; journalctl -b -o cat -t failoverd-fence-peer", check=False)
