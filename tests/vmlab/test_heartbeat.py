"""A story of the heartbeat and DRBD: what a Primary that was lost says of itself, its successor need not wait out."""

import time
from collections.abc import Iterator

import pytest

from . import hearing, hosting
from .hypervisor import SOON, Hypervisor
from .hypervisors import Hypervisors

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1800)]

_WEB = hosting.GUESTS["web"]
_DEVICE = str(_WEB.minor)
_GRACE = 30
_SPARED = "which has said by the heartbeat that it is Secondary"
_DEMOTES, _LOST = "/run/demotes", "/run/lost"


@pytest.fixture
def lab() -> Iterator[Hypervisors]:
    """The laboratory, in which a story must lose nothing and have nothing twice."""
    with Hypervisors() as whole:
        yield whole
        heard = whole.heard()
        assert heard.copies() == []
        assert heard.lost() == []


def test_the_word_of_a_primary_that_was_lost_as_it_stopped_ends_the_wait_for_it(lab: Hypervisors) -> None:
    here, there = lab.begin("right")
    text = hosting.failoverd(lab.generation, [_WEB], timeout="180s").replace(
        'stop_timeout = "20s"', 'stop_timeout = "120s"'
    )
    text = text.replace("reconnect_grace = 6", f'reconnect_grace = {_GRACE}\nstale_after = "10m"')
    lab.follow([_WEB], text)
    assert _SPARED not in _lose_in_the_middle(lab, here, there)

    for node in lab.nodes.values():
        hearing.give_key(node)
    lab.follow([_WEB], text + hearing.config())
    hearing.wait_until_heard(lab.nodes)
    assert _SPARED in _lose_in_the_middle(lab, there, here)


def _lose_in_the_middle(lab: Hypervisors, here: Hypervisor, there: Hypervisor) -> str:
    """Hand over to `there`; replication is lost between the end of the guest and the demotion of its disk.

    Returns what the history says of the promotion.
    """
    waits = f'touch {_DEMOTES}; until [ -e {_LOST} ]; do sleep 0.5; done; exec "$real" "$@"'
    began = time.monotonic()
    with here.wrapped("drbdsetup", {hosting.demote(_WEB, lab.generation): waits}):
        here.stop_keepalived()
        here.machine.sh(f"until [ -e {_DEMOTES} ]; do sleep 0.2; done", within=SOON)
        here.machine.unplug("replication")
        lab.wait("both have lost the other", lambda: not any(_connected(lab, node) for node in (here, there)))
        lost = time.monotonic()
        here.machine.sh(f"touch {_LOST}")
        lab.wait_for_master(there.name)
    lab.wait_for_start("web", began)
    demoted = _first(lab, here, "Secondary", lost)
    promoted = _first(lab, there, "Primary", lost)
    print(
        "seconds after both had lost the other: "
        f"{here.name} is Secondary {demoted:.1f}, {there.name} Primary {promoted:.1f}"
    )
    print(lab.story_of(there.name, began, "web"))
    (step,) = [each for each in there.last_steps() if (each["resource"], each["verb"]) == ("web-disk", "activate")]
    print(step["detail"])
    _heal(lab, here, there)
    return str(step["detail"])


def _connected(lab: Hypervisors, node: Hypervisor) -> bool:
    return lab.devices(node.name)[_DEVICE][0] == "Connected"


def _first(lab: Hypervisors, node: Hypervisor, role: str, since: float) -> float:
    """Seconds after `since` at which the node first told that its disk has the role."""
    return next(each.at for each in lab.heard(since).of(node.name) if each.devices[_DEVICE][1] == role) - since


def _heal(lab: Hypervisors, here: Hypervisor, there: Hypervisor) -> None:
    """Make all well again. DRBD 8.4 calls it a split brain: a Primary that loses its peer begins a generation of data.

    All of the disk is copied at the first time, since the laboratory's disks begin as all out of sync.
    """
    here.machine.plug("replication")
    here.machine.sh("drbdadm disconnect web; drbdadm connect --discard-my-data web", within=SOON)
    there.machine.sh("drbdadm connect web", check=False, within=SOON)
    here.machine.sh(f"rm {_DEMOTES} {_LOST}")
    here.start_keepalived()
    lab.wait_until_well(there.name)
