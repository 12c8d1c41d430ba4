"""Who holds a device open, found in a tree that looks like /proc and /sys."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.drivers.drbd import openers
from failoverd.ports.drbd.status import Resource
from failoverd.ports.xl import single
from tests.unit.drivers.scripted import Programs
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, up

DEAD = "ss -Htan state fin-wait-1 src 10.10.0.1 dst 10.10.0.2 ( sport = :7788 or dport = :7788 )"
CURE = DEAD.replace("ss ", "ss -K ")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "proc/self/mountinfo": "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 29 147:0 / /srv/vpn rw - ext4 /dev/drbd0 rw\n",
        "proc/swaps": "Filename Type Size Used Priority\n/dev/drbd2 partition 1 0 -2\n",
        "proc/800/comm": "qemu-system-x86\n",
        "proc/800/stat": "800 (qemu-system-x86) S 1 800 800 0 -1\n",
        "proc/801/comm": "bash\n",
        "proc/801/stat": "801 (b) S (ash) D 1 801 801 0 -1\n",
        "sys/block/dm-3/dm/name": "vg-root\n",
        "sys/block/loop4/loop/backing_file": "/dev/drbd1\n",
        "sys/bus/xen-backend/devices/vbd-5-51712/physical_device": "93:a\n",
        "sys/bus/xen-backend/devices/vif-5-0/state": "4\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "sys/block/drbd1/holders/dm-3").mkdir(parents=True)
    for number, fd, target in (("800", "7", "/dev/drbd1"), ("801", "0", "/dev/null"), ("801", "3", "/dev/drbd10")):
        (tmp_path / f"proc/{number}/fd").mkdir(exist_ok=True)
        (tmp_path / f"proc/{number}/fd/{fd}").symlink_to(target)
    return tmp_path


@pytest.fixture
def xl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An xl that knows one domain."""
    path = tmp_path / "bin/xl"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\n[ "$*" = "domname 5" ] && echo web\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


@pytest.mark.parametrize("script", ["exit 1", "echo garbage; exit 1", "exit 0", "exec sleep 600", None])
async def test_a_domain_without_a_name(
    root: Path, xl: Path, script: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "DOMAIN_TIMEOUT_S", 0.2)
    if script is None:
        xl.unlink()
        monkeypatch.setenv("PATH", str(xl.parent))
    else:
        xl.write_text(f"#!/bin/sh\n{script}\n")
    assert (await openers.find(10, root))[0] == "the domain with the id 5"


@pytest.mark.parametrize(
    ("minor", "who"),
    [
        (0, ["the mount at /srv/vpn"]),
        (1, ["the device-mapper device vg-root", "the loop device loop4", "qemu-system-x86 (pid 800)"]),
        (2, ["swapping"]),
        (10, ["the domain web (id 5)", "bash (pid 801; it waits in the kernel)"]),
        (3, []),
    ],
)
async def test_everybody_is_found(root: Path, minor: int, who: list[str], xl: Path) -> None:
    del xl
    assert await openers.find(minor, root) == who


async def test_a_machine_without_any_of_it(tmp_path: Path) -> None:
    assert await openers.find(0, tmp_path) == []


async def test_this_machine_can_be_searched() -> None:
    assert await openers.find(4095) == []


def test_drbd_9_names_them_itself() -> None:
    said = (NINE / "device-mounted/left.cmd.secondary.txt").read_text()
    assert openers.named(said) == ["mount (pid 848)"]
    assert openers.named("0: State change failed: (-12) Device is held open by someone") == []


ROW = "Name ID Mem VCPUs State Time(s)\\n{} 5 0 1 {} 14.9\\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    fake = Programs(tmp_path / "bin", "xl", "drbdsetup", "ss", before="")
    fake.script("drbdsetup show vpn", f"cat {EIGHT}/all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.script("xl list 5", f"printf '{ROW.format('(null)', '--ps-d')}'")
    fake.script(DEAD, "echo '0      5001   10.10.0.1:55014 10.10.0.2:7788'")
    fake.script(CURE, "")
    return fake


def on_minor(number: int) -> Resource:
    view = up(NINE / "primary-on-left", "left")
    return replace(view, volumes=(replace(view.volumes[0], minor=number),))


async def test_a_domain_that_is_dying_is_let_go(root: Path, programs: Programs) -> None:
    await openers.hasten(on_minor(10), root)
    assert programs.told == ["xl list 5", "drbdsetup show vpn", DEAD, CURE]


@pytest.mark.parametrize("state", ["r-----", "-b----", "--psc-", "------"])
async def test_one_that_lives_is_let_alone(root: Path, programs: Programs, state: str) -> None:
    programs.forget("xl list 5")
    programs.script("xl list 5", f"printf '{ROW.format('d--ps-d', state)}'")
    await openers.hasten(on_minor(10), root)
    assert programs.told == ["xl list 5"]


async def test_where_no_domain_has_it_nothing_is_asked(root: Path, programs: Programs) -> None:
    await openers.hasten(on_minor(1), root)
    assert programs.told == []


@pytest.mark.parametrize("command", ["xl list 5", "drbdsetup show vpn", DEAD, CURE])
async def test_what_cannot_be_told_of_one_that_is_dying_is_no_error(
    root: Path, programs: Programs, command: str
) -> None:
    programs.forget(command)
    programs.script(command, "echo trouble >&2; exit 1")
    await openers.hasten(on_minor(10), root)
    assert programs.told[-1] == command
