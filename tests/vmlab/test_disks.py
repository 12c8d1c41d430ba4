"""Stories of disks without guests: two machines, which need no Xen for it, and so boot in a moment."""

from collections.abc import Iterator

import pytest

from tests.lab.waiting import wait_for

from . import hosting, template
from .hosting import INSTANCE
from .hypervisor import SOON, Hypervisor
from .lab import VmLab
from .machine import Hardware, Machine

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1200)]

_NODES = ("left", "right")
#: So many that a moment that is wrong for one of them is met.
_DISKS = hosting.numbered("disk", 5)
_MEMORY = 512
_WRITE = "while :; do dd if=/dev/urandom of={device} bs=4k count=4 oflag=direct 2>/dev/null; sleep 0.2; done"
# What `drbdadm -d` prints has names of programs that are in no usual place.
_RUN = "PATH=$PATH:/lib/drbd sh -e"
# Of the kernel, as DRBD 8 and 9 say it.
_PROMOTED = r"(role|ro)\( ?(Secondary|Unknown) -> Primary ?\)"


@pytest.fixture
def nodes() -> Iterator[dict[str, Hypervisor]]:
    """Two nodes that serve nothing but disks."""
    with VmLab({"left": template.hardware(_DISKS)}) as before:
        before.boot()
        model = before.machines["left"]
        generation = template.configure(model, _DISKS)
        model.write("/etc/failoverd/failoverd.toml", _failoverd())
        model.shut_down()
        hardware = {name: _hardware(name, model) for name in _NODES}
        with VmLab(hardware) as lab:
            lab.boot()
            if generation == 9:
                template.make_disks(lab.machines, _DISKS)
            yield {name: Hypervisor(machine) for name, machine in lab.machines.items()}


def _failoverd() -> str:
    whole = f'[instance.{INSTANCE}]\nvips = ["{hosting.VIP}/32"]\ninterface = "{hosting.BRIDGE}"\n'
    for disk in _DISKS:
        whole += f'[instance.{INSTANCE}.resource.{disk.name}]\ndriver = "drbd"\nresource = "{disk.name}"\n'
    return whole


def _hardware(name: str, model: Machine) -> Hardware:
    return Hardware(networks=hosting.networks(name), disks=template.disks(_DISKS), memory=_MEMORY, like=model.directory)


def _states(node: Hypervisor) -> set[str]:
    """The connections of all disks, and what is known of their data."""
    return set(node.machine.sh("drbdadm cstate all; drbdadm dstate all", check=False).split())


@pytest.mark.everyday
def test_disks_that_were_down_are_not_promoted_before_they_met_their_primary(nodes: dict[str, Hypervisor]) -> None:
    left, right = nodes["left"], nodes["right"]
    left.stop_keepalived()
    right.wait_for_phase("active")
    for disk in _DISKS:
        right.machine.run(["systemd-run", "--quiet", "sh", "-c", _WRITE.format(device=f"/dev/drbd{disk.minor}")])
    left.wait_for_phase("standby")

    left.machine.run(["drbdadm", "down", "all"])
    left.machine.unplug("service")
    left.start_keepalived()
    left.wait_for_phase("refused")
    began = left.machine.sh("date +@%s.%N").strip()
    # `drbdadm up`, in two halves: for a moment a disk is there that has met nobody, and does not try to.
    left.machine.sh(f"drbdadm -d up all >/run/up && grep -v ' connect ' /run/up | {_RUN}")
    wait_for(
        "left knows that all are there",
        lambda: [left.resource(disk.name)["detail"] for disk in _DISKS],
        until=lambda said: not any("not up here" in each for each in said),
        within=SOON,
        poll=1.0,
    )
    left.machine.sh(f"grep ' connect ' /run/up | {_RUN}")
    wait_for(
        "all disks are replicated",
        lambda: _states(left),
        until=lambda seen: seen == {"Connected", "UpToDate/UpToDate"},
        within=SOON,
        poll=1.0,
    )

    # Another Primary is waited for, for as long as an activation may take.
    wait_for(
        "left has given up",
        lambda: left.instance()["phase"],
        until=lambda phase: phase in ("refused", "failed"),
        within=SOON,
        poll=1.0,
    )
    said = left.machine.run(
        ["journalctl", "-k", "--since", began, "--no-pager", "-o", "cat", "-g", _PROMOTED], check=False
    )
    assert said.stdout == ""
    assert {left.resource(disk.name)["level"] for disk in _DISKS} == {"standby"}
    assert {right.resource(disk.name)["level"] for disk in _DISKS} == {"active"}
    assert _states(left) == _states(right) == {"Connected", "UpToDate/UpToDate"}
