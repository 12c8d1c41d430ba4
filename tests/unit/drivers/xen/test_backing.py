"""What a guest's disk stands on: found by whatever name, and refused where it cannot be told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from failoverd.drivers.xen import backing, config, disk
from failoverd.drivers.xen.config import Disk
from failoverd.drivers.xen.guest import Guest
from failoverd.ports.drbd import look
from failoverd.ports.errors import DriverError, Refused
from tests.unit.drivers.xen.xens import FakeXen, recorded
from tests.unit.ports.drbd.drbdsetups import NINE


class Machine:
    """A sysfs with the block devices that the test put there, and where their nodes, or files on them, are."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._numbers: dict[str, int] = {}
        self._real = backing.number
        (root / "dev/block").mkdir(parents=True)
        monkeypatch.setattr(backing, "SYS", root)
        monkeypatch.setattr(backing, "number", self._number)

    def device(self, name: str, number: str, *slaves: str, part_of: str = "", loop: str = "") -> None:
        """One whose node is /dev/NAME. `slaves`: what it is stacked on; `loop`: what it loops over."""
        place = self._root / "block" / part_of / name
        (place / "slaves").mkdir(parents=True)
        (place / "dev").write_text(f"{number}\n")
        for slave in slaves:
            (place / "slaves" / slave).symlink_to(next((self._root / "block").rglob(slave)))
        if part_of:
            (place / "partition").write_text("1\n")
        if loop:
            (place / "loop").mkdir()
            (place / "loop/backing_file").write_text(f"{loop}\n")
        (self._root / "dev/block" / number).symlink_to(place)
        self.leads(f"/dev/{name}", number)

    def leads(self, path: str, number: str) -> None:
        """To that device, or to a file on it."""
        self._numbers[path] = os.makedev(*map(int, number.split(":")))

    def _number(self, path: str) -> int | None:
        return self._numbers[path] if path in self._numbers else self._real(path)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "sys", monkeypatch)
    machine.device("drbd3", "147:3")
    machine.device("drbd4", "147:4")
    machine.device("sda", "8:0")
    machine.device("sda1", "8:1", part_of="sda")
    machine.device("drbd3p1", "259:7", part_of="drbd3")
    machine.device("dm-0", "253:0", "sda1")
    machine.device("dm-1", "253:1", "drbd3p1", "dm-0")
    machine.device("dm-2", "253:2", "dm-1", "drbd4")
    machine.device("loop0", "7:0", loop="/dev/drbd4")
    machine.leads("/dev/vm/web", "147:3")
    machine.leads("/dev/mapper/vg-web", "253:2")
    machine.leads("/srv/web.img", "147:4")
    machine.leads("/srv/other.img", "8:1")
    return machine


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("path", "minors"),
    [
        ("/dev/drbd3", {3}),
        ("/dev/drbd77", {77}),
        ("/dev/vm/web", {3}),
        ("/dev/drbd3p1", {3}),
        ("/dev/sda1", set()),
        ("/dev/dm-0", set()),
        ("/dev/dm-1", {3}),
        ("/dev/mapper/vg-web", {3, 4}),
        ("/dev/loop0", {4}),
        ("/srv/web.img", {4}),
        ("/srv/other.img", set()),
        ("/dev/null", set()),
    ],
)
def test_it_is_found_whatever_lies_between(path: str, minors: set[int]) -> None:
    assert backing.minors(path) == minors


def test_a_device_is_known_by_its_number_and_a_file_by_that_of_its_file_system(tmp_path: Path) -> None:
    assert backing.number("/dev/null") is backing.number(str(tmp_path)) is None
    (tmp_path / "web.img").touch()
    assert backing.number(str(tmp_path / "web.img")) in (tmp_path.stat().st_dev, None)
    for block in Path("/dev").iterdir():
        if block.is_block_device():
            assert backing.number(str(block)) == block.stat().st_rdev


@pytest.mark.parametrize("name", ["by-res/vpn/0", "by-disk/lvm"])
def test_a_link_leads_there(tmp_path: Path, name: str) -> None:
    link = tmp_path / name
    link.parent.mkdir(parents=True)
    link.symlink_to("/dev/drbd12")
    assert backing.minors(str(link)) == backing.named(str(link)) == {12}


@pytest.mark.parametrize("path", ["/dev/drbd/by-res/vpn/0", "/dev/drbd_vpn", "/dev/drbd1p1"])
def test_a_name_of_drbds_that_leads_nowhere_is_one_all_the_same(path: str) -> None:
    with pytest.raises(DriverError, match="it leads to no DRBD device; its resource is not up here"):
        backing.minors(path)


@pytest.mark.parametrize("path", ["/dev/disk/by-uuid/nowhere", "/dev/stale"])
def test_what_is_not_there_may_be_anything_when_it_comes(machine: Machine, path: str) -> None:
    machine.leads("/dev/stale", "8:77")
    with pytest.raises(DriverError, match="No such file or directory"):
        backing.minors(path)


@pytest.mark.usefixtures("machine")
async def test_each_of_those_beneath_is_judged(fake: FakeXen) -> None:
    fake.drbd(NINE / "primary-on-left")
    with pytest.raises(DriverError, match=r"^disk /dev/mapper/vg-web: it is not up here$"):
        await disk.check([Disk(path="/dev/null"), Disk(path="/dev/mapper/vg-web")])


CLEAR = [
    Disk(path=""),
    Disk(path="/dev/drbd0"),
    Disk(path="/dev/drbd0", script="/usr/local/lib/xen-block"),
    Disk(path="/dev/null", script="block-zvol"),
    Disk(path="rbd:pool/web"),
    Disk(path="nbd:host:10809"),
    Disk(path="iqn.2001-04.org.example:web", script="block-iscsi"),
    Disk(path="host:10809", script="/etc/xen/scripts/block-nbd"),
    Disk(path="drbd0", elsewhere=True),
]
UNCLEAR = [
    Disk(path="drbd1"),
    Disk(path="drbd1", script="block"),
    Disk(path="drbd1", script="/etc/xen/scripts/block"),
    Disk(path="../dev/drbd1"),
    Disk(path="web", script="block-own"),
    Disk(path="host_device:/dev/drbd1"),
    Disk(path=__file__, script="block-own"),
]


@pytest.mark.parametrize("it", CLEAR, ids=str)
async def test_what_can_be_told_is_no_reason(fake: FakeXen, it: Disk) -> None:
    fake.drbd(NINE / "primary-on-left")
    assert await disk.obstacle([it]) == ""


@pytest.mark.parametrize("it", UNCLEAR, ids=str)
async def test_what_may_be_on_drbd_and_cannot_be_told_is_a_reason(fake: FakeXen, it: Disk) -> None:
    fake.drbd(NINE / "primary-on-left")
    said = await disk.obstacle([Disk(path="/dev/null"), it])
    assert said.startswith(
        f"disk {it.path}: failoverd cannot find out whether it is on DRBD; give the whole path of the device"
    )
    look.PROC.unlink()
    assert await disk.obstacle([it]) == ""  # without DRBD in the kernel it is on none


async def test_such_a_guest_is_refused_and_the_standby_shows_it(fake: FakeXen, web: Guest, cfg: str) -> None:
    fake.drbd(NINE / "primary-on-left")
    fake.forget(f"xl -N create {cfg}")
    told = recorded("dryrun-drbd-script")[0].replace('"web",\n            "vdev"', '"drbd1",\n            "vdev"')
    fake.answer(f"xl -N create {cfg}", told.replace('"block-drbd"', '"block"').rstrip())
    with pytest.raises(Refused, match=f"^{cfg}: disk drbd1: failoverd cannot find out whether it is on DRBD; give "):
        await web.activate()
    assert (await web.observe()).obstacle.startswith("disk drbd1: failoverd cannot find out")
    assert fake.deeds == []


def test_a_disk_that_another_domain_serves() -> None:
    text = recorded("dryrun-web")[0].replace('"vdev": "xvda"', '"vdev": "xvda", "backend_domname": "storage"')
    first, second = config.parse(text).disks
    assert first == Disk(path="/dev/vdb", elsewhere=True)
    assert second == Disk(path="/dev/vdc")
